"""Points on surfaces: area-weighted samples, even subsets, outward normals."""

from __future__ import annotations

import functools

import numpy as np
import trimesh
from scipy.spatial import cKDTree

NUM_DIRECTIONS = 32
GRAZING = 0.2  # cosine below which a ray skims the neighbours of its point and tells nothing
NUM_VOTES = 3  # rounds in which neighbours agree on the side
SEEN_BY_CAMERA = 0.85  # share of points in sight of the origin that makes a cloud a camera's view


def sample_surface(mesh: trimesh.Trimesh, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random points on the mesh, evenly over its area.

    Args:
        mesh: in metres.
        n: number of points.
        seed: same seed, same points.

    Returns:
        points (n, 3) float32, metres; normals (n, 3) float32, of the faces the points lie on.
    """
    points, faces = trimesh.sample.sample_surface(mesh, n, seed=seed)
    return points.astype(np.float32), mesh.face_normals[faces].astype(np.float32)


def farthest_point(points: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """An evenly spread subset: each point is the one farthest from all chosen before.

    Args:
        points: (N, 3).
        n: number of points, at most N.
        seed: chooses the first point.

    Returns:
        (n,) indices into points, all different unless points coincide.

    Raises:
        ValueError: if there are fewer than n points.
    """
    if n > len(points):
        raise ValueError(f"n: {n} points asked for, but there are only {len(points)}")
    # Three separate axes keep each pass over memory contiguous: eight times faster than (N, 3).
    x, y, z = np.ascontiguousarray((points - np.mean(points, axis=0)).T, dtype=np.float32)
    distance = np.full(len(points), np.inf, dtype=np.float32)
    chosen = np.empty(n, dtype=np.int64)
    last = np.random.default_rng(seed).integers(len(points))
    for i in range(n):
        chosen[i] = last
        np.minimum(distance, (x - x[last]) ** 2 + (y - y[last]) ** 2 + (z - z[last]) ** 2, distance)
        last = distance.argmax()
    return chosen


def outward_normals(points: np.ndarray, viewpoint: np.ndarray | None = None) -> np.ndarray:
    """Unit normals of a cloud, pointing out of the object.

    With a viewpoint they point towards it. So they do for a cloud that lies away from the origin
    and is seen from there as a whole: that is a camera's view in the camera's frame. In any other
    cloud each point faces the side from which more of the world outside is in sight past the other
    points, which holds for closed, open, hollow and thin objects alike; neighbours on the same
    sheet of the surface agree. Walls thinner than the point spacing can come out reversed.

    Args:
        points: (N, 3) metres, evenly spaced (see `clouds.thin`).
        viewpoint: (3,) where the camera stood, if known, metres.

    Returns:
        (N, 3) float32.
    """
    import open3d as o3d

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(16))
    normals = np.asarray(cloud.normals)
    distance, neighbours = cKDTree(points).query(points, k=range(2, 14), workers=-1)
    spacing = distance[:, 7] * np.sqrt(np.pi / 8.5)  # side of the square each point stands for
    sight = functools.partial(_in_sight, points, normals, spacing)
    if viewpoint is None and _lies_off_origin(points):
        if sight(-points[:, None]).mean() > SEEN_BY_CAMERA:
            viewpoint = np.zeros(3)
    if viewpoint is not None:
        openness = np.einsum("nd,nd->n", normals, viewpoint - points)
    else:
        directions = _sphere_directions(NUM_DIRECTIONS)
        cosines = normals @ directions.T
        free = sight(np.broadcast_to(directions, (len(points), *directions.shape)))
        openness = (free * np.where(np.abs(cosines) < GRAZING, 0, cosines)).mean(axis=1)
        outward = points - (points.max(0) + points.min(0)) / 2
        # Where both sides are equally open, the side away from the middle wins.
        openness += 0.02 * np.einsum("nd,nd->n", normals, outward) / np.abs(outward).max()
        openness = _agree(openness, points, normals, neighbours)
    return (normals * np.where(openness < 0, -1, 1)[:, None]).astype(np.float32)


def _lies_off_origin(points: np.ndarray) -> bool:
    """Whether the origin is at least a cloud's length away from the cloud's bounding box."""
    lower, upper = points.min(0), points.max(0)
    return bool(np.linalg.norm(np.clip(0, lower, upper)) > np.max(upper - lower))


def _in_sight(
    points: np.ndarray, normals: np.ndarray, spacing: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Whether a ray leaves the cloud without crossing the small square around any point.

    Args:
        points, normals: (N, 3), the normals of any sign; spacing: (N,) side of the squares.
        directions: (N, D, 3) of the rays from each point.

    Returns:
        (N, D) bool.
    """
    from open3d.t.geometry import RaycastingScene

    side = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    half = 0.8 * spacing[:, None]  # the squares overlap a little
    across, along = half * side, half * np.cross(normals, side)
    corners = [points + across + along, points - across + along]
    corners += [points - across - along, points + across - along]
    faces = 4 * np.arange(len(points))[:, None, None] + [[0, 1, 2], [0, 2, 3]]
    scene = RaycastingScene()
    scene.add_triangles(
        np.stack(corners, axis=1).reshape(-1, 3).astype(np.float32),
        faces.reshape(-1, 3).astype(np.uint32),
    )
    # A ray starts a little off its own square, on the side it leaves to.
    above = np.sign(np.einsum("nd,nkd->nk", normals, directions)) * 0.3 * spacing[:, None]
    starts = points[:, None] + above[..., None] * normals[:, None]
    rays = np.concatenate([starts, directions], axis=-1, dtype=np.float32)
    return ~scene.test_occlusions(rays).numpy()


def _agree(
    openness: np.ndarray, points: np.ndarray, normals: np.ndarray, neighbours: np.ndarray
) -> np.ndarray:
    """Openness (N,) averaged over neighbours (N, K), turned as their normals are turned."""
    step = points[neighbours] - points[:, None]
    step /= np.linalg.norm(step, axis=-1, keepdims=True).clip(1e-9)
    aligned = np.einsum("nd,nkd->nk", normals, normals[neighbours])
    # Neighbours above or below belong to the other side of a thin wall.
    within = 1 - np.abs(np.einsum("nd,nkd->nk", normals, step))
    weight = aligned * np.abs(aligned) * within**2
    weight /= np.abs(weight).sum(axis=1, keepdims=True).clip(1e-9)
    votes = openness
    for _ in range(NUM_VOTES):
        votes = openness + (weight * votes[neighbours]).sum(axis=1)
    return votes


def _sphere_directions(n: int) -> np.ndarray:
    """(n, 3) unit vectors spread evenly (Fibonacci lattice)."""
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
