"""The node's lifecycle, as a manager of nodes drives it."""

from pathlib import Path

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import Command, Peer, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.msg import ResultCode
from grasp_gen_ros.srv import GenerateGrasps

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


def managed(log: Path, namespace: str, *more: str) -> tuple[Command, Peer]:
    options = ["-r", f"__ns:={namespace}", "-p", "device:=cpu", "-p", "autostart:=false", *more]
    command = Command(log, *ros_command("grasp_generator", *options))
    peer = Peer(namespace)
    peer.connect()
    return command, peer


def change(peer: Peer, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return peer.call("grasp_generator/change_state", request).success


def memory(command: Command) -> float:
    """Megabytes that the process holds."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_configure_activate_deactivate_clean_up(ros: None, tmp_path, cloud: PointCloud2):
    command, peer = managed(tmp_path / "log", "/managed")
    try:
        assert peer.status(lambda v: True)["state"] == "unconfigured"
        assert peer.generate(cloud).code == ResultCode.INACTIVE
        assert not change(peer, ACTIVATE)  # not before it is configured
        for _ in range(2):
            assert change(peer, CONFIGURE)
            assert peer.generate(cloud).code == ResultCode.INACTIVE
            assert change(peer, ACTIVATE)
            assert peer.generate(cloud, num_grasps=2).success
            request = GenerateGrasps.Request(cloud=cloud, num_grasps=256)
            calls = [peer.call_async("generate_grasps", request) for _ in range(2)]
            peer.status(lambda v: v["state"] == "generating")
            assert change(peer, DEACTIVATE)
            for call in calls:  # one in the making, one that waits
                response = peer.result(call, timeout=10)
                assert not response.success and response.code == ResultCode.INACTIVE
                assert response.message.startswith("inactive: ")
            peer.send(cloud)
            full = memory(command)
            assert change(peer, CLEANUP)
            assert full - memory(command) > 5  # the weights alone have 8
        assert not peer.received["grasps"]
        peer.status(lambda v: v["clouds_taken"] == "4")
    finally:
        peer.close()
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output


def test_what_cannot_be_configured_says_why(ros: None, tmp_path):
    command, peer = managed(tmp_path / "log", "/unfit", "-p", "generator:=magic")
    try:
        assert not change(peer, CONFIGURE)
        command.wait_for_output("not configured: generator: 'magic', accepted are")
        assert peer.status(lambda v: True)["state"] == "unconfigured"
    finally:
        peer.close()
    assert command.interrupt() == 0
    assert "Traceback" not in command.output


def test_two_nodes_of_one_name_are_warned(ros: None, tmp_path):
    options = ["-r", "__ns:=/twins", "-p", "autostart:=false"]
    twins = [
        Command(tmp_path / str(i), *ros_command("grasp_generator", *options)) for i in range(2)
    ]
    for twin in twins:
        twin.wait_for_output("another node is called /twins/grasp_generator")
    for twin in twins:
        assert twin.interrupt() == 0
