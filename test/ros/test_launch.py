"""`ros2 launch`, where there is one: every ROS 2 installation has it, the wheels don't."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from ros_harness import Command, Peer
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


def test_demo_shows_grasps(ros: None, launch):
    command = launch("demo.launch.py", "rviz:=false", "num_grasps:=3", "device:=cpu")
    peer = Peer("")
    assert len(peer.wait_for("grasps", timeout=60).grasps) == 3
    peer.close()
    command.wait_for_output("3 grasps in ")


def test_a_scene_in_a_namespace_with_a_file_of_parameters(launch, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {num_grasps: 3, refiner: none, device: cpu}}")
    options = ["namespace:=left_arm", f"params_file:={file}", "scene_topic:=/camera/points"]
    options += ["refiner:=choir", "side:=left", "log_level:=debug", "use_sim_time:=true"]
    command = launch("generate.launch.py", *options)
    command.wait_for_output("with refiner choir on cpu")  # an argument wins over the file
    command.wait_for_output("ready: takes clouds from /left_arm/object_cloud")
    command.wait_for_output("ready: takes scenes from /camera/points and /left_arm/depth_image")
    assert "[DEBUG]" in command.output


def test_a_node_that_was_killed_comes_again(launch):
    command = launch("generate.launch.py", "respawn:=true", "device:=cpu")
    command.wait_for_output("ready: takes")
    (number,) = re.findall(
        r"\[grasp_generator-1\]: process started with pid \[(\d+)\]", command.output
    )
    os.kill(int(number), signal.SIGKILL)
    for _ in range(600):
        if command.output.count("ready: takes") == 2:
            break
        time.sleep(0.1)
    assert command.output.count("ready: takes") == 2


@pytest.mark.parametrize("file", ["generate.launch.py", "demo.launch.py"])
def test_unknown_arguments_are_refused(file):
    command = ["ros2", "launch", "grasp_gen_ros", file, "num_grasp:=3", "rviz:=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "argument 'num_grasp', accepted are bag, " in done.stdout + done.stderr


def test_arguments_are_the_few_things_people_change():
    command = ["ros2", "launch", "grasp_gen_ros", "generate.launch.py", "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.strip()[1:-2] for line in shown.splitlines() if line.endswith("':")]
    assert sorted(names) == sorted(
        "cloud_topic scene_topic generator refiner num_grasps device hand side rviz namespace "
        "use_sim_time params_file log_level respawn bag".split()
    )
