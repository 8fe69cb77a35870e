"""What the object's autoencoder loses: shapes of held-out families, or a folder's, reconstructed.

    python benchmarks/shape_reconstruction.py WEIGHTS [--objects DIR]

WEIGHTS is a folder that `grasp-gen train shape_autoencoder` wrote.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import torch
import trimesh

from grasp_gen_core.generators import load_network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.reconstruction import reconstruction_errors
from grasp_gen_core.objects.meshes import load_mesh, mesh_files, solid
from grasp_gen_core.objects.procedural import HELD_OUT, make_object
from grasp_gen_core.objects.sampling import sample_surface

POINTS = 4096  # of the surface, that the encoder sees
FIRST_SEED, EACH = 200_000, 10  # of the held-out families: none that training validates on


def objects(folder: Path | None) -> Iterator[tuple[str, trimesh.Trimesh]]:
    """Names and solids, metres."""
    if folder is None:
        for family in HELD_OUT:
            for seed in range(FIRST_SEED, FIRST_SEED + EACH):
                yield family, make_object(family, seed)
    else:
        for file in mesh_files(folder):
            yield file.stem, solid(load_mesh(file), str(file))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--objects", type=Path, metavar="DIR", help="meshes, metres")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net, rows = load_network(arguments.weights, ManoHand()), []
    for name, mesh in objects(arguments.objects):
        mesh = mesh.copy().apply_translation(-mesh.bounds.mean(axis=0))
        points, _ = sample_surface(mesh, POINTS)
        start = time.perf_counter()
        found = net.mesh(net.encode(torch.from_numpy(points)[None])[0])
        seconds = time.perf_counter() - start
        named = {"object": name, "watertight": found.is_volume, "time_s": seconds}
        rows.append(named | reconstruction_errors(found, mesh))
    table = pd.DataFrame(rows).groupby("object", sort=False).mean()
    table.loc["mean"] = table.mean()
    print(table.round(2).to_string())
    print(f"\n{platform.processor() or platform.machine()}, one thread, {date.today()}")


if __name__ == "__main__":
    main()
