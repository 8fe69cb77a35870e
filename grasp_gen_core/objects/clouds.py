"""Point cloud files, and clouds made fit for use."""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.meshes import MESH_FORMATS, check_format, load_mesh
from grasp_gen_core.objects.sampling import farthest_point, sample_surface
from grasp_gen_core.types import Observation, lean, read_npz

CLOUD_FORMATS = (".pcd", ".ply", ".npy", ".npz", ".xyz")
OBJECT_FORMATS = tuple(dict.fromkeys(MESH_FORMATS + CLOUD_FORMATS))
NPZ_FIELDS = ("points", "object_points")
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

    Raises:
        InputError: if the file is missing, of another format, truncated, unreadable, holds pickled
            objects, or its points don't pass `clean_points`.
    """
    path = check_format(path, CLOUD_FORMATS)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_npz(path)
        name = next((name for name in NPZ_FIELDS if name in arrays), None)
        if name is None:
            raise InputError(f"{path}: holds neither of {' and '.join(NPZ_FIELDS)}")
        return _observed(arrays[name], f"{path}: {name}")
    readers = {".npy": _read_npy, ".xyz": _read_xyz, ".pcd": _read_pcd, ".ply": _read_ply}
    try:
        points = readers[suffix](path)
    except Exception as error:  # each format's reader fails in ways of its own
        raise InputError(f"{path}: not a readable {suffix} cloud: {error}") from error
    return _observed(points, str(path))


def _observed(points: np.ndarray, source: str) -> Observation:
    points, notes = clean_points(points, source)
    return Observation(points, notes=tuple(notes))


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


def _read_npy(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_xyz(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty file gets our own error
        return np.loadtxt(path, usecols=(0, 1, 2), ndmin=2)


def _read_ply(path: Path) -> np.ndarray:
    points = trimesh.load(path).vertices
    announced = re.search(rb"element vertex\s+(\d+)", _ply_header(path))
    if announced and len(points) < int(announced[1]):
        raise InputError(f"truncated: {len(points)} of {int(announced[1])} points")
    return points


def _read_pcd(path: Path) -> np.ndarray:
    import open3d as o3d

    _check_pcd_length(path)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        return np.asarray(o3d.io.read_point_cloud(str(path), format="pcd").points)


def _check_pcd_length(path: Path) -> None:
    """InputError if a .pcd holds less than its header says: open3d would make the rest up."""
    header = {}
    with open(path, "rb") as file:
        for line in file:
            key, *values = line.split()[:64] or [b"#"]
            header[key] = values
            if key == b"DATA":
                break
        data = file.read()
    try:
        points, encoding = int(header[b"POINTS"][0]), header[b"DATA"][0]
        sizes = [int(size) for size in header[b"SIZE"]]
        counts = [int(count) for count in header.get(b"COUNT", [1] * len(sizes))]
        expected = points * sum(s * c for s, c in zip(sizes, counts, strict=True))
        if encoding == b"ascii":
            is_whole = len(data.split()) >= points * sum(counts)
        elif encoding == b"binary":
            is_whole = len(data) >= expected
        else:
            packed, unpacked = struct.unpack_from("<II", data)
            is_whole = len(data) >= 8 + packed and unpacked == expected
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise InputError(f"damaged header: {error!r}") from error
    if not is_whole:
        raise InputError(f"truncated: less than the {points} points of its header")


def _is_ply_cloud(path: Path) -> bool:
    """Whether a file is a .ply whose header announces no faces."""
    if path.suffix.lower() != ".ply":
        return False
    header = _ply_header(path)
    return b"element vertex" in header and not re.search(rb"element face\s+[1-9]", header)


def _ply_header(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 16).split(b"end_header")[0]
