"""Clouds made fit for use: what sensors put into them beside the object is dropped and counted."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.meshes import check_size

FEWEST_POINTS = 64
NOWHERE = 1e9  # metres: what lies further off is a code for "nothing seen", as NaN is
HEAP = 50  # times as many points as elsewhere at one place are such a code, too, ...
HEAP_SHARE = 0.01  # ... if they are this share of all
SAMPLE = 4096  # points, or pairs of them, that are looked at where all aren't needed
HULL = 512  # points whose hull tells a cloud's width
ASTRAY = 3.0  # median distances between two points of a cloud: flying pixels keep off further
FLYING_SHARE = 0.005  # of all points, in a group of flying pixels at most

# From where on a cloud is no single object that a hand can hold.
APART = 0.04, 6.0  # metres, and point spacings, between things that aren't one
CLUSTER_SHARE = 0.05  # of all points, in a thing of its own at least
SPAN = 0.18  # metres from thumb to little finger
TABLE_SHARE, TABLE_SIZE = 0.3, 0.3  # of all points, and metres: a table has more
FLATNESS = 0.006  # metres off its plane at most
TRIES = 100  # of finding a plane
SECTORS = 12  # around what stands on a table; in 3 of 4 the table goes on beyond it


def clean_points(points: np.ndarray, source: str = "points") -> tuple[np.ndarray, list[str]]:
    """The points that sensors saw of an object, without those that stand for nothing.

    Dropped are points that aren't finite or lie beyond all bounds, codes for invalid pixels (the
    origin, or any other place where far more points lie than elsewhere), repeated points, and
    groups of a few points far away from all others. What belongs to the object stays, and so does
    whatever may: where the cloud looks like more than one object, the notes say so.

    Args:
        points: (N, 3) metres.
        source: names the points in error messages.

    Returns:
        (M, 3) float64 in the order given; notes on what was dropped and what is odd.

    Raises:
        InputError: if they aren't numbers, have another shape, leave fewer than 64 points, or
            extend over more than 2 m or less than 5 mm.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "fiu":
        raise InputError(f"{source}: of type {points.dtype}, accepted are real numbers")
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{source}: shape {points.shape}, accepted is (N, 3)")
    points = points.astype(np.float64)
    with np.errstate(invalid="ignore"):
        finite = (np.abs(points) < NOWHERE).all(axis=1)
    notes = [_dropped(len(points) - finite.sum(), "without a finite position")]
    points = points[finite]
    if len(points):
        points, repeated = _without_repetitions(points)
        points, astray = _without_flying_pixels(points)
        notes += [*repeated, astray]
    if len(points) < FEWEST_POINTS:
        raise InputError(
            f"{source}: {'; '.join([f'{len(points)} finite points', *filter(None, notes)])}; "
            f"accepted are at least {FEWEST_POINTS} points"
        )
    check_size(np.ptp(points, axis=0), source)
    notes += _oddities(points - np.median(points, axis=0))
    return points, list(filter(None, notes))


def _dropped(number: int, what: str) -> str:
    """The note on it, empty if there are none."""
    return f"{number} {'point' if number == 1 else 'points'} {what} dropped" if number else ""


