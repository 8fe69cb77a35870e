"""What a CUDA device makes of the pipeline: the same grasps again and as good ones as the CPU's;
seconds by stage; training steps a second.

    make gpu                                           # where there is torch for CUDA
    python benchmarks/gpu.py --device cpu --small      # tries this file

Eight minutes at most: a section that runs out of its share measures less, and the table says so.
What is found is written as it is found. Clouds are of procedural objects, from a camera's place.
Needs no open3d. Systems whose weights aren't there are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import CancelledError
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grasp_gen_core import GraspPipeline, completion, generators, refiners
from grasp_gen_core.completion.volume import CHANNELS
from grasp_gen_core.completion.volume import SIDE as CUBE
from grasp_gen_core.contact import choir
from grasp_gen_core.generators import CLASSES, HELPERS, WEIGHTS, build_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.camera import random_view
from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sight import SIZE
from grasp_gen_core.objects.squares import Squares
from grasp_gen_core.ranking.evaluator import Expected
from grasp_gen_core.ranking.evidence import HAND_NUMBERS, PLACE_NUMBERS, PLACES
from grasp_gen_core.runtime import select_device, tune_allocator
from grasp_gen_core.types import GraspSet, Observation
from grasp_gen_training.results import label
from grasp_gen_training.train import CONFIGS, read_config

ROOT = Path(__file__).parents[1]
OBJECTS = ("bottle", "mug", "drill")
POINTS = 2048
AGREE = 16  # grasps of each object whose quality is compared; one draw, for all devices
QUALITY = ("penetration_depth_cm", "contact_fingers", "net_wrench")
NUMS, SMALL_NUMS = (32, 1, 256, 1024), (1,)
REPEATS, SMALL_REPEATS = 20, 1
SECONDS, SMALL_SECONDS = 470, 160
SHARES = {"agreement": 0.3, "stages": 0.5, "training": 0.2}


class Clock:
    """Time that a section has: its share, and what earlier ones left."""

    def __init__(self, seconds: float) -> None:
        self.end = self.started = time.perf_counter()
        self.seconds = seconds

    def begin(self, section: str) -> None:
        self.end += self.seconds * SHARES[section]

    def over(self) -> bool:
        return time.perf_counter() > self.end

    def left(self) -> float:
        return self.end - time.perf_counter()


def one_sided(family: str) -> Observation:
    """What is seen of an object from a camera's place, of points spread over it, without noise."""
    mesh = make_object(family, 0)
    eye = random_view(mesh, 0)[:3, 3]
    points, normals = even_surface(mesh, 2 * POINTS)
    toward = eye - points
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    side = np.sqrt(mesh.area / len(points))
    squares = Squares(points.astype(float), normals.astype(float), np.full(len(points), side))
    seen = (normals * toward).sum(axis=1) > 0
    seen &= ~squares.hide_from(eye, points + 0.3 * side * toward)
    return Observation(points[seen], viewpoint=eye)


def pairs() -> Iterator[tuple[str, str]]:
    """Generators and refiners: each generator alone, each refiner behind the default generator."""

    def shipped(name: str) -> bool:
        if name in CLASSES or name in HELPERS:
            return (WEIGHTS / name / "model.safetensors").exists()
        return True

    known = [name for name in generators.NAMES if shipped(name)]
    yield from ((name, "none") for name in known)
    for refiner in refiners.NAMES:
        generator = "grasp_cvae" if refiner == "grasp_tta" else "dvqvae"
        if generator in known and shipped(refiners.LEARNED.get(refiner, refiner)):
            yield generator, refiner


