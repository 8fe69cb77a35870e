"""A table full of things: segmenter and generator as processes, up to a grasp that gets there."""

import copy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from ros_harness import Command, Peer, new_header, ros_command
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import Segmentation, segment
from grasp_gen_core.perception.files import load_scene
from grasp_gen_core.types import read_npz
from grasp_gen_ros.conversions import make_cloud, read_points
from grasp_gen_ros.msg import GraspArray, ObjectClouds, ResultCode
from grasp_gen_ros.qos import LATCHED
from grasp_gen_ros.scenes import object_clouds, read_scene

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "examples" / "table.npz"
SCENES = REPOSITORY.parent / "shared" / "scenes"
FRAME = "camera_depth_optical_frame"


@pytest.fixture(scope="module")
def segmenter(namespace, tmp_path_factory):
    """The node; Ctrl-C must end it cleanly."""
    log = tmp_path_factory.mktemp("segmenter") / "log"
    command = Command(log, *ros_command("scene_segmenter", "-r", f"__ns:={namespace}"))
    command.wait_for_output("ready")
    yield command
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output


@pytest.fixture(scope="module")
def scene_peer(segmenter, peer: Peer) -> Peer:
    for topic, kind in {"object_clouds": ObjectClouds, "object_markers": MarkerArray}.items():
        peer.listen(topic, kind, LATCHED)
    return peer


@pytest.fixture(scope="module")
def table() -> Segmentation:
    """The sample scene, segmented without ROS."""
    points, viewpoint = load_scene(TABLE)
    return segment(points, viewpoint)


def image(values: np.ndarray, encoding: str, header) -> Image:
    height, width = values.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        step=width * values.itemsize,
        data=values.tobytes(),
    )


def camera_info() -> CameraInfo:
    arrays = read_npz(TABLE)
    height, width = arrays["depth_mm"].shape
    return CameraInfo(height=height, width=width, k=arrays["K"].ravel())


def send_image(peer: Peer, mask: np.ndarray | None = None, metres: bool = False) -> ObjectClouds:
    """What comes of the sample scene as a depth image."""
    depth, header = read_npz(TABLE)["depth_mm"], new_header(FRAME)
    if mask is not None:
        peer.publish("mask", image(mask.astype(np.uint8), "mono8", header))
    depth = (depth / np.float32(1000)).astype(np.float32) if metres else depth.astype(np.uint16)
    peer.publish("camera_info", camera_info())
    peer.publish("depth_image", image(depth, "32FC1" if metres else "16UC1", header))
    return peer.wait_for("object_clouds", lambda m: m.header == header)


def test_a_depth_image_becomes_objects_on_a_plane(scene_peer: Peer, table: Segmentation):
    message = send_image(scene_peer)
    assert [one.id for one in message.objects] == list(table.numbers)
    for one in message.objects:
        assert one.cloud.header == message.header
        np.testing.assert_allclose(read_points(one.cloud), table.object(one.id), atol=1e-6)
    seen = read_scene(message)
    np.testing.assert_allclose(seen.plane.normal, table.plane.normal, atol=1e-9)
    assert seen.plane.offset == pytest.approx(table.plane.offset)
    np.testing.assert_array_equal(seen.viewpoint, 0)
    markers = scene_peer.wait_for("object_markers", lambda m: m.markers[0].header == message.header)
    clear, *shown = markers.markers
    assert clear.action == Marker.DELETEALL
    texts = [one.text for one in shown if one.type == Marker.TEXT_VIEW_FACING]
    assert texts == [str(number) for number in table.numbers]
    same = send_image(scene_peer, metres=True)
    assert [one.id for one in same.objects] == list(table.numbers)


def test_an_image_waits_for_its_camera(namespace: str, tmp_path: Path, ros: None):
    """Nothing says that camera_info comes first; a still camera sends one image only."""
    name = f"{namespace}/late"
    command = Command(tmp_path / "log", *ros_command("scene_segmenter", "-r", f"__ns:={name}"))
    peer = Peer(name, of="scene_segmenter")
    try:
        peer.listen("object_clouds", ObjectClouds, LATCHED)
        depth, header = read_npz(TABLE)["depth_mm"].astype(np.uint16), new_header(FRAME)
        peer.publish("depth_image", image(depth, "16UC1", header))
        command.wait_for_output("scene refused: depth_image: no camera_info has come on")
        peer.publish("camera_info", camera_info())
        assert peer.wait_for("object_clouds").header == header
    finally:
        peer.close()
        assert command.interrupt() == 0, command.output


