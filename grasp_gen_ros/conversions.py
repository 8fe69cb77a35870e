"""Between ROS messages and the core's arrays."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import torch
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand as HandLayer
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL, GraspSet
from grasp_gen_ros.msg import Grasp, GraspArray, ManoHand

FLOATS = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
FIELD_TYPES = {
    getattr(PointField, name): name
    for name in ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "FLOAT32", "FLOAT64")
}


def read_points(cloud: PointCloud2) -> np.ndarray:
    """Coordinates of a cloud's points, row by row, holes (NaN) included.

    Args:
        cloud: fields x, y, z of FLOAT32 or FLOAT64 at any offset, either endianness, organised or
            not, rows padded or not.

    Returns:
        (N, 3) float32.

    Raises:
        InputError: if the cloud is empty, lacks a field, or its layout contradicts itself.
    """
    if not cloud.width * cloud.height:
        raise InputError(f"cloud: empty ({cloud.width} x {cloud.height} points)")
    fields = {field.name: field for field in cloud.fields}
    for name in "xyz":
        if name not in fields:
            found = ", ".join(fields) or "none"
            raise InputError(f"cloud: no field {name!r} (fields: {found}), accepted are x, y and z")
        field = fields[name]
        if field.datatype not in FLOATS:
            found = FIELD_TYPES.get(field.datatype, f"unknown type {field.datatype}")
            raise InputError(
                f"cloud: field {name!r} is {found}, accepted are FLOAT32 and FLOAT64 in metres"
            )
        if field.count > 1:
            raise InputError(f"cloud: field {name!r} holds {field.count} values, accepted is 1")
        end = field.offset + int(FLOATS[field.datatype][1])
        if end > cloud.point_step:
            raise InputError(
                f"cloud: field {name!r} ends at byte {end}, past point_step {cloud.point_step}"
            )
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
    order = ">" if cloud.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": list("xyz"),
            "formats": [order + FLOATS[fields[name].datatype] for name in "xyz"],
            "offsets": [fields[name].offset for name in "xyz"],
            "itemsize": cloud.point_step,
        }
    )
    view = np.ndarray(
        (cloud.height, cloud.width), layout, cloud.data, strides=(cloud.row_step, cloud.point_step)
    )
    # A float64 beyond float32's range turns infinite, which is dropped like any other hole.
    with np.errstate(over="ignore"):
        return np.stack([view[name].ravel().astype(np.float32) for name in "xyz"], axis=1)


def make_cloud(
    points: np.ndarray, header: Header, contact: np.ndarray | None = None
) -> PointCloud2:
    """An unorganised cloud with float32 fields x y z, and contact where it is given.

    Args:
        points: (N, 3) metres.
        header: frame and stamp.
        contact: (N,) in [0, 1].
    """
    columns = [points] if contact is None else [points, contact[:, None]]
    names = ["x", "y", "z", "contact"][: 3 if contact is None else 4]
    values = np.ascontiguousarray(np.hstack(columns), dtype="<f4")
    step = values.itemsize * len(names)
    return PointCloud2(
        header=header,
        height=1,
        width=len(values),
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(names)
        ],
        is_bigendian=False,
        point_step=step,
        row_step=step * len(values),
        data=array("B", values.tobytes()),
        is_dense=bool(np.isfinite(values).all()),
    )


def grasp_array(grasps: GraspSet, header: Header) -> GraspArray:
    """The message for a set of grasps, everything in the frame and with the stamp of `header`."""
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
        grasps=[
            Grasp(
                header=header,
                hand=_hand(grasps.mano[i], grasps.side),
                wrist_pose=_pose(wrist[i], orientation[i]),
                joints=[_point(joint) for joint in grasps.joints[i].tolist()],
                approach=Vector3(**dict(zip("xyz", grasps.approach[i].tolist(), strict=True))),
                pregrasp=_hand(grasps.pregrasp[i], grasps.side),
                pregrasp_wrist_pose=_pose(pregrasp_wrist[i], pregrasp_orientation[i]),
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
    mano = np.stack([_mano(grasp.hand) for grasp in grasps])
    with torch.no_grad():
        vertices, _ = hand(torch.from_numpy(mano))
    wrist_pose = np.tile(np.eye(4, dtype=np.float32), (len(grasps), 1, 1))
    orientations = [_xyzw(grasp.wrist_pose.orientation) for grasp in grasps]
    wrist_pose[:, :3, :3] = Rotation.from_quat(orientations).as_matrix()
    wrist_pose[:, :3, 3] = [_xyz(grasp.wrist_pose.position) for grasp in grasps]
    metrics = np.array([grasp.metric_values for grasp in grasps])
    return GraspSet(
        mano=mano,
        vertices=vertices.numpy(),
        faces=hand.faces.numpy(),
        joints=np.array([[_xyz(p) for p in grasp.joints] for grasp in grasps], np.float32),
        points=read_points(message.object_points),
        contact=np.array([grasp.contact for grasp in grasps], np.float32),
        score=np.array([grasp.score for grasp in grasps], np.float32),
        side=hand.side,
        wrist_pose=wrist_pose,
        approach=np.array([_xyz(grasp.approach) for grasp in grasps], np.float32),
        pregrasp=np.stack([_mano(grasp.pregrasp) for grasp in grasps]),
        metrics={name: metrics[:, i] for i, name in enumerate(grasps[0].metric_names)},
    )


def read_hands(hands: Sequence[ManoHand], side: str) -> np.ndarray:
    """(B, 61) MANO parameters of messages.

    Raises:
        InputError: if there are none, or one is of the other side.
    """
    if not hands:
        raise InputError("hands: none, accepted is at least one")
    for number, hand in enumerate(hands):
        if hand.side != side:
            raise InputError(f"hands[{number}]: side {hand.side!r}, accepted is the node's, {side}")
    return np.stack([_mano(hand) for hand in hands])


def _hand(mano: np.ndarray, side: str) -> ManoHand:
    return ManoHand(
        side=side,
        betas=mano[BETAS],
        global_orient=mano[GLOBAL_ORIENT],
        hand_pose=mano[HAND_POSE],
        transl=mano[TRANSL],
    )


def _mano(hand: ManoHand) -> np.ndarray:
    parts = [hand.betas, hand.global_orient, hand.hand_pose, hand.transl]
    return np.concatenate(parts).astype(np.float32)


def _pose(position: np.ndarray, quaternion: np.ndarray) -> Pose:
    x, y, z, w = quaternion.tolist()
    return Pose(position=_point(position.tolist()), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _point(xyz: list[float]) -> Point:
    return Point(x=xyz[0], y=xyz[1], z=xyz[2])


def _xyz(vector: Point | Vector3) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _xyzw(q: Quaternion) -> tuple[float, float, float, float]:
    return q.x, q.y, q.z, q.w
