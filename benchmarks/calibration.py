"""Whether the physics tests tell good grasps from bad ones: grasps made by optimisation, the same
hands backed off along their approach, random hands, and the default pipeline's of what is seen of
an object, on YCB objects.

    python benchmarks/calibration.py [--num 12] [--objects 010_potted_meat_can ...] [--closing]

Objects are read from $GRASP_GEN_DATA/objects/ycb (default: ../shared beside the repository).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trimesh

from grasp_gen_core.hand import ManoHand, mechanism, rotations
from grasp_gen_core.metrics import grasp_success
from grasp_gen_core.metrics.grasp_success import FAILURES, HELD, ClosingTest
from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.convex import convex_parts
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.meshes import load_mesh, solid
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.runtime import tune_allocator
from grasp_gen_core.synthesis.filter import GraspMaker

OBJECTS = ("004_sugar_box", "006_mustard_bottle", "011_banana", "037_scissors")
BACKED_OFF = (0.005, 0.010, 0.020)  # metres
HELD_CM = 2.0  # an object that moved less counts as held
TESTS = ("sim_displacement_cm", "sim_displacement_cm as published", "hold_worst_axis_cm")
POINTS = 4096  # of a view
# The closing test's preset, and what is set otherwise to see whether that makes a difference.
CLOSING = {
    "strict": ("strict", ()),
    "whole seconds": ("strict", ((grasp_success, "CLEARLY", 0.0),)),
    "half the time step": ("strict", ((grasp_success, "TIME_STEP", 0.002),)),
    "cells half as large": ("strict", ((mechanism, "FEWEST_FACES", 6),)),
    "dexgraspbench": ("dexgraspbench", ()),
    "driven to the squeeze": ("strict", ()),
}


def back_off(hand: ManoHand, mano: torch.Tensor, distance: float) -> torch.Tensor:
    """(B, 61) hands moved back along the direction that their palms face, metres."""
    palm = rotations.to_matrix(mano[:, 10:13]) @ hand.regions.palm_axis
    return torch.cat([mano[:, :58], mano[:, 58:] - distance * palm], dim=1)


def random_hands(hand: ManoHand, mesh: trimesh.Trimesh, count: int, seed: int) -> torch.Tensor:
    """(count, 61) hands of any pose within the joints' limits, within 5 cm of the object."""
    rng = torch.Generator().manual_seed(seed)
    low, high = hand.regions.limits.unbind(-1)
    angles = low + (high - low) * torch.rand(count, 15, 3, generator=rng)
    columns = torch.randn(count, 3, 2, generator=rng)
    turn = rotations.to_rotvec(rotations.orthonormal(columns))
    mano = torch.zeros(count, 61)
    mano[:, 10:13], mano[:, 13:58] = turn, hand.regions.to_pose(angles)
    _, joints = hand(mano)
    points = mesh.sample(count, seed=seed)
    towards = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=1)
    gap = 0.05 * torch.rand(count, 1, generator=rng)
    # The middle of the hand lies up to 5 cm from a point of the surface.
    mano[:, 58:] += torch.from_numpy(points).float() + gap * towards - joints.mean(dim=1)
    return mano


