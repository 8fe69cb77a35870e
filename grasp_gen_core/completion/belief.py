"""What an object is taken for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree

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
        guessed: (M, 3) points of its surface where it wasn't seen, by a middling guess, metres.
    """

    field: DistanceGrid
    shapes: tuple[trimesh.Trimesh, ...] = ()
    objects: Objects | None = None
    guessed: np.ndarray = np.empty((0, 3), np.float32)

    def whole(self, points: np.ndarray, count: int, seed: int) -> np.ndarray | None:
        """At most `count` points of all of the surface, evenly, where some of it was guessed.

        Args:
            points: (N, 3) what was seen, metres.
            count: of points.
            seed: same seed, same points.
        """
        if not len(self.guessed):
            return None
        every = np.concatenate([points, self.guessed])
        return every[evenly(every, count, seed)]


Completion = Callable[[Seen, int], Belief]  # the second is a seed: same seed, same belief


def carved(guess: DistanceGrid, seen: Seen) -> DistanceGrid:
    """Distance to one or several objects without the space that a camera saw to be free."""
    if seen.eye is None:
        return guess
    sight = Sight.of(seen.points, seen.eye, seen.before)
    return guess.without(sight.free(guess.nodes().numpy()))


def unseen(shapes: Sequence[trimesh.Trimesh], seen: Seen, seed: int) -> np.ndarray:
    """(M, 3) points of the first guess's surface away from what was seen, by seed."""
    if not shapes:
        return Belief._field_defaults["guessed"]
    points, _ = sample_surface(shapes[0], SAMPLED, seed)
    away, _ = cKDTree(seen.points).query(points, distance_upper_bound=PITCH)
    return points[np.isinf(away)]


def as_seen(seen: Seen, seed: int) -> Belief:
    """What was seen, and nothing else: a `completion.Completion`."""
    return Belief(DistanceGrid.from_cloud(seen.points, seen.normals, pitch=PITCH))


def middling_first(count: int) -> list[int]:
    """Numbers of objects that are in order of thickness, the middle ones first."""
    return sorted(range(count), key=lambda number: abs(2 * number + 1 - count))
