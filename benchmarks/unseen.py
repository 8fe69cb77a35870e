"""What grasps make of guesses of the unseen side: of objects of held-out families, step by step.

    python benchmarks/unseen.py [--view camera] [--objects 16] [--num 8] [WAY ...]

Each way's mean quality index and what it is made of, and by how much the index is lower than the
first way's on the same objects, with a 90 % bootstrap interval over objects.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import closing
from datetime import date
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from grasp_gen_core.completion import get_completion
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.quality_index import VOLUME_WEIGHT
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import HELD_OUT, make_object
from grasp_gen_core.objects.views import VIEWS, view_object
from grasp_gen_core.parallel import run_in_order
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.refiners import quick

FIRST_SEED = 500_000
PITCH = 0.0015  # metres between the lines of the volume
RESAMPLED, INTERVAL = 10_000, (5, 95)
# Completion, how many backs, how far contact leans to the deeper ones; None: as shipped.
WAYS = {
    "symmetry": ("symmetry", None, None),
    "one back": ("exit_depth", 1, None),
    "several backs": ("exit_depth", None, 0.0),
    "exit_depth": ("exit_depth", None, None),
    "known": ("none", None, None),
}
LEAN = quick.LEAN


@lru_cache(maxsize=1)
def pipeline() -> GraspPipeline:
    return GraspPipeline(device="cpu")


def measure(view: str, num: int, case: tuple[str, int]) -> dict:
    """Means over one way's grasps of one object; runs in a process of its own."""
    torch.set_num_threads(1)
    (way, number), made = case, pipeline()
    completion, count, lean = WAYS[way]
    made.complete = get_completion(completion, made.hand)
    if count:
        made.complete.count = count
    quick.LEAN = LEAN if lean is None else lean
    mesh = make_object(HELD_OUT[number % len(HELD_OUT)], FIRST_SEED + number)
    seen = view_object(mesh, view, seed=number)
    field = None
    if way == "known":
        there = mesh.copy().apply_transform(np.linalg.inv(seen.pose))
        field = DistanceGrid.from_mesh(there)
    grasps = made(seen.points, num, field=field)
    vertices = grasps.vertices @ seen.pose[:3, :3].T + seen.pose[:3, 3]
    faces = made.hand.closed_faces.numpy()
    volume = penetration_volume_cm3(vertices, faces, mesh, PITCH)
    moved = SimTest(mesh, drift=False)(vertices, faces).displacement_cm
    index = VOLUME_WEIGHT * volume + (1 - VOLUME_WEIGHT) * moved
    return {
        "way": way,
        "object": number,
        "volume_cm3": np.nanmean(volume),
        "displacement_cm": np.nanmean(moved),
        "quality_index": np.nanmean(index),
        "contact_seen": grasps.metrics["contact_seen"].mean(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--view", choices=VIEWS, default="camera")
    parser.add_argument("--objects", type=int, default=16)
    parser.add_argument("--num", type=int, default=8, help="grasps of an object")
    arguments = parser.parse_args()
    ways = arguments.ways or list(WAYS)
    cases = [(way, number) for way in ways for number in range(arguments.objects)]
    task = partial(measure, arguments.view, arguments.num)
    with closing(run_in_order(task, cases, os.cpu_count() or 1)) as results:
        table = pd.DataFrame(list(tqdm(results, total=len(cases), leave=False)))
    means = table.drop(columns="object").groupby("way", sort=False).mean()
    index = table.pivot(index="object", columns="way", values="quality_index")
    drawn = np.random.default_rng(0).integers(len(index), size=(RESAMPLED, len(index)))
    for way in ways:
        lower = (index[ways[0]] - index[way]).to_numpy()
        low, high = np.percentile(lower[drawn].mean(axis=1), INTERVAL)
        means.loc[way, "lower by"] = f"{lower.mean():.2f} ({low:.2f} to {high:.2f})"
    print(means.round(2).to_string())
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