def agreement(clock: Clock, device: str, num: int, names: tuple[str, ...]) -> Iterator[dict]:
    """How good grasps are, made there and on the CPU; how far those made again there are off."""
    clouds = [one_sided(name) for name in names]
    for where in dict.fromkeys((device, "cpu")):
        for pair in pairs():
            row = {"method": label(*pair), "device": where, "grasps": num * len(clouds)}
            if clock.over():
                yield row
                continue
            pipeline = GraspPipeline(*pair, device=where)
            try:
                made = [pipeline(cloud, num=num, stop=clock.over) for cloud in clouds]
                row |= quality(made)
                if where == device:
                    again = [pipeline(cloud, num=num, stop=clock.over) for cloud in clouds]
                    pairs_made = zip(made, again, strict=True)
                    row["apart"] = max(float(np.abs(a.mano - b.mano).max()) for a, b in pairs_made)
            except CancelledError:
                pass  # what the row lacks was not reached
            yield row


def quality(made: list[GraspSet]) -> dict[str, float]:
    """Means of the grasps' own metrics."""
    found = {name: np.concatenate([one.metrics[name] for one in made]) for name in QUALITY}
    found["score"] = np.concatenate([one.score for one in made])
    return {name: float(values.mean()) for name, values in found.items()}


def stages(clock: Clock, device: str, nums: tuple[int, ...], repeats: int) -> Iterator[dict]:
    """Median seconds of each stage, after one call to warm up."""
    cloud = one_sided(OBJECTS[0])
    yield from completing(device, repeats)
    made = {pair: GraspPipeline(*pair, device=device) for pair in pairs()}
    cells = [(pair, num) for num in nums for pair in made]
    for number, (pair, num) in enumerate(cells):
        share = time.perf_counter() + clock.left() / (len(cells) - number)
        calls, pipeline = defaultdict(list), made[pair]
        row = {"method": label(*pair), "grasps": num}
        if on_cuda(device):
            torch.cuda.reset_peak_memory_stats()
        try:
            for call in range(0 if clock.over() else repeats + 1):
                pipeline(cloud, num=num, stop=clock.over)
                for stage, value in pipeline.timings.items() if call else ():
                    calls[stage].append(value)
                if call and time.perf_counter() > share:
                    break
        except CancelledError:
            pass
        except torch.cuda.OutOfMemoryError:
            row["memory"] = "not enough"
            torch.cuda.empty_cache()
        row["calls"] = len(calls["rank"])
        row["seconds"] = {
            stage: float(np.median(values)) for stage, values in calls.items() if values
        }
        if on_cuda(device):
            row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        yield row


def completing(device: str, repeats: int) -> Iterator[dict]:
    """Median seconds of completing a cloud, which the stage of the cloud holds, too."""
    mesh, hand = make_object(OBJECTS[0], 0), ManoHand().to(device)
    points, normals = even_surface(mesh, POINTS)
    half = points[:, 0] > np.median(points[:, 0])
    seen = completion.Seen(*(np.float32(each[half]) for each in (points, normals)))
    for name in completion.NAMES:
        complete = completion.get_completion(name, hand)
        try:
            times = [
                time_s(lambda: complete(seen, 0), hand.faces.device)[1]  # noqa: B023
                for _ in range(repeats)
            ]
        except ModuleNotFoundError:  # of open3d, which measures how far drawn surfaces are
            continue
        seconds = {"cloud": float(np.median(times))}
        yield {"method": f"completion by {name}", "calls": repeats, "seconds": seconds}


def training(clock: Clock, device: str, seconds: float) -> Iterator[dict]:
    """Steps a second of each config, from one batch that is on the device; no loader."""
    cloud = one_sided(OBJECTS[0])
    made = GraspPipeline(next(pairs())[0], "none", device=device)(cloud, num=64)
    hand = ManoHand().to(device)
    for path in sorted(CONFIGS.glob("*.yaml")):
        config = read_config(path)
        batch = as_batch(made.mano, cloud.points, config["data"], hand)
        network = build_generator(config["generator"], hand, config.get("model")).to(device)
        network.train()
        for stage in network.stages or ("",):
            if stage:
                network.begin(stage)
            step = training_step(network, batch, config["optimiser"])
            if not clock.over():
                step()
            if on_cuda(device):
                torch.cuda.reset_peak_memory_stats()
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds and not clock.over():
                step()
                count += 1
            rate = count / (time.perf_counter() - started)
            config_name = f"{path.stem} {stage}".strip()
            row = {"config": config_name, "batch": len(batch["mano"]), "steps": count}
            if count:
                row["per_second"] = rate
            if on_cuda(device):
                row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            yield row


