"""The robot's frames by TF, where tf2 is installed."""

import threading
import time

import numpy as np
import pytest
import trimesh

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")
pytest.importorskip("tf2_ros", reason="needs tf2, which a ROS 2 installation brings")

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from ros_harness import Command, Peer, new_header, ros_command
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from grasp_gen_ros.conversions import make_cloud, place, read_points
from grasp_gen_ros.msg import ObjectClouds, ResultCode
from grasp_gen_ros.qos import LATCHED

TURN, SHIFT = Rotation.from_rotvec([0.4, -1.2, 0.7]), np.array([0.5, -0.2, 1.1])


@pytest.fixture(scope="module")
def robot(ros: None, tmp_path_factory):
    """A node that answers in `base`, whose z axis is up; the camera is at `lens`."""
    names = {"target_frame": "base", "up_frame": "base", "sensor_frame": "lens"}
    options = ["-r", "__ns:=/robot", "-p", "device:=cpu", "-p", "num_grasps:=2"]
    options += [word for name in names for word in ("-p", f"{name}:={names[name]}")]
    log = tmp_path_factory.mktemp("robot") / "log"
    command = Command(log, *ros_command("grasp_generator", *options))
    command.wait_for_output("ready")
    peer = Peer("/robot")
    peer.connect()
    yield peer
    peer.close()
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output


def tell(broadcaster, header: Header, child: str, turn: Rotation, shift: np.ndarray) -> None:
    x, y, z, w = turn.as_quat().tolist()
    transform = TransformStamped(header=header, child_frame_id=child)
    transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    transform.transform.translation = Vector3(**dict(zip("xyz", shift.tolist(), strict=True)))
    broadcaster.sendTransform(transform)


def test_a_missing_transform_is_named(robot: Peer, cylinder: np.ndarray):
    response = robot.generate(make_cloud(cylinder, new_header("nowhere")))
    assert not response.success and response.code == ResultCode.NO_TRANSFORM
    assert response.message.startswith("up_frame: no transform between 'nowhere' and 'base'")


def test_grasps_in_the_robots_frame(robot: Peer, cylinder: np.ndarray):
    """The transforms come when the call waits for them already."""
    broadcaster = StaticTransformBroadcaster(robot.node)

    def late() -> None:
        time.sleep(0.4)
        tell(broadcaster, new_header("base"), "camera", TURN, SHIFT)
        tell(broadcaster, new_header("camera"), "lens", Rotation.identity(), np.zeros(3))

    thread = threading.Thread(target=late)
    thread.start()
    cloud = make_cloud(cylinder, new_header("camera"))
    response = robot.generate(cloud)
    thread.join()
    assert response.success, response.message
    assert response.grasps.header.frame_id == "base"
    assert response.grasps.header.stamp == cloud.header.stamp
    there = TURN.apply(cylinder) + SHIFT
    found = read_points(response.grasps.object_points)
    assert np.linalg.norm(found[:, None] - there, axis=2).min(axis=1).max() < 1e-5
    for grasp in response.grasps.grasps:
        assert grasp.header == response.grasps.header
        np.testing.assert_allclose(place(grasp.retreat), [0, 0, 0.1], atol=1e-9)
        joints = np.array([place(joint) for joint in grasp.joints])
        assert np.linalg.norm(joints[:, None] - there, axis=2).min() < 0.05


def test_objects_keep_their_ids_while_the_camera_moves(ros: None, tmp_path):
    """In up_frame they lie still."""
    options = ["-r", "__ns:=/moving", "-p", "up_frame:=base"]
    command = Command(tmp_path / "log", *ros_command("scene_segmenter", *options))
    command.wait_for_output("ready")
    peer = Peer("/moving", of="scene_segmenter")
    peer.listen("object_clouds", ObjectClouds, LATCHED)
    ball, small = (trimesh.creation.icosphere(5, radius).vertices for radius in (0.05, 0.03))
    balls, broadcaster = (
        np.concatenate([ball, small + [0.3, 0, 0]]),
        TransformBroadcaster(peer.node),
    )
    try:
        for number in range(3):
            turn, shift = Rotation.from_rotvec(number * np.array([0.4, -0.2, 0.9])), number * SHIFT
            cloud = make_cloud(turn.inv().apply(balls - shift), new_header("eye"))
            header = Header(stamp=cloud.header.stamp, frame_id="base")
            tell(broadcaster, header, "eye", turn, shift)
            peer.publish("scene_cloud", cloud)
            stamp = cloud.header.stamp
            seen = peer.wait_for("object_clouds", lambda m, stamp=stamp: m.header.stamp == stamp)
            sizes = {one.id: np.ptp(read_points(one.cloud)[:, 0]) for one in seen.objects}
            assert sizes.keys() == {2, 3} and sizes[2] > 0.09 > 0.07 > sizes[3]
    finally:
        peer.close()
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output
