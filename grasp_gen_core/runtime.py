"""Process-wide settings: device choice, threads and the C allocator."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import torch

from grasp_gen_core.errors import InputError


def select_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` picks CUDA when there is one.

    Raises:
        InputError: if the device is unknown or not there.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device: {device!r}, accepted are auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: {device!r}, but this machine has no CUDA device")
    return chosen


def version() -> str:
    """Of the package, "unknown" where it isn't installed by pip."""
    try:
        return metadata.version("grasp-gen")
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def few_threads() -> Iterator[None]:
    """Within it torch works in as many threads as half of this process' cores, at least in one.

    Hands are refined by many small operations. At the end of each all threads wait for one that
    another process has put off: on two busy cores two threads take ten times as long as one. Not by
    the load, as last digits would depend on it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, _cores() // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tune_allocator() -> None:
    """Keep glibc from giving large temporaries back to the kernel (page faults cost 4-7 times)."""
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc: its allocator needs no tuning
        return
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 1 << 28)


def release_memory() -> None:
    """Give what isn't used any more back to the system, the device's too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return
