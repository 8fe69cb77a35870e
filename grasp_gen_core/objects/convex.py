"""Convex parts of an object for physics engines, cached on disk by the mesh's content."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import trimesh

# Truer volumes with fewer parts than CoACD's defaults; the search is cut to what small parts need.
COACD = {
    "threshold": 0.04,
    "preprocess_mode": "off",
    "mcts_iterations": 60,
    "mcts_nodes": 12,
    "resolution": 1000,
    "seed": 0,
}
CONVEX_ENOUGH = 1.03  # hull volume over mesh volume up to which the hull alone will do


def cache_folder() -> Path:
    """Where convex parts are kept: $XDG_CACHE_HOME/grasp_gen, else ~/.cache/grasp_gen."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grasp_gen"


def convex_parts(mesh: trimesh.Trimesh) -> list[trimesh.Trimesh]:
    """Convex parts that together fill the mesh, by CoACD (Wei et al. 2022).

    Args:
        mesh: watertight, metres.
    """
    hull = mesh.convex_hull
    if mesh.is_volume and hull.volume <= CONVEX_ENOUGH * mesh.volume:
        return [hull]
    path = cache_folder() / f"convex_{mesh.identifier_hash}_{COACD['threshold']}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            return [
                trimesh.Trimesh(file[f"v{i}"], file[f"f{i}"], process=False)
                for i in range(len(file.files) // 2)
            ]
    import open3d  # noqa: F401  (coacd crashes when it is imported before open3d)

    import coacd  # isort: skip

    coacd.set_log_level("error")
    # CoACD works on a mesh of about unit size.
    scale = float(mesh.extents.max())
    centre = mesh.bounds.mean(axis=0)
    parts = coacd.run_coacd(coacd.Mesh((mesh.vertices - centre) / scale, mesh.faces), **COACD)
    hulls = [trimesh.Trimesh(v * scale + centre, f).convex_hull for v, f in parts]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"v{i}": np.asarray(part.vertices) for i, part in enumerate(hulls)}
    arrays |= {f"f{i}": np.asarray(part.faces) for i, part in enumerate(hulls)}
    # Written aside and renamed: another process never reads half a file.
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with open(unfinished, "wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.replace(path)
    return hulls
