"""What a camera knows of an object: a depth image of it, and what space it saw to be free."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError, cKDTree

SIZE = 64  # pixels of an image's side
MARGIN = 1.1  # how much wider the image is than what is seen
FARTHEST = 10.0  # metres that depth cameras see
FACING = 0.9  # share of the normals that face the camera in a camera's view
LAYER = 0.15  # of the object's radius, from the nearest on, that is one surface in a pixel
FILLED = 0.9  # point spacings, or this many pixels at least, from a pixel that a point fills
LEAST_FILLED = 0.75
BESIDE = 1.5  # pixels beside what was seen that may be the object, too: edges are lost
GAPS = 2  # pixels between the points of other things that are closed
FRONT = 0.003  # metres before a seen surface that may be it: noise


class Sight(NamedTuple):
    """A square pinhole image about what was seen of an object; depth is measured along the rays.

    Attributes:
        eye: (3,) the camera, metres.
        axes: (3, 3) its right, down and forward, in rows; forward to the object's middle, right
            along its longer side in the image.
        span: tangent of the angle between forward and the image's edge.
        middle: mean depth of what was seen, metres.
        depth: (SIZE, SIZE) metres, rows down; NaN where nothing was seen.
        covered: (SIZE, SIZE) bool, where something else that stands before the object hides what
            is there, between what was seen of it.
    """

    eye: np.ndarray
    axes: np.ndarray
    span: float
    middle: float
    depth: np.ndarray
    covered: np.ndarray

    @classmethod
    def at(cls, points: np.ndarray, eye: np.ndarray) -> Sight:
        """The image that shows points (N, 3), still empty."""
        offset = points - eye
        depth = np.linalg.norm(offset, axis=1)
        forward = (offset / depth[:, None]).mean(axis=0)
        forward /= np.linalg.norm(forward)
        first = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
        first /= np.linalg.norm(first)
        across = np.stack([first, np.cross(forward, first)])
        flat = offset @ across.T / (offset @ forward)[:, None]
        centred = flat - flat.mean(axis=0)
        turn = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T
        tails = ((centred @ turn.T) ** 3).sum(axis=0)
        right = (turn[0] if tails[0] >= 0 else -turn[0]) @ across
        axes = np.stack([right, np.cross(forward, right), forward])
        span = MARGIN * float(np.abs(flat @ (across @ axes[:2].T)).max())
        empty, none = np.full((SIZE, SIZE), np.nan), np.zeros((SIZE, SIZE), bool)
        return cls(np.asarray(eye, float), axes, span, float(depth.mean()), empty, none)

    @classmethod
    def of(cls, points: np.ndarray, eye: np.ndarray, before: np.ndarray | None = None) -> Sight:
        """The image of points (N, 3), evenly spaced, as they are seen from an eye.

        Args:
            points: metres.
            eye: (3,) the camera.
            before: (M, 3) what was seen of other things, some of which may stand before these.
        """
        sight = cls.at(points, eye)
        places, depth = sight.project(points)
        tree = cKDTree(places)
        spacing = np.median(tree.query(places, k=2)[0][:, 1])
        rows, columns = np.mgrid[:SIZE, :SIZE]
        apart, found = tree.query(np.stack([columns, rows], axis=-1), k=4)
        filled = apart[..., 0] < max(LEAST_FILLED, FILLED * spacing)
        filled = ndimage.binary_closing(filled, iterations=int(np.ceil(spacing)))
        near = depth[found]
        layer = near <= near.min(axis=-1, keepdims=True) + LAYER * sight.radius
        weight = layer / (apart**2 + 0.1)
        image = (weight * near).sum(axis=-1) / weight.sum(axis=-1)
        sight = sight._replace(depth=np.where(filled, image, np.nan))
        return sight if before is None else sight._replace(covered=sight._covered(before))

    def _covered(self, before: np.ndarray) -> np.ndarray:
        """`covered` by other things, of which points (M, 3) were seen."""
        seen = np.argwhere(~np.isnan(self.depth))
        places, depth = self.project(before)
        column, row = np.rint(places).astype(int).T
        inside = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
        row, column, depth = row[inside], column[inside], depth[inside]
        nearest = seen[cKDTree(seen).query(np.stack([row, column], axis=1))[1]]
        nearer = depth < self.depth[tuple(nearest.T)] - FRONT
        image = np.zeros((SIZE, SIZE), bool)
        image[row[nearer], column[nearer]] = True
        image = ndimage.binary_closing(image, iterations=GAPS)
        try:
            hull = Delaunay(seen)
        except QhullError:  # all in a line
            return np.zeros_like(image)
        between = hull.find_simplex(np.stack(np.mgrid[:SIZE, :SIZE], axis=-1)) >= 0
        return image & between & np.isnan(self.depth)

    @property
    def radius(self) -> float:
        """Half the image's side at the object's middle, metres."""
        return self.span * self.middle

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points (..., 3) are in the image: (..., 2) columns and rows, (...) depth, metres.

        Pixels' middles are whole numbers. What lies behind the camera is far outside.
        """
        offset = points - self.eye
        local = offset @ self.axes.T
        forward = np.maximum(local[..., 2:], 1e-6)
        places = (local[..., :2] / forward / self.span + 1) * (SIZE / 2) - 0.5
        return places, np.linalg.norm(offset, axis=-1)

    def rays(self) -> np.ndarray:
        """(SIZE, SIZE, 3) unit directions through the pixels' middles."""
        steps = ((np.arange(SIZE) + 0.5) * (2 / SIZE) - 1) * self.span
        right, down = np.meshgrid(steps, steps)
        rays = np.stack([right, down, np.ones_like(right)], axis=-1) @ self.axes
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def free(self, points: np.ndarray) -> np.ndarray:
        """(...) whether the camera saw that the object isn't at points (..., 3).

        That is before what was seen, and beside it: with a margin, as edges are lost, and but for
        what is covered.
        """
        seen = np.argwhere(~np.isnan(self.depth))[:, ::-1]
        places, depth = self.project(points)
        apart, nearest = cKDTree(seen).query(places, workers=-1)
        column, row = seen[nearest].T.reshape(2, *apart.shape)
        pixel = np.rint(places.clip(0, SIZE - 1)).astype(int)
        beside = (apart > BESIDE) & ~self.covered[pixel[..., 1], pixel[..., 0]]
        return beside | (depth < self.depth[row, column] - FRONT)


def sees(points: np.ndarray, normals: np.ndarray, eye: np.ndarray) -> bool:
    """Whether points (N, 3) with outward normals (N, 3) are what a camera at (3,) sees."""
    if np.linalg.norm(eye - points, axis=1).min() > FARTHEST:  # such as a map's origin
        return False
    return float((np.einsum("nd,nd->n", eye - points, normals) > 0).mean()) > FACING
