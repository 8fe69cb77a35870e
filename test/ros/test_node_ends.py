"""How the node starts and ends."""

import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from ros_harness import Command, Peer, new_header, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.qos import LATCHED
from grasp_gen_ros.srv import GenerateGrasps

PARAMETERS = "/**: {{ros__parameters: {{{}}}}}"


@pytest.mark.parametrize(
    "parameter, complaint",
    [
        ("generator:=magic", "generator: 'magic', accepted are"),
        ("contact:=magic", "contact: 'magic', accepted are distance, gaussians"),
        ("sampling:=warm", "'warm', accepted are numbers by name"),
        ("reposition:=grasp_cvae", "reposition: 'grasp_cvae', accepted are"),
        ("num_grasps:=0", "num_grasps"),
        ("num_grasps:=many", "num_grasps"),
        ("service_timeout:=never", "service_timeout: 'never', accepted are 0.1 to 600"),
        ("viewpoint:=[1, 2]", "viewpoint: [1, 2], accepted are three finite numbers"),
        ("viewpoint", "viewpoint"),
    ],
)
def test_wrong_parameters_end_it_with_one_line(tmp_path, parameter: str, complaint: str):
    ends_with_one_line(tmp_path, ros_command("grasp_generator", "-p", parameter), complaint)


@pytest.mark.parametrize(
    "name, values, complaint",
    [
        ("grasp_generator", "seed: zero", "seed"),
        ("grasp_generator", "no: [closing", "parameters.yaml"),
        ("object_cloud_publisher", "period: often", "period: 'often', accepted are 0.01 to 3600"),
        ("object_cloud_publisher", "seed: -1", "seed"),
    ],
)
def test_wrong_files_of_parameters_end_it_with_one_line(tmp_path, name, values, complaint):
    file = tmp_path / "parameters.yaml"
    file.write_text(PARAMETERS.format(values))
    ends_with_one_line(tmp_path, ros_command(name, "--params-file", str(file)), complaint)


@pytest.mark.parametrize("name", ["grasp_generator", "object_cloud_publisher"])
def test_a_file_of_parameters_that_is_missing(tmp_path, name):
    command = ros_command(name, "--params-file", "/nowhere.yaml")
    ends_with_one_line(tmp_path, command, "/nowhere.yaml")


def ends_with_one_line(tmp_path, arguments: list, complaint: str) -> None:
    command = Command(tmp_path / "log", *arguments)
    assert command.process.wait(60) == 2
    assert "Traceback" not in command.output
    (line,) = [line for line in command.output.splitlines() if "FATAL" in line]
    assert complaint in line


def test_whole_numbers_will_do(tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text(PARAMETERS.format("service_timeout: 5, period: 2, viewpoint: [0, 0, 1]"))
    for name, ready in [("grasp_generator", "ready"), ("object_cloud_publisher", "points")]:
        options = ["-r", "__ns:=/whole", "--params-file", str(file)]
        command = Command(tmp_path / name, *ros_command(name, *options))
        command.wait_for_output(ready)
        assert command.interrupt() == 0


@pytest.mark.parametrize(
    "first, wait", [(signal.SIGINT, 0), (signal.SIGINT, 0.3), (signal.SIGTERM, 0.3)]
)
def test_a_second_ctrl_c(tmp_path, first: int, wait: float):
    command = Command(tmp_path / "log", *ros_command("grasp_generator", "-r", "__ns:=/twice"))
    command.wait_for_output("ready")
    command.process.send_signal(first)
    time.sleep(wait)
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output and "Exception" not in command.output


BROKEN = """
import sys
from grasp_gen_ros import node

class Broken(node.GraspPipeline):
    def {method}(self, *arguments, **options):
        raise {error}

node.GraspPipeline = Broken
sys.exit(node.main())
"""


@pytest.mark.parametrize(
    "error", ["ValueError('SVD did not converge')", "RuntimeError('No points')"]
)
def test_a_bug_shows_as_one(ros: None, tmp_path, cloud: PointCloud2, error: str):
    """A library's error in the pipeline isn't the cloud's fault; the node goes on."""
    code = BROKEN.format(method="propose", error=error)
    options = ["--ros-args", "-r", "__ns:=/broken", "-p", "device:=cpu"]
    command = Command(tmp_path / "log", sys.executable, "-c", code, *options)
    command.wait_for_output("ready")
    peer = Peer("/broken")
    peer.connect()
    try:
        response = peer.generate(cloud)
        assert not response.success and response.message == f"internal error: {error}"
        peer.wait_for("/diagnostics", lambda m: m.status[0].level == DiagnosticStatus.ERROR)
        assert "Traceback" in command.output and "propose" in command.output
        refused = peer.generate(PointCloud2())
        assert refused.message.startswith("cloud: empty")
        peer.send(cloud)
        command.wait_for_output(f"cloud refused: internal error: {error}")
    finally:
        peer.close()
    assert command.interrupt() == 0, command.output


def test_a_bug_at_start_is_exit_code_1(tmp_path):
    code = BROKEN.format(method="__init__", error="ValueError('SVD did not converge')")
    command = Command(tmp_path / "log", sys.executable, "-c", code)
    assert command.process.wait(60) == 1
    assert "Traceback" in command.output and "SVD did not converge" in command.output


def test_ctrl_c_during_generation(ros: None, tmp_path, cloud: PointCloud2):
    options = ["-r", "__ns:=/ends", "-p", "num_grasps:=256", "-p", "device:=cpu"]
    command = Command(tmp_path / "log", *ros_command("grasp_generator", *options))
    command.wait_for_output("ready")
    peer = Peer("/ends")
    peer.connect()
    try:
        for _ in range(3):  # one in the making, one that waits
            peer.send(cloud)
            peer.call_async("generate_grasps", GenerateGrasps.Request(cloud=cloud))
            time.sleep(0.1)
        started = time.monotonic()
        assert command.interrupt() == 0, command.output
        assert time.monotonic() - started < 10
    finally:
        peer.close()
    assert "Traceback" not in command.output and "Error" not in command.output


def test_what_came_before_anybody_listened(ros: None, tmp_path, cylinder: np.ndarray):
    """A cloud that was published once gets grasps when somebody listens, who comes later, too."""
    source = rclpy.create_node("source", namespace="/late")
    kept = source.create_publisher(PointCloud2, "object_cloud", LATCHED)
    cloud = make_cloud(cylinder, new_header())
    kept.publish(cloud)
    options = ["-r", "__ns:=/late", "-p", "device:=cpu", "-p", "num_grasps:=2"]
    command = Command(tmp_path / "log", *ros_command("grasp_generator", *options))
    command.wait_for_output("ready")
    time.sleep(2)
    assert "2 grasps in" not in command.output  # nobody listens
    for peer in (Peer("/late", LATCHED), Peer("/late", LATCHED)):
        message = peer.wait_for("grasps")
        assert message.header == cloud.header and len(message.grasps) == 2
        peer.wait_for("markers", lambda m: m.markers[0].header == cloud.header)
        assert peer.latest_status()["clouds_taken"] == "1"
        peer.close()
    source.destroy_node()
    assert command.interrupt() == 0, command.output


def test_qos_is_overridden(tmp_path):
    name = "qos_overrides./strict/object_cloud.subscription.reliability"
    options = ["-r", "__ns:=/strict", "-p", "autostart:=false", "-p"]
    command = Command(tmp_path / "a", *ros_command("grasp_generator", *options, f"{name}:=often"))
    assert command.process.wait(60) == 2
    assert "Traceback" not in command.output and "often" in command.output
