"""Speed of the training samples, beside the speed at which a generator trains on them.

    python benchmarks/loader_speed.py [--data training/data] [--workers N] [--device cuda]

The first start makes the views of all objects, in a cache that is thrown away afterwards.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from grasp_gen_core.generators import build_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.runtime import select_device, tune_allocator
from grasp_gen_training.data import KINDS, GraspData
from grasp_gen_training.module import GeneratorTraining
from grasp_gen_training.train import read_config

ROOT = Path(__file__).parents[1]
SECONDS, WARM = 5.0, 3  # measured for, after so many batches


def endless(samples: GraspData) -> Iterator[dict[str, Tensor]]:
    """Batches of the training loader, epoch after epoch."""
    loader = samples.train_dataloader()
    while True:
        yield from loader


def per_second(batches: Iterator[dict[str, Tensor]], use: Callable[[dict], None]) -> float:
    """Samples per second when each batch is used as soon as it is there."""
    for _ in range(WARM):
        use(next(batches))
    taken, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        batch = next(batches)
        use(batch)
        taken += len(batch["mano"])
    return taken / (time.perf_counter() - started)


def trainer(config: dict, device: torch.device, hand: ManoHand) -> Callable[[dict], None]:
    """One training step on a batch, as a function."""
    generator = build_generator(config["generator"], hand, config.get("model"))
    module = GeneratorTraining(generator, hand, config["optimiser"]["lr"], 1000, []).to(device)
    hand.to(device)
    optimiser = module.configure_optimizers()["optimizer"]

    def step(batch: dict[str, Tensor]) -> None:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        loss = module.generator.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "training" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "training/configs/grasp_cvae.yaml")
    parser.add_argument("--batch", type=int, default=None, help="default: the config's")
    parser.add_argument("--workers", type=int, default=None, help="default: by the cores")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    arguments = parser.parse_args()
    tune_allocator()
    device, hand = select_device(arguments.device), ManoHand()
    config = read_config(arguments.config)
    settings = config["data"] | {"folder": arguments.data, "workers": arguments.workers}
    settings |= {"batch": arguments.batch or settings["batch"]}
    settings["palm_axis"] = hand.regions.palm_axis.numpy()

    def start(views: dict[str, float]) -> tuple[GraspData, float]:
        started = time.perf_counter()
        return GraspData(**settings | {"views": views}), time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        mix = config["data"]["views"]
        starts = [start(mix)[1] for _ in range(2)]
        alone = {kind: start({kind: 1.0})[0] for kind in KINDS}
        samples = alone["mix"] = start(mix)[0]
        rates = {f"loader, {n}": per_second(endless(s), len) for n, s in alone.items()}
        step = trainer(config, device, hand)
        one = next(endless(samples))
        rates["training, the same batch"] = per_second(iter(lambda: one, None), step)
        rates["training, from the loader"] = per_second(endless(samples), step)

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    grasps = len(samples.training) + len(samples.validation)
    print(f"{os.cpu_count()} cores {platform.machine()}, {where}, {date.today()}")
    print(f"{grasps} grasps, batch {samples.batch}, {samples.workers} workers")
    print(f"start: {starts[0]:.1f} s the first time, then {starts[1]:.1f} s\n")
    for name, rate in rates.items():
        print(f"{name:26s} {rate:8.0f} samples/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
