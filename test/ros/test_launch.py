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
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
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
        "cloud_topic scene_topic generator refiner ranking num_grasps device hand side rviz "
        "namespace use_sim_time params_file log_level respawn bag".split()
    )


def launched(*arguments: str) -> str:
    """What a launch says that refuses to start."""
    command = ["ros2", "launch", "grasp_gen_ros", "generate.launch.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "process started" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path, monkeypatch) -> Path:
    """A place where rviz2 and ros2bag seem to be installed; what they are told, they print."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package, program in {"rviz2": "lib/rviz2/rviz2", "ros2bag": "bin/ros2"}.items():
        (index / package).touch()
        file = tmp_path / program
        file.parent.mkdir(parents=True)
        file.write_text(f'#!/bin/sh\necho {package} is told "$@"\n')
        file.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    return tmp_path


@pytest.mark.parametrize(("argument", "package"), [("bag:=.", "ros2bag"), ("rviz:=true", "rviz2")])
def test_what_is_not_installed_is_named(argument: str, package: str):
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        name = argument.partition(":=")[0]
        text = f"argument '{name}' needs the ROS 2 package {package}, which isn't installed"
        assert text in launched(argument)
    else:
        pytest.skip(f"{package} is installed")


def test_a_bag_that_is_not_there_is_named(installed: Path):
    assert "argument 'bag': '/nowhere' isn't there" in launched("bag:=/nowhere")


def test_rviz_and_a_bag_are_started(launch, installed: Path, monkeypatch):
    """As RViz and `ros2 bag play` want to be."""
    starts = launch("generate.launch.py", "device:=cpu", "rviz:=true")
    starts.wait_for_output("rviz2 is told -d ")
    assert "config/grasps.rviz" in starts.output
    command = [shutil.which("ros2"), "launch", "grasp_gen_ros", "generate.launch.py", "device:=cpu"]
    monkeypatch.setenv("PATH", f"{installed / 'bin'}:{os.environ['PATH']}")
    plays = Command(installed / "log", *command, f"bag:={installed}", "use_sim_time:=true")
    plays.wait_for_output(f"ros2bag is told bag play {installed} --clock")
    plays.wait_for_output("ready: takes")
    assert plays.interrupt() == 0, plays.output
