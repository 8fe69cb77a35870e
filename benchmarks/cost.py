"""CPU time of grasps, by how many are asked for and by how many points the cloud has.

    OMP_NUM_THREADS=1 python benchmarks/cost.py     # writes cost.json and cost.png into docs

Time of the process, all threads together, not of the clock: other work on the machine hardly shows.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch

from grasp_gen_core import GraspPipeline
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.runtime import tune_allocator

DOCS = Path(__file__).parents[1] / "docs"
NUMS = (1, 4, 16, 64, 256, 1024)
POINTS = (64, 256, 1024, 4096, 16384, 65536, 262144, 1_000_000)
REFINERS = ("none", "quick")
AT_NUM, AT_POINTS = 32, 2048  # of what is held
REPEATS, ENOUGH = 3, 3.0  # calls of which the fastest counts; seconds after which no more are made


def cloud(points: int) -> np.ndarray:
    return sample_surface(make_object("bottle", 0), points, 0)[0]


def seconds(pipeline: GraspPipeline, points: np.ndarray, num: int) -> float:
    """CPU seconds of a call."""
    calls: list[float] = []
    while len(calls) < REPEATS and sum(calls) < ENOUGH:
        started = time.process_time()
        pipeline(points, num=num)
        calls.append(time.process_time() - started)
    return min(calls)


def measure(nums: tuple[int, ...], points: tuple[int, ...]) -> Iterator[dict]:
    for refiner in REFINERS:
        pipeline = GraspPipeline(refiner=refiner, device="cpu")
        pipeline(cloud(AT_POINTS), num=AT_NUM)  # warm-up
        cells = [(num, AT_POINTS) for num in nums] + [(AT_NUM, count) for count in points]
        for num, count in cells:
            spent = seconds(pipeline, cloud(count), num)
            yield {"refiner": refiner, "grasps": num, "points": count, "seconds": spent}


def draw(rows: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), dpi=120, layout="constrained")
    sides = zip(figure.subplots(1, 2, sharey=True), ("grasps", "points"), strict=True)
    for axes, varied in sides:
        held, at = ("points", AT_POINTS) if varied == "grasps" else ("grasps", AT_NUM)
        for refiner in REFINERS:
            some = [row for row in rows if row["refiner"] == refiner and row[held] == at]
            some.sort(key=lambda row: row[varied])
            x, y = ([row[name] for row in some] for name in (varied, "seconds"))
            axes.loglog(x, y, marker="o", markersize=3, label=f"refiner {refiner}")
        axes.set_xlabel(f"{varied}, with {at} {held}")
        axes.grid(color="#dfe3e8", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.axes[0].set_ylabel("CPU seconds")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS, help="folder with results and pictures")
    parser.add_argument("--small", action="store_true", help="few grasps and points: a trial")
    arguments = parser.parse_args()
    tune_allocator()
    rows = []
    for row in measure(NUMS[:3], POINTS[:3]) if arguments.small else measure(NUMS, POINTS):
        rows.append(row)
        print(row, flush=True)
    found = {
        "machine": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "date": date.today().isoformat(),
        "rows": rows,
    }
    (arguments.out / "results" / "cost.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(rows, arguments.out / "pictures" / "cost.png")


if __name__ == "__main__":
    main()
