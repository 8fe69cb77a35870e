"""`ros2 launch`, where there is one: every ROS 2 installation has it, the wheels don't."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from ros_harness import Command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.client import GraspClient

pytestmark = pytest.mark.skipif(
    not shutil.which("ros2"), reason="needs ros2 launch, which a ROS 2 installation brings"
)


@pytest.fixture
def launch(tmp_path: Path):
    """Starts launch files of the package; Ctrl-C must end them cleanly."""
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        log = tmp_path / f"log_{len(started)}"
        started.append(Command(log, "ros2", "launch", "grasp_gen_ros", *arguments))
        return started[-1]

    yield start
    for command in started:
        assert command.interrupt() == 0, command.output
        assert "Traceback" not in command.output


def test_arguments_reach_the_node(ros: None, launch, cloud: PointCloud2):
    options = ["cloud_topic:=seen_object", "num_grasps:=3", "refiner:=none", "device:=cpu"]
    command = launch("generate.launch.py", *options)
    command.wait_for_output("ready: takes clouds from /seen_object")
    assert "with refiner none on cpu" in command.output
    node = rclpy.create_node("planner")
    assert len(GraspClient(node).generate(cloud).grasps) == 3
    node.destroy_node()


def test_demo_shows_grasps(launch):
    command = launch("demo.launch.py", "rviz:=false", "num_grasps:=3", "device:=cpu")
    command.wait_for_output("3 grasps in ")


def test_arguments_are_the_few_things_people_change():
    command = ["ros2", "launch", "grasp_gen_ros", "generate.launch.py", "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.strip()[1:-2] for line in shown.splitlines() if line.endswith("':")]
    assert sorted(names) == sorted(
        ["cloud_topic", "generator", "refiner", "num_grasps", "device", "hand", "rviz"]
    )
