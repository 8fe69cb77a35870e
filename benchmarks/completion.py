"""How well the ways to guess an object's unseen side do: camera views of held-out families, or of a
folder's meshes.

    python benchmarks/completion.py [--objects DIR] [--views 40] [--generator FOLDER] [--json FILE]

Hidden is what no ray from the camera reaches. Its error is the mean distance of hidden surface
points to the nearest point that was seen or guessed. JHOD's draws are several answers: the best and
the median of six, and how often the true depth of the back, along rays through seen points, lies
between the draws' 10 % and 90 % quantiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
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

from grasp_gen_core.completion.drawn import Drawn
from grasp_gen_core.completion.symmetry import complete_by_symmetry
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


@lru_cache(maxsize=1)
def network(name: str) -> Drawn:
    return Drawn(load_network(name, ManoHand()))


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


def measure(generator: str, case: tuple[str, trimesh.Trimesh, int]) -> dict:
    """Errors of one view, mm; runs in a process of its own."""
    torch.set_num_threads(1)
    name, mesh, seed = case
    view = view_object(mesh, "camera", seed=seed)
    points = view.points[evenly(view.points, SEEN, seed)]
    mesh = mesh.copy().apply_transform(np.linalg.inv(view.pose))  # the camera's frame
    normals = outward_normals(points, np.zeros(3))
    surface, _ = sample_surface(mesh, SURFACE, seed)
    rays = np.concatenate([np.zeros_like(surface), surface], axis=1)
    first = raycasting_scene(mesh).cast_rays(rays.astype(np.float32))["t_hit"].numpy()
    lengths = np.linalg.norm(surface, axis=1)
    hidden = surface[(1 - first) * lengths > BEHIND]

    def error(known: np.ndarray) -> float:
        return 1000 * float(cKDTree(known).query(hidden)[0].mean())

    whole, _ = complete_by_symmetry(points, normals)
    # The network works near zero, as in the pipeline.
    middle = points.mean(axis=0)
    local = (points - middle).astype(np.float32)
    _, shapes = network(generator).draw(local, normals, seed, DRAWS)
    shapes = [shape.apply_translation(middle) for shape in shapes]
    rng = np.random.default_rng(seed)
    drawn = [error(np.concatenate([points, sample_surface(s, SURFACE, seed)[0]])) for s in shapes]
    drawn_six = [drawn[i] for i in rng.permutation(len(drawn))[:ANSWERS]]
    some = points[rng.permutation(len(points))[:RAYS]]
    rays = np.concatenate([np.zeros_like(some), some], axis=1)
    true, backs = exits(mesh, rays), np.stack([exits(shape, rays) for shape in shapes])
    backs = np.where(np.isnan(backs), 1, backs)  # where nothing is drawn there is what was seen
    low, high = np.quantile(backs, [NEAR, FAR], axis=0)
    known = ~np.isnan(true)
    return {
        "object": name,
        "none": error(points),
        "symmetry": error(whole),
        "drawn, likeliest": drawn[0],
        "drawn, best of six": min(drawn_six),
        "drawn, median of six": float(np.median(drawn_six)),
        "covered_pct": 100 * float(((low <= true) & (true <= high))[known].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=Path, metavar="DIR", help="meshes, metres")
    parser.add_argument("--views", type=int, default=40)
    parser.add_argument("--generator", default="jhod", help="jhod, or a folder of its weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a row for each view")
    arguments = parser.parse_args()
    task = partial(measure, arguments.generator)
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
