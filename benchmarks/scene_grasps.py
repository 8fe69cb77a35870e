"""Grasps of every object of whole scenes: whether hands get there, and how long it takes.

    python benchmarks/scene_grasps.py [--virtual 0] [--scenes DIR] [--num 8]

Real scenes and virtual ones are those of segmentation.py. Counted are objects that are found (an
intersection over union of 0.75 or more with what is labelled). Not free is a hand that is more than
5 mm in the table or in a neighbour anywhere on its way from pre-grasp to grasp.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from segmentation import IOU, Case, real, virtual
from tqdm import tqdm

from grasp_gen_core import GraspPipeline
from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import FIRST_OBJECT, Segmentation, segment
from grasp_gen_core.ranking.collision import Surroundings
from grasp_gen_core.types import Observation

FIRST = 16  # grasps that are counted by themselves, and the best five


def found(seen: Segmentation, truth: np.ndarray) -> set[int]:
    """The segments that are objects."""
    known, numbers = truth >= 0, set()
    for number, true in itertools.product(seen.numbers, np.unique(truth[truth >= FIRST_OBJECT])):
        one, other = known & (seen.labels == number), truth == true
        if (one & other).sum() >= IOU * (one | other).sum():
            numbers.add(number)
    return numbers


def measure(pipeline: GraspPipeline, case: Case, num: int) -> list[dict]:
    """A row for each segment; its grasps are made as those of all others are."""
    started, cpu = time.perf_counter(), time.process_time()
    seen = segment(case.points)
    rows = []
    for number in seen.numbers:
        one = Observation(seen.object(number), viewpoint=seen.viewpoint)
        try:
            grasps = pipeline(one, num=num, scene=Surroundings.of(seen, number))
        except InputError:
            continue
        free = grasps.metrics["collision_free"].astype(bool)
        rows.append(
            {
                "scene": case.name,
                "object": number,
                "any": bool(free.any()),
                "free of 5": int(free[:5].sum()),
                f"free of {FIRST}": int(free[:FIRST].sum()),
                "score": float(grasps.score[0]),
                "best free": bool(free[0]),
            }
        )
    known = found(seen, case.truth)
    seconds = time.perf_counter() - started, time.process_time() - cpu
    times = dict(zip(("seconds", "cpu_s"), seconds, strict=True))
    return [row | {"known": row["object"] in known} | times for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--virtual", type=int, default=0, help="scenes")
    parser.add_argument("--num", type=int, default=8, help="grasps of an object")
    beside = Path(__file__).parents[2] / "shared"
    default = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "scenes"
    parser.add_argument("--scenes", type=Path, default=default, metavar="DIR")
    arguments = parser.parse_args()
    pipeline, rows = GraspPipeline(device="cpu"), []
    cases = virtual(arguments.virtual) if arguments.virtual else real(arguments.scenes)
    for case in tqdm(cases):
        rows += measure(pipeline, case, arguments.num)
    every = pd.DataFrame(rows)
    print(every.round(2).to_string(index=False))
    table = every[every.known]
    per_scene = every.groupby("scene")[["seconds", "cpu_s"]].first().mean()
    print(
        f"{len(table)} objects of {len(every)} segments; a free grasp: {table['any'].sum()}; best "
        f"free: {table['best free'].sum()}; free of the best 5: {table['free of 5'].sum()} of "
        f"{5 * len(table)}; free of the first {min(FIRST, arguments.num)}: "
        f"{table[f'free of {FIRST}'].sum()}; mean score of the best {table.score.mean():.3f}"
    )
    print(f"a scene: {per_scene.seconds:.1f} s, {per_scene.cpu_s:.1f} s of CPU time")
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
