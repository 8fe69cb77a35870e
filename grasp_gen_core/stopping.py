"""Work that can be stopped from outside, however deep in it the loop is that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar

Stop = Callable[[], bool]

_asked: ContextVar[Stop | None] = ContextVar("asked", default=None)


@contextmanager
def stopped_by(stop: Stop | None) -> Iterator[None]:
    """Within this block, and its thread, `heed` asks `stop`; None leaves it to an outer block."""
    token = _asked.set(stop or _asked.get())
    try:
        yield
    finally:
        _asked.reset(token)


def heed() -> None:
    """Called between steps that take long.

    Raises:
        CancelledError: if the work is to stop.
    """
    stop = _asked.get()
    if stop is not None and stop():
        raise CancelledError("stopped")
