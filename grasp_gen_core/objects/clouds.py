"""Point cloud files, and clouds made fit for use."""

from __future__ import annotations

import re
import struct
import warnings
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.meshes import MESH_FORMATS, check_format, check_size, load_mesh
from grasp_gen_core.objects.sampling import farthest_point, sample_surface
from grasp_gen_core.types import read_npz

CLOUD_FORMATS = (".pcd", ".ply", ".npy", ".npz", ".xyz")
OBJECT_FORMATS = tuple(dict.fromkeys(MESH_FORMATS + CLOUD_FORMATS))
NPZ_FIELDS = ("points", "object_points")
FEWEST_POINTS = 64
OVERSAMPLING = 8  # random points per point that farthest-point sampling keeps


def load_object(
    path: str | Path, num_points: int = 2048, seed: int = 0
) -> tuple[np.ndarray, trimesh.Trimesh | None]:
    """Points of an object from a mesh or a cloud file.

    Args:
        path: a mesh (.ply .obj .stl .glb .off) or a cloud (.pcd .ply .npy .npz .xyz), in metres;
            a .ply without faces is a cloud.
        num_points: how many points to take off a mesh, at most how many to keep of a cloud.
        seed: same seed, same points.

    Returns:
        points (N, 3) float32, evenly spaced, metres; the mesh, or None for a cloud.

    Raises:
        InputError: as `load_mesh` and `load_cloud`.
    """
    path = check_format(path, OBJECT_FORMATS)
    if path.suffix.lower() not in MESH_FORMATS or _is_ply_cloud(path):
        return thin(load_cloud(path), num_points, seed), None
    mesh = load_mesh(path)
    return even_surface(mesh, num_points, seed), mesh


def even_surface(mesh: trimesh.Trimesh, n: int, seed: int = 0) -> np.ndarray:
    """(n, 3) float32 points spread evenly over a mesh; same seed, same points."""
    points, _ = sample_surface(mesh, OVERSAMPLING * n, seed)
    return thin(points, n, seed)


def load_cloud(path: str | Path) -> np.ndarray:
    """Points of a cloud file, or the vertices of a .ply mesh, without NaN.

    Args:
        path: .pcd .ply .npy .npz .xyz, in metres; an .npz holds `points` or `object_points`, an
            .npy is (N, 3), an .xyz has x y z first in each line.

    Returns:
        (N, 3) float32, metres.

    Raises:
        InputError: if the file is missing, of another format, truncated, unreadable, holds pickled
            objects, or its points don't pass `check_points`.
    """
    path = check_format(path, CLOUD_FORMATS)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_npz(path)
        name = next((name for name in NPZ_FIELDS if name in arrays), None)
        if name is None:
            raise InputError(f"{path}: holds neither of {' and '.join(NPZ_FIELDS)}")
        return check_points(arrays[name], f"{path}: {name}")
    readers = {".npy": _read_npy, ".xyz": _read_xyz, ".pcd": _read_pcd, ".ply": _read_ply}
    try:
        points = readers[suffix](path)
    except Exception as error:  # each format's reader fails in ways of its own
        raise InputError(f"{path}: not a readable {suffix} cloud: {error}") from error
    return check_points(points, str(path))


def check_points(points: np.ndarray, source: str = "points") -> np.ndarray:
    """The points as (N, 3) float32 without rows that hold NaN or infinity.

    Args:
        points: (N, 3) metres.
        source: names the points in error messages.

    Raises:
        InputError: if they aren't numbers, have another shape, leave fewer than 64 finite points,
            or extend over more than 2 m or less than 5 mm.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "fiu":
        raise InputError(f"{source}: of type {points.dtype}, accepted are real numbers")
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{source}: shape {points.shape}, accepted is (N, 3)")
    with np.errstate(over="ignore"):
        points = points.astype(np.float32)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < FEWEST_POINTS:
        raise InputError(
            f"{source}: {len(points)} finite points, accepted are at least {FEWEST_POINTS}"
        )
    check_size(np.ptp(points, axis=0), source)
    return points


def thin(points: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """At most n of the points, evenly spread whatever the density was.

    Args:
        points: (N, 3).
        n: the most to keep.
        seed: same seed, same points.
    """
    if len(points) <= n:
        return points
    if len(points) > OVERSAMPLING * n:
        rng = np.random.default_rng(seed)
        points = points[rng.choice(len(points), OVERSAMPLING * n, replace=False, shuffle=False)]
    return points[farthest_point(points, n, seed)]


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
