"""How many grasps go into the table of real depth images, with and without the scene told.

    python benchmarks/through_table.py [--clouds DIR] [--num 32]

Each cloud is an .npz with depth_mm, K and object_points; its plane comes from the depth image. A
grasp counts if a vertex of the hand, or of the pre-grasp's hand, is more than 5 mm below the plane.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_gen_core import GraspPipeline
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.perception import FIRST_OBJECT, segment
from grasp_gen_core.perception.files import load_scene
from grasp_gen_core.ranking.collision import FREE, Surroundings
from grasp_gen_core.types import GraspSet, Observation, read_npz

FIRST = 16  # grasps that are counted by themselves
OWN = 0.01  # metres: what is that near to the object's points is the object


def surroundings(file: Path, points: np.ndarray) -> Surroundings:
    """The plane, and the segments that aren't the object."""
    seen = segment(load_scene(file).points)
    low, high = points.min(axis=0) - OWN, points.max(axis=0) + OWN
    neighbours = [np.zeros((0, 3))]
    for number in range(FIRST_OBJECT, FIRST_OBJECT + len(seen.numbers)):
        one = seen.object(number)
        if ((one > low) & (one < high)).all(axis=1).mean() < 0.5:
            neighbours.append(one)
    return Surroundings(seen.plane, np.concatenate(neighbours), np.zeros(3))


def row(pipeline: GraspPipeline, grasps: GraspSet, around: Surroundings) -> dict:
    """Counts of hands below the plane."""
    opened = pipeline.hand(torch.from_numpy(grasps.pregrasp))[0].numpy()
    deep = [(around.plane.height(v).min(axis=1) < -FREE) for v in (grasps.vertices, opened)]
    free = grasps.metrics.get("collision_free")
    return {
        "hands": int(deep[0].sum()),
        "pre-grasps": int(deep[1].sum()),
        f"hands of {FIRST}": int(deep[0][:FIRST].sum()),
        f"pre-grasps of {FIRST}": int(deep[1][:FIRST].sum()),
        "best": int(deep[0][0]),
        "free": None if free is None else int(free.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).parents[2] / "shared"
    default = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "clouds"
    parser.add_argument("--clouds", type=Path, default=default, metavar="DIR")
    parser.add_argument("--num", type=int, default=32, help="grasps of an object")
    arguments = parser.parse_args()
    files = [file for file in sorted(arguments.clouds.glob("*.npz")) if "K" in read_npz(file)]
    if not files:
        print(f"skipped: no depth images in {arguments.clouds}; name a folder or GRASP_GEN_DATA")
        return
    pipeline, rows = GraspPipeline(device="cpu"), []
    for file in files:
        points, _ = clean_points(read_npz(file)["object_points"])
        around = surroundings(file, points)
        seen = Observation(points, viewpoint=np.zeros(3))
        for name, scene in (("alone", None), ("scene", around)):
            started = time.perf_counter()
            grasps = pipeline(seen, num=arguments.num, seed=0, scene=scene)
            seconds = time.perf_counter() - started
            counts = row(pipeline, grasps, around)
            rows.append({"cloud": file.stem, "given": name} | counts | {"seconds": seconds})
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    print(table.groupby("given").sum(numeric_only=True).round(2).to_string())
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
