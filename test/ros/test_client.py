"""The planner's side: client class, example and cloud publisher against a running node."""

import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from ros_harness import Command, Peer, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.client import GraspClient
from grasp_gen_ros.conversions import read_points


@pytest.fixture
def planner(peer: Peer, namespace: str):
    """A planner's node that nobody spins."""
    node = rclpy.create_node("planner", namespace=namespace)
    yield node
    node.destroy_node()


def test_points_of_an_array_and_clouds_of_a_message(planner, cloud: PointCloud2, cylinder):
    client = GraspClient(planner)
    from_array = client.generate(cylinder, frame_id="table", num=2, seed=3)
    assert from_array.header.frame_id == "table" and len(from_array.grasps) == 2
    from_message = client.generate(cloud, num=2, seed=3)
    assert from_message.header == cloud.header
    assert from_message.grasps[0].hand == from_array.grasps[0].hand


def test_a_node_that_is_spun_elsewhere(planner, cylinder: np.ndarray):
    executor = SingleThreadedExecutor()
    executor.add_node(planner)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        assert len(GraspClient(planner).generate(cylinder, num=2).grasps) == 2
    finally:
        executor.shutdown()
        thread.join()


def test_errors_say_why(planner, cylinder: np.ndarray):
    client = GraspClient(planner)
    with pytest.raises(ValueError, match=r"shape \(3,\) of float64, accepted is \(N, 3\)"):
        client.generate(np.zeros(3))
    with pytest.raises(RuntimeError, match="metres"):
        client.generate(cylinder * 1000)
    with pytest.raises(TimeoutError, match="no answer"):
        client.generate(cylinder, num=32, timeout=0.05)
    with pytest.raises(TimeoutError, match="elsewhere action after 0.2 s"):
        GraspClient(planner, "elsewhere").generate(cylinder, timeout=0.2)
    assert client.generate(cylinder, num=1).grasps


def test_publisher_and_example_planner(peer: Peer, namespace: str, tmp_path: Path, cylinder):
    file = tmp_path / "can.npy"
    np.save(file, cylinder)
    options = ["-r", f"__ns:={namespace}"]
    publish = ros_command("object_cloud_publisher", *options, "-p", f"cloud:={file}")
    publisher = Command(tmp_path / "log", *publish)
    try:
        grasps = peer.wait_for("grasps", timeout=60)
        assert grasps.header.frame_id == "camera"
        assert set(map(tuple, read_points(grasps.object_points))) <= set(map(tuple, cylinder))
        example = ros_command("example_planner", *options)
        done = subprocess.run(example, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "best of 8, score" in done.stdout and "in frame camera" in done.stdout
    finally:
        assert publisher.interrupt() == 0
    assert "Traceback" not in publisher.output


def test_publisher_refuses_a_file_that_is_none(tmp_path: Path):
    publish = ros_command("object_cloud_publisher", "-p", "cloud:=/nowhere.npy")
    command = Command(tmp_path / "log", *publish)
    assert command.process.wait(60) == 2
    assert "/nowhere.npy" in command.output and "Traceback" not in command.output
