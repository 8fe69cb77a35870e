"""The `grasp_generator` node: object clouds in, ranked grasps out, by topic and by service."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from grasp_gen_core import completion, defaults, generators, ranking, refiners
from grasp_gen_core.errors import InputError
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.runtime import tune_allocator
from grasp_gen_core.types import SIDES, GraspSet, Observation
from grasp_gen_ros.conversions import grasp_array, make_cloud, read_hands, read_observation
from grasp_gen_ros.markers import grasp_markers
from grasp_gen_ros.msg import GraspArray
from grasp_gen_ros.parameters import SEEDS, declare
from grasp_gen_ros.processes import run_node
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps

MAX_GRASPS = 256
MAX_CALLS = 4  # service calls that may wait; more are told busy at once
LONGEST = 500  # characters of a message that says what was wrong
REPEAT = 5.0  # seconds before the same warning is logged again


class Busy(Exception):
    """A service call didn't get its turn."""


class GraspGenerator(Node):
    """Runs a GraspPipeline in a worker thread for the newest cloud and for service calls, in turn.

    Raises:
        InputError: if a parameter names something that doesn't exist.
        ParameterException: if a parameter has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("grasp_generator")
        self._declare_parameters()
        self._load_pipeline()

        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._calls = threading.BoundedSemaphore(MAX_CALLS)
        self._slot = threading.Lock()
        self._newest: PointCloud2 | None = None

        self._state, self._last_error, self._level = "idle", "", DiagnosticStatus.OK
        self._counts = Counter(clouds_taken=0, clouds_dropped=0, clouds_refused=0)
        self._seconds: dict[str, float] = {}
        self._notes: Sequence[str] = ()

        self._grasps = self.create_publisher(GraspArray, "grasps", 1)
        self._contact = self.create_publisher(PointCloud2, "contact_map", 1)
        self._markers = self.create_publisher(MarkerArray, "markers", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.create_timer(1.0, self._publish_diagnostics)
        self.create_subscription(
            PointCloud2,
            "object_cloud",
            self._on_cloud,
            # Sensor data, but with room for the newest cloud alone.
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self.create_service(
            GenerateGrasps,
            "generate_grasps",
            self._on_generate,
            callback_group=ReentrantCallbackGroup(),
        )
        self.create_service(
            RefineGrasps, "refine_grasps", self._on_refine, callback_group=ReentrantCallbackGroup()
        )
        names = ("object_cloud", "generate_grasps", "refine_grasps")
        topic, *services = map(self.resolve_topic_name, names)
        self.get_logger().info(
            f"ready: takes clouds from {topic} and calls of {' and '.join(services)}"
        )

    def close(self) -> None:
        """Cancel what waits and let the running generation stop early."""
        self._worker.shutdown(cancel_futures=True)

    def _declare_parameters(self) -> None:
        def fixed(name, default, description):
            declare(self, name, default, description, read_only=True)

        folder = "or a folder of weights."
        fixed("generator", defaults.GENERATOR, f"{', '.join(generators.NAMES)} {folder}")
        fixed("refiner", defaults.REFINER, f"{', '.join(refiners.NAMES)}, none {folder}")
        fixed("reposition", "", "Generator that puts proposed hands in new places: dvqvae.")
        fixed("sampling", "", "Its sampling's options, such as temperature=0.8,top_k=16.")
        fixed("contact", "distance", "Contact maps by distance, or by CHOIR's gaussians.")
        fixed(
            "completion",
            defaults.COMPLETION,
            f"Guess of the unseen: {', '.join(completion.NAMES)}.",
        )
        fixed("ranking", defaults.RANKING, f"What scores: {', '.join(ranking.NAMES)} {folder}")
        fixed("device", "auto", "auto (CUDA when there is one), cpu, cuda or cuda:N.")
        fixed("hand", "", "MANO hand file, .pkl or .npz; empty for the shipped generic hand.")
        fixed("side", "right", f"Hand that grasps: {' or '.join(SIDES)}.")
        viewpoint = "Where the camera stood, x y z in the cloud's frame; empty if that isn't known."
        declare(self, "viewpoint", [], viewpoint)
        declare(self, "num_grasps", 32, "Grasps per cloud.", (1, MAX_GRASPS))
        declare(self, "seed", 0, "Same cloud and seed, same grasps.", SEEDS)
        declare(self, "publish_markers", True, "Publish markers while somebody listens.")
        declare(self, "max_markers", 5, "Hands shown, best first.", (1, MAX_GRASPS))
        declare(self, "service_timeout", 30.0, "Seconds a call waits for its turn.", (0.1, 600.0))

    def _load_pipeline(self) -> None:
        start = time.perf_counter()
        self.pipeline = GraspPipeline(
            generator=self._value("generator"),
            refiner=self._value("refiner"),
            device=self._value("device"),
            hand=self._value("hand") or None,
            side=self._value("side"),
            reposition=self._value("reposition") or None,
            contact=self._value("contact"),
            completion=self._value("completion"),
            ranking=self._value("ranking"),
            sampling=generators.read_options(self._value("sampling")),
        )
        self.get_logger().info(
            f"loaded {self._value('generator')} with refiner {self._value('refiner')} "
            f"on {self.pipeline.device} in {time.perf_counter() - start:.1f} s"
        )

    def _value(self, name: str):
        return self.get_parameter(name).value

    def _on_cloud(self, cloud: PointCloud2) -> None:
        with self._slot:
            superseded, self._newest = self._newest, cloud
        if superseded is None:
            self._worker.submit(self._serve_newest)
        else:  # the job that was to serve it takes this one instead
            self._counts["clouds_dropped"] += 1

    def _serve_newest(self) -> None:
        with self._slot:
            cloud, self._newest = self._newest, None
        try:
            make = self._generating(self._value("num_grasps"), self._value("seed"))
            grasps, message = self._make_grasps(cloud, (), make)
            if self.context.ok():
                self._publish(grasps, message)
        except Exception as error:
            text = f"cloud refused: {self._explain(error)}"
            self.get_logger().warning(text, throttle_duration_sec=REPEAT)

    def _on_generate(
        self, request: GenerateGrasps.Request, response: GenerateGrasps.Response
    ) -> GenerateGrasps.Response:
        def prepare() -> Callable[[Observation], GraspSet]:
            if request.num_grasps > MAX_GRASPS:
                raise InputError(
                    f"num_grasps: {request.num_grasps}, accepted are 1 to {MAX_GRASPS}, "
                    "and 0 for the node's parameter"
                )
            if request.seed < -1:
                raise InputError(
                    f"seed: {request.seed}, accepted are 0 and more, "
                    "and -1 for the node's parameter"
                )
            num = request.num_grasps or self._value("num_grasps")
            seed = self._value("seed") if request.seed == -1 else request.seed
            return self._generating(num, seed)

        return self._answer(request, response, prepare)

    def _on_refine(
        self, request: RefineGrasps.Request, response: RefineGrasps.Response
    ) -> RefineGrasps.Response:
        def prepare() -> Callable[[Observation], GraspSet]:
            if len(request.hands) > MAX_GRASPS:
                raise InputError(f"hands: {len(request.hands)}, accepted are 1 to {MAX_GRASPS}")
            mano = read_hands(request.hands, self.pipeline.side)
            return partial(self.pipeline.refine_hands, mano=mano, stop=self._stopping)

        return self._answer(request, response, prepare)

    def _generating(self, num: int, seed: int) -> Callable[[Observation], GraspSet]:
        return partial(self.pipeline, num=num, seed=seed, stop=self._stopping)

    def _stopping(self) -> bool:
        return not self.context.ok()

    def _answer(self, request, response, prepare: Callable):
        """The response: grasps as `prepare` says how to make them, or why there are none."""
        start = time.perf_counter()
        try:
            grasps, message = self._wait_for_turn(request.cloud, request.viewpoint, prepare())
            response.grasps, response.success = message, True
            seconds = time.perf_counter() - start
            done = f"{len(grasps)} grasps in {seconds:.2f} s"
            response.message = "; ".join([done, *grasps.info["notes"]])
        except Exception as error:
            response.message = self._explain(error)
            self.get_logger().warning(f"call failed: {response.message}")
        return response

    def _wait_for_turn(
        self, cloud: PointCloud2, viewpoint: Sequence[Point], make: Callable
    ) -> tuple[GraspSet, GraspArray]:
        """The worker serves calls in order of arrival, each at most one cloud's time late."""
        if not self._calls.acquire(blocking=False):
            raise Busy(f"busy: {MAX_CALLS} calls wait already, try again later")
        try:
            job = self._worker.submit(self._make_grasps, cloud, viewpoint, make)
            patience = self._value("service_timeout")
            try:
                return job.result(patience)
            except FutureTimeoutError:
                if job.cancel():
                    raise Busy(f"busy: no turn within {patience:g} s (service_timeout)") from None
                return job.result()
        finally:
            self._calls.release()

    def _make_grasps(
        self,
        cloud: PointCloud2,
        viewpoint: Sequence[Point],
        make: Callable[[Observation], GraspSet],
    ) -> tuple[GraspSet, GraspArray]:
        """Runs in the worker thread only."""
        self._state, self._notes = "generating", ()
        self._counts["clouds_taken"] += 1
        start = time.perf_counter()
        try:
            seen = read_observation(cloud, viewpoint, self._value("viewpoint") or ())
            read = time.perf_counter()
            grasps = make(seen)
            ready = time.perf_counter()
            message = grasp_array(grasps, cloud.header)
        except InputError:
            self._counts["clouds_refused"] += 1
            self._level = DiagnosticStatus.WARN
            raise
        finally:
            self._state = "idle"
        self._level, self._notes = DiagnosticStatus.OK, grasps.info["notes"]
        end = time.perf_counter()
        conversion = {"read_cloud": read - start, "make_message": end - ready}
        self._seconds = {**self.pipeline.timings, **conversion, "total": end - start}
        return grasps, message

    def _publish(self, grasps: GraspSet, message: GraspArray) -> None:
        self._grasps.publish(message)
        self._contact.publish(make_cloud(grasps.points, message.header, grasps.contact[0]))
        if self._value("publish_markers") and self._markers.get_subscription_count():
            count = self._value("max_markers")
            self._markers.publish(grasp_markers(grasps, message.header, count))
        done = f"{len(grasps)} grasps in {self._seconds['total']:.2f} s"
        text = "; ".join([f"{done}, best {grasps.score[0]:.2f}", *self._notes])
        self.get_logger().info(text, throttle_duration_sec=REPEAT)

    def _explain(self, error: Exception) -> str:
        """One line for users; a bug's traceback goes to the log."""
        if isinstance(error, InputError | Busy):
            text = textwrap.shorten(str(error), LONGEST, placeholder=" ...")
        elif isinstance(error, CancelledError) or not self.context.ok():
            text = "the node is shutting down"
        else:
            text = textwrap.shorten(f"internal error: {error!r}", LONGEST, placeholder=" ...")
            self._level = DiagnosticStatus.ERROR
            self.get_logger().error("".join(traceback.format_exception(error)))
        self._last_error = text
        return text

    def _publish_diagnostics(self) -> None:
        values = {
            "state": self._state,
            "generator": self._value("generator"),
            "refiner": self._value("refiner"),
            **self._counts,
            **{f"seconds_{stage}": f"{seconds:.3f}" for stage, seconds in self._seconds.items()},
            "notes": "; ".join(self._notes),
            "last_error": self._last_error,
        }
        status = DiagnosticStatus(
            name=f"{self.get_fully_qualified_name().lstrip('/')}: grasps",
            hardware_id=str(self.pipeline.device),
            level=self._level,
            message=self._last_error if self._level != DiagnosticStatus.OK else self._state,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 2 for parameters that name nothing or are out of range."""
    return run_node("grasp_generator", spin, args)


def spin() -> None:
    """Serve until the context is shut down."""
    tune_allocator()
    node = GraspGenerator()
    try:
        executor = MultiThreadedExecutor(num_threads=MAX_CALLS + 3)
        executor.add_node(node)
        executor.spin()
    finally:
        rclpy.try_shutdown()
        node.close()


if __name__ == "__main__":
    sys.exit(main())
