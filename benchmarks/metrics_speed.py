"""Speed of the metrics, beside a straightforward implementation on trimesh's voxels as the papers'
repositories have it, and the displacement test as their scripts run it.

    python benchmarks/metrics_speed.py [--objects 20] [--grasps 1000] [--simulated 200] [--voxels 2]

With `--voxels 0` only the simulations are timed, in CPU time of one thread.

Grasps are those of the shipped dataset, on their procedural objects, moved by up to a centimetre so
that volumes of all sizes occur.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch
import trimesh

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.runtime import tune_allocator

DATA = Path(__file__).parents[1] / "training" / "data"


def voxel_volume_and_depth(
    hand: trimesh.Trimesh, mesh: trimesh.Trimesh, pitch: float
) -> tuple[float, float]:
    """Volume (cm^3) of the hand's voxels that the object contains, and depth (cm)."""
    centres = hand.voxelized(pitch).fill().points
    volume = 1e6 * pitch**3 * np.count_nonzero(mesh.contains(centres))
    inside = hand.vertices[mesh.contains(hand.vertices)]
    depth = trimesh.proximity.closest_point(mesh, inside)[1].max() if len(inside) else 0.0
    return volume, 100 * depth


def grasps_of(
    data: GraspDataset, hand: ManoHand, objects: int, count: int, shake: float
) -> list[tuple[trimesh.Trimesh, np.ndarray]]:
    """Objects, each with its share of `count` posed hands (B, 778, 3)."""
    rng, found = np.random.default_rng(0), []
    for number in rng.choice(len(data.objects), objects, replace=False):
        rows = rng.choice(np.flatnonzero(data.object_index == number), count // objects)
        mano = torch.from_numpy(data.mano[rows])
        mano[:, 58:] += torch.from_numpy(rng.uniform(-shake, shake, (len(rows), 3))).float()
        found.append((data.mesh(int(number)), hand(mano)[0].numpy().astype(float)))
    return found


def time_volume_and_depth(
    data: GraspDataset, hand: ManoHand, objects: int, grasps: int, voxels: int
) -> None:
    """Print how long volume and depth take, ours and by `voxels` grasps an object."""
    faces = hand.closed_faces.numpy()
    shaken = grasps_of(data, hand, objects, grasps, 0.01)
    # What is loaded or built once for each object, by either side, isn't counted.
    for mesh, hands in shaken:
        signed_distance(mesh, hands[0])
        mesh.contains(hands[0][:1])
    seconds, ours = {"ours": 0.0}, []
    for mesh, hands in shaken:
        started = time.perf_counter()
        volume = penetration_volume_cm3(hands, faces, mesh)
        depth = penetration_depth_cm(torch.from_numpy(signed_distance(mesh, hands))).numpy()
        seconds["ours"] += time.perf_counter() - started
        ours.append((volume, depth))
    per_grasp = {"ours": seconds["ours"] / grasps}
    errors = {}
    for pitch in (0.005, 0.001):
        started, difference = time.perf_counter(), []
        for (mesh, hands), (volume, _) in zip(shaken, ours, strict=True):
            for index in range(voxels):
                body = trimesh.Trimesh(hands[index], faces, process=False)
                counted, _ = voxel_volume_and_depth(body, mesh, pitch)
                difference.append(abs(counted - volume[index]))
        name = f"trimesh voxels, {1000 * pitch:g} mm"
        per_grasp[name] = (time.perf_counter() - started) / len(difference)
        errors[name] = np.mean(difference)

    print("volume and depth".ljust(26), "ms a grasp   times slower   mean difference [cm³]")
    for name, each in per_grasp.items():
        gap = f"{errors[name]:.3f}" if name in errors else ""
        print(f"{name:26s} {1000 * each:10.1f} {each / per_grasp['ours']:14.1f}   {gap}")
    print(f"({grasps} grasps, {seconds['ours']:.1f} s; voxels on {voxels * objects} of them)\n")


def time_simulations(data: GraspDataset, hand: ManoHand, objects: int, grasps: int) -> None:
    """Print how long the physics tests take; what is made once for an object isn't counted."""
    faces, seconds = hand.closed_faces.numpy(), {}
    for mesh, hands in grasps_of(data, hand, objects, grasps, 0.0):
        for name, test in (
            ("displacement and drift", partial(SimTest(mesh), faces=faces)),
            ("displacement as published", partial(SimTest.as_published(mesh), faces=faces)),
            ("hold", HoldTest(mesh, hand_cells(hand))),
        ):
            begun = time.process_time()
            test(hands)
            seconds.setdefault(name, []).append((time.process_time() - begun) / len(hands))
    print("simulations".ljust(26), f"ms CPU time a grasp, of {grasps} on {objects} objects")
    for name, each in seconds.items():
        print(f"{name:26s} {1000 * np.mean(each):10.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--grasps", type=int, default=1000)
    parser.add_argument("--simulated", type=int, default=200)
    parser.add_argument("--voxels", type=int, default=1, help="grasps an object by voxels")
    arguments = parser.parse_args()
    tune_allocator()
    data, hand = GraspDataset.load(DATA), ManoHand()
    print(f"{os.cpu_count()} cores {platform.machine()}, {date.today()}\n")
    if arguments.voxels:
        time_volume_and_depth(data, hand, arguments.objects, arguments.grasps, arguments.voxels)
    time_simulations(data, hand, arguments.objects, arguments.simulated)
    return 0


if __name__ == "__main__":
    sys.exit(main())
