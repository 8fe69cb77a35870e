"""How long a call that is to stop may go on: the longest time between looks at whether to.

    python benchmarks/stopping.py [--num 32]

An object of the sample scene, with each generator, refiner and completion; one warm call each.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date
from pathlib import Path

import pandas as pd
import torch

from grasp_gen_core import GraspPipeline, completion, defaults, generators, refiners
from grasp_gen_core.perception import segment
from grasp_gen_core.perception.files import load_scene
from grasp_gen_core.ranking.collision import Surroundings
from grasp_gen_core.types import Observation

TABLE = Path(__file__).parents[1] / "examples" / "table.npz"


class Watch:
    """Never stops; keeps the CPU time between questions."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.last = time.process_time()

    def __call__(self) -> bool:
        now = time.process_time()
        self.gaps.append(now - self.last)
        self.last = now
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=32, help="grasps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    points, viewpoint = load_scene(TABLE)
    seen = segment(points, viewpoint)
    number = seen.numbers[0]
    one, around = (
        Observation(seen.object(number), viewpoint=viewpoint),
        Surroundings.of(seen, number),
    )
    ways = [{"generator": name} for name in generators.NAMES]
    ways += [{"refiner": name} for name in refiners.NAMES if name != defaults.REFINER]
    ways += [{"completion": name} for name in completion.NAMES if name != defaults.COMPLETION]
    rows = []
    for way in ways:
        options = way | ({"generator": "grasp_cvae"} if way.get("refiner") == "grasp_tta" else {})
        pipeline = GraspPipeline(device="cpu", **options)
        pipeline(one, num=1, scene=around)
        watch, started = Watch(), time.process_time()
        pipeline(one, num=arguments.num, scene=around, stop=watch)
        watch()
        row = {"what": next(iter(way.values())), "call, s": time.process_time() - started}
        rows.append(row | {"longest, s": max(watch.gaps), "looks": len(watch.gaps)})
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(2).to_string(index=False))
    print(f"\nCPU time; {platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
