"""A planner's whole conversation with the grasp generator."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import rclpy
from geometry_msgs.msg import Point
from rclpy.client import Client
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.msg import GraspArray, ManoHand
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps


class GraspClient:
    """Asks a running `grasp_generator` for grasps.

    Works by itself or with a planner's node; when that node is spun by an executor, call it from
    another thread than the executor's, as for any blocking call.

    Args:
        node: the planner's node; None makes one.
        service, refinement: names of the services, relative to the node's namespace.
    """

    def __init__(
        self,
        node: Node | None = None,
        service: str = "generate_grasps",
        refinement: str = "refine_grasps",
    ) -> None:
        if node is None:
            if not rclpy.ok():
                rclpy.init()
            node = rclpy.create_node("grasp_client")
        self.node = node
        self._client = node.create_client(GenerateGrasps, service)
        self._refinement = node.create_client(RefineGrasps, refinement)

    def wait_for_server(self, timeout: float = 30.0) -> None:
        """Wait until the generator is up.

        Raises:
            TimeoutError: if it isn't after `timeout` seconds.
        """
        for client in (self._client, self._refinement):
            if not client.wait_for_service(timeout):
                raise TimeoutError(f"no {client.srv_name} service after {timeout:g} s")

    def generate(
        self,
        cloud: PointCloud2 | np.ndarray,
        frame_id: str = "",
        num: int = 0,
        seed: int = -1,
        timeout: float = 60.0,
        viewpoint: Sequence[float] | None = None,
    ) -> GraspArray:
        """Grasps for an object, best first, in the cloud's frame.

        Args:
            cloud: the segmented object as a message, or as (N, 3) points in metres.
            frame_id: frame of the points; a message brings its own.
            num: how many grasps; 0 takes the generator's parameter.
            seed: same cloud and seed, same grasps; -1 takes the generator's parameter.
            timeout: seconds to wait for the service, then for the answer.
            viewpoint: (3,) where the camera stood, in the cloud's frame, metres; None takes the
                generator's parameter, or what the name of the frame says.

        Raises:
            InputError: if the points aren't (N, 3) numbers, or the viewpoint isn't three.
            TimeoutError: if the generator isn't there or doesn't answer in time.
            RuntimeError: if the generator refuses, with its reason.
        """
        cloud = self._message(cloud, frame_id)
        request = GenerateGrasps.Request(
            cloud=cloud, num_grasps=num, seed=seed, viewpoint=_points(viewpoint)
        )
        return self._ask(self._client, request, timeout)

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
            hands: of the generator's side, in the cloud's frame.

        Raises:
            InputError, TimeoutError, RuntimeError: as `generate`.
        """
        cloud = self._message(cloud, frame_id)
        request = RefineGrasps.Request(cloud=cloud, hands=list(hands), viewpoint=_points(viewpoint))
        return self._ask(self._refinement, request, timeout)

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

    def _ask(self, client: Client, request, timeout: float) -> GraspArray:
        self.wait_for_server(timeout)
        future = client.call_async(request)
        # A node keeps naming the executor that it was removed from.
        if self.node.executor and self.node in self.node.executor.get_nodes():
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            done.wait(timeout)
        else:
            rclpy.spin_until_future_complete(self.node, future, timeout_sec=timeout)
        if not future.done():
            client.remove_pending_request(future)
            raise TimeoutError(f"no answer from {client.srv_name} after {timeout:g} s")
        response = future.result()
        if not response.success:
            raise RuntimeError(response.message)
        return response.grasps


def _points(viewpoint: Sequence[float] | None) -> list[Point]:
    """What a request holds: one point or none."""
    if viewpoint is None:
        return []
    try:
        x, y, z = map(float, viewpoint)
    except (TypeError, ValueError) as error:
        raise InputError(f"viewpoint: {viewpoint!r}, accepted are three numbers") from error
    return [Point(x=x, y=y, z=z)]
