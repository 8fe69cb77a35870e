"""What an object is taken for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.objects.clouds import evenly
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.objects.sight import Sight

if TYPE_CHECKING:
    from grasp_gen_core.generators.shape_autoencoder import Objects

PITCH = 0.004  # metres between the nodes of fields
SAMPLED = 4096  # points of a guessed surface, of which those near what was seen are none of it


class Seen(NamedTuple):
    """What was seen of an object, in its frame, metres.

    Attributes:
        points: (N, 3) evenly spaced.
        normals: (N, 3) outward, of unit length.
        eye: (3,) where the camera stood, None where that isn't known.
        before: (M, 3) what it saw of other things, some of which may stand before the object.
    """

    points: np.ndarray
    normals: np.ndarray
    eye: np.ndarray | None = None
    before: np.ndarray | None = None


class Belief(NamedTuple):
    """What an object is taken for.

    Attributes:
        field: signed distance to it, or to each of several that it may be.
        shapes: objects that may have been seen, likeliest first, metres, the cloud's frame; none
            where nothing was drawn.
        objects: what these were drawn as, None likewise.
    """

    field: DistanceGrid
    shapes: tuple[trimesh.Trimesh, ...] = ()
    objects: Objects | None = None

    def whole(self, points: np.ndarray, count: int, seed: int) -> Tensor:
        """At most `count` points (M, 3), evenly, of what was seen and the rest of the first shape.

        Args:
            points: (N, 3) what was seen, metres.
            count: of points.
            seed: same seed, same points.
        """
        every = np.concatenate([points, unseen(self.shapes[0], points, seed)])
        return torch.from_numpy(every[evenly(every, count, seed)])


Completion = Callable[[Seen, int], Belief]  # the second is a seed: same seed, same belief


def carved(guess: DistanceGrid, seen: Seen) -> DistanceGrid:
    """Distance to one or several objects without the space that a camera saw to be free."""
    if seen.eye is None:
        return guess
    sight = Sight.of(seen.points, seen.eye, seen.before)
    return guess.without(sight.free(guess.nodes().numpy()))


def unseen(shape: trimesh.Trimesh, points: np.ndarray, seed: int) -> np.ndarray:
    """(M, 3) points of a shape's surface away from those that were seen (N, 3), by seed."""
    every, _ = sample_surface(shape, SAMPLED, seed)
    away, _ = cKDTree(points).query(every, distance_upper_bound=PITCH)
    return every[np.isinf(away)]


def as_seen(seen: Seen, seed: int) -> Belief:
    """What was seen, and nothing else: a `completion.Completion`."""
    return Belief(DistanceGrid.from_cloud(seen.points, seen.normals, pitch=PITCH))


def middling_first(count: int) -> list[int]:
    """Numbers of objects that are in order of thickness, the middle ones first."""
    return sorted(range(count), key=lambda number: abs(2 * number + 1 - count))
