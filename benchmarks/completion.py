"""How well the ways to guess an object's unseen side do: views of held-out families, or of a
folder's meshes.

    python benchmarks/completion.py [--objects DIR] [--view camera] [--views 40] [--json FILE]
        [PRIOR ...]

Hidden is what no ray from the camera reaches, or what a mask cuts off. Its error is the mean
distance of hidden surface points to the nearest point that was seen or guessed. JHOD's draws and
those of the other networks are several answers: the best and the median of six; of the depth of the
back along seen rays, where a camera saw them, the median draw's error, and how often it lies
between the draws' 10 % and 90 % quantiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trimesh
from scipy.spatial import cKDTree
from tqdm import tqdm

from grasp_gen_core.completion import Seen, by_symmetry
from grasp_gen_core.completion.backs import ByExitDepth
from grasp_gen_core.completion.drawn import Drawn
from grasp_gen_core.completion.symmetry import complete_by_symmetry
from grasp_gen_core.completion.volume import ByVolume
from grasp_gen_core.generators import load_network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.clouds import evenly
from grasp_gen_core.objects.distance import raycasting_scene
from grasp_gen_core.objects.meshes import load_mesh, mesh_files, solid
from grasp_gen_core.objects.procedural import HELD_OUT, make_object
from grasp_gen_core.objects.sampling import outward_normals, sample_surface
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.parallel import run_in_order

FIRST_SEED = 300_000  # of the held-out families: no training or validation has seen these
SEEN, SURFACE, RAYS = 2048, 4096, 512
DRAWS, ANSWERS = 10, 6
BEHIND = 0.002  # metres that a point lies behind what a ray hits first, to be hidden
NEAR, FAR = 0.1, 0.9  # quantiles
PRIORS = ("jhod", "exit_depth", "volume")
VIEWS = ("camera", "mask50", "mask90")


@lru_cache(maxsize=3)
def prior(name: str, folder: str) -> Callable[..., Sequence[trimesh.Trimesh]]:
    """What draws objects by what was seen of one, and a seed."""
    network = load_network(folder, ManoHand())
    if name == "jhod":
        return lambda seen, seed: Drawn(network).draw(seen.points, seen.normals, seed, DRAWS)[1]
    if name == "volume":
        return lambda seen, seed: ByVolume(network, DRAWS)(seen, seed).shapes
    way = ByExitDepth(network, by_symmetry, DRAWS)
    return lambda seen, seed: way.draw(seen, seed).shapes()


def cases(folder: Path | None, views: int) -> Iterator[tuple[str, trimesh.Trimesh, int]]:
    """Name, solid and the view's seed."""
    files = mesh_files(folder) if folder else []
    for i in range(views):
        if folder:
            file = files[i % len(files)]
            yield file.stem, solid(load_mesh(file), str(file))[0], i // len(files)
        else:
            family = HELD_OUT[i % len(HELD_OUT)]
            yield family, make_object(family, FIRST_SEED + i), i


def exits(mesh: trimesh.Trimesh, rays: np.ndarray) -> np.ndarray:
    """(N,) distance along rays (N, 6) of where each leaves a mesh for good; NaN where it misses."""
    scene = raycasting_scene(mesh)
    found = scene.list_intersections(rays.astype(np.float32))
    last = np.full(len(rays), np.nan)
    np.fmax.at(last, found["ray_ids"].numpy(), found["t_hit"].numpy())
    return last


def is_hidden(
    surface: np.ndarray, points: np.ndarray, mesh: trimesh.Trimesh, view: str, seed: int
) -> np.ndarray:
    """(N,) which points of a surface (N, 3) a view doesn't show, of which points (M, 3) are."""
    if view == "camera":
        rays = np.concatenate([np.zeros_like(surface), surface], axis=1)
        first = raycasting_scene(mesh).cast_rays(rays.astype(np.float32))["t_hit"].numpy()
        return (1 - first) * np.linalg.norm(surface, axis=1) > BEHIND
    cut = np.random.default_rng(seed).normal(size=3)  # the direction that `view_object` drew
    return surface @ cut > (points @ cut).max()