def test_nobody_looks_outside_the_mask_or_the_region(scene_peer: Peer, table: Segmentation):
    last = max(table.numbers)
    masked = send_image(scene_peer, table.labels != last)
    assert len(masked.objects) == len(table.numbers) - 1
    scene_peer.stop_publishing("mask")
    points = table.object(last)
    box = [*(points.min(axis=0) - 0.01).tolist(), *(points.max(axis=0) + 0.01).tolist()]
    assert scene_peer.set_parameter("region", box, "scene_segmenter").successful
    assert len(send_image(scene_peer).objects) < len(table.numbers)
    refused = scene_peer.set_parameter("region", box[:3], "scene_segmenter")
    assert not refused.successful and "six finite numbers" in refused.reason
    assert scene_peer.set_parameter("region", [], "scene_segmenter").successful


def test_what_is_no_scene_is_refused(scene_peer: Peer, segmenter: Command, namespace: str):
    watcher = Peer(namespace, of="scene_segmenter")
    refused = int(watcher.status(lambda v: True)["scenes_refused"])
    scene_peer.publish("depth_image", image(np.zeros((4, 4), np.uint8), "rgb8", new_header()))
    text = "depth_image: of 'rgb8', accepted are 16UC1"
    segmenter.wait_for_output(f"scene refused: {text}")
    values = watcher.status(lambda v: v["scenes_refused"] == str(refused + 1))
    assert values["last_error"].startswith(text)
    assert watcher.received["/diagnostics"][-1].status[0].level == DiagnosticStatus.WARN
    send_image(scene_peer)
    watcher.wait_for("/diagnostics", lambda m: m.status[0].level == DiagnosticStatus.OK)
    watcher.close()


def test_objects_keep_their_ids(scene_peer: Peer, table: Segmentation):
    """One is taken away and comes again; the others' ids stay, whatever is left of them."""
    whole = {one.id: len(read_points(one.cloud)) for one in send_image(scene_peer).objects}
    for gone in table.numbers:
        left = send_image(scene_peer, table.labels != gone)
        assert {one.id for one in left.objects} == whole.keys() - {gone}
    scene_peer.stop_publishing("mask")
    again = {one.id: len(read_points(one.cloud)) for one in send_image(scene_peer).objects}
    assert again == whole


def test_the_newest_object_by_id(scene_peer: Peer, table: Segmentation):
    """An empty cloud and an id, as a planner asks that has seen the markers."""
    message = send_image(scene_peer)
    scene_peer.until(lambda: scene_peer.generate(PointCloud2(), object_id=2).success)
    response = scene_peer.generate(PointCloud2(), object_id=2, num_grasps=8)
    assert response.success and response.code == ResultCode.DONE, response.message
    assert response.grasps.header == message.header
    for i, grasp in enumerate(response.grasps.grasps):
        assert (grasp.id, grasp.object) == (f"object_2_grasp_{i}", "object_2")
        retreat = [grasp.retreat.x, grasp.retreat.y, grasp.retreat.z]
        np.testing.assert_allclose(retreat, 0.1 * table.plane.normal, atol=1e-6)
    unknown = scene_peer.generate(PointCloud2(), object_id=99)
    assert unknown.code == ResultCode.BAD_INPUT
    known = ", ".join(map(str, table.numbers))
    assert unknown.message == f"object_id: 99, accepted are {known}"


def test_an_object_of_a_given_scene_by_point(scene_peer: Peer, table: Segmentation):
    cloud = make_cloud(table.points.reshape(-1, 3), new_header(FRAME))
    x, y, z = np.median(table.object(3), axis=0).tolist()
    by_point = scene_peer.generate(cloud, object_point=[Point(x=x, y=y, z=z)])
    assert by_point.success and by_point.grasps.grasps[0].object == "object_3"
    by_id = scene_peer.generate(cloud, object_id=3)
    assert by_id.grasps == by_point.grasps
    points = set(map(tuple, read_points(by_id.grasps.object_points).tolist()))
    assert points <= set(map(tuple, table.object(3).astype(np.float32).tolist()))
    nowhere = scene_peer.generate(cloud, object_point=[Point(z=-3.0)])
    assert nowhere.code == ResultCode.BAD_INPUT
    assert nowhere.message.startswith("object_point: nothing at [0.0, 0.0, -3.0]: the nearest of 4")
    both = scene_peer.generate(cloud, object_id=3, object_point=[Point()])
    assert not both.success and "accepted is one of them" in both.message


