"""Real processes over the middleware: the node by its console command, and a peer to talk to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from grasp_gen_ros.msg import GraspArray
from grasp_gen_ros.qos import LATCHED
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps

# Every run has a domain of its own, so that runs side by side don't hear each other.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

COMMANDS = Path(sys.executable).parent
SERVICES = {
    "generate_grasps": GenerateGrasps,
    "refine_grasps": RefineGrasps,
    "change_state": ChangeState,
    "set_parameters": SetParameters,
    "list_parameters": ListParameters,
    "get_parameters": GetParameters,
}


def ros_command(name: str, *ros_arguments: str) -> list[str | Path]:
    """A console command of the package with its ROS arguments."""
    return [COMMANDS / name, "--ros-args", *ros_arguments]


class Command:
    """A process, its output in a file."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for_output(self, text: str, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self.process.poll() is None, f"ended early:\n{self.output}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{self.output}"
            time.sleep(0.05)

    def interrupt(self, timeout: float = 15.0) -> int:
        """Exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"didn't end within {timeout} s:\n{self.output}") from None


class Peer:
    """The other end of the line: sends clouds, makes calls, keeps all that the node publishes.

    Args:
        namespace: of the node at this end, and at the other.
        profile: of what is listened to.
        of: the other node's name.
    """

    def __init__(
        self, namespace: str, profile: QoSProfile | int = 10, of: str = "grasp_generator"
    ) -> None:
        self.node = rclpy.create_node("peer", namespace=namespace)
        self._of = of
        self.received: dict[str, list] = {}
        self._news = threading.Condition()
        self._cloud = self.node.create_publisher(PointCloud2, "object_cloud", 10)
        self._publishers: dict[str, Publisher] = {}
        for topic, kind in {
            "grasps": GraspArray,
            "contact_map": PointCloud2,
            "markers": MarkerArray,
            "/diagnostics": DiagnosticArray,
        }.items():
            self.listen(topic, kind, profile)
        self._clients: dict[str, Client] = {}
        for name in ("generate_grasps", "refine_grasps", f"{of}/change_state"):
            self._client(name)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()

    def listen(self, topic: str, kind: type, profile: QoSProfile | int = 10) -> None:
        """Keep what is published on a topic; of diagnostics, those of the peer's own node."""
        messages = self.received[topic] = []
        own = f"{self.node.get_namespace()}/{self._of}: ".lstrip("/")

        def keep(message) -> None:
            if kind is DiagnosticArray and not message.status[0].name.startswith(own):
                return
            with self._news:
                messages.append(message)
                self._news.notify_all()

        self.node.create_subscription(kind, topic, keep, profile)

    def connect(self) -> None:
        """Wait until both ends have found each other on every topic and service."""
        names = [self.node.resolve_topic_name(topic) for topic in self.received]
        self.until(
            lambda: (
                self._cloud.get_subscription_count()
                and all(map(self.node.count_publishers, names))
                and all(client.service_is_ready() for client in self._clients.values())
            )
        )

    def send(self, cloud: PointCloud2) -> None:
        self._cloud.publish(cloud)

    def publish(self, topic: str, message) -> None:
        """On any topic, once somebody listens; those who come later get it, too."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, LATCHED)
        self.until(self._publishers[topic].get_subscription_count)
        self._publishers[topic].publish(message)

    def stop_publishing(self, topic: str) -> None:
        self.node.destroy_publisher(self._publishers.pop(topic))

    def until(self, holds: Callable[[], object], timeout: float = 30.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout} s"
            time.sleep(0.05)

    def wait_for(self, topic: str, accept: Callable = lambda _: True, timeout: float = 30.0):
        """The first message on the topic, among all so far and those to come, that is accepted."""
        with self._news:
            found = self._news.wait_for(
                lambda: next(filter(accept, self.received[topic]), None), timeout
            )
        assert found is not None, f"nothing accepted on {topic} within {timeout} s"
        return found

    def answer(self, cloud: PointCloud2) -> GraspArray:
        """Send a cloud, again if it gets lost (the topic is best effort), until its grasps come."""
        for _ in range(5):
            self.send(cloud)
            try:
                return self.wait_for("grasps", lambda m: m.header == cloud.header, timeout=10)
            except AssertionError:
                continue
        raise AssertionError("no grasps for the cloud")

    def status(self, accept: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Values of the first diagnostics from now on that are accepted."""
        with self._news:
            self.received["/diagnostics"].clear()
        message = self.wait_for("/diagnostics", lambda m: accept(values_of(m)))
        return values_of(message)

    def latest_status(self) -> dict[str, str]:
        self.wait_for("/diagnostics")
        return values_of(self.received["/diagnostics"][-1])

    def _client(self, name: str) -> Client:
        if name not in self._clients:
            kind = SERVICES[name.rpartition("/")[2]]
            self._clients[name] = self.node.create_client(kind, name)
        return self._clients[name]

    def call_async(self, name: str, request):
        assert self._client(name).wait_for_service(30)
        return self._client(name).call_async(request)

    def call(self, name: str, request, timeout: float = 60.0):
        return self.result(self.call_async(name, request), timeout)

    def result(self, future, timeout: float = 60.0):
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout), f"no answer within {timeout} s"
        return future.result()

    def generate(self, cloud: PointCloud2, **options) -> GenerateGrasps.Response:
        return self.call("generate_grasps", GenerateGrasps.Request(cloud=cloud, **options))

    def refine(self, cloud: PointCloud2, hands: list) -> RefineGrasps.Response:
        return self.call("refine_grasps", RefineGrasps.Request(cloud=cloud, hands=hands))

    def set_parameter(self, name: str, value, of: str = "grasp_generator") -> SetParametersResult:
        parameter = rclpy.Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        return self.call(f"{of}/set_parameters", request).results[0]

    def parameters(self, of: str = "grasp_generator") -> dict[str, object]:
        names = self.call(f"{of}/list_parameters", ListParameters.Request()).result.names
        values = self.call(f"{of}/get_parameters", GetParameters.Request(names=names)).values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))


def values_of(message: DiagnosticArray) -> dict[str, str]:
    return {item.key: item.value for item in message.status[0].values}


def new_header(frame_id: str = "camera_7") -> Header:
    now = time.time_ns()
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(now, 10**9)
    return header
