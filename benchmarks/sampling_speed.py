"""Time of the parts alone, for one cloud: unrefined hands of all shipped generators, and refiners.

python benchmarks/sampling_speed.py [--num 32] [--points 2048] [--device cuda]

Beside the time of the clock that of the CPU, all threads together, which other work hardly changes.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from datetime import date

import pandas as pd
import torch

from grasp_gen_core import refiners
from grasp_gen_core.generators import CLASSES, WEIGHTS, load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.runtime import select_device, tune_allocator

REPEATS, ENOUGH = 11, 10_000  # calls, and milliseconds after which no more are made


def measured(name: str, call: Callable[[], torch.Tensor], device: torch.device) -> dict:
    """A row of the table, after one call to warm up."""
    call()
    clock, cpu = [], []
    while len(clock) < REPEATS and sum(clock) < ENOUGH:
        started = time.process_time()
        clock.append(1e3 * time_s(call, device)[1])
        cpu.append(1e3 * (time.process_time() - started))
    return {
        "part": name,
        "calls": len(clock),
        "median ms": pd.Series(clock).median(),
        "fastest ms": min(clock),
        "fastest CPU ms": min(cpu),
    }


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

        rows.append(measured(name, sample, device))
    adapted = load_generator("grasp_cvae", hand)
    with torch.no_grad():
        mano = adapted.sample(cloud, arguments.num, torch.Generator().manual_seed(0))
    for name in refiners.NAMES:
        refine = refiners.get_refiner(name, hand, adapted)
        rows.append(measured(name, lambda: refine(mano, cloud, known[1]), device))  # noqa: B023
    print(f"{device}, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")
    print(f"{arguments.num} hands, {arguments.points} points")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
