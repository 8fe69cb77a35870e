"""Tasks in real processes."""

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from grasp_gen_core.parallel import AHEAD, Workers, run_in_order

HERE = Path(__file__).parent


def work(number: int) -> tuple[int, int, int, str]:
    """Slow at first, so that later results are ready before."""
    import torch

    time.sleep(0.5 if number == 0 else 0.01)
    return number, os.getpid(), torch.get_num_threads(), os.environ.get("STARTED", "never")


def set_started() -> None:
    os.environ["STARTED"] = os.environ.get("STARTED", "") + "once"


def refuse_three(number: int) -> tuple[int, int]:
    if number == 3:
        raise ValueError("three: not accepted")
    return number, os.getpid()


def die(_: int) -> None:
    os._exit(1)


def note_and_sleep(folder: Path, number: int) -> None:
    (folder / f"{os.getpid()}_{number}").touch()
    time.sleep(100)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_in_order_of_items_without_an_end_until_closed():
    taken = []
    items = (taken.append(i) or i for i in itertools.count())
    with closing(run_in_order(work, items, 2, set_started)) as results:
        found = [next(results) for _ in range(8)]
        assert 8 <= len(taken) <= 8 + AHEAD * 2
    assert [number for number, *_ in found] == list(range(8))
    processes = {pid for _, pid, *_ in found}
    assert len(processes) == 2 and os.getpid() not in processes
    assert not any(map(is_alive, processes))
    assert {(threads, started) for *_, threads, started in found} == {(1, "once")}
    assert "STARTED" not in os.environ


def test_one_task_after_another_by_the_same_processes():
    with Workers(2, set_started) as workers:
        first, second = (list(workers.run(work, range(n))) for n in (4, 3))
        processes = {pid for _, pid, *_ in first + second}
        assert len(processes) == 2 and all(map(is_alive, processes))
    assert [number for number, *_ in first + second] == [0, 1, 2, 3, 0, 1, 2]
    assert {started for *_, started in first + second} == {"once"}
    assert not any(map(is_alive, processes))


def test_what_a_task_raises_comes_in_its_turn_and_ends_the_rest():
    results = run_in_order(refuse_three, itertools.count(), 1)
    found = [next(results) for _ in range(3)]
    assert [number for number, _ in found] == [0, 1, 2]
    assert os.getpid() not in {pid for _, pid in found}  # one worker too is a process of its own
    with pytest.raises(ValueError, match="^three: not accepted$"):
        next(results)
    assert not is_alive(found[0][1])


def test_a_process_that_dies_is_no_silence():
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        list(run_in_order(die, range(3), 1))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path, end):
    program = (
        "from functools import partial; from pathlib import Path\n"
        "from grasp_gen_core.parallel import AHEAD, run_in_order\n"
        "from test_parallel import note_and_sleep\n"
        "if __name__ == '__main__':\n"
        f"    task = partial(note_and_sleep, Path({str(tmp_path)!r}))\n"
        "    list(run_in_order(task, range(9), 2))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    running = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
        # As from a terminal: what starts tests in the background has them ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (notes := list(tmp_path.glob("*_*"))) and running.poll() is None:
            time.sleep(0.05)
        if end == signal.SIGINT:
            os.killpg(running.pid, end)  # as Ctrl-C does: all of them get it
        else:
            running.send_signal(end)
        _, said = running.communicate(timeout=30)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert said.count("KeyboardInterrupt") == (end == signal.SIGINT)  # the program's own
    assert notes
    within = time.monotonic() + 10
    while any(is_alive(int(path.name.split("_")[0])) for path in notes):
        assert time.monotonic() < within
        time.sleep(0.1)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(workers):
    with pytest.raises(ValueError, match="workers: .*accepted are positive"):
        run_in_order(work, range(3), workers)
