"""What a partial view costs: its grasps with what isn't seen made known, to the network or to the
refiner and the ranking.

    python benchmarks/partial_views.py FOLDER [--num 20]

FOLDER holds meshes, in metres; for another generator or refiner see the arguments.
"""

from __future__ import annotations

import argparse
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
from tqdm import tqdm

from grasp_gen_core import defaults
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.protocols import measure_exact
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.meshes import load_mesh, mesh_files, solid
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.parallel import run_in_order
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.synthesis.optimise import Target

SHOWN = ("penetration_volume_cm3", "sim_displacement_cm", "contact_fingers", "quality_index")


@lru_cache(maxsize=1)
def pipeline(generator: str, refiner: str) -> GraspPipeline:
    return GraspPipeline(generator, refiner, "cpu")


def cases(
    made: GraspPipeline, mesh: trimesh.Trimesh
) -> Iterator[tuple[str, str, str, np.ndarray, DistanceGrid]]:
    """View, what the network sees, what is known of the surface; and both, in the mesh's frame."""
    exact = Target.from_mesh(mesh, made.device).field
    every = view_object(mesh, "full").points
    yield "full", "all", "guess", every, made.look_at(every, 0, None).grid
    yield "full", "all", "mesh", every, exact
    for view in ("mask50", "mask90", "camera"):
        points, pose = view_object(mesh, view)
        points = (points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
        guess = made.look_at(points, 0, None).grid
        yield view, "view", "guess", points, guess
        yield view, "all", "guess", every, guess
        yield view, "view", "mesh", points, exact


def measure(generator: str, refiner: str, num: int, file: Path) -> list[dict]:
    """A row for each case of one object; runs in a process of its own."""
    torch.set_num_threads(1)
    mesh, _ = solid(load_mesh(file), str(file))
    made, rows = pipeline(generator, refiner), []
    for view, seen, surface, points, field in cases(made, mesh):
        grasps = made(points, num, field=field)
        arrays = {name: getattr(grasps, name) for name in ("vertices", "joints", "faces")}
        values = measure_exact(HandMeshes.from_arrays(arrays, made.hand), mesh)
        named = {"view": view, "network sees": seen, "surface": surface}
        rows.append(named | {name: np.nanmean(values[name]) for name in SHOWN})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).parents[2] / "shared"
    default = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "objects" / "ycb"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--num", type=int, default=20, help="grasps of an object")
    parser.add_argument("--generator", default=defaults.GENERATOR)
    parser.add_argument("--refiner", default=defaults.REFINER)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        print(f"skipped: no {arguments.folder}; name a folder or set GRASP_GEN_DATA")
        return
    files = mesh_files(arguments.folder)
    task = partial(measure, arguments.generator, arguments.refiner, arguments.num)
    workers = min(os.cpu_count() or 1, len(files))
    with closing(run_in_order(task, files, workers)) as results:
        rows = [row for found in tqdm(results, total=len(files), leave=False) for row in found]
    by = ["view", "network sees", "surface"]
    print(pd.DataFrame(rows).groupby(by, sort=False).mean().round(2).to_string())
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
