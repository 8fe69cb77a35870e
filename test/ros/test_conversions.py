"""PointCloud2 and GraspArray: what goes in comes out."""

import copy
from array import array
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import torch
import trimesh
from geometry_msgs.msg import Point
from ros_harness import new_header
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.types import GraspSet, lean
from grasp_gen_ros import conversions, plain_clouds
from grasp_gen_ros.conversions import (
    grasp_array,
    grasp_set,
    make_cloud,
    read_hands,
    read_observation,
    read_points,
)
from grasp_gen_ros.msg import ManoHand as HandMessage


def encode(
    points: np.ndarray,
    kind: str = "<f4",
    fields: str = "xyz",
    height: int = 1,
    row_padding: int = 0,
    gap: int = 0,
) -> PointCloud2:
    """A cloud of any layout, packed value by value: fields in the given order, `gap` bytes before
    each, `row_padding` bytes after each row."""
    size = np.dtype(kind).itemsize
    step = len(fields) * (size + gap)
    width = len(points) // height
    data = bytearray()
    for row in points.reshape(height, width, 3):
        for point in row:
            for name in fields:
                value = point["xyz".index(name)] if name in "xyz" else 7
                data += b"\xff" * gap + np.array(value, kind).tobytes()
        data += b"\xff" * row_padding
    datatype = {"f4": 7, "f8": 8, "i2": 3, "u4": 6}[kind[1:]]
    return PointCloud2(
        header=new_header(),
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=i * (size + gap) + gap, datatype=datatype, count=1)
            for i, name in enumerate(fields)
        ],
        is_bigendian=kind[0] == ">",
        point_step=step,
        row_step=width * step + row_padding,
        data=array("B", bytes(data)),
    )


@pytest.fixture
def points() -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32)
    points[5] = np.nan
    return points


