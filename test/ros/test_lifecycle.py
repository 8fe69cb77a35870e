"""The node's lifecycle, as a manager of nodes drives it."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import Command, Peer, new_header, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.msg import ObjectClouds, ResultCode
from grasp_gen_ros.qos import LATCHED
from grasp_gen_ros.srv import GenerateGrasps

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


def managed(log: Path, namespace: str, *more: str) -> tuple[Command, Peer]:
    options = ["-r", f"__ns:={namespace}", "-p", "device:=cpu", "-p", "autostart:=false", *more]
    command = Command(log, *ros_command("grasp_generator", *options))
    peer = Peer(namespace)
    peer.connect()
    return command, peer


def change(peer: Peer, transition: int, of: str = "grasp_generator") -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return peer.call(f"{of}/change_state", request).success


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


def test_the_segmenter_is_managed_too(ros: None, tmp_path):
    """It looks at nothing before it is active, and at nothing after; objects are numbered anew."""
    name, options = "scene_segmenter", ["-r", "__ns:=/managed_eye", "-p", "autostart:=false"]
    command = Command(tmp_path / "log", *ros_command(name, *options))
    peer = Peer("/managed_eye", of=name)
    peer.listen("object_clouds", ObjectClouds, LATCHED)
    ball = trimesh.creation.icosphere(5, 0.05).vertices
    balls = np.concatenate([ball * (1 - x) + [x, 0, 1.0] for x in (0, 0.3)])

    def from_configure_to_cleanup(before: int) -> None:
        assert change(peer, CONFIGURE, name)
        assert peer.status(lambda v: v["state"] == "inactive")["scenes_taken"] == str(before)
        peer.publish("scene_cloud", make_cloud(balls, header := new_header()))
        peer.status(lambda v: True)
        assert len(peer.received["object_clouds"]) == before
        assert change(peer, ACTIVATE, name)  # what came meanwhile is looked at
        message = peer.wait_for("object_clouds", lambda m: m.header == header)
        assert [one.id for one in message.objects] == [2, 3]
        values = peer.status(
            lambda v: v["scenes_taken"] == str(before + 1) and v["state"] == "idle"
        )
        assert values["objects"] == "2"
        assert {"seconds_segment", "seconds_total", "scenes_dropped"} <= values.keys()
        assert change(peer, DEACTIVATE, name) and change(peer, CLEANUP, name)

    try:
        assert peer.status(lambda v: True)["state"] == "unconfigured"
        assert not change(peer, ACTIVATE, name)  # not before it is configured
        for before in range(2):
            from_configure_to_cleanup(before)
        assert peer.status(lambda v: True)["state"] == "unconfigured"
    finally:
        peer.close()
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output


@pytest.mark.parametrize("name", ["grasp_generator", "scene_segmenter"])
def test_two_nodes_of_one_name_are_warned(ros: None, tmp_path, name: str):
    options = ["-r", "__ns:=/twins", "-p", "autostart:=false"]
    twins = [Command(tmp_path / str(i), *ros_command(name, *options)) for i in range(2)]
    for twin in twins:
        twin.wait_for_output(f"another node is called /twins/{name}")
    for twin in twins:
        assert twin.interrupt() == 0
