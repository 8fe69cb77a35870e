"""Speed of the metrics, beside a straightforward implementation on trimesh's voxels as the papers'
repositories have it.

    python benchmarks/metrics_speed.py [--grasps 1000] [--simulated 200] [--voxels 2]

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
from pathlib import Path

import numpy as np
import torch
import trimesh

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.runtime import tune_allocator

DATA = Path(__file__).parents[1] / "training" / "data"
OBJECTS = 20


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
    data: GraspDataset, hand: ManoHand, count: int, shake: float
) -> list[tuple[trimesh.Trimesh, np.ndarray]]:
    """Objects, each with its share of `count` posed hands (B, 778, 3)."""
    rng, found = np.random.default_rng(0), []
    for number in rng.choice(len(data.objects), OBJECTS, replace=False):
        rows = rng.choice(np.flatnonzero(data.object_index == number), count // OBJECTS)
        mano = torch.from_numpy(data.mano[rows])
        mano[:, 58:] += torch.from_numpy(rng.uniform(-shake, shake, (len(rows), 3))).float()
        found.append((data.mesh(int(number)), hand(mano)[0].numpy().astype(float)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grasps", type=int, default=1000)
    parser.add_argument("--simulated", type=int, default=200)
    parser.add_argument("--voxels", type=int, default=1, help="grasps an object by voxels")
    arguments = parser.parse_args()
    tune_allocator()
    data, hand = GraspDataset.load(DATA), ManoHand()
    faces = hand.closed_faces.numpy()

    shaken = grasps_of(data, hand, arguments.grasps, 0.01)
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
    per_grasp = {"ours": seconds["ours"] / arguments.grasps}
    errors = {}
    for pitch in (0.005, 0.001):
        started, difference = time.perf_counter(), []
        for (mesh, hands), (volume, _) in zip(shaken, ours, strict=True):
            for index in range(arguments.voxels):
                body = trimesh.Trimesh(hands[index], faces, process=False)
                counted, _ = voxel_volume_and_depth(body, mesh, pitch)
                difference.append(abs(counted - volume[index]))
        name = f"trimesh voxels, {1000 * pitch:g} mm"
        per_grasp[name] = (time.perf_counter() - started) / len(difference)
        errors[name] = np.mean(difference)

    print(f"{os.cpu_count()} cores {platform.machine()}, {date.today()}\n")
    print("volume and depth".ljust(26), "ms a grasp   times slower   mean difference [cm³]")
    for name, each in per_grasp.items():
        gap = f"{errors[name]:.3f}" if name in errors else ""
        print(f"{name:26s} {1000 * each:10.1f} {each / per_grasp['ours']:14.1f}   {gap}")
    print(
        f"({arguments.grasps} grasps, {seconds['ours']:.1f} s; voxels on "
        f"{arguments.voxels * OBJECTS} of them)\n"
    )

    started, count = 0.0, 0
    for mesh, hands in grasps_of(data, hand, arguments.simulated, 0.0):
        test = SimTest(mesh)
        begun = time.perf_counter()
        test(hands, faces)
        started += time.perf_counter() - begun
        count += len(hands)
    print(
        f"displacement and drift: {count} grasps in {started:.1f} s, "
        f"{1000 * started / count:.1f} ms a grasp"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
