"""Work that nobody waits for stops: calls cancelled, timed out, left alone; nodes that die."""

import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from ros_harness import Command, Peer, ros_command
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.action import Generate
from grasp_gen_ros.client import GraspClient
from grasp_gen_ros.msg import ResultCode
from grasp_gen_ros.refusal import Refusal

LONG = 256  # grasps: tens of seconds


def idle(peer: Peer, within: float) -> None:
    """The node is free again: what it answers at once, it couldn't while it works."""
    start = time.monotonic()
    peer.status(lambda v: v["state"] == "idle")
    assert time.monotonic() - start < within


@pytest.fixture
def action(peer: Peer):
    client = ActionClient(peer.node, Generate, "generate")
    assert client.wait_for_server(30)
    yield client
    client.destroy()


def test_an_action_tells_stages_and_the_best_so_far(peer: Peer, action, cloud: PointCloud2):
    told = []
    sent = action.send_goal_async(
        Generate.Goal(cloud=cloud, num_grasps=40, seed=1), lambda m: told.append(m.feedback)
    )
    answer = peer.result(peer.result(sent).get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED and answer.result.code == ResultCode.DONE
    assert [one.stage for one in told] == ["generate", "refine", "refine", "rank"]
    assert not told[0].best and told[-1].best[0].hand == answer.result.grasps.grasps[0].hand
    assert answer.result.grasps == peer.generate(cloud, num_grasps=40, seed=1).grasps


@pytest.mark.parametrize("stage", ["waiting", "generate", "refine"])
def test_cancel_stops_the_work(peer: Peer, action, cloud: PointCloud2, stage: str):
    """At each stage; the node is free soon after."""
    stages, goals = [], []
    for _ in range(1 + (stage == "waiting")):
        sent = action.send_goal_async(
            Generate.Goal(cloud=cloud, num_grasps=LONG), lambda m: stages.append(m.feedback.stage)
        )
        goals.append(peer.result(sent))
    peer.until(lambda: "generate" if stage == "waiting" else stage in stages)
    start = time.monotonic()
    for goal in reversed(goals):
        assert peer.result(goal.cancel_goal_async()).goals_canceling
        answer = peer.result(goal.get_result_async())
        assert answer.status == GoalStatus.STATUS_CANCELED
        assert answer.result.code == ResultCode.CANCELLED and not answer.result.grasps.grasps
    assert peer.generate(cloud, num_grasps=1).success
    assert time.monotonic() - start < 10
    assert "rank" not in stages


def test_a_refused_goal_is_aborted_and_says_why(peer: Peer, action):
    goal = Generate.Goal(cloud=PointCloud2(), object_id=7)
    answer = peer.result(peer.result(action.send_goal_async(goal)).get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.code == ResultCode.NOTHING_YET
    assert answer.result.message.startswith("cloud: empty, and none has come on ")


def test_a_call_past_its_timeout_stops(peer: Peer, cloud: PointCloud2):
    start = time.monotonic()
    response = peer.generate(cloud, num_grasps=LONG, timeout=1.0)
    assert not response.success and response.code == ResultCode.CANCELLED
    assert response.message == "cancelled: past the request's timeout of 1 s"
    assert time.monotonic() - start < 5
    idle(peer, 3)


def test_a_client_that_gives_up_or_cancels(peer: Peer, namespace: str, cloud: PointCloud2):
    client = GraspClient(rclpy.create_node("hasty", namespace=namespace))
    with pytest.raises(TimeoutError, match="no answer from generate after 1 s"):
        client.generate(cloud, num=LONG, timeout=1.0)
    idle(peer, 4)
    stages = []
    call = client.generate_async(
        cloud, num=LONG, feedback=lambda feedback: stages.append(feedback.stage)
    )
    while "refine" not in stages:
        rclpy.spin_once(client.node)
    call.cancel()
    idle(peer, 4)
    call = client.generate_async(cloud, num=LONG, timeout=1.0)
    rclpy.spin_until_future_complete(client.node, call)
    with pytest.raises(Refusal, match="past the request's timeout of 1 s"):
        call.result()
    idle(peer, 4)
    call = client.generate_async(cloud, num=2)
    rclpy.spin_until_future_complete(client.node, call)
    assert len(call.result().grasps) == 2
    call = client.generate_async(object_id=3)
    rclpy.spin_until_future_complete(client.node, call)
    with pytest.raises(Refusal) as refused:
        call.result()
    assert refused.value.code == ResultCode.NOTHING_YET
    client.node.destroy_node()


@pytest.mark.parametrize("name", ["joint_diffusion", "jhod", "fastgrasp"])
def test_cancel_stops_a_sampler_amid_its_steps(ros: None, tmp_path, cloud: PointCloud2, name: str):
    """A batch's thousand steps take minutes; jhod's first ones draw objects."""
    options = ["-r", f"__ns:=/{name}", "-p", "device:=cpu", "-p", f"generator:={name}"]
    options += ["-p", "refiner:=none", "-p", "sampling:=steps=1000"]
    node = Command(tmp_path / "node", *ros_command("grasp_generator", *options))
    node.wait_for_output("ready")
    peer = Peer(f"/{name}")
    peer.connect()
    client = ActionClient(peer.node, Generate, "generate")
    assert client.wait_for_server(30)
    try:
        goal = peer.result(client.send_goal_async(Generate.Goal(cloud=cloud, num_grasps=LONG)))
        peer.status(lambda v: v["state"] == "generating")
        time.sleep(3)  # into the steps
        start = time.monotonic()
        assert peer.result(goal.cancel_goal_async()).goals_canceling
        answer = peer.result(goal.get_result_async())
        assert answer.result.code == ResultCode.CANCELLED
        assert time.monotonic() - start < 15
    finally:
        client.destroy()
        peer.close()
    assert node.interrupt() == 0, node.output


ASKS = """
import sys
import numpy as np
from grasp_gen_ros.client import GraspClient
import rclpy
rclpy.init()
client = GraspClient(rclpy.create_node("asks", namespace=sys.argv[1]))
client.generate(np.load(sys.argv[2]), num=256, timeout=1000)
"""


def test_a_client_that_dies(ros: None, tmp_path, cylinder: np.ndarray):
    """Interrupted, it says so; that it was killed is known when the middleware misses it."""
    options = ["-r", "__ns:=/deserted", "-p", "device:=cpu", "-p", "refiner:=choir"]  # a minute
    node = Command(tmp_path / "node", *ros_command("grasp_generator", *options))
    node.wait_for_output("ready")
    peer = Peer("/deserted")
    peer.connect()
    np.save(tmp_path / "can.npy", cylinder)
    try:
        for end, within, why in (
            (signal.SIGINT, 5, "as was asked for"),
            (signal.SIGKILL, 30, "all clients are gone"),
        ):
            arguments = sys.executable, "-c", ASKS, "/deserted", tmp_path / "can.npy"
            client = Command(tmp_path / "client", *arguments)
            peer.status(lambda v: v["state"] == "generating")
            client.process.send_signal(end)
            client.process.wait(10)
            idle(peer, within)
            assert peer.latest_status()["last_error"] == f"cancelled: {why}"
            assert peer.generate(PointCloud2()).code == ResultCode.NOTHING_YET  # another error
    finally:
        peer.close()
    assert node.interrupt() == 0, node.output


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_node_that_dies_is_missed_at_once(ros: None, tmp_path, cloud: PointCloud2, end):
    options = ["-r", "__ns:=/dies", "-p", "device:=cpu"]
    command = Command(tmp_path / "log", *ros_command("grasp_generator", *options))
    command.wait_for_output("ready")
    client = GraspClient(rclpy.create_node("left_alone", namespace="/dies"))
    client.wait_for_server()
    stages = []
    call = client.generate_async(cloud, num=LONG, feedback=lambda m: stages.append(m.stage))
    while not stages:
        rclpy.spin_once(client.node)
    command.process.send_signal(end)
    start = time.monotonic()
    rclpy.spin_until_future_complete(client.node, call, timeout_sec=20)
    with pytest.raises(ConnectionError, match="the grasp generator has ended"):
        call.result()
    assert time.monotonic() - start < 8
    client.node.destroy_node()
    command.process.wait(15)