def _without_repetitions(points: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Each place once, in the order given; places that stand for invalid pixels not at all."""
    order = np.lexsort(points.T)
    ordered = points[order]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    places, first = ordered[is_new], np.minimum.reduceat(order, np.flatnonzero(is_new))
    number = np.diff(np.append(np.flatnonzero(is_new), len(points)))
    code = (number > HEAP * np.median(number)) & (number > HEAP_SHARE * len(points))
    code |= (places == 0).all(axis=1) & (number > 1)
    notes = [
        _dropped(count, f"at ({x:g}, {y:g}, {z:g})")
        for count, (x, y, z) in zip(number[code], places[code] + 0.0, strict=True)
    ]
    notes.append(_dropped((number[~code] - 1).sum(), "at a place taken"))
    return points[np.sort(first[~code])], notes


def _without_flying_pixels(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Without groups of a few points whose distance to all others exceeds the object's size."""
    if len(points) < FEWEST_POINTS:
        return points, ""
    pairs = np.random.default_rng(0).integers(len(points), size=(2, SAMPLE))
    gap = ASTRAY * np.median(np.linalg.norm(points[pairs[0]] - points[pairs[1]], axis=1))
    group = _groups(points - np.median(points, axis=0), gap)
    size = np.bincount(group)
    few = size <= max(3, FLYING_SHARE * len(points))
    suspects = np.flatnonzero(few[group])
    if not 0 < len(suspects) < len(points):
        return points, ""
    # Groups are told apart roughly, so measure how far they are from all that is sure.
    apart = cKDTree(points[~few[group]]).query(points[suspects])[0]
    nearest = np.full(len(size), np.inf)
    np.minimum.at(nearest, group[suspects], apart)
    astray = few[group] & (nearest[group] > gap)
    return points[~astray], _dropped(astray.sum(), "far away from all others")


def _groups(points: np.ndarray, gap: float) -> np.ndarray:
    """(N,) number of the group each point belongs to; groups are about `gap` apart or more."""
    cells = np.floor(np.clip(points / (gap / 4), -1e5, 1e5)).astype(np.int64) + 10**5
    cells = (cells[:, 0] << 40) + (cells[:, 1] << 20) + cells[:, 2]
    _, first, cell = np.unique(cells, return_index=True, return_inverse=True)
    pairs = cKDTree(points[first]).query_pairs(gap, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(first), len(first)))
    return connected_components(links, directed=False)[1][cell]


def _oddities(points: np.ndarray) -> list[str]:
    """What tells that a cloud isn't one object which a hand can hold."""
    points = np.random.default_rng(0).permutation(points)[:SAMPLE]
    found = []
    if _is_on_a_table(points):
        found.append("a large plane goes on beyond what stands on it: a table isn't removed?")
    spacing = np.median(cKDTree(points).query(points, k=[2])[0])
    size = np.bincount(_groups(points, max(APART[0], APART[1] * spacing)))
    if (many := np.count_nonzero(size > CLUSTER_SHARE * len(points))) > 1:
        found.append(f"{many} separate clusters of points: more than one object?")
    if (width := _width(points[:HULL])) > SPAN:
        found.append(f"{width:.2g} m across where it is narrowest: more than a hand can span")
    return found


def _width(points: np.ndarray) -> float:
    """Least distance of two parallel planes with the points between them, one on a hull's face."""
    try:
        hull = ConvexHull(points)
    except QhullError:  # all in a plane
        return 0.0
    return np.ptp(points[hull.vertices] @ hull.equations[:, :3].T, axis=0).min()


def _is_on_a_table(points: np.ndarray) -> bool:
    """Whether a plane with many of the points goes on around the others, all on one side of it."""
    normal, offset = _plane(points)
    height = points @ normal - offset
    flat = np.abs(height) < FLATNESS
    above, below = height > FLATNESS, height < -FLATNESS
    if above.sum() < below.sum():
        above, below = below, above
    if flat.mean() < TABLE_SHARE or above.mean() < CLUSTER_SHARE or below.mean() > FLYING_SHARE:
        return False
    across = np.linalg.svd(normal[None])[2][1:]
    plane, things = points[flat] @ across.T, points[above] @ across.T
    try:
        if ConvexHull(plane).volume < TABLE_SIZE**2:
            return False
    except QhullError:  # all in a line
        return False
    middle = np.median(things, axis=0)
    reach = np.quantile(np.linalg.norm(things - middle, axis=1), 0.9)
    beyond = plane[np.linalg.norm(plane - middle, axis=1) > reach] - middle
    angle = np.arctan2(beyond[:, 1], beyond[:, 0])
    sectors = np.unique(np.floor((angle / (2 * np.pi) + 0.5) * SECTORS) % SECTORS)
    return len(sectors) >= 0.75 * SECTORS


def _plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Normal and offset of the plane most points lie on, by RANSAC."""
    corners = points[np.random.default_rng(0).integers(len(points), size=(TRIES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    offsets = (normals * corners[:, 0]).sum(axis=1)
    best = (np.abs(points @ normals.T - offsets) < FLATNESS).sum(axis=0).argmax()
    flat = points[np.abs(points @ normals[best] - offsets[best]) < FLATNESS]
    middle = flat.mean(axis=0)  # refined by least squares
    normal = np.linalg.svd(flat - middle, full_matrices=False)[2][2]
    return normal, normal @ middle
