"""How the node starts and ends."""

import time

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from ros_harness import Command, Peer, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.srv import GenerateGrasps


@pytest.mark.parametrize(
    "parameter, complaint",
    [
        ("generator:=magic", "generator: 'magic', accepted are"),
        ("contact:=magic", "contact: 'magic', accepted are distance, gaussians"),
        ("sampling:=warm", "'warm', accepted are numbers by name"),
        ("reposition:=grasp_cvae", "reposition: 'grasp_cvae', accepted are"),
        ("num_grasps:=0", "num_grasps"),
    ],
)
def test_wrong_parameters_end_it_with_one_line(tmp_path, parameter: str, complaint: str):
    command = Command(tmp_path / "log", *ros_command("grasp_generator", "-p", parameter))
    assert command.process.wait(60) == 2
    assert "Traceback" not in command.output
    (line,) = [line for line in command.output.splitlines() if "FATAL" in line]
    assert complaint in line


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
