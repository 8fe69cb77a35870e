"""Arrays that are made once, on all cores, and kept on disk."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from grasp_gen_core.parallel import run_in_order

QUICK, SLOW = 256, 8  # tasks for which starting processes takes longer than they save


def keep(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype | str,
    make: Callable,
    tasks: Iterable[tuple],
    what: str,
    quiet: bool = False,
    slow: bool = False,
) -> Path:
    """A file with an array, made on all cores unless it is there; an interrupted run is resumed.

    Args:
        path: of the .npy file; an unfinished one is called .part.
        shape, dtype: of the array.
        make: gives, of each task's second part, the rows that its first part numbers.
        tasks: what to make.
        what: for the progress bar.
        quiet: no bar.
        slow: whether a task takes seconds.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, marks = path.with_suffix(".part"), path.with_suffix(".done")
    with open(marks, "ab") as lock:
        if not _locked(lock):
            print(f"{path}: another process makes the {what}, waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path
        # What an interrupted run has made is there still: marked in a file beside it.
        tasks = list(tasks)
        count = len(tasks)
        resumed = unfinished.exists() and marks.stat().st_size == count
        if not resumed:
            os.truncate(marks, count)
        done = np.memmap(marks, bool, "r+", shape=(count,))
        done[:] &= resumed
        mode = "r+" if resumed else "w+"
        file = np.lib.format.open_memmap(unfinished, mode, *(() if resumed else (dtype, shape)))
        missing = np.flatnonzero(~done)
        inputs = [tasks[number][1] for number in missing]
        bar = partial(tqdm, total=count, initial=count - len(missing), disable=quiet)
        bar = partial(bar, desc=what, unit="object")
        with closing(_made(make, inputs, SLOW if slow else QUICK)) as made:
            for number, rows in zip(missing, bar(made), strict=True):
                file[tasks[number][0]] = rows
                done[number] = True
        file.flush()
        unfinished.replace(path)
        marks.unlink()
    return path


def _locked(file) -> bool:
    """Whether no other process had it; its end gives it back."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _made(make: Callable, inputs: list, few: int) -> Iterator:
    if len(inputs) <= few:
        yield from map(make, inputs)
    else:
        with closing(run_in_order(make, inputs, os.cpu_count() or 1)) as made:
            yield from made
