"""What grasps make of guesses of the unseen side: of objects of held-out families, step by step.

    python benchmarks/unseen.py [--view camera] [--objects 30] [--num 8] [WAY ...]

Each way's mean quality index and what it is made of, the share of hands that hold when they close,
and by how much the index is lower and the share is higher than the first way's on the same
objects, with 90 % bootstrap intervals over objects.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import closing
from datetime import date
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import trimesh
from tqdm import tqdm

from grasp_gen_core import pipeline as grasping
from grasp_gen_core.completion import Belief, Seen, get_completion
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.quality_index import VOLUME_WEIGHT
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import HELD_OUT, make_object
from grasp_gen_core.objects.views import VIEWS, view_object
from grasp_gen_core.parallel import run_in_order
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.report import table as markdown
from grasp_gen_core.types import GraspSet

FIRST_SEED = 500_000
PITCH = 0.0015  # metres between the lines of the volume
RESAMPLED, INTERVAL = 10_000, (5, 95)


class Way(NamedTuple):
    """What an object is taken for, how far hands lean to deeper backs, what ranks and proposes."""

    completion: str
    sees: bool = True  # whether it's known where the camera stood
    lean: float = grasping.LEAN
    ranking: str = "evaluator"
    whole: bool = True  # whether half of the hands are proposed for what was drawn
    behind: float = grasping.BEHIND


OLD = {"ranking": "formula", "whole": False, "behind": 0.0}
WAYS = {
    "symmetry": Way("symmetry", sees=False, **OLD),
    "+ viewpoint": Way("symmetry", **OLD),
    "+ several backs": Way("exit_depth", lean=0.0, **OLD),
    "+ refiner": Way("exit_depth", **OLD),
    "+ evaluator": Way("exit_depth", whole=False, behind=0.0),
    "+ from the seen side": Way("exit_depth", whole=False),
    "+ for the whole": Way("exit_depth"),
    "volume, evaluator": Way("volume"),
    "symmetry, evaluator": Way("symmetry"),
    "known": Way("none"),
}


@lru_cache
def pipeline(ranking: str) -> GraspPipeline:
    return GraspPipeline(device="cpu", ranking=ranking)


def way_of(way: str) -> GraspPipeline:
    """The pipeline that guesses, refines and ranks in one of WAYS."""
    setting = WAYS[way]
    made = pipeline(setting.ranking)
    complete = get_completion(setting.completion, made.hand)

    def guess(seen: Seen, seed: int) -> Belief:
        belief = complete(seen if setting.sees else seen._replace(eye=None), seed)
        return belief if setting.whole else belief._replace(shapes=())

    made.complete = guess
    grasping.LEAN, grasping.BEHIND = setting.lean, setting.behind
    return made


def judge(made: GraspPipeline, grasps: GraspSet, mesh: trimesh.Trimesh, pose: np.ndarray) -> dict:
    """Means over grasps of a mesh, metres, whose frame is a pose (4, 4) away from theirs."""
    place = pose[:3, :3].astype(np.float32), pose[:3, 3].astype(np.float32)
    vertices = grasps.vertices @ place[0].T + place[1]
    volume = penetration_volume_cm3(vertices, made.hand.closed_faces.numpy(), mesh, PITCH)
    hands = made.hand.move(torch.from_numpy(grasps.mano), *map(torch.from_numpy, place))
    held = ClosingTest(mesh, made.hand)(hands.numpy()).outcome == HELD
    test = SimTest(mesh, drift=False)
    moved = test(vertices, made.hand.closed_faces.numpy()).displacement_cm
    index = VOLUME_WEIGHT * volume + (1 - VOLUME_WEIGHT) * moved
    return {
        "volume_cm3": np.nanmean(volume),
        "displacement_cm": np.nanmean(moved),
        "quality_index": np.nanmean(index),
        "success": held.mean(),
        "contact_seen": grasps.metrics["contact_seen"].mean(),
    }


def measure(view: str, num: int, case: tuple[str, int]) -> dict:
    """Means over one way's grasps of one object; runs in a process of its own."""
    torch.set_num_threads(1)
    way, number = case
    made = way_of(way)
    mesh = make_object(HELD_OUT[number % len(HELD_OUT)], FIRST_SEED + number)
    seen = view_object(mesh, view, seed=number)
    field = None
    if way == "known":
        there = mesh.copy().apply_transform(np.linalg.inv(seen.pose))
        field = DistanceGrid.from_mesh(there)
    grasps = made(seen.points, num, field=field)
    return {"way": way, "object": number} | judge(made, grasps, mesh, seen.pose)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--view", choices=VIEWS, default="camera")
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--num", type=int, default=8, help="grasps of an object")
    arguments = parser.parse_args()
    ways = arguments.ways or list(WAYS)
    cases = [(way, number) for way in ways for number in range(arguments.objects)]
    task = partial(measure, arguments.view, arguments.num)
    with closing(run_in_order(task, cases, os.cpu_count() or 1)) as results:
        table = pd.DataFrame(list(tqdm(results, total=len(cases), leave=False)))
    means = table.drop(columns="object").groupby("way", sort=False).mean()
    drawn = np.random.default_rng(0).integers(
        arguments.objects, size=(RESAMPLED, arguments.objects)
    )
    for name, sign in (("quality_index", -1), ("success", 1)):
        column = table.pivot(index="object", columns="way", values=name)
        for way in ways:
            better = sign * (column[way] - column[ways[0]]).to_numpy()
            low, high = np.percentile(better[drawn].mean(axis=1), INTERVAL)
            means.loc[way, f"{name} better by"] = f"{better.mean():.2f} ({low:.2f} to {high:.2f})"
    rows = [
        {"way": way} | {n: x if isinstance(x, str) else f"{x:.2f}" for n, x in row.items()}
        for way, row in means.iterrows()
    ]
    print(markdown(rows))
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