def test_a_scene_that_is_none_is_refused(table: Segmentation):
    """Somebody else's object_clouds."""
    good = object_clouds(table, new_header())
    for spoil, text in [
        (lambda m: m.objects.clear(), "holds no object"),
        (lambda m: setattr(m.objects[0], "id", 1), "id 1, accepted are 2 and more"),
        (lambda m: setattr(m.plane[0].normal, "x", 2.0), "unit vector"),
        (lambda m: setattr(m.plane[0], "offset", np.nan), "metres"),
        (lambda m: setattr(m.viewpoint[0], "z", np.inf), "viewpoint"),
    ]:
        message = copy.deepcopy(good)
        spoil(message)
        with pytest.raises(InputError, match=text):
            read_scene(message)


def lowest(message: GraspArray, scene: Segmentation) -> np.ndarray:
    """(B,) metres that the lowest joint of each hand is above the plane."""
    joints = np.array([[(p.x, p.y, p.z) for p in grasp.joints] for grasp in message.grasps])
    return scene.plane.height(joints).min(axis=1)


@pytest.mark.skipif(not SCENES.is_dir(), reason="needs the recorded scenes")
def test_from_a_real_scene_to_a_pregrasp(scene_peer: Peer):
    """Segment, generate, take the best that is free: hand and pre-grasp are above the table."""
    points, viewpoint = load_scene(SCENES / "learn23.pcd")
    scene = make_cloud(points.reshape(-1, 3), new_header(FRAME))
    scene_peer.publish("scene_cloud", scene)
    message = scene_peer.wait_for("object_clouds", lambda m: m.header == scene.header)
    seen = read_scene(message)
    first = message.objects[0].id
    scene_peer.until(
        lambda: scene_peer.generate(PointCloud2(), object_id=first).grasps.header == scene.header
    )
    for one in message.objects[:2]:
        answer = scene_peer.generate(PointCloud2(), object_id=one.id, num_grasps=8)
        assert answer.success, answer.message
        names = answer.grasps.grasps[0].metric_names
        free = [bool(g.metric_values[names.index("collision_free")]) for g in answer.grasps.grasps]
        assert free[0] and free == sorted(free, reverse=True)
        assert lowest(answer.grasps, seen)[0] > 0
        best = answer.grasps.grasps[0]
        moved = best.pregrasp_wrist_pose.position
        way = np.array([best.wrist_pose.position.x - moved.x, best.wrist_pose.position.y - moved.y,
                        best.wrist_pose.position.z - moved.z])  # fmt: skip
        assert np.linalg.norm(way) == pytest.approx(0.08, abs=1e-4)
        assert seen.plane.height(np.array([moved.x, moved.y, moved.z])) > 0


def test_config_file_lists_every_parameter_of_the_segmenter(scene_peer: Peer):
    listed = yaml.safe_load((REPOSITORY / "config" / "segment.yaml").read_text())
    declared = scene_peer.parameters("scene_segmenter")
    own = {k: v for k, v in declared.items() if not k.startswith("qos_overrides.")}
    for general in ("use_sim_time", "start_type_description_service"):
        own.pop(general, None)
    assert own == listed["/**"]["ros__parameters"]


@pytest.mark.skipif(bool(find_spec("tf2_ros")), reason="tf2 is installed: see test_frames.py")
def test_frames_are_refused_where_tf_is_missing(tmp_path):
    for name in ("scene_segmenter", "grasp_generator"):
        command = Command(tmp_path / name, *ros_command(name, "-p", "up_frame:=base_link"))
        assert command.process.wait(60) == 2
        assert "need tf2_ros, which a ROS 2 installation" in command.output
        assert "Traceback" not in command.output