def measure(networks: dict[str, str], which: str, case: tuple[str, trimesh.Trimesh, int]) -> dict:
    """Errors of one view, mm; runs in a process of its own."""
    torch.set_num_threads(1)
    name, mesh, seed = case
    view = view_object(mesh, which, seed=seed)
    points = view.points[evenly(view.points, min(SEEN, len(view.points)), seed)]
    mesh = mesh.copy().apply_transform(np.linalg.inv(view.pose))  # the view's frame
    eye = np.zeros(3) if which == "camera" else None
    normals = outward_normals(points, eye)
    surface, _ = sample_surface(mesh, SURFACE, seed)
    hidden = surface[is_hidden(surface, points, mesh, which, seed)]

    def error(known: np.ndarray) -> float:
        return 1000 * float(cKDTree(known).query(hidden)[0].mean())

    whole, _ = complete_by_symmetry(points, normals)
    # The networks work near zero, as in the pipeline.
    middle = points.mean(axis=0)
    local = (points - middle).astype(np.float32)
    given = Seen(local, normals, None if eye is None else -middle)
    drawn = {each: prior(each, folder)(given, seed) for each, folder in networks.items()}
    rng = np.random.default_rng(seed)
    some = points[rng.permutation(len(points))[:RAYS]]
    rays = np.concatenate([np.zeros_like(some), some], axis=1)
    true = exits(mesh, rays)
    known, depth = ~np.isnan(true), np.linalg.norm(some, axis=1)
    row = {"object": name, "none": error(points), "symmetry": error(whole)}
    for each, shapes in drawn.items():
        shapes = [shape.copy().apply_translation(middle) for shape in shapes]
        guessed = [np.concatenate([points, sample_surface(s, SURFACE, seed)[0]]) for s in shapes]
        guessed = guessed or [points]  # nothing is drawn for what is taken for whole
        errors = [error(guessed[i]) for i in rng.permutation(len(guessed))[:ANSWERS]]
        row |= {
            f"{each}, best of six": min(errors),
            f"{each}, median of six": float(np.median(errors)),
        }
        if eye is None or not shapes:
            continue
        backs = np.stack([exits(shape, rays) for shape in shapes])
        backs = np.where(np.isnan(backs), 1, backs)  # where nothing is drawn there is what was seen
        # Draws are spread as Hazen's formula has it: at 5, 15, ... 95 % of what is likely.
        low, middling, high = np.quantile(backs, [NEAR, 0.5, FAR], axis=0, method="hazen")
        off = 1000 * (np.abs(middling - true) * depth)[known]
        row |= {
            f"{each}, depth of the back": float(off.mean()),
            f"{each}, covered_pct": 100 * float(((low <= true) & (true <= high))[known].mean()),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=Path, metavar="DIR", help="meshes, metres")
    parser.add_argument("--views", type=int, default=40)
    parser.add_argument("--view", choices=VIEWS, default="camera")
    help = f"of {', '.join(PRIORS)} (default: all), each also as NAME=FOLDER of its weights"
    parser.add_argument("priors", nargs="*", default=PRIORS, help=help)
    parser.add_argument("--json", type=Path, metavar="FILE", help="a row for each view")
    arguments = parser.parse_args()
    pairs = (prior.partition("=")[::2] for prior in arguments.priors)
    networks = {name: folder or name for name, folder in pairs}
    if arguments.view != "camera":
        networks.pop("exit_depth", None)  # it wants to know where the camera stood
    task = partial(measure, networks, arguments.view)
    views = cases(arguments.objects, arguments.views)
    with closing(run_in_order(task, views, os.cpu_count() or 1)) as results:
        rows = list(tqdm(results, total=arguments.views, leave=False))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    table = pd.DataFrame(rows)
    means = table.groupby("object").mean()
    means.loc["mean"] = table.drop(columns="object").mean()
    print(means.round(1).to_string())
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
