"""One job at a time, in order of arrival, each of which can be stopped; of a stream the newest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from rclpy.publisher import Publisher

from grasp_gen_core.stopping import Stop
from grasp_gen_ros.msg import ResultCode
from grasp_gen_ros.refusal import Refusal

LOOK = 0.1  # seconds between looks at whether somebody still waits

T = TypeVar("T")


class Turns:
    """A worker thread.

    Args:
        most: jobs that may wait, or run, with somebody who waits for them.
    """

    def __init__(self, most: int) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._places = threading.BoundedSemaphore(most)
        self._most = most
        self._closed = threading.Event()

    def add(self, job: Callable[[Stop], object]) -> None:
        """Do a job for which nobody waits; it is given what to ask whether to stop."""
        self._submit(job, self._closed.is_set)

    def take(self, job: Callable[[Stop], T], patience: float, given_up: Callable[[], str]) -> T:
        """What a job gives, when its turn has come.

        Args:
            job: is given what to ask whether to stop, and raises CancelledError then.
            patience: seconds without a turn until it is given up.
            given_up: asked now and then; a reason stops the job.

        Raises:
            Refusal: BUSY, CANCELLED or INACTIVE.
        """
        if not self._places.acquire(blocking=False):
            text = f"busy: {self._most} calls wait already, try again later"
            raise Refusal(ResultCode.BUSY, text)
        stop, reason, start = threading.Event(), "", time.monotonic()
        try:
            future = self._submit(job, lambda: stop.is_set() or self._closed.is_set())
            if future is None:
                raise inactive()
            while True:
                try:
                    return future.result(LOOK)
                except FutureTimeoutError:
                    if future.done():
                        raise  # the job's own
                if reason := reason or given_up():
                    stop.set()
                    future.cancel()
                elif time.monotonic() - start > patience and future.cancel():
                    text = f"busy: no turn within {patience:g} s (service_timeout)"
                    raise Refusal(ResultCode.BUSY, text)
        except CancelledError:
            if reason:
                raise Refusal(ResultCode.CANCELLED, f"cancelled: {reason}") from None
            raise inactive() from None
        finally:
            self._places.release()

    def _submit(self, job: Callable[[Stop], T], stop: Stop) -> Future[T] | None:
        try:
            return self._worker.submit(job, stop)
        except RuntimeError:  # closed just now
            return None

    def close(self) -> None:
        """Stop what runs and drop what waits; returns when nothing runs any more."""
        self._closed.set()
        self._worker.shutdown(cancel_futures=True)


class Newest(Generic[T]):
    """Of what comes all the time the newest has a turn, while somebody listens to what comes of it.

    Args:
        job: is given it, and what to ask whether to stop.
        outputs: to which somebody may listen.
    """

    def __init__(self, job: Callable[[T, Stop], object], *outputs: Publisher) -> None:
        self._job, self._outputs = job, outputs
        self._slot = threading.Lock()
        self._due: T | None = None  # until it has its turn
        self._queued = False

    def put(self, one: T, turns: Turns | None) -> bool:
        """Give it the next turn; whether another loses it thereby."""
        with self._slot:
            replaced, self._due = self._queued, one
        self.catch_up(turns)
        return replaced

    def catch_up(self, turns: Turns | None) -> None:
        """A turn for the newest, if it had none and somebody listens."""
        if turns is None or not any(out.get_subscription_count() for out in self._outputs):
            return
        with self._slot:
            if self._due is None or self._queued:
                return
            self._queued = True
        turns.add(self._serve)

    def drop(self) -> None:
        """Forget what waits; nothing runs any more."""
        self._due, self._queued = None, False

    def _serve(self, stop: Stop) -> None:
        with self._slot:
            one, self._due, self._queued = self._due, None, False
        self._job(one, stop)


def inactive() -> Refusal:
    return Refusal(ResultCode.INACTIVE, "inactive: the node isn't active, or is shutting down")
