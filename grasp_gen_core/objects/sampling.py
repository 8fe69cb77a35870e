"""Points on surfaces: area-weighted samples, even subsets, outward normals."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.errors import InputError

NUM_NEIGHBOURS = 12
NUM_DIRECTIONS = 64
GRAZING = 0.2  # cosine below which a ray skims the neighbours of its point and tells nothing
SAME_SHEET = 0.35  # sine of the climb to a neighbour above which it lies on another sheet
NUM_VOTES = 20  # rounds in which neighbours agree on the side
DEPTH_NOISE = 0.0026  # per metre: deviation over depth squared of a RealSense-like camera
SEEN_BY_CAMERA = 0.75  # share in sight of the origin of a camera's view; whole objects have half


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
        InputError: if there are fewer than n points.
    """
    if n > len(points):
        raise InputError(f"n: {n} points asked for, but there are only {len(points)}")
    # Three separate axes keep each pass over memory contiguous: eight times faster than (N, 3).
    x, y, z = np.ascontiguousarray((points - np.mean(points, axis=0)).T, dtype=np.float32)
    distance = np.full(len(points), np.inf, dtype=np.float32)
    chosen = np.empty(n, dtype=np.int64)
    last = np.random.default_rng(seed).integers(len(points))
    for i in range(n):
        chosen[i] = last
        squared = (x - x[last]) ** 2 + (y - y[last]) ** 2 + (z - z[last]) ** 2
        np.minimum(distance, squared, out=distance)
        last = distance.argmax()
    return chosen


def outward_normals(points: np.ndarray, viewpoint: np.ndarray | None = None) -> np.ndarray:
    """Unit normals of a cloud, pointing out of the object.

    With a viewpoint they point towards it. So they do for a cloud that lies away from the origin
    and is seen from there as a whole: that is a camera's view in the camera's frame. In any other
    cloud each point faces the side from which more of the world outside is in sight past the other
    points, which holds for closed, hollow and thin objects alike, and neighbours on the same sheet
    of the surface agree. What stays uncertain are walls thinner than half the point spacing, and
    views of one side only that are given in another frame without their viewpoint.

    Args:
        points: (N, 3) metres, evenly spaced (see `clouds.thin`).
        viewpoint: (3,) where the camera stood, if known, metres.

    Returns:
        (N, 3) float32.
    """
    import open3d as o3d

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(NUM_NEIGHBOURS))
    normals = np.array(cloud.normals)
    distance, neighbours = cKDTree(points).query(points, k=range(2, NUM_NEIGHBOURS + 2), workers=-1)
    spacing = distance[:, 7] * np.sqrt(np.pi / 8.5)  # side of the square each point stands for
    surface = _squares(points, normals, 2 * spacing)  # of twice the side: no gaps

    if viewpoint is None and _is_camera_view(points, spacing, surface):
        viewpoint = np.zeros(3)
    if viewpoint is not None:
        towards = viewpoint - points
        noise = DEPTH_NOISE * np.median(np.linalg.norm(towards, axis=1)) ** 2
        if 6 * noise > np.median(distance[:, -1]):
            cloud.estimate_normals(o3d.geometry.KDTreeSearchParamRadius(6 * noise))
            normals = np.asarray(cloud.normals)
        openness = np.einsum("nd,nd->n", normals, towards)
    else:
        openness = _openness(points, normals, spacing, surface)
        openness = _agree(openness, points, normals, neighbours)
    return (normals * np.where(openness < 0, -1, 1)[:, None]).astype(np.float32)


def _squares(points: np.ndarray, normals: np.ndarray, sides: np.ndarray):
    """The cloud as a raycasting scene of one square per point, square to its normal."""
    from open3d.t.geometry import RaycastingScene

    across = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    across *= sides[:, None] / 2 / np.linalg.norm(across, axis=1, keepdims=True)
    along = np.cross(normals, across)
    corners = [points + across + along, points - across + along]
    corners += [points - across - along, points + across - along]
    faces = 4 * np.arange(len(points))[:, None, None] + [[0, 1, 2], [0, 2, 3]]
    scene = RaycastingScene()
    scene.add_triangles(
        np.stack(corners, axis=1).reshape(-1, 3).astype(np.float32),
        faces.reshape(-1, 3).astype(np.uint32),
    )
    return scene


def _is_camera_view(points: np.ndarray, spacing: np.ndarray, surface) -> bool:
    """Whether nearly all points are in sight of an origin that lies well away from them."""
    lower, upper = points.min(0), points.max(0)
    if np.linalg.norm(np.clip(0, lower, upper)) < np.max(upper - lower):
        return False
    depth = np.linalg.norm(points, axis=1)
    # Start in front of the neighbours that noise has put before their point.
    lift = np.maximum(0.3 * spacing, 3 * DEPTH_NOISE * depth**2)
    starts = points * (1 - lift / depth)[:, None]
    rays = np.concatenate([starts, -points], axis=1, dtype=np.float32)
    return surface.test_occlusions(rays).numpy().mean() < 1 - SEEN_BY_CAMERA


def _openness(points: np.ndarray, normals: np.ndarray, spacing: np.ndarray, surface) -> np.ndarray:
    """(N,) how much more of the world is in sight above each point than below it, -1 to 1."""
    directions = _sphere_directions(NUM_DIRECTIONS)
    cosines = normals @ directions.T
    cosines[np.abs(cosines) < GRAZING] = 0
    # A ray starts a little off its own square, on the side it leaves to.
    lift = np.sign(cosines) * 0.3 * spacing[:, None]
    starts = points[:, None] + lift[..., None] * normals[:, None]
    rays = [starts, np.broadcast_to(directions, starts.shape)]
    hidden = surface.test_occlusions(np.concatenate(rays, axis=-1, dtype=np.float32)).numpy()
    cosines[hidden] = 0
    # In relation to all that is in sight, so that the inside of a deep cup has its say.
    return cosines.sum(axis=1) / np.abs(cosines).sum(axis=1).clip(0.5)


def _agree(
    openness: np.ndarray, points: np.ndarray, normals: np.ndarray, neighbours: np.ndarray
) -> np.ndarray:
    """Openness (N,) averaged over neighbours (N, K), turned as their normals are turned."""
    step = points[neighbours] - points[:, None]
    step /= np.linalg.norm(step, axis=-1, keepdims=True).clip(1e-9)
    aligned = np.einsum("nd,nkd->nk", normals, normals[neighbours])
    climb = np.maximum(
        np.abs(np.einsum("nd,nkd->nk", normals, step)),
        np.abs(np.einsum("nkd,nkd->nk", normals[neighbours], step)),
    )
    weight = aligned * np.abs(aligned) * np.clip(1 - climb / SAME_SHEET, 0, 1) ** 2
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
