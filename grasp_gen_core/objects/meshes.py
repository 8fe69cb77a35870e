"""Mesh files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

MESH_FORMATS = (".ply", ".obj", ".stl", ".glb", ".off")


def load_mesh(path: str | Path) -> trimesh.Trimesh:
    """One mesh out of a file: parts and scene nodes merged, double vertices too.

    Args:
        path: .ply, .obj, .stl, .glb or .off, in metres.

    Raises:
        ValueError: if the file is missing, of another format, unreadable, without faces, or its
            size tells that it isn't in metres.
    """
    path = Path(path)
    check_format(path, MESH_FORMATS)
    try:
        mesh = trimesh.load_mesh(path)
    except Exception as error:  # each format's reader fails in its own ways
        raise ValueError(f"{path}: not a readable {path.suffix} mesh: {error!r}") from error
    if len(mesh.faces) == 0:
        raise ValueError(f"{path}: a mesh without faces, accepted are triangle meshes")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{path}: vertices hold NaN or infinity, accepted are finite numbers")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    check_size(mesh.bounds, path)
    return mesh


def save_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Write a mesh in the format its suffix names.

    Raises:
        ValueError: if the format is unknown.
    """
    check_format(Path(path), MESH_FORMATS, exists=False)
    mesh.export(path)
