"""Arrays that are made once: whole, after interruptions, and by two processes at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from grasp_gen_training.kept import keep

COUNT = 6
CODE = """
import sys, time
import numpy as np
from pathlib import Path
from grasp_gen_training.kept import keep

def square(number):
    open(sys.argv[2], "a").write(f"{number}\\n")
    time.sleep(float(sys.argv[3]))
    return number**2

keep(Path(sys.argv[1]), (6,), "<i4", square, ((i, i) for i in range(6)), "squares")
"""


def make(path: Path, square) -> Path:
    return keep(path, (COUNT,), "<i4", square, ((i, i) for i in range(COUNT)), "squares")


def is_whole(path: Path) -> bool:
    alone = list(path.parent.iterdir()) == [path]
    return alone and np.array_equal(np.load(path), np.arange(COUNT) ** 2)


def test_an_interrupted_run_is_resumed(tmp_path):
    path, made = tmp_path / "below" / "squares.npy", []

    def interrupted(number: int) -> int:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(number)
        return number**2

    with pytest.raises(KeyboardInterrupt):
        make(path, interrupted)
    assert not path.exists() and made == [0, 1, 2, 3]
    again = []
    assert make(path, lambda number: again.append(number) or number**2) == path
    assert again == [4, 5] and is_whole(path)
    assert make(path, lambda number: pytest.fail("made twice")) == path


def test_remains_of_another_size_are_not_taken(tmp_path):
    path = tmp_path / "squares.npy"
    path.with_suffix(".part").write_bytes(b"half a file")
    path.with_suffix(".done").write_bytes(b"\1")
    assert is_whole(make(path, lambda number: number**2))


def start(path: Path, log: Path, pause: float) -> subprocess.Popen:
    words = [sys.executable, "-c", CODE, str(path), str(log), str(pause)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_what_it_made(tmp_path):
    path, log = tmp_path / "kept" / "squares.npy", tmp_path / "log"
    first = start(path, log, 0.5)
    while not log.exists() or len(log.read_text().split()) < 3:
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    second = start(path, log, 0)
    assert second.wait(60) == 0
    made = [int(number) for number in log.read_text().split()]
    assert set(made) == set(range(COUNT)) and made.count(0) == made.count(1) == 1
    assert is_whole(path)


def test_two_at_a_time_make_it_once(tmp_path):
    path, log = tmp_path / "kept" / "squares.npy", tmp_path / "log"
    both = [start(path, log, 0.3) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(log.read_text().split()) == [str(i) for i in range(COUNT)]
    assert sum("another process makes the squares, waiting" in words for words in said) == 1
    assert is_whole(path)


def maker(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("slow", [False, True])
def test_slow_tasks_are_spread_over_processes_sooner(tmp_path, slow):
    rows = ((number, number) for number in range(12))
    path = keep(tmp_path / "pids.npy", (12,), "<i8", maker, rows, "pids", True, slow=slow)
    makers = set(np.load(path).tolist())
    assert (makers == {os.getpid()}) != slow and (os.getpid() in makers) != slow
