"""A planner's whole conversation with the grasp generator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import rclpy
from action_msgs.msg import GoalStatusArray
from geometry_msgs.msg import Point
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.event_handler import QoSLivelinessChangedInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_ros.action import Generate
from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.msg import GraspArray, ManoHand, ResultCode
from grasp_gen_ros.qos import ALIVE
from grasp_gen_ros.refusal import Refusal
from grasp_gen_ros.srv import RefineGrasps


class Call(Future):
    """What was asked for: `result()` gives the GraspArray, or raises as `GraspClient.generate`."""

    goal: ClientGoalHandle | None = None

    def cancel(self) -> None:
        """Nobody waits any more: the generator stops the work."""
        super().cancel()
        if self.goal is not None:
            self.goal.cancel_goal_async()


class GraspClient:
    """Asks a running `grasp_generator` for grasps.

    Works by itself or with a planner's node; when that node is spun by an executor, call what
    blocks from another thread than the executor's.

    Args:
        node: the planner's node; None makes one.
        action, refinement: names of action and service, relative to the node's namespace.
    """

    def __init__(
        self,
        node: Node | None = None,
        action: str = "generate",
        refinement: str = "refine_grasps",
    ) -> None:
        if node is None:
            if not rclpy.ok():
                rclpy.init()
            node = rclpy.create_node("grasp_client")
        self.node = node
        self._name = action
        self._action = ActionClient(node, Generate, action)
        self._refinement = node.create_client(RefineGrasps, refinement)
        self._pending: set[Call] = set()
        node.create_subscription(
            GoalStatusArray,
            f"{action}/_action/status",
            lambda _: None,
            ALIVE,
            event_callbacks=SubscriptionEventCallbacks(liveliness=self._on_liveliness),
        )

    def wait_for_server(self, timeout: float = 30.0) -> None:
        """Wait until the generator is up.

        Raises:
            TimeoutError: if it isn't after `timeout` seconds.
        """
        if not self._action.wait_for_server(timeout):
            raise TimeoutError(f"no {self._name} action after {timeout:g} s")
        if not self._refinement.wait_for_service(timeout):
            raise TimeoutError(f"no {self._refinement.srv_name} service after {timeout:g} s")

    def generate(
        self,
        cloud: PointCloud2 | np.ndarray | None = None,
        frame_id: str = "",
        num: int = 0,
        seed: int = -1,
        timeout: float = 60.0,
        viewpoint: Sequence[float] | None = None,
        object_id: int = 0,
        object_point: Sequence[float] | None = None,
    ) -> GraspArray:
        """Grasps for an object, best first.

        Args:
            cloud: the segmented object as a message, or as (N, 3) points in metres, or a whole
                scene, if one of `object_id` and `object_point` is given; None: the newest that the
                generator has.
            frame_id: frame of the points; a message brings its own.
            num: how many grasps; 0 takes the generator's parameter.
            seed: same cloud and seed, same grasps; -1 takes the generator's parameter.
            timeout: seconds to wait for the generator, then for the answer; after them the
                generator stops.
            viewpoint: (3,) where the camera stood, in the cloud's frame, metres; None takes the
                generator's parameter, or what the name of the frame says.
            object_id: an object of the scene, as `object_clouds` numbers them.
            object_point: (3,) metres, a place on an object of the scene, in the cloud's frame.

        Raises:
            InputError: if the points aren't (N, 3) numbers, or a place isn't three.
            TimeoutError: if the generator isn't there or doesn't answer in time.
            Refusal: (a RuntimeError) if the generator refuses, with its reason and `code`.
            ConnectionError: if it ends meanwhile.
        """
        goal = self._goal(cloud, frame_id, num, seed, viewpoint, object_id, object_point, timeout)
        self.wait_for_server(timeout)
        return self._wait(self._send(goal), self._name, timeout)

    def generate_async(
        self,
        cloud: PointCloud2 | np.ndarray | None = None,
        frame_id: str = "",
        num: int = 0,
        seed: int = -1,
        viewpoint: Sequence[float] | None = None,
        object_id: int = 0,
        object_point: Sequence[float] | None = None,
        timeout: float = 0.0,
        feedback: Callable[[Generate.Feedback], None] | None = None,
    ) -> Call:
        """The same without waiting, for a node that is spun.

        Args:
            timeout: seconds after which the generator stops, and refuses as CANCELLED; 0: none.
            feedback: is given each stage, and the best grasp so far.

        Raises:
            InputError: as `generate`.
            ConnectionError: if the generator isn't there; see `wait_for_server`.
        """
        goal = self._goal(cloud, frame_id, num, seed, viewpoint, object_id, object_point, timeout)
        if not self._action.server_is_ready():
            raise ConnectionError(f"no {self._name} action is there")
        return self._send(goal, feedback)

    def refine(
        self,
        cloud: PointCloud2 | np.ndarray,
        hands: Sequence[ManoHand],
        frame_id: str = "",
        timeout: float = 60.0,
        viewpoint: Sequence[float] | None = None,
    ) -> GraspArray:
        """Grasps made of hands that were seen or planned, in their order.

        Args:
            cloud, frame_id, timeout, viewpoint: as of `generate`.
            hands: of the generator's side, in the cloud's frame, or in its target_frame.

        Raises:
            InputError, TimeoutError, Refusal, ConnectionError: as `generate`.
        """
        request = RefineGrasps.Request(
            cloud=self._message(cloud, frame_id),
            hands=list(hands),
            viewpoint=_points(viewpoint, "viewpoint"),
            timeout=float(timeout),
        )
        self.wait_for_server(timeout)
        call = self._new_call()
        answer = self._refinement.call_async(request)
        answer.add_done_callback(lambda done: _fill(call, done.result()))
        try:
            return self._wait(call, self._refinement.srv_name, timeout)
        finally:
            self._refinement.remove_pending_request(answer)

    def _goal(
        self,
        cloud: PointCloud2 | np.ndarray | None,
        frame_id: str,
        num: int,
        seed: int,
        viewpoint: Sequence[float] | None,
        object_id: int,
        object_point: Sequence[float] | None,
        timeout: float,
    ) -> Generate.Goal:
        return Generate.Goal(
            cloud=PointCloud2() if cloud is None else self._message(cloud, frame_id),
            num_grasps=num,
            seed=seed,
            viewpoint=_points(viewpoint, "viewpoint"),
            object_id=object_id,
            object_point=_points(object_point, "object_point"),
            timeout=float(timeout),
        )

    def _message(self, cloud: PointCloud2 | np.ndarray, frame_id: str) -> PointCloud2:
        if isinstance(cloud, PointCloud2):
            return cloud
        points = np.asarray(cloud)
        if points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[1] != 3:
            raise InputError(
                f"cloud: shape {points.shape} of {points.dtype}, accepted is (N, 3) of numbers"
            )
        stamp = self.node.get_clock().now().to_msg()
        return make_cloud(points, Header(stamp=stamp, frame_id=frame_id))

    def _send(self, goal: Generate.Goal, feedback: Callable | None = None) -> Call:
        call = self._new_call()

        def accepted(sent: Future) -> None:
            call.goal = sent.result()
            answer = call.goal.get_result_async()
            answer.add_done_callback(lambda done: _fill(call, done.result().result))
            if call.cancelled():
                call.cancel()

        tell = feedback and (lambda message: feedback(message.feedback))
        self._action.send_goal_async(goal, tell).add_done_callback(accepted)
        return call

    def _new_call(self) -> Call:
        call = Call()
        self._pending.add(call)
        call.add_done_callback(self._pending.discard)
        return call

    def _on_liveliness(self, change: QoSLivelinessChangedInfo) -> None:
        if not change.alive_count:
            for call in list(self._pending):
                call.set_exception(ConnectionError("the grasp generator has ended"))

    def _wait(self, call: Call, name: str, timeout: float) -> GraspArray:
        try:
            # A node keeps naming the executor that it was removed from.
            if self.node.executor and self.node in self.node.executor.get_nodes():
                done = threading.Event()
                call.add_done_callback(lambda _: done.set())
                done.wait(timeout)
            else:
                rclpy.spin_until_future_complete(self.node, call, timeout_sec=timeout)
        finally:
            if not (answered := call.done()):
                call.cancel()
        if not answered:
            raise TimeoutError(f"no answer from {name} after {timeout:g} s")
        return call.result()


def _fill(call: Call, answer: Generate.Result | RefineGrasps.Response) -> None:
    if call.done() or call.cancelled():
        return
    if answer.code == ResultCode.DONE:
        call.set_result(answer.grasps)
    else:
        call.set_exception(Refusal(answer.code, answer.message))


def _points(place: Sequence[float] | None, name: str) -> list[Point]:
    """What a request holds: one point or none."""
    if place is None:
        return []
    try:
        x, y, z = map(float, place)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {place!r}, accepted are three numbers") from error
    return [Point(x=x, y=y, z=z)]