LAYOUTS = [
    {},
    {"kind": ">f4"},
    {"kind": "<f8"},
    {"kind": ">f8"},
    {"fields": "izxwy"},
    {"gap": 3},
    {"height": 4},
    {"height": 4, "row_padding": 5, "gap": 1, "kind": ">f8"},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_gives_the_same_points(points, layout):
    np.testing.assert_array_equal(read_points(encode(points, **layout)), points)


def test_cloud_round_trip(points):
    contact = np.linspace(0, 1, len(points)).astype(np.float32)
    header = new_header()
    cloud = make_cloud(points, header, contact)
    assert cloud.header == header
    np.testing.assert_array_equal(read_points(cloud), points)
    cloud.fields[0].name, cloud.fields[3].name = "was_x", "x"
    np.testing.assert_array_equal(read_points(cloud)[:, 0], contact)


def changed(cloud: PointCloud2, **values) -> PointCloud2:
    for name, value in values.items():
        setattr(cloud, name, value)
    return cloud


def moved(fields: list[PointField], offset: int) -> list[PointField]:
    """y begins within x."""
    fields[1].offset = offset
    return fields


@pytest.mark.parametrize(
    "spoil, text",
    [
        (lambda c: PointCloud2(), "empty"),
        (lambda c: changed(c, fields=c.fields[:2]), "no field 'z'.*x, y"),
        (lambda c: changed(c, fields=[]), "no field 'x'.*none"),
        (lambda c: changed(c, data=c.data[:-1]), "data holds 287 bytes"),
        (lambda c: changed(c, row_step=c.row_step - 1), "row_step"),
        (lambda c: changed(c, point_step=10), "'z' ends at byte 12, past point_step 10"),
        (lambda c: changed(c, point_step=0), "past point_step 0"),
        (lambda c: changed(c, width=2**31), "row_step"),
        (lambda c: changed(c, fields=c.fields + c.fields[:1]), "2 fields 'x'.*once each"),
        (lambda c: changed(c, fields=moved(c.fields, 2)), "'x' and 'y' overlap"),
    ],
)
def test_contradictions_are_named(points, spoil, text):
    with pytest.raises(ValueError, match=text):
        read_points(spoil(encode(points)))


@pytest.mark.parametrize("kind", ["<f8", ">f8"])
def test_doubles_stay_doubles(points, kind):
    """At map coordinates float32 is 0.06 m off."""
    far = points.astype(np.float64) + [4.5e5, 5.4e6, 100]
    read = read_points(encode(far, kind))
    assert read.dtype == np.float64 and read.dtype.isnative
    np.testing.assert_array_equal(read, far)


def test_far_clouds_go_out_as_doubles(points):
    far = points.astype(np.float64) + [4.5e5, 5.4e6, 100]
    contact = np.linspace(0, 1, len(points)).astype(np.float32)
    cloud = make_cloud(far, new_header(), contact)
    assert [field.datatype for field in cloud.fields] == [8, 8, 8, 7]
    np.testing.assert_array_equal(read_points(cloud), far)
    rows = np.frombuffer(cloud.data, np.uint8).reshape(len(far), cloud.point_step)
    at = cloud.fields[3].offset
    np.testing.assert_array_equal(rows[:, at : at + 4].copy().view("<f4")[:, 0], contact)


@pytest.mark.parametrize(
    "frame, asked, default, expected",
    [
        ("map", [], [], None),
        ("camera_optical_frame", [], [], (0, 0, 0)),
        ("camera_optical_frame", [], [1, 2.5, 3], (1, 2.5, 3)),
        ("camera_optical_frame", [(0.1, 0.2, 6e6)], [1, 2.5, 3], (0.1, 0.2, 6e6)),
        ("optical_frame_of_nothing", [], [], None),
    ],
)
def test_where_the_camera_stood(points, frame, asked, default, expected):
    """What a request says comes before the parameter, and that before the frame's name."""
    cloud = make_cloud(points, new_header(frame))
    asked = [Point(x=x, y=y, z=z) for x, y, z in asked]
    seen = read_observation(cloud, asked, default)
    np.testing.assert_array_equal(seen.points, points)
    if expected is None:
        assert seen.viewpoint is None
    else:
        np.testing.assert_array_equal(seen.viewpoint, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_viewpoints_are_checked(points, value):
    with pytest.raises(InputError, match="viewpoint: .* accepted are metres"):
        read_observation(make_cloud(points, new_header()), [Point(y=value)])


@pytest.mark.parametrize(
    "field, index, value, text",
    [
        ("betas", 3, 1e4, r"betas\[3\] is 10000, accepted are finite numbers from -10 to 10 stand"),
        ("betas", 0, -10.1, r"betas\[0\] is -10.1"),
        ("global_orient", 2, 7, r"global_orient\[2\] is 7, .*radians"),
        ("hand_pose", 44, -1e20, r"hand_pose\[44\] is -1e\+20"),
        ("hand_pose", 1, np.nan, r"hand_pose\[1\] is nan"),
        ("transl", 1, np.inf, r"transl\[1\] is inf, .*metres"),
    ],
)
def test_hands_that_none_has_are_refused(field, index, value, text):
    good, bad = HandMessage(side="right"), HandMessage(side="right")
    bad.betas[9], bad.global_orient[0], bad.hand_pose[7] = 10, -6.28, 6.28
    largest = read_hands([good, bad], "right")[1, [9, 10, 20]]
    np.testing.assert_array_equal(largest, np.float32([10, -6.28, 6.28]))
    getattr(bad, field)[index] = value
    with pytest.raises(InputError, match=r"hands\[1\]: " + text):
        read_hands([good, bad], "right")


@pytest.mark.parametrize("kind, name", [("<i2", "INT16"), ("<u4", "UINT32")])
def test_only_floats_are_coordinates(points, kind, name):
    with pytest.raises(ValueError, match=f"'x' is {name}, accepted are FLOAT32 and FLOAT64"):
        read_points(encode(np.nan_to_num(points).clip(0), kind))


@pytest.mark.parametrize("origin", [(0, 0, 0), (4.5e5, 5.4e6, 100)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_grasp_round_trip(side, origin):
    """Everything a grasp set holds comes back from the message; poses agree with MANO's."""
    rng = np.random.default_rng(2)
    hand = ManoHand(side=side)
    mano, pregrasp, squeeze = rng.normal(scale=0.5, size=(3, 3, 61)).astype(np.float32)
    pregrasp[:, :10] = mano[:, :10]
    with torch.no_grad():
        vertices, joints = (a.numpy() for a in hand(torch.from_numpy(mano)))
        pregrasp_wrist = hand(torch.from_numpy(pregrasp))[1][:, 0].numpy()
    wrist_pose = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    wrist_pose[:, :3, :3] = Rotation.from_rotvec(mano[:, 10:13]).as_matrix()
    wrist_pose[:, :3, 3] = joints[:, 0]
    if any(origin):
        mano, pregrasp, squeeze = (a.astype(np.float64) for a in (mano, pregrasp, squeeze))
        wrist_pose = wrist_pose.astype(np.float64)
        vertices, joints, pregrasp_wrist = (a + origin for a in (vertices, joints, pregrasp_wrist))
        mano[:, 58:] += origin
        pregrasp[:, 58:] += origin
        squeeze[:, 58:] += origin
        wrist_pose[:, :3, 3] += origin
    sent = GraspSet(
        mano=mano,
        vertices=vertices,
        faces=hand.faces.numpy(),
        joints=joints,
        points=lean(rng.normal(size=(50, 3)) + origin),
        contact=rng.random((3, 50)).astype(np.float32),
        score=np.array([0.9, 0.5, 0.1], np.float32),
        side=side,
        wrist_pose=wrist_pose,
        approach=np.eye(3, dtype=np.float32),
        pregrasp=pregrasp,
        squeeze=squeeze,
        retreat=rng.normal(size=(3, 3)).astype(np.float32),
        metrics={"penetration_depth_cm": rng.random(3).astype(np.float32)},
        shapes=(trimesh.creation.icosphere(2).apply_translation(origin), trimesh.creation.box()),
    )
    header = new_header()
    message = grasp_array(sent, header)
    assert message.header == header
    assert all(grasp.header == header for grasp in message.grasps)
    received = grasp_set(message, hand)
    assert received.side == side
    names = ("mano", "pregrasp", "squeeze", "points", "contact", "score", "faces", "approach")
    for name in (*names, "joints", "retreat"):
        np.testing.assert_array_equal(getattr(received, name), getattr(sent, name), err_msg=name)
    np.testing.assert_allclose(received.vertices, vertices, rtol=0, atol=1e-6)
    (likeliest,) = received.shapes
    np.testing.assert_array_equal(likeliest.vertices, sent.shapes[0].vertices)
    np.testing.assert_array_equal(likeliest.faces, sent.shapes[0].faces)
    assert not grasp_set(grasp_array(replace(sent, shapes=()), header), hand).shapes
    np.testing.assert_allclose(received.wrist_pose, wrist_pose, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        received.metrics["penetration_depth_cm"], sent.metrics["penetration_depth_cm"]
    )
    for i, grasp in enumerate(message.grasps):
        pose = grasp.pregrasp_wrist_pose
        position = [pose.position.x, pose.position.y, pose.position.z]
        np.testing.assert_allclose(position, pregrasp_wrist[i], rtol=0, atol=1e-5)
        q = pose.orientation
        turned = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_rotvec()
        np.testing.assert_allclose(turned, pregrasp[i, 10:13], atol=1e-5)
        assert (grasp.id, grasp.object) == (f"object_grasp_{i}", "object")
    (first, *_) = grasp_array(sent, header, "object_4").grasps
    assert (first.id, first.object) == ("object_4_grasp_0", "object_4")


def test_another_hand_is_refused():
    with pytest.raises(ValueError, match="no grasp"):
        grasp_set(grasp_array_of(0), ManoHand())
    with pytest.raises(ValueError, match="right hands, but the hand model is left"):
        grasp_set(grasp_array_of(1), ManoHand(side="left"))


@pytest.mark.parametrize("name", ["mano", "contact", "pregrasp", "squeeze", "score"])
def test_nothing_goes_out_that_is_not_finite(name):
    with pytest.raises(FloatingPointError, match=name):
        grasp_array_of(2, **{name: np.full((2, 61), np.nan)})


def grasp_array_of(count: int, **other):
    zeros = np.zeros
    poses = np.tile(np.eye(4), (count, 1, 1))
    arrays = {
        "mano": zeros((count, 61)),
        "vertices": zeros((count, 778, 3)),
        "faces": zeros((1538, 3), int),
        "joints": zeros((count, 21, 3)),
        "points": zeros((9, 3)),
        "contact": zeros((count, 9)),
        "score": zeros(count),
        "wrist_pose": poses,
        "approach": zeros((count, 3)),
        "pregrasp": zeros((count, 61)),
        "squeeze": zeros((count, 61)),
        "retreat": zeros((count, 3)),
    }
    return grasp_array(GraspSet(side="right", **(arrays | other)), new_header())


@pytest.fixture(params=[plain_clouds, "sensor_msgs_py.point_cloud2"], ids=["plain", "theirs"])
def library(request, monkeypatch):
    """What reads and writes clouds: the wheels' stand-in, and ROS 2's own where it is installed."""
    module = request.param
    if isinstance(module, str):
        reason = "needs sensor_msgs_py, which a ROS 2 installation brings"
        module = pytest.importorskip(module, reason=reason)
    monkeypatch.setattr(conversions, "point_cloud2", module)
    return module


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_cloud_is_read_by_either_library_and_stays_as_it_is(library, points, layout):
    cloud = encode(points, **layout)
    before = copy.deepcopy(cloud)
    np.testing.assert_array_equal(read_points(cloud), points)
    assert cloud == before
    np.testing.assert_array_equal(read_points(cloud), points)


@pytest.mark.parametrize("shift", [0.0, 1e3], ids=["singles", "doubles"])
@pytest.mark.parametrize("with_contact", [False, True])
def test_a_cloud_is_written_alike_by_either_library(library, points, shift, with_contact):
    points, header = points + np.float64(shift), new_header()
    contact = np.linspace(0, 1, len(points), dtype=np.float32) if with_contact else None
    cloud = make_cloud(points, header, contact)
    names = ["x", "y", "z", "contact"][: 4 if with_contact else 3]
    size = 8 if shift else 4
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
        (name, i * size, 7 if name == "contact" or not shift else 8) for i, name in enumerate(names)
    ]
    step = 3 * size + 4 * with_contact
    assert (cloud.header, cloud.height, cloud.width) == (header, 1, len(points))
    assert (cloud.point_step, cloud.row_step) == (step, step * len(points))
    assert not cloud.is_bigendian and not cloud.is_dense  # there is a hole
    kinds = ["<f8" if shift else "<f4"] * 3 + ["<f4"] * with_contact
    rows = np.column_stack([points, *([contact] if with_contact else [])]).tolist()
    kind = np.dtype(list(zip(names, kinds, strict=True)))
    assert bytes(cloud.data) == np.array([tuple(row) for row in rows], kind).tobytes()
