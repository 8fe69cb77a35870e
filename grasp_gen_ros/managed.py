"""What the package's managed nodes have in common: lifecycle, diagnostics, and a look for twins."""

from __future__ import annotations

import textwrap
import traceback
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from grasp_gen_core.errors import InputError
from grasp_gen_core.runtime import release_memory, tune_allocator
from grasp_gen_ros.msg import ResultCode
from grasp_gen_ros.parameters import declare
from grasp_gen_ros.qos import publisher
from grasp_gen_ros.refusal import Refusal
from grasp_gen_ros.turns import Newest, Turns, inactive

LONGEST = 500  # characters of a message that says what was wrong
REPEAT = 5.0  # seconds before the same warning is logged again


class Managed(LifecycleNode):
    """A node that configures and activates itself, or lets somebody else; each second it tells how
    it is.

    Args:
        name: of the node.
        makes: what it makes, for the name of its diagnostics.
        takes: what comes all the time, for the names of its counts.
        calls: that may wait at the same time.
    """

    _newest: Newest  # of what it takes; made by the subclass, from its outputs

    def __init__(self, name: str, makes: str, takes: str, calls: int) -> None:
        super().__init__(name)
        text = "Configure and activate at start; else somebody manages the node."
        declare(self, "autostart", True, text, read_only=True)
        self._makes, self._takes, self._calls = makes, takes, calls
        self._turns: Turns | None = None  # while the node is active
        self._state, self._last_error, self._level = "unconfigured", "", DiagnosticStatus.OK
        self._counts = {f"{takes}_{what}": 0 for what in ("taken", "dropped", "refused")}
        self._seconds: dict[str, float] = {}
        self._notes: Sequence[str] = ()
        self._diagnostics = publisher(self, DiagnosticArray, "/diagnostics")
        # It goes on while time is simulated and stands still, and while the node is configured.
        group, clock = MutuallyExclusiveCallbackGroup(), Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._tick, clock=clock, callback_group=group)

    @abstractmethod
    def load(self) -> None:
        """Get what is needed to serve.

        Raises:
            InputError: if a parameter names something that doesn't exist.
        """

    @abstractmethod
    def unload(self) -> None:
        """Drop what was loaded."""

    @abstractmethod
    def served(self) -> str:
        """What it takes from where, for the log."""

    @abstractmethod
    def about(self) -> Mapping[str, object]:
        """More values for the diagnostics; `device` is the hardware's."""

    def start(self) -> None:
        """Load and serve at once, unless somebody else is to manage the node's lifecycle."""
        if self._value("autostart"):
            if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
                raise self._failure
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load."""
        try:
            self.load()
        except Exception as error:
            self._failure = error
            if self.executor:  # else `start` raises it
                self._explain(error)
                self.get_logger().error(f"not configured: {self._last_error}")
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Serve."""
        self._state, self._turns = "idle", Turns(self._calls)
        self.get_logger().info(f"ready: takes {self.served()}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop what runs, and tell those who wait."""
        self.close()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the memory."""
        self._drop("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free the memory, from whatever state."""
        self.close()
        self._drop("finalized")
        return super().on_shutdown(state)

    def close(self) -> None:
        """Stop what runs, drop what waits, and tell those who wait."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.close()
            self._newest.drop()

    def _drop(self, state: str) -> None:
        self.unload()
        self._state = state
        release_memory()

    def _take(self, one: object) -> None:
        """The next turn for what has come."""
        self._counts[f"{self._takes}_dropped"] += self._newest.put(one, self._turns)

    def _value(self, name: str):
        return self.get_parameter(name).value

    def _explain(self, error: Exception) -> tuple[int, str]:
        """A code and one line for users; a bug's traceback goes to the log."""
        if isinstance(error, InputError | Refusal):
            code = error.code if isinstance(error, Refusal) else ResultCode.BAD_INPUT
            text = textwrap.shorten(str(error), LONGEST, placeholder=" ...")
        elif isinstance(error, CancelledError) or not self.context.ok():
            code, text = ResultCode.INACTIVE, str(inactive())
        else:
            text = textwrap.shorten(f"internal error: {error!r}", LONGEST, placeholder=" ...")
            code, self._level = ResultCode.BUG, DiagnosticStatus.ERROR
            self.get_logger().error("".join(traceback.format_exception(error)))
        self._last_error = text
        return code, text

    def _tick(self) -> None:
        """Each second: those who listen by now, and a word on what goes on."""
        self._newest.catch_up(self._turns)
        self._publish_diagnostics()
        name = self.get_fully_qualified_name()
        if self.get_fully_qualified_node_names().count(name) > 1:
            text = f"another node is called {name}, too: start one of them with -r __node:=NAME"
            self.get_logger().warning(text, throttle_duration_sec=REPEAT)

    def _publish_diagnostics(self) -> None:
        values = {
            "state": self._state,
            **self.about(),
            **self._counts,
            **{f"seconds_{stage}": f"{seconds:.3f}" for stage, seconds in self._seconds.items()},
            "notes": "; ".join(self._notes),
            "last_error": self._last_error,
        }
        status = DiagnosticStatus(
            name=f"{self.get_fully_qualified_name().lstrip('/')}: {self._makes}",
            hardware_id=str(values.get("device", "")),
            level=self._level,
            message=self._last_error if self._level != DiagnosticStatus.OK else self._state,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def spin(make: Callable[[], Managed], threads: int) -> None:
    """Serve until the context is shut down."""
    tune_allocator()
    node = make()
    try:
        node.start()
        executor = MultiThreadedExecutor(num_threads=threads)
        executor.add_node(node)
        executor.spin()
    finally:
        rclpy.try_shutdown()
        node.close()
