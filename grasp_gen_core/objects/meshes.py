"""Mesh files, and the checks they share with cloud files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh

MESH_FORMATS = (".ply", ".obj", ".stl", ".glb", ".off")
SMALLEST, LARGEST = 0.005, 2.0  # metres, of an object's longest side


def load_mesh(path: str | Path) -> trimesh.Trimesh:
    """One mesh out of a file: parts, scene nodes and double vertices merged, faces outward.

    Args:
        path: .ply, .obj, .stl, .glb or .off, in metres.

    Raises:
        ValueError: if the file is missing, of another format, unreadable, without faces, or of a
            size that tells it isn't in metres.
    """
    path = check_format(path, MESH_FORMATS)
    try:
        mesh = trimesh.load_mesh(path)
    except Exception as error:  # each format's reader fails in ways of its own
        raise ValueError(f"{path}: not a readable {path.suffix} mesh: {error!r}") from error
    if len(mesh.faces) < _announced_faces(path):
        raise ValueError(f"{path}: empty or damaged, accepted are meshes with faces")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise ValueError(f"{path}: damaged, faces name vertices that are not there")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{path}: vertices hold NaN or infinity, accepted are finite numbers")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    check_size(mesh.extents, str(path))
    if mesh.is_watertight and mesh.volume < 0:
        mesh.invert()
    return mesh


def save_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Write a mesh in the format its suffix names.

    Raises:
        ValueError: if the format is unknown.
    """
    mesh.export(check_format(path, MESH_FORMATS, must_exist=False))


def _announced_faces(path: Path) -> int:
    """Faces that must be there; .off is the format whose reader accepts fewer than announced."""
    if path.suffix.lower() != ".off":
        return 1
    lines = (line.split(b"#")[0] for line in path.read_bytes().splitlines())
    numbers = b" ".join(lines).removeprefix(b"OFF").split(maxsplit=2)
    return max(1, int(numbers[1]))


def check_format(path: str | Path, formats: Sequence[str], must_exist: bool = True) -> Path:
    """The path, its suffix being one of the formats and the file being there, or ValueError."""
    path = Path(path)
    if path.suffix.lower() not in formats:
        raise ValueError(f"{path}: unknown format, accepted are {' '.join(formats)}")
    if must_exist and not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def check_size(extents: np.ndarray, source: str) -> None:
    """ValueError unless the longest side (metres) is that of something in a hand's world."""
    longest = float(np.max(extents))
    if longest > LARGEST:
        raise ValueError(
            f"{source}: {longest:.4g} across, units look like millimetres; accepted is metres, "
            f"at most {LARGEST:g}"
        )
    if longest < SMALLEST:
        raise ValueError(
            f"{source}: only {longest:.4g} across; accepted is metres, at least {SMALLEST:g}"
        )
