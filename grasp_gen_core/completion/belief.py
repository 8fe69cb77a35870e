"""What an object is taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import trimesh

from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sight import Sight

if TYPE_CHECKING:
    from grasp_gen_core.generators.shape_autoencoder import Objects

PITCH = 0.004  # metres between the nodes of fields


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


def carved(
    guess: DistanceGrid,
    points: np.ndarray,
    eye: np.ndarray | None,
    before: np.ndarray | None = None,
) -> DistanceGrid:
    """A guess without the space that a camera saw to be free.

    Args:
        guess: distance to one or several objects.
        points: (N, 3) what was seen, metres.
        eye: (3,) from where, None where that isn't known: the guess as it is.
        before: (M, 3) what else was seen, see `Sight.of`.
    """
    if eye is None:
        return guess
    return guess.without(Sight.of(points, eye, before).free(guess.nodes().numpy()))


def as_seen(
    points: np.ndarray,
    normals: np.ndarray,
    seed: int,
    eye: np.ndarray | None = None,
    before: np.ndarray | None = None,
) -> Belief:
    """What was seen, and nothing else: a `completion.Completion`."""
    return Belief(DistanceGrid.from_cloud(points, normals, pitch=PITCH))


def middling_first(count: int) -> list[int]:
    """Numbers of objects that are in order of thickness, the middle ones first."""
    return sorted(range(count), key=lambda number: abs(2 * number + 1 - count))
