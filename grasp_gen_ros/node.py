"""The `grasp_generator` node: clouds in, ranked grasps out, by topic, service and action."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from grasp_gen_core import completion, defaults, generators, ranking, refiners
from grasp_gen_core.errors import InputError
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.stopping import Stop
from grasp_gen_core.types import SIDES, GraspSet
from grasp_gen_ros.action import Generate
from grasp_gen_ros.conversions import grasp_array, make_cloud, read_hands
from grasp_gen_ros.managed import REPEAT, Managed, spin
from grasp_gen_ros.markers import grasp_markers
from grasp_gen_ros.msg import GraspArray, ResultCode
from grasp_gen_ros.parameters import SEEDS, declare
from grasp_gen_ros.processes import run_node
from grasp_gen_ros.qos import ALIVE, publisher, subscribe
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps
from grasp_gen_ros.targets import Target, Targets
from grasp_gen_ros.turns import Newest, inactive

MAX_GRASPS = 256
MAX_CALLS = 4  # calls that may wait; more are told busy at once

# Makes grasps of a target; is given what to ask whether to stop.
Make = Callable[[Target, Stop], GraspSet]


class GraspGenerator(Managed):
    """Runs a GraspPipeline in a worker thread for the newest cloud and for calls, in turn.

    Raises:
        InputError: if a parameter names something that doesn't exist.
        ParameterException: if a parameter has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("grasp_generator", makes="grasps", takes="clouds", calls=MAX_CALLS)
        self._declare_parameters()
        self.pipeline: GraspPipeline | None = None
        self._grasps = publisher(self, GraspArray, "grasps")
        self._contact = publisher(self, PointCloud2, "contact_map")
        self._markers = publisher(self, MarkerArray, "markers")
        outputs = self._grasps, self._contact, self._markers
        self._newest = Newest(self._serve_newest, *outputs)
        self._targets = Targets(self)
        group = MutuallyExclusiveCallbackGroup()
        subscribe(self, PointCloud2, "object_cloud", self._on_cloud, group)
        group = ReentrantCallbackGroup()
        self._generate = self.create_service(
            GenerateGrasps, "generate_grasps", self._on_generate, callback_group=group
        )
        self._refine = self.create_service(
            RefineGrasps, "refine_grasps", self._on_refine, callback_group=group
        )
        self._action = ActionServer(
            self,
            Generate,
            "generate",
            self._on_goal,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            status_pub_qos_profile=ALIVE,
        )

    def served(self) -> str:
        """The names by which it is asked."""
        names = ("object_cloud", "generate_grasps", "refine_grasps")
        topic, *services = map(self.resolve_topic_name, names)
        return f"clouds from {topic} and calls of {' and '.join(services)}"

    def unload(self) -> None:
        """Drop the weights."""
        self.pipeline = None

    def about(self) -> dict[str, object]:
        """What the grasps are made by."""
        return {name: self._value(name) for name in ("generator", "refiner", "device")}

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
        declare(self, "num_grasps", 32, "Grasps per cloud.", (1, MAX_GRASPS))
        declare(self, "seed", 0, "Same cloud and seed, same grasps.", SEEDS)
        declare(self, "publish_markers", True, "Publish markers beside the grasps.")
        declare(self, "max_markers", 5, "Hands shown, best first.", (1, MAX_GRASPS))
        declare(self, "service_timeout", 30.0, "Seconds a call waits for its turn.", (0.1, 600.0))

    def load(self) -> None:
        """Load the weights."""
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

    def _on_cloud(self, cloud: PointCloud2) -> None:
        self._targets.cloud = cloud  # for calls that ask for the newest
        self._take(cloud)

    def _serve_newest(self, cloud: PointCloud2, stop: Stop) -> None:
        try:
            make = self._generating(self._value("num_grasps"), self._value("seed"))
            grasps, message = self._make_grasps(GenerateGrasps.Request(cloud=cloud), make, stop)
            if self.context.ok():
                self._publish(grasps, message)
        except Exception as error:
            text = f"cloud refused: {self._explain(error)[1]}"
            self.get_logger().warning(text, throttle_duration_sec=REPEAT)

    def _on_generate(
        self, request: GenerateGrasps.Request, response: GenerateGrasps.Response
    ) -> GenerateGrasps.Response:
        given_up = self._deserted(self._generate.service_name, request.timeout)
        self._answer(request, response, partial(self._prepare, request), given_up)
        response.success = response.code == ResultCode.DONE
        return response

    def _on_goal(self, goal: ServerGoalHandle) -> Generate.Result:
        clients = f"{self.resolve_topic_name('generate')}/_action/send_goal"
        deserted = self._deserted(clients, goal.request.timeout)

        def given_up() -> str:
            return "as was asked for" if goal.is_cancel_requested else deserted()

        def tell(target: Target, stage: str, best: GraspSet | None) -> None:
            feedback = Generate.Feedback(stage=stage)
            if best is not None:
                feedback.best = self._message(best, target).grasps
            goal.publish_feedback(feedback)

        result = Generate.Result()
        self._answer(goal.request, result, partial(self._prepare, goal.request, tell), given_up)
        if result.code == ResultCode.DONE:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

    def _prepare(
        self, request: GenerateGrasps.Request | Generate.Goal, tell: Callable | None = None
    ) -> Make:
        if request.num_grasps > MAX_GRASPS:
            raise InputError(
                f"num_grasps: {request.num_grasps}, accepted are 1 to {MAX_GRASPS}, "
                "and 0 for the node's parameter"
            )
        if request.seed < -1:
            raise InputError(
                f"seed: {request.seed}, accepted are 0 and more, and -1 for the node's parameter"
            )
        num = request.num_grasps or self._value("num_grasps")
        seed = self._value("seed") if request.seed == -1 else request.seed
        return self._generating(num, seed, tell)

    def _on_refine(
        self, request: RefineGrasps.Request, response: RefineGrasps.Response
    ) -> RefineGrasps.Response:
        def prepare() -> Make:
            if len(request.hands) > MAX_GRASPS:
                raise InputError(f"hands: {len(request.hands)}, accepted are 1 to {MAX_GRASPS}")
            mano = read_hands(request.hands, self._value("side"))

            def make(target: Target, stop: Stop) -> GraspSet:
                return self.pipeline.refine_hands(target.seen, mano, stop=stop, up=target.up)

            return make

        given_up = self._deserted(self._refine.service_name, request.timeout)
        self._answer(request, response, prepare, given_up)
        response.success = response.code == ResultCode.DONE
        return response

    def _generating(self, num: int, seed: int, tell: Callable | None = None) -> Make:
        def make(target: Target, stop: Stop) -> GraspSet:
            return self.pipeline(
                target.seen,
                num=num,
                seed=seed,
                stop=stop,
                scene=target.around,
                up=target.up,
                progress=tell and partial(tell, target),
            )

        return make

    def _deserted(self, service: str, timeout: float) -> Callable[[], str]:
        """Why nobody waits for an answer any more, "" as long as somebody may."""
        end = time.monotonic() + timeout if timeout > 0 else math.inf
        met = False  # the caller may be heard before it is seen

        def reason() -> str:
            nonlocal met
            there = self.count_clients(service) > 0
            if met and not there:
                return "all clients are gone"
            met = met or there
            late = time.monotonic() > end
            return f"past the request's timeout of {timeout:g} s" if late else ""

        return reason

    def _answer(
        self, request, response, prepare: Callable[[], Make], given_up: Callable[[], str]
    ) -> None:
        """Fill the response with grasps as `prepare` says how to make them, or why there are none.

        The worker serves calls in order of arrival, each at most one cloud's time late.
        """
        start = time.perf_counter()
        try:
            make, turns = prepare(), self._turns
            if turns is None:
                raise inactive()
            grasps, response.grasps = turns.take(
                partial(self._make_grasps, request, make), self._value("service_timeout"), given_up
            )
            seconds = time.perf_counter() - start
            done = f"{len(grasps)} grasps in {seconds:.2f} s"
            response.message = "; ".join([done, *grasps.info["notes"]])
        except Exception as error:
            response.code, response.message = self._explain(error)
            self.get_logger().warning(f"call failed: {response.message}")

    def _make_grasps(self, request, make: Make, stop: Stop) -> tuple[GraspSet, GraspArray]:
        """Runs in the worker thread only."""
        self._state, self._notes = "generating", ()
        self._counts["clouds_taken"] += 1
        start = time.perf_counter()
        try:
            target = self._targets.find(request)
            read = time.perf_counter()
            grasps = make(target, lambda: stop() or not self.context.ok())
            ready = time.perf_counter()
            message = self._message(grasps, target)
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

    def _message(self, grasps: GraspSet, target: Target) -> GraspArray:
        return grasp_array(grasps, target.header, target.name)

    def _publish(self, grasps: GraspSet, message: GraspArray) -> None:
        self._grasps.publish(message)
        self._contact.publish(make_cloud(grasps.points, message.header, grasps.contact[0]))
        if self._value("publish_markers"):
            count = self._value("max_markers")
            self._markers.publish(grasp_markers(grasps, message.header, count))
        done = f"{len(grasps)} grasps in {self._seconds['total']:.2f} s"
        text = "; ".join([f"{done}, best {grasps.score[0]:.2f}", *self._notes])
        self.get_logger().info(text, throttle_duration_sec=REPEAT)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 2 for parameters that name nothing or are out of range."""
    return run_node("grasp_generator", partial(spin, GraspGenerator, MAX_CALLS + 4), args)


if __name__ == "__main__":
    sys.exit(main())
