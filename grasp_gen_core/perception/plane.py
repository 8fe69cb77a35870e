"""The plane that things stand on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

FLAT, NOISE = 0.004, 0.003  # metres off a plane, and what depth noise adds to it at a metre
CANDIDATES = 4  # planes looked at: table, floor, walls
TRIES, SAMPLE = 400, 2000  # of three points each, points that vote
SHARE = 0.05  # of all places, on a supporting plane at least
SIZE = 0.3  # metres, the side of a square as large as a supporting plane is at least
WALL = 0.5  # metres, and of one as large as nothing that a hand holds
PATCH = 0.02  # metres: grid on which a plane's parts hang together
PART = 0.1  # of the largest part: smaller ones are other things at that height
FOOT = 0.04  # metres above the plane, where what stands on it starts
LEVEL = np.cos(np.radians(20))  # between a supporting plane and what is said to be up
ROUNDS = 4  # of refinement


class Plane(NamedTuple):
    """All x with normal . x = offset.

    Attributes:
        normal: (3,) unit vector, up.
        offset: metres.
    """

    normal: np.ndarray
    offset: float

    def height(self, points: np.ndarray) -> np.ndarray:
        """(...) metres of points (..., 3) above the plane."""
        return points @ self.normal - self.offset

    def across(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) coordinates in the plane, metres."""
        return points @ np.linalg.svd(self.normal[None])[2][1:].T


class Support(NamedTuple):
    """A plane and how far it goes.

    Attributes:
        plane: itself.
        outline: (K, 3) corners of its seen part, convex, metres.
        walls: (N,) which of the points it was found in are on other large planes.
    """

    plane: Plane
    outline: np.ndarray
    walls: np.ndarray

    def beyond(self, points: np.ndarray) -> np.ndarray:
        """(N,) metres that points (N, 3) are outside of the outline, negative within."""
        sides = ConvexHull(self.plane.across(self.outline)).equations
        return (self.plane.across(points) @ sides[:, :2].T + sides[:, 2]).max(axis=1)


def tolerance(points: np.ndarray, viewpoint: np.ndarray | None) -> np.ndarray:
    """(N,) metres that points (N, 3) of a plane may lie off it; noise grows with depth squared."""
    if viewpoint is None:
        return np.full(len(points), FLAT)
    return FLAT + NOISE * ((points - viewpoint) ** 2).sum(axis=1)


def find_support(
    points: np.ndarray, viewpoint: np.ndarray | None, up: np.ndarray | None
) -> Support | None:
    """The plane on which most things stand.

    The largest planes are candidates (RANSAC, refined by least squares). Where several are large
    enough, as floor and table, that one is it on which most of what is left over stands.

    Args:
        points: (N, 3) evenly spread over a scene, metres.
        viewpoint: (3,) where the camera stood, which is above the plane; None: unknown.
        up: (3,) unit vector that the plane's normal is within 20 degrees of; None: unknown.

    Returns:
        None where no plane is large enough.
    """
    allowed = tolerance(points, viewpoint)
    rest, found = np.ones(len(points), bool), []
    for number in range(CANDIDATES):
        if rest.sum() < max(SHARE * len(points), 3):
            break
        plane = _ransac(points[rest], allowed[rest], number)
        plane, on = _refine(plane, points[rest], allowed[rest])
        outline, area = _outline(plane, points[rest][on])
        flat = rest & (np.abs(plane.height(points)) < 2 * allowed)
        rest &= ~flat
        if area > SIZE**2 and on.sum() > SHARE * len(points):
            found.append((plane, outline, area, flat))
    rest = np.ones(len(points), bool)
    for plane, *_ in found:
        rest &= np.abs(plane.height(points)) > allowed
    left, weight = points[rest], allowed[rest] ** -2  # noise far off counts less
    best, most, chosen = None, -1.0, -1
    for number, (plane, outline, _, flat) in enumerate(found):
        plane = _upwards(plane, left, viewpoint, up)
        if up is not None and plane.normal @ up < LEVEL:
            continue
        support = Support(plane, outline, ~rest)
        height = plane.height(left)
        foot = (height > 0) & (height < FOOT)
        carried = weight[foot] @ (support.beyond(left[foot]) < 0)
        # Where nothing stands on any, the largest.
        carried += 0.01 * (allowed[flat] ** -2).sum()
        if carried > most:
            best, most, chosen = support, carried, number
    if best is None:
        return None
    walls = np.zeros(len(points), bool)
    for number, (plane, _, area, _) in enumerate(found):
        if number != chosen and area > WALL**2:
            walls |= np.abs(plane.height(points)) < 2 * allowed
    return best._replace(walls=walls)


def _ransac(points: np.ndarray, allowed: np.ndarray, seed: int) -> Plane:
    """The plane near most of a sample of the points."""
    rng = np.random.default_rng(seed)
    corners = points[rng.integers(len(points), size=(TRIES, 3))]
    some = rng.integers(len(points), size=min(SAMPLE, len(points)))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    offsets = (normals * corners[:, 0]).sum(axis=1)
    near = np.abs(normals @ points[some].T - offsets[:, None]) < allowed[some]
    best = near.sum(axis=1).argmax()
    return Plane(normals[best], float(offsets[best]))


def _refine(plane: Plane, points: np.ndarray, allowed: np.ndarray) -> tuple[Plane, np.ndarray]:
    """Least squares over the points near the plane, and which these are."""
    on = np.abs(plane.height(points)) < allowed
    for _ in range(ROUNDS):
        if on.sum() < 3:
            break
        weight = 1 / allowed[on] ** 2
        middle = (weight @ points[on]) / weight.sum()
        near = (points[on] - middle) / allowed[on, None]
        normal = np.linalg.eigh(near.T @ near)[1][:, 0]
        plane = Plane(normal, float(normal @ middle))
        on = np.abs(plane.height(points)) < allowed
    return plane, on


def _outline(plane: Plane, points: np.ndarray) -> tuple[np.ndarray, float]:
    """(K, 3) convex outline of those points (N, 3) that hang together, and its area, m^2."""
    if not len(points):
        return points, 0.0
    flat = plane.across(points)
    cells = np.floor((flat - flat.min(axis=0)) / PATCH).astype(int)
    image = np.zeros(cells.max(axis=0) + 1, bool)
    image[tuple(cells.T)] = True
    parts, _ = ndimage.label(ndimage.binary_dilation(image), np.ones((3, 3)))
    part = parts[tuple(cells.T)]
    size = np.bincount(part)
    kept = size[part] > PART * size.max()
    try:
        hull = ConvexHull(flat[kept])
    except QhullError:  # all in a line
        return points, 0.0
    return points[kept][hull.vertices], hull.volume


def _upwards(
    plane: Plane, things: np.ndarray, viewpoint: np.ndarray | None, up: np.ndarray | None
) -> Plane:
    """The plane, its normal to the side of `up`, else of the camera, else of most things."""
    if up is not None:
        side = plane.normal @ up
    elif viewpoint is not None:
        side = plane.height(viewpoint)
    else:
        side = np.sign(plane.height(things)).sum()
    return plane if side >= 0 else Plane(-plane.normal, -plane.offset)
