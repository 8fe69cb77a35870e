"""Points on surfaces: area-weighted samples, even subsets, outward normals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import trimesh
from scipy.sparse import coo_matrix, identity
from scipy.spatial import cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.squares import Squares

NUM_NEIGHBOURS = 12
NUM_DIRECTIONS = 64  # half of them, and those opposite
THREADS = 2  # that look along directions: a third would wait for Python
GRAZING = 0.2  # cosine below which a ray skims the neighbours of its point and tells nothing
SAME_SHEET = 0.35  # sine of the climb to a neighbour above which it lies on another sheet
NUM_VOTES = 20  # rounds in which neighbours agree on the side
DEPTH_NOISE = 0.0026  # per metre: deviation over depth squared of a RealSense-like camera
SEEN_BY_CAMERA = 0.83  # share in sight of a camera in its own view; whole objects have half
NEAREST_GUESSED = 0.2  # metres: no depth camera measures what is closer to it
NEAREST_CAMERA = 0.5  # of the object's longest side: no camera stands closer to it
# The area normals of a closed surface add up to nothing; those of a part of it add up to the area
# of its opening. Length of the mean normal from which something is left out:
OPEN = 0.08
COARSEST = 0.25  # of the longest side: radius in which normals are averaged at most


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
    # Plain arrays: trimesh's own, which watch for changes, slow down all that is done to them.
    return np.array(points, np.float32), np.array(mesh.face_normals[faces], np.float32)


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

    They point to the viewpoint, if nearly all points can be seen from there: that is a camera's
    view. In any other cloud, as in one of a whole object, each point faces the side from which more
    of the world outside is in sight past the other points, which holds for closed, hollow and thin
    objects alike, and neighbours on the same sheet of the surface agree. What stays uncertain are
    walls thinner than half the point spacing, and views of one side only without their viewpoint.

    Args:
        points: (N, 3) metres, evenly spaced (see `clouds.thin`).
        viewpoint: (3,) where the camera stood, metres; None tries the origin, see
            `origin_may_be_camera`.

    Returns:
        (N, 3) float32.
    """
    if viewpoint is None:
        viewpoint = np.zeros(3) if origin_may_be_camera(points) else points.mean(axis=0)
    centre = np.mean(points, axis=0, dtype=np.float64)
    points = points - centre
    towards = viewpoint - centre - points
    tree = cKDTree(points)
    distance, neighbours = tree.query(points, k=range(2, NUM_NEIGHBOURS + 2), workers=-1)
    own = np.arange(len(points))
    normals = _flattest(points[np.column_stack([own, neighbours[:, :-1]])])
    spacing = distance[:, 7] * np.sqrt(np.pi / 8.5)  # side of the square each point stands for

    if _is_camera_view(points, normals, towards, spacing, neighbours):
        noise = DEPTH_NOISE * np.median(np.linalg.norm(towards, axis=1)) ** 2
        radius = min(6 * noise, COARSEST * np.ptp(points, axis=0).max())
        if radius > np.median(distance[:, -1]):
            normals = _flattest_within(tree, radius, normals)
        openness = np.einsum("nd,nd->n", normals, towards)
    else:
        openness = _openness(points, normals, spacing)
        openness = _agree(openness, points, normals, neighbours)
    return (normals * np.where(openness < 0, -1, 1)[:, None]).astype(np.float32)


def _flattest(groups: np.ndarray) -> np.ndarray:
    """(N, 3) unit directions in which groups of points (N, K, 3) extend least."""
    groups = groups - groups.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.swapaxes(groups, 1, 2) @ groups)[1][..., 0]


def _flattest_within(tree: cKDTree, radius: float, normals: np.ndarray) -> np.ndarray:
    """The same of all points within a radius of each; the normals (N, 3) where these are few."""
    points, (first, second) = tree.data, tree.query_pairs(radius, output_type="ndarray").T
    count = len(points)
    pairs = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count)).tocsr()
    squares = (points[:, :, None] * points[:, None]).reshape(count, 9)
    sums = (pairs + pairs.T + identity(count)) @ np.column_stack([np.ones(count), points, squares])
    mean = sums[:, 1:4] / sums[:, :1]
    spread = (sums[:, 4:] / sums[:, :1]).reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None]
    return np.where(sums[:, :1] < 3, normals, np.linalg.eigh(spread)[1][..., 0])


def origin_may_be_camera(points: np.ndarray) -> bool:
    """Whether a depth camera that nobody told of may have seen points (N, 3) from the origin.

    That of an object's own frame is inside it, and sees a part of its surface from within.
    """
    return float(np.linalg.norm(points, axis=1).min()) > NEAREST_GUESSED


def _is_camera_view(
    points: np.ndarray,
    normals: np.ndarray,
    towards: np.ndarray,
    spacing: np.ndarray,
    neighbours: np.ndarray,
) -> bool:
    """Whether nearly all points are in sight of a viewpoint that lies well away from them.

    Args:
        points, normals: (N, 3); towards: (N, 3) from them to the viewpoint.
        spacing: (N,); neighbours: (N, K) indices.
    """
    eye = points[0] + towards[0]
    lower, upper = points.min(axis=0), points.max(axis=0)
    if np.linalg.norm(eye - np.clip(eye, lower, upper)) < NEAREST_CAMERA * np.max(upper - lower):
        return False
    # Start in front of the neighbours that noise has put before their point. How rough the cloud is
    # tells the noise: that of a camera would hide the thickness of an object that is far away.
    height = np.einsum("nkd,nd->nk", points[neighbours], normals)
    lift = np.maximum(0.3 * spacing, 2 * np.median(height.std(axis=1)))
    starts = points + towards * (lift / np.linalg.norm(towards, axis=1))[:, None]
    hidden = Squares(points, normals, spacing).hide_from(eye, starts)
    return hidden.mean() < 1 - SEEN_BY_CAMERA


def _openness(points: np.ndarray, normals: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(N,) how much more of the world is in sight above each point than below it, -1 to 1."""
    surface = Squares(points, normals, 2 * spacing)  # of twice the side: no gaps
    directions = sphere_directions(NUM_DIRECTIONS)[: NUM_DIRECTIONS // 2]
    cosines = normals @ directions.T
    cosines[np.abs(cosines) < GRAZING] = 0
    ahead, behind = cosines.copy(), -cosines

    def shut(number: int) -> None:
        rays = np.flatnonzero(cosines[:, number])
        # A ray starts a little off its own square, to whichever side it leaves.
        lift = 0.3 * spacing[rays] / np.abs(cosines[rays, number])
        hidden = surface.hide_along(directions[number], points[rays], lift)
        for side, lost in zip((ahead, behind), hidden, strict=True):
            side[rays[lost], number] = 0

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(shut, range(len(directions))))
    # In relation to all that is in sight, so that the inside of a deep cup has its say.
    in_sight = np.abs(ahead).sum(axis=1) + np.abs(behind).sum(axis=1)
    return (ahead + behind).sum(axis=1) / in_sight.clip(0.5)


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


def sphere_directions(n: int) -> np.ndarray:
    """(n, 3) unit vectors spread evenly (Fibonacci lattice)."""
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
