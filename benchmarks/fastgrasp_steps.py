"""What the steps of FastGrasp's sampler and its adaptation module buy, and what they cost.

    python benchmarks/fastgrasp_steps.py [DATASET] [--generator FOLDER] [--num 32] [--most 24]

DATASET is a folder of `grasp-gen synthesize` (default: the shipped one), of whose objects those
held out for validation are grasped. No refiner takes part, and nothing is chosen from more hands.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import trimesh
from tqdm import tqdm

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.generators import load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.diversity import diversity
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.report import table
from grasp_gen_core.runtime import tune_allocator

DATA = Path(__file__).parents[1] / "training" / "data"
STEPS = (1, 2, 5, 10, 20, 50)
PASSES = (2, 3)
POINTS = 2048
REPEATS = 7


class Thing(NamedTuple):
    """An object: its solid, and points (N, 3) of it."""

    mesh: trimesh.Trimesh
    cloud: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default=DATA)
    parser.add_argument("--generator", default="fastgrasp")
    parser.add_argument("--num", type=int, default=32, help="hands for each object")
    parser.add_argument("--most", type=int, default=24, help="objects")
    arguments = parser.parse_args()
    tune_allocator()
    hand, data = ManoHand(), GraspDataset.load(arguments.dataset)
    numbers = np.random.default_rng(0).permutation(np.flatnonzero(data.split == "validation"))
    things = []
    for number in numbers[: arguments.most]:
        mesh, _ = solid(data.mesh(int(number)), data.objects[number])
        cloud = torch.from_numpy(view_object(mesh, "full", POINTS).points)
        things.append(Thing(mesh, cloud))
    rows = []
    for steps, adapt in tqdm(
        [
            *((steps, 0) for steps in STEPS),
            *((steps, 1) for steps in STEPS),
            *((10, adapt) for adapt in PASSES),
        ]
    ):
        net = load_generator(arguments.generator, hand, {"steps": steps, "adapt": adapt})

        def sample(cloud: torch.Tensor, num: int, net=net) -> torch.Tensor:
            with torch.no_grad():
                return net.sample(cloud, num, torch.Generator().manual_seed(0))

        found = measure(lambda cloud: sample(cloud, arguments.num), things, hand)  # noqa: B023
        took = {f"{num} hands [ms]": 1e3 * seconds(sample, things[0], num) for num in (1, 32)}
        shown = {name: f"{value:.2f}" for name, value in found.items()}
        shown |= {name: f"{value:.0f}" for name, value in took.items()}
        rows.append({"adapted": str(adapt), "steps": str(steps), **shown})
    print(f"cpu, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")
    print(f"{len(things)} objects, {arguments.num} hands each\n\n{table(rows)}")


def measure(sample: Callable, things: list[Thing], hand: ManoHand) -> dict[str, float]:
    """Means over all objects' hands; diversity of all of them."""
    faces, parts, joints, rows = hand.closed_faces.numpy(), hand.parts, [], []
    for mesh, cloud in things:
        vertices, of_hands = (part.numpy() for part in hand(sample(cloud)))
        distance = torch.from_numpy(signed_distance(mesh, vertices))
        columns = {
            "volume [cm³] ↓": penetration_volume_cm3(vertices, faces, mesh),
            "depth [cm] ↓": penetration_depth_cm(distance),
            "contact ratio [%] ↑": contact_ratio_pct(distance),
            "fingers": contact_fingers(distance, parts),
        }
        rows.append(pd.DataFrame({name: np.asarray(column) for name, column in columns.items()}))
        joints.append(of_hands.reshape(len(of_hands), -1))
    spread = diversity(np.concatenate(joints), whiten=True)
    varied = {"entropy ↑": spread.entropy, "cluster size ↑": spread.cluster_size}
    return pd.concat(rows).mean().to_dict() | varied


def seconds(sample: Callable, thing: Thing, num: int) -> float:
    """The median time of sampling `num` hands."""
    sample(thing.cloud, num)  # warm-up
    times = [
        time_s(lambda: sample(thing.cloud, num), torch.device("cpu"))[1] for _ in range(REPEATS)
    ]
    return float(np.median(times))


if __name__ == "__main__":
    main()
