"""Between ROS messages and the core's arrays."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import trimesh
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField
from shape_msgs.msg import Mesh, MeshTriangle
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand as HandLayer
from grasp_gen_core.types import (
    BETAS,
    GLOBAL_ORIENT,
    HAND_POSE,
    TRANSL,
    GraspSet,
    Observation,
    check_mano,
    lean,
)
from grasp_gen_ros.msg import Grasp, GraspArray, ManoHand
from grasp_gen_ros.plain_clouds import FLOATS

try:
    from sensor_msgs_py import point_cloud2
except ModuleNotFoundError:
    from grasp_gen_ros import plain_clouds as point_cloud2

OPTICAL = "_optical_frame"  # how the frames of cameras end (REP 103)
FARTHEST = (
    1e9  # metres that a camera can be from a frame's origin: more than from anywhere on Earth
)
FIELD_TYPES = {
    getattr(PointField, name): name
    for name in ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "FLOAT32", "FLOAT64")
}


def read_observation(
    cloud: PointCloud2, viewpoint: Sequence[Point] = (), default: Sequence[float] = ()
) -> Observation:
    """A cloud's points, and where its camera stood.

    Args:
        cloud: see `read_points`.
        viewpoint: that of a request, one point or none.
        default: x y z in metres, or nothing: for a request that doesn't say. Where that is empty,
            too, the camera is at the origin of a frame that is called `*_optical_frame`.

    Raises:
        InputError: if the cloud or the viewpoint isn't accepted.
    """
    position = [*map(_xyz, viewpoint), default][0]
    if not len(position):
        position = np.zeros(3) if cloud.header.frame_id.endswith(OPTICAL) else None
    elif not all(abs(value) <= FARTHEST for value in position):
        raise InputError(
            f"viewpoint: {tuple(position)}, accepted are metres from {-FARTHEST:g} to {FARTHEST:g}"
        )
    else:
        position = np.array(position, dtype=np.float64)
    return Observation(read_points(cloud), viewpoint=position)


def read_points(cloud: PointCloud2) -> np.ndarray:
    """Coordinates of a cloud's points, row by row, holes (NaN) included.

    Args:
        cloud: fields x, y, z of FLOAT32 or FLOAT64 at any offset, either endianness, organised or
            not, rows padded or not.

    Returns:
        (N, 3) float32, or float64 if a field is.

    Raises:
        InputError: if the cloud is empty, lacks a field or has it twice, or its layout contradicts
            itself.
    """
    if not cloud.width * cloud.height:
        raise InputError(f"cloud: empty ({cloud.width} x {cloud.height} points)")
    fields = [_coordinate(cloud, name) for name in "xyz"]
    fields_by_offset = sorted(fields, key=lambda field: field.offset)
    for one, other in pairwise(fields_by_offset):
        if one.offset + FLOATS[one.datatype].itemsize > other.offset:
            raise InputError(f"cloud: fields {one.name!r} and {other.name!r} overlap")
    if cloud.row_step < cloud.width * cloud.point_step:
        raise InputError(
            f"cloud: row_step {cloud.row_step} is under width * point_step "
            f"= {cloud.width} * {cloud.point_step}"
        )
    if len(cloud.data) != cloud.height * cloud.row_step:
        raise InputError(
            f"cloud: data holds {len(cloud.data)} bytes, height * row_step is "
            f"{cloud.height} * {cloud.row_step} = {cloud.height * cloud.row_step}"
        )
    found = point_cloud2.read_points(_plain(cloud, fields), [field.name for field in fields])
    precision = np.result_type(*[FLOATS[field.datatype] for field in fields])
    return np.stack([found[name].astype(precision) for name in "xyz"], axis=1)


def _plain(cloud: PointCloud2, fields: list[PointField]) -> PointCloud2:
    """The cloud with these fields alone, and rows without padding, as sensor_msgs_py takes it."""
    size, data = cloud.width * cloud.point_step, cloud.data
    # A cloud of the other byte order is swapped where it is.
    if cloud.row_step > size or cloud.is_bigendian:
        rows = np.frombuffer(data, np.uint8).reshape(cloud.height, cloud.row_step)
        data = array("B", rows[:, :size].tobytes())
    return PointCloud2(
        height=cloud.height,
        width=cloud.width,
        fields=fields,
        is_bigendian=cloud.is_bigendian,
        point_step=cloud.point_step,
        row_step=size,
        data=data,
    )


def _coordinate(cloud: PointCloud2, name: str) -> PointField:
    """The field of that name, or InputError."""
    found = Counter(field.name for field in cloud.fields)
    if found[name] != 1:
        what = f"{found[name]} fields {name!r}" if found[name] else f"no field {name!r}"
        names = ", ".join(found) or "none"
        raise InputError(f"cloud: {what} (fields: {names}), accepted are x, y and z, once each")
    field = next(field for field in cloud.fields if field.name == name)
    if field.datatype not in FLOATS:
        kind = FIELD_TYPES.get(field.datatype, f"unknown type {field.datatype}")
        raise InputError(
            f"cloud: field {name!r} is {kind}, accepted are FLOAT32 and FLOAT64 in metres"
        )
    if field.count > 1:
        raise InputError(f"cloud: field {name!r} holds {field.count} values, accepted is 1")
    end = field.offset + FLOATS[field.datatype].itemsize
    if end > cloud.point_step:
        raise InputError(
            f"cloud: field {name!r} ends at byte {end}, past point_step {cloud.point_step}"
        )
    return field


def make_cloud(
    points: np.ndarray, header: Header, contact: np.ndarray | None = None
) -> PointCloud2:
    """An unorganised cloud with fields x y z, and contact where it is given.

    Args:
        points: (N, 3) metres; they go out as FLOAT32, or FLOAT64 where they are far, see `lean`.
        header: frame and stamp.
        contact: (N,) in [0, 1], FLOAT32.
    """
    points = lean(points)
    kind = "<" + points.dtype.str[1:]
    columns = [(name, kind) for name in "xyz"] + [("contact", "<f4")][: contact is not None]
    values = np.empty(len(points), np.dtype(columns))
    for i, name in enumerate("xyz"):
        values[name] = points[:, i]
    if contact is not None:
        values["contact"] = contact
    types = {dtype: number for number, dtype in FLOATS.items()}
    fields = [
        PointField(name=name, offset=offset, datatype=types[dtype], count=1)
        for name, (dtype, offset) in values.dtype.fields.items()
    ]
    cloud = point_cloud2.create_cloud(header, fields, values)
    cloud.is_dense = bool(np.isfinite(points).all())
    return cloud


def grasp_array(grasps: GraspSet, header: Header, of: str = "object") -> GraspArray:
    """The message for a set of grasps, everything in the frame and with the stamp of `header`.

    Args:
        grasps: of one object.
        header: of the message and of each grasp.
        of: the object's name.

    Raises:
        FloatingPointError: if something in it isn't finite, which is a bug.
    """
    numbers = {name: getattr(grasps, name) for name in grasps.arrays() if name != "side"}
    for name, values in (numbers | grasps.metrics).items():
        if not np.isfinite(values).all():
            raise FloatingPointError(f"{name} of the grasps: not finite")
    wrist = grasps.wrist_pose[:, :3, 3]
    orientation = Rotation.from_matrix(grasps.wrist_pose[:, :3, :3]).as_quat()
    # MANO turns the hand about the wrist joint, so that the wrist moves by the translation alone.
    pregrasp_wrist = wrist + grasps.pregrasp[:, TRANSL] - grasps.mano[:, TRANSL]
    pregrasp_orientation = Rotation.from_rotvec(grasps.pregrasp[:, GLOBAL_ORIENT]).as_quat()
    names = list(grasps.metrics)
    values = np.array([grasps.metrics[name] for name in names], dtype=np.float32).T
    return GraspArray(
        header=header,
        object_points=make_cloud(grasps.points, header),
        shape=_mesh(*grasps.shapes[:1]),
        grasps=[
            Grasp(
                header=header,
                id=f"{of}_grasp_{i}",
                object=of,
                hand=_hand(grasps.mano[i], grasps.side),
                wrist_pose=_pose(wrist[i], orientation[i]),
                joints=[_point(joint) for joint in grasps.joints[i].tolist()],
                approach=_vector(grasps.approach[i]),
                retreat=_vector(grasps.retreat[i]),
                pregrasp=_hand(grasps.pregrasp[i], grasps.side),
                pregrasp_wrist_pose=_pose(pregrasp_wrist[i], pregrasp_orientation[i]),
                squeeze=_hand(grasps.squeeze[i], grasps.side),
                contact=array("f", grasps.contact[i].astype(np.float32).tobytes()),
                score=float(grasps.score[i]),
                metric_names=names,
                metric_values=array("f", values[i].tobytes() if names else b""),
            )
            for i in range(len(grasps))
        ],
    )


def grasp_set(message: GraspArray, hand: HandLayer) -> GraspSet:
    """What `grasp_array` was made of, the hand surfaces rebuilt from the MANO parameters.

    Args:
        message: at least one grasp.
        hand: the hand model that the node used, of the message's side.

    Raises:
        InputError: if there is no grasp, or it is another side's.
    """
    grasps = message.grasps
    if not grasps:
        raise InputError("message: holds no grasp")
    if grasps[0].hand.side != hand.side:
        raise InputError(f"message: {grasps[0].hand.side} hands, but the hand model is {hand.side}")
    mano = _mano([grasp.hand for grasp in grasps])
    at_origin = mano.astype(np.float32)
    at_origin[:, TRANSL] = 0
    with torch.no_grad():
        vertices, _ = hand(torch.from_numpy(at_origin))
    wrist_pose = np.tile(np.eye(4), (len(grasps), 1, 1))
    orientations = [_xyzw(grasp.wrist_pose.orientation) for grasp in grasps]
    wrist_pose[:, :3, :3] = Rotation.from_quat(orientations).as_matrix()
    wrist_pose[:, :3, 3] = [_xyz(grasp.wrist_pose.position) for grasp in grasps]
    metrics = np.array([grasp.metric_values for grasp in grasps])
    return GraspSet(
        mano=mano,
        vertices=lean(vertices.numpy() + mano[:, None, TRANSL]),
        faces=hand.faces.numpy(),
        joints=lean(np.array([[_xyz(p) for p in grasp.joints] for grasp in grasps])),
        points=read_points(message.object_points),
        contact=np.array([grasp.contact for grasp in grasps], np.float32),
        score=np.array([grasp.score for grasp in grasps], np.float32),
        side=hand.side,
        wrist_pose=lean(wrist_pose),
        approach=np.array([_xyz(grasp.approach) for grasp in grasps], np.float32),
        pregrasp=_mano([grasp.pregrasp for grasp in grasps]),
        squeeze=_mano([grasp.squeeze for grasp in grasps]),
        retreat=np.array([_xyz(grasp.retreat) for grasp in grasps], np.float32),
        metrics={name: metrics[:, i] for i, name in enumerate(grasps[0].metric_names)},
        shapes=_shapes(message.shape),
    )


def _mesh(shape: trimesh.Trimesh | None = None) -> Mesh:
    if shape is None:
        return Mesh()
    triangles = [MeshTriangle(vertex_indices=corners) for corners in shape.faces.astype(np.uint32)]
    return Mesh(triangles=triangles, vertices=[_point(v) for v in shape.vertices.tolist()])


def _shapes(mesh: Mesh) -> tuple[trimesh.Trimesh, ...]:
    if not mesh.triangles:
        return ()
    faces = np.array([triangle.vertex_indices for triangle in mesh.triangles])
    vertices = np.array([_xyz(vertex) for vertex in mesh.vertices])
    return (trimesh.Trimesh(vertices, faces, process=False),)


def read_hands(hands: Sequence[ManoHand], side: str) -> np.ndarray:
    """(B, 61) MANO parameters of messages.

    Raises:
        InputError: if there are none, one is of the other side, or its numbers aren't accepted.
    """
    if not hands:
        raise InputError("hands: none, accepted is at least one")
    for number, hand in enumerate(hands):
        if hand.side != side:
            raise InputError(f"hands[{number}]: side {hand.side!r}, accepted is the node's, {side}")
    return check_mano(_mano(hands), "hands")


def _hand(mano: np.ndarray, side: str) -> ManoHand:
    return ManoHand(
        side=side,
        betas=mano[BETAS].astype(np.float32),
        global_orient=mano[GLOBAL_ORIENT].astype(np.float32),
        hand_pose=mano[HAND_POSE].astype(np.float32),
        transl=mano[TRANSL].astype(np.float64),
    )


def _mano(hands: Sequence[ManoHand]) -> np.ndarray:
    parts = ((hand.betas, hand.global_orient, hand.hand_pose, hand.transl) for hand in hands)
    return lean(np.stack([np.concatenate(part) for part in parts]))


def _pose(position: np.ndarray, quaternion: np.ndarray) -> Pose:
    x, y, z, w = quaternion.tolist()
    return Pose(position=_point(position.tolist()), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _point(xyz: list[float]) -> Point:
    return Point(x=xyz[0], y=xyz[1], z=xyz[2])


def place(point: Point) -> np.ndarray:
    """(3,) float64 metres."""
    return np.array(_xyz(point))


def _vector(xyz: np.ndarray) -> Vector3:
    return Vector3(**dict(zip("xyz", xyz.tolist(), strict=True)))


def _xyz(vector: Point | Vector3) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _xyzw(q: Quaternion) -> tuple[float, float, float, float]:
    return q.x, q.y, q.z, q.w
