"""Point cloud files, and clouds made fit for use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.cloud_readers import (
    Seen,
    read_npy_cloud,
    read_npz_cloud,
    read_pcd,
    read_xyz,
)
from grasp_gen_core.objects.meshes import MESH_FORMATS, check_format, load_mesh
from grasp_gen_core.objects.ply import has_faces, read_ply
from grasp_gen_core.objects.sampling import farthest_point, sample_surface
from grasp_gen_core.types import Observation, lean

OVERSAMPLING = 8  # random points per point that farthest-point sampling keeps


def load_object(path: str | Path, num_points: int = 2048, seed: int = 0) -> Observation:
    """An object from a mesh or a cloud file, its points evenly spaced.

    Args:
        path: a mesh (.ply .obj .stl .glb .off) or a cloud (.pcd .ply .npy .npz .xyz), in metres;
            a .ply without faces is a cloud.
        num_points: how many points to take off a mesh, at most how many to keep of a cloud.
        seed: same seed, same points.

    Returns:
        Of a mesh with its normals, if it is closed: else nothing tells which side is outside.

    Raises:
        InputError: as `load_mesh` and `load_cloud`.
    """
    path = check_format(path, OBJECT_FORMATS)
    if path.suffix.lower() not in MESH_FORMATS or _is_ply_cloud(path):
        cloud = load_cloud(path)
        return replace(cloud, points=thin(cloud.points, num_points, seed))
    mesh = load_mesh(path)
    centre = mesh.bounds.mean(axis=0)
    near = trimesh.Trimesh(mesh.vertices - centre, mesh.faces, process=False)
    points, normals = even_surface(near, num_points, seed)
    points = lean(points + centre)
    return Observation(points, normals if mesh.is_watertight else None, mesh=mesh)


def even_surface(mesh: trimesh.Trimesh, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) float32 points spread evenly over a mesh, and their normals, by seed."""
    points, normals = sample_surface(mesh, OVERSAMPLING * n, seed)
    chosen = farthest_point(points, n, seed)
    return points[chosen], normals[chosen]


def load_cloud(path: str | Path) -> Observation:
    """Points of a cloud file, or the vertices of a .ply mesh, without NaN.

    Args:
        path: .pcd .ply .npy .npz .xyz, in metres; an .npz holds `points` or `object_points`, an
            .npy is (N, 3), an .xyz has x y z first in each line.

    Returns:
        With the viewpoint that a .pcd tells.

    Raises:
        InputError: if the file is missing, of another format, truncated, unreadable, holds pickled
            objects, or its points don't pass `clean_points`.
    """
    points, viewpoint = read_cloud(path)
    points, notes = clean_points(points, str(path))
    return Observation(points, viewpoint=viewpoint, notes=tuple(notes))


def read_cloud(path: str | Path) -> Seen:
    """The numbers of a cloud file as they stand there, and where the camera stood, if it is told.

    Args:
        path: as of `load_cloud`.

    Raises:
        InputError: if the file is missing, of another format, truncated, unreadable, or holds
            pickled objects.
    """
    path = check_format(path, CLOUD_FORMATS)
    suffix = path.suffix.lower()
    try:
        return READERS[suffix](path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can be so in any way
        raise InputError(f"{path}: not a readable {suffix} cloud: {error!r:.200}") from error


def thin(points: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """At most n of the points (N, 3), evenly spread whatever the density was, by seed."""
    return points[evenly(points, n, seed)]


def evenly(points: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """(M,) indices of at most n of the points (N, 3), evenly spread, by seed."""
    some = np.arange(len(points))
    if len(points) <= n:
        return some
    if len(points) > OVERSAMPLING * n:
        rng = np.random.default_rng(seed)
        some = rng.choice(len(points), OVERSAMPLING * n, replace=False, shuffle=False)
    return some[farthest_point(points[some], n, seed)]


def _read_ply_cloud(path: Path) -> tuple[np.ndarray, None]:
    return read_ply(path.read_bytes())[0], None


def _is_ply_cloud(path: Path) -> bool:
    """Whether a file is a .ply whose header announces no faces."""
    if path.suffix.lower() != ".ply":
        return False
    try:
        return not has_faces(path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


READERS = {
    ".pcd": read_pcd,
    ".ply": _read_ply_cloud,
    ".npy": read_npy_cloud,
    ".npz": read_npz_cloud,
    ".xyz": read_xyz,
}
CLOUD_FORMATS = tuple(READERS)
OBJECT_FORMATS = tuple(dict.fromkeys(MESH_FORMATS + CLOUD_FORMATS))