def hands_of(
    mesh: trimesh.Trimesh, hand: ManoHand, pipeline: GraspPipeline, num: int, seed: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Hands of each kind on one object, (num, 61) or fewer, and the squeezes of some kinds."""
    made, _ = GraspMaker(mesh, hand)(4 * num, seed, num)
    good = torch.tensor(np.stack(made["mano"][:num].to_numpy()))
    kinds = {"good": good}
    kinds |= {f"{1000 * d:.0f} mm back": back_off(hand, good, d) for d in BACKED_OFF}
    kinds["random"] = random_hands(hand, mesh, num, seed)
    squeezes = {}
    for view in ("full", "camera"):
        seen = view_object(mesh, view, POINTS, seed)
        pose = torch.from_numpy(seen.pose).float()
        grasps = pipeline(seen.points, num, seed)
        for found, mano in ((kinds, grasps.mano), (squeezes, grasps.squeeze)):
            moved = hand.move(torch.from_numpy(mano), pose[:3, :3], pose[:3, 3])
            found[f"pipeline, {view}"] = moved
    return kinds, squeezes


def close(
    mesh: trimesh.Trimesh,
    hand: ManoHand,
    kinds: dict[str, torch.Tensor],
    squeezes: dict[str, torch.Tensor],
) -> list[tuple[str, str, float, int]]:
    """Setting, kind, seconds of one core and outcome of each hand in the closing test."""
    rows = []
    for setting, (preset, changes) in CLOSING.items():
        kept = [(module, name, getattr(module, name)) for module, name, _ in changes]
        for module, name, value in changes:
            setattr(module, name, value)
        test = ClosingTest(mesh, hand, preset)
        ends = squeezes if setting == "driven to the squeeze" else dict.fromkeys(kinds)
        for kind, end in ends.items():
            mano, start = kinds[kind], time.process_time()
            outcome = test(mano.numpy(), None if end is None else end.numpy()).outcome
            seconds = (time.process_time() - start) / len(mano)
            rows += [(setting, kind, seconds, one) for one in outcome]
        for module, name, value in kept:
            setattr(module, name, value)
    return rows


def closing_table(rows: pd.DataFrame) -> str:
    """Markdown: shares of the outcomes for each setting and kind of hands."""
    lines = [
        "| closing test | hands | held % | pushed away % | slipped % | collided % | same % | ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (setting, hands), group in rows.groupby(["setting", "hands"], sort=False):
        shares = [100 * (group["outcome"] == code).mean() for code in (HELD, *FAILURES)]
        first = rows[(rows["setting"] == "strict") & (rows["hands"] == hands)]["outcome"]
        same = 100 * ((group["outcome"].array == HELD) == (first.array == HELD)).mean()
        numbers = " | ".join(f"{share:.0f}" for share in (*shares, same))
        milliseconds = 1000 * group["seconds"].mean()
        lines.append(f"| {setting} | {hands} | {numbers} | {milliseconds:.0f} |")
    return "\n".join(lines)


def measure(mesh: trimesh.Trimesh, hand: ManoHand, kinds: dict[str, torch.Tensor]) -> pd.DataFrame:
    """One row for each hand and test of fixed hands on one object."""
    faces = hand.closed_faces.cpu().numpy()
    exact, published = SimTest(mesh), SimTest.as_published(mesh)
    hold = HoldTest(mesh, hand_cells(hand))
    rows = []
    for kind, mano in kinds.items():
        vertices = hand(mano)[0].numpy()
        depths = penetration_depth_cm(torch.from_numpy(signed_distance(mesh, vertices))).numpy()
        for test, simulate in zip(
            TESTS,
            (lambda v: exact(v, faces), lambda v: published(v, faces), hold),
            strict=True,
        ):
            start = time.perf_counter()
            result = simulate(vertices)
            seconds = (time.perf_counter() - start) / len(vertices)
            for values in zip(*result, depths, strict=True):
                rows.append((test, kind, seconds, *values))
    columns = ["test", "hands", "seconds", "moved", "drift", "unstable", "depth"]
    return pd.DataFrame(rows, columns=columns)


def table(rows: pd.DataFrame) -> str:
    """Markdown: means and medians for each test and kind of hands; depth is the hands' median."""
    lines = [
        "| test | hands | mean cm | median cm | drift cm | held % | unstable % | depth cm | ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (test, hands), group in rows.groupby(["test", "hands"], sort=False):
        held = 100 * ((group["moved"] <= HELD_CM) & ~group["unstable"]).mean()
        drift = "-" if group["drift"].isna().all() else f"{group['drift'].mean():.2f}"
        lines.append(
            f"| {test} | {hands} | {group['moved'].mean():.2f} | {group['moved'].median():.2f} "
            f"| {drift} | {held:.0f} | {100 * group['unstable'].mean():.0f} "
            f"| {group['depth'].median():.2f} | {1000 * group['seconds'].mean():.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--num", type=int, default=6, help="hands of each kind on each object")
    parser.add_argument("--objects", nargs="+", default=OBJECTS, help="names of mesh files")
    parser.add_argument("--seed", type=int, default=0)
    help = "the closing test alone, not those of fixed hands"
    parser.add_argument("--closing", action="store_true", help=help)
    arguments = parser.parse_args()
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "objects" / "ycb"
    paths = [folder / f"{name}.ply" for name in arguments.objects]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        print(f"skipped: no {', '.join(missing)} in {folder}; set GRASP_GEN_DATA")
        return 0

    tune_allocator()
    hand, pipeline = ManoHand(), GraspPipeline()
    rows, closed = [], []
    for path in paths:
        mesh, _ = solid(load_mesh(path), str(path))
        kinds, squeezes = hands_of(mesh, hand, pipeline, arguments.num, arguments.seed)
        closed += close(mesh, hand, kinds, squeezes)
        if not arguments.closing:
            rows.append(measure(mesh, hand, kinds))
        parts = convex_parts(mesh)
        count = len(parts.parts)
        print(f"{path.stem}: {count} convex parts, {parts.volume_ratio:.3f} of the mesh's volume")
    print(
        f"\n{arguments.num} hands of each kind an object, {os.cpu_count()} cores "
        f"{platform.machine()}, {date.today()}\n"
    )
    columns = ["setting", "hands", "seconds", "outcome"]
    print(closing_table(pd.DataFrame(closed, columns=columns)) + "\n")
    if arguments.closing:
        return 0
    rows = pd.concat(rows, ignore_index=True)
    print(table(rows) + "\n")
    held = {test: (rows["moved"] <= HELD_CM)[rows["test"] == test].to_numpy() for test in TESTS}
    for test in TESTS[:2]:
        agree = 100 * (held[test] == held[TESTS[2]]).mean()
        print(f"{test} and {TESTS[2]} agree on what is held (<= {HELD_CM:g} cm): {agree:.0f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
