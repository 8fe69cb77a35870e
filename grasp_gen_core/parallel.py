"""The same task on many items: on the cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

from grasp_gen_core.errors import InputError

REACH_SECONDS = 5  # for a Ray cluster to answer
AHEAD = 4  # items for each worker that wait or are worked on while a slow one holds up the results


def run_in_order(
    task: Callable[[Any], Any],
    items: Iterable,
    workers: int,
    start: Callable[[], None] | None = None,
    ray_address: str | None = None,
) -> Iterator:
    """Results of task(item) in the order of the items, by `Workers` that end with them.

    An iterator that is not exhausted must be closed (`contextlib.closing`): what waits is then
    cancelled, and what runs is ended.

    Args:
        task, items: see `Workers.run`.
        workers, start, ray_address: see `Workers`.

    Raises:
        InputError: see `Workers`.
    """
    return _run(Workers(workers, start, ray_address), task, items)


def _run(workers: Workers, task: Callable, items: Iterable) -> Iterator:
    with workers:
        yield from workers.run(task, items)


class Workers:
    """Processes for one task after another, a context manager; what runs ends with it.

    Each process has one thread, one worker too is a process of its own, and results come in order:
    what comes out doesn't depend on how many workers there are.

    Args:
        count: processes; with Ray it is the CPUs of the cluster that count.
        start: called once in each process before its first task.
        ray_address: host:port, ray://host:port or "auto", a running Ray cluster on which this
            package is installed; each task takes one CPU there.

    Raises:
        InputError: if there are no workers; when entered, if Ray isn't installed or can't be
            reached.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[], None] | None = None,
        ray_address: str | None = None,
    ) -> None:
        if count < 1:
            raise InputError(f"workers: {count}, accepted are positive numbers")
        self._pool = _processes(count, start) if ray_address is None else _ray(ray_address, start)

    def __enter__(self) -> Workers:
        self._submit, self._count = self._pool.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        return self._pool.__exit__(*raised)

    def run(self, task: Callable[[Any], Any], items: Iterable) -> Iterator:
        """Results of task(item) in the order of the items, computed several at a time.

        Args:
            task: a function of a module, or a `functools.partial` of one. What it raises comes out
                as it is, in its turn.
            items: as many as there are; some for each worker are taken ahead of the results.
        """
        waiting: deque[Callable[[], Any]] = deque()
        for item in items:
            waiting.append(self._submit(task, item))
            if len(waiting) > AHEAD * self._count:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


@contextmanager
def _processes(workers: int, start: Callable[[], None] | None):
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (start, True))
    try:
        yield lambda task, item: pool.submit(task, item).result, workers
    except BaseException:
        for process in list(
            (pool._processes or {}).values()
        ):  # Python 3.14 has terminate_workers()
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ray(address: str, start: Callable[[], None] | None):
    try:
        import ray
    except ImportError as error:
        raise InputError("ray: not installed, `pip install ray` adds it") from error
    _reach(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"ray: no cluster at {address}: {error}") from error

    remote = ray.remote(num_cpus=1)(_on_ray)

    def submit(task: Callable, item: Any) -> Callable[[], Any]:
        return partial(_result, remote.remote(start, task, item))

    try:
        yield submit, int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()  # ends this program's tasks, not the cluster


def _reach(address: str) -> None:
    """InputError unless something listens there: Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise InputError(f"ray: address {address!r}, accepted are host:port, ray://host:port, auto")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise InputError(f"ray: no cluster at {address}: {error}") from error


def _result(reference) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


_begun = False


def _on_ray(start: Callable[[], None] | None, task: Callable, item: Any) -> Any:
    global _begun
    if not _begun:
        _begin(start)
        _begun = True
    return task(item)


def _begin(start: Callable[[], None] | None, owned: bool = False) -> None:
    """Make a fresh process one of many: a thread each, an interrupt left to the parent."""
    if owned:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a library is loaded
    import torch

    from grasp_gen_core.runtime import tune_allocator

    tune_allocator()
    torch.set_num_threads(1)
    if start:
        start()


def _end_with(parent: int) -> None:
    """End this process when its parent, killed, can give it no more work."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
