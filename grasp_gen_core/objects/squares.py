"""A cloud as a surface: a square for each point, and what these hide from each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree


class Squares:
    """One square for each point of a cloud, square to its normal.

    Args:
        points, normals: (N, 3) metres, unit vectors.
        sides: (N,) of the squares, metres.
    """

    def __init__(self, points: np.ndarray, normals: np.ndarray, sides: np.ndarray) -> None:
        across = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        self.points, self.radius = points, sides / np.sqrt(2)
        # Coordinates off the square and along its sides; it ends where those are 1.
        axes = np.stack([normals, across, np.cross(normals, across)])
        self.axes = axes * (2 / sides)[:, None]

    def hide_from(self, eye: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(R,) whether squares are in the way from starts (R, 3) to an eye (3,), metres, that lies
        outside of the cloud."""
        far, away = (np.linalg.norm(x - eye, axis=1) for x in (self.points, starts))
        images = [(x - eye) / d[:, None] for x, d in ((starts, away), (self.points, far))]
        found, ways = np.zeros(len(starts), bool), eye - starts
        for ray, square in _near(*images, self.radius / (far - self.radius)):
            height, *places = (axis[square] for axis in self.axes)
            gap, way = starts[ray] - self.points[square], ways[ray]
            with np.errstate(divide="ignore", invalid="ignore"):  # a ray along a square misses it
                time = -(height * gap).sum(axis=1) / (height * way).sum(axis=1)
            hit = time > 0
            for axis in places:
                hit &= np.abs((axis * (gap + time[:, None] * way)).sum(axis=1)) <= 1
            found[ray[hit]] = True
        return found

    def hide_along(
        self, direction: np.ndarray, starts: np.ndarray, lift: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(R,) whether squares are in the way ahead in a direction (3,), and (R,) backwards, more
        than lift (R,) away from starts (R, 3), metres."""
        first = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
        first /= np.linalg.norm(first)
        plane = np.stack([first, np.cross(direction, first)], axis=1)
        seen, flat = starts @ plane, self.points @ plane
        fall, *drifts = self.axes @ direction
        # Where such a ray meets a square depends on its place in the plane alone. Single precision,
        # and `take` and `compress`: five times as fast as indexing.
        with np.errstate(all="ignore"):  # a ray along a square misses it
            height = self.axes[0] / fall[:, None]
            forms = [
                (axis - height * drift[:, None]) @ plane
                for axis, drift in zip(self.axes[1:], drifts, strict=True)
            ]
            forms = [np.float32([*form.T, (form * flat).sum(axis=1)]) for form in forms]
            height = np.float32([*height.T, (height * self.points).sum(axis=1)])
            seen, space = np.float32(seen.T), np.float32(starts.T)
            ahead, behind = np.zeros((2, len(starts)), bool)
            for ray, square in _near(seen.T, flat, self.radius):
                for form in forms:
                    inside = np.abs(_offset(form, seen, ray, square)) <= 1
                    ray, square = ray.compress(inside), square.compress(inside)
                above, least = _offset(height, space, ray, square), lift.take(ray)
                ahead[ray.compress(above < -least)] = True
                behind[ray.compress(above > least)] = True
        return ahead, behind


def _offset(
    form: np.ndarray, places: np.ndarray, ray: np.ndarray, square: np.ndarray
) -> np.ndarray:
    """(P,) linear forms (D + 1, N) of squares, of rays' places (D, R) less the squares' middles.

    Args:
        form: the last row is the form at the middle.
        ray, square: (P,) numbers.
    """
    *factors, middle = form
    products = (x.take(square) * y.take(ray) for x, y in zip(factors, places, strict=True))
    return sum(products, -middle.take(square))


def _near(
    rays: np.ndarray, squares: np.ndarray, reach: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a ray and a square whose images (R, D) and (N, D) are within its reach (N,)."""
    tree = cKDTree(rays, balanced_tree=False, compact_nodes=False)
    # By size: small squares aren't looked for as far as a large one reaches.
    size = np.rint(2 * np.log2(reach / np.median(reach)))
    for one in np.unique(size):
        same = np.flatnonzero(size == one)
        other = cKDTree(squares[same], balanced_tree=False, compact_nodes=False)
        near = tree.sparse_distance_matrix(other, reach[same].max(), output_type="coo_matrix")
        yield near.row.astype(np.intp), same[near.col]
