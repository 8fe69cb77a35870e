"""Time of the networks alone: unrefined hands for one cloud, by all shipped generators.

python benchmarks/sampling_speed.py [--num 32] [--points 2048] [--device cuda]
"""

from __future__ import annotations

import argparse
import platform
from datetime import date

import pandas as pd
import torch

from grasp_gen_core.generators import CLASSES, WEIGHTS, load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.runtime import select_device, tune_allocator

REPEATS = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=32, help="hands at once")
    parser.add_argument("--points", type=int, default=2048, help="of the cloud")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    tune_allocator()
    device = select_device(arguments.device)
    hand = ManoHand().to(device)
    mesh = make_object("bottle", 0)
    cloud, outward = (
        torch.from_numpy(part).float().to(device)
        for part in sample_surface(mesh, arguments.points, 0)
    )
    known = (outward, DistanceGrid.from_mesh(mesh).to(device))
    rows = []
    for name in CLASSES:
        if not (WEIGHTS / name).is_dir():
            continue
        generator = load_generator(name, hand)
        surface = known if generator.knows_surface else ()

        def sample(generator=generator, surface=surface) -> torch.Tensor:
            with torch.no_grad():
                rng = torch.Generator().manual_seed(0)
                return generator.sample(cloud, arguments.num, rng, *surface)

        sample()  # warm-up
        seconds = pd.Series([time_s(sample, device)[1] for _ in range(REPEATS)])
        weights = sum(parameter.numel() for parameter in generator.parameters())
        rows.append(
            {
                "generator": name,
                "parameters [M]": weights / 1e6,
                "median ms": 1e3 * seconds.median(),
                "fastest ms": 1e3 * seconds.min(),
            }
        )
    print(f"{device}, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")
    print(f"{arguments.num} hands, {arguments.points} points")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