def as_batch(mano: np.ndarray, points: np.ndarray, data: dict, hand: ManoHand) -> dict[str, Tensor]:
    """A training batch as `GraspSamples` makes them, all of one object."""
    device, rng, count = hand.faces.device, np.random.default_rng(0), len(mano)
    size = data.get("points", POINTS)
    views = points[rng.integers(len(points), size=(count, size))]
    every = torch.from_numpy(np.float32(points)).to(device).expand(count, -1, -1)
    hands = torch.from_numpy(mano).to(device)
    vertices = hand(hands)[0]
    weights = choir.contact_weights(every, vertices, hand.faces)
    return {
        "view": torch.from_numpy(np.float32(views)).to(device),
        "surface": every[:, : size // 2].contiguous(),
        "mano": hands,
        "flip": torch.arange(count, device=device) % 4,
        "contacts": choir.fit_gaussians(vertices, weights, hand.regions),
        "eye": torch.full((count, 3), torch.nan, device=device),
        "others": hands[:, None].repeat(1, data.get("others", 1), 1),
        "shapes": every[: data.get("alone", 1), : size // 2],
        "points": every,
        "distance": torch.zeros(every.shape[:2], device=device),
        **depth_images(count, device),
        "channels": torch.randn(count, CHANNELS, *3 * [CUBE], device=device),
        "steps": torch.randn(count, *3 * [CUBE], device=device),
        "weight": torch.ones(count, *3 * [CUBE], device=device),
        "places": torch.randn(count // 16, 16, PLACES, PLACE_NUMBERS, device=device),
        "hands": torch.randn(count // 16, 16, HAND_NUMBERS, device=device),
        "family": torch.arange(count // 16, device=device),
        **{name: torch.rand(count // 16, 16, device=device).round() for name in Expected._fields},
    }


def depth_images(count: int, device: torch.device) -> dict[str, Tensor]:
    """What exit depth learns from, of no object at all."""
    hit = torch.rand(count, SIZE, SIZE, device=device).round()
    first = 0.1 * torch.randn_like(hit)
    return {
        "hit": hit,
        "filled": hit,
        "first": first,
        "last": first + 0.5,
        "depth": torch.where(hit > 0, first, torch.nan),
        "radius": torch.full((count,), 0.06, device=device),
        "middle": torch.full((count,), 0.5, device=device),
    }


def training_step(network, batch: dict[str, Tensor], settings: dict):
    """One step as lightning makes it, with the config's precision, as a function."""
    device, rounded = batch["mano"].device, settings.get("precision") == "bf16-mixed"
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-3, fused=not rounded)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=rounded):
            loss = network.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def on_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few grasps and calls: a trial")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "gpu.json")
    arguments = parser.parse_args()
    if on_cuda(arguments.device) and not torch.cuda.is_available():
        print("no CUDA device: nothing measured")
        return 0
    tune_allocator()
    device = str(select_device(arguments.device))
    small = arguments.small
    nums, repeats = (SMALL_NUMS, SMALL_REPEATS) if small else (NUMS, REPEATS)
    clock = Clock(SMALL_SECONDS if small else SECONDS)
    name = torch.cuda.get_device_name(device) if on_cuda(device) else "cpu"
    found = {
        "device": name,
        "machine": f"{os.cpu_count()} cores {platform.machine()}",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "command": f"python benchmarks/gpu.py --device {arguments.device}" + " --small" * small,
        **{section: [] for section in SHARES},
    }
    agree = (1, OBJECTS[:1]) if small else (AGREE, OBJECTS)
    sections = {
        "agreement": agreement(clock, device, *agree),
        "stages": stages(clock, device, nums, repeats),
        "training": training(clock, device, 0.2 if small else 8.0),
    }
    for section, rows in sections.items():
        clock.begin(section)
        for row in rows:
            found[section].append(row)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{time.perf_counter() - clock.started:5.0f} s  {section}  {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
