"""What isn't seen of an object, guessed: one file for each way, all by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import trimesh

from grasp_gen_core.completion.symmetry import complete_by_symmetry
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid

if TYPE_CHECKING:
    from grasp_gen_core.generators.layers.network import Network
    from grasp_gen_core.generators.shape_autoencoder import Objects

NAMES = ("symmetry", "jhod", "none")
PITCH = 0.004  # metres between the nodes of fields


class Belief(NamedTuple):
    """What an object is taken for.

    Attributes:
        field: signed distance to it.
        shapes: objects that may have been seen, likeliest first, metres, the cloud's frame; none
            where nothing was drawn.
        objects: what these were drawn as, None likewise.
    """

    field: DistanceGrid
    shapes: tuple[trimesh.Trimesh, ...] = ()
    objects: Objects | None = None


# Points (N, 3), metres, their outward normals (N, 3) and a seed to a Belief.
Completion = Callable[[np.ndarray, np.ndarray, int], Belief]


def get_completion(name: str, hand: ManoHand, generator: Network | None = None) -> Completion:
    """A way to guess what isn't seen.

    Args:
        name: one of NAMES.
        hand: says on which device to work.
        generator: the one that makes the hands: one that draws objects for them to hold draws these
            in any case, and says which, whatever is believed.

    Raises:
        InputError: if the name is unknown.
    """
    if name not in NAMES:
        raise InputError(f"completion: {name!r}, accepted are {', '.join(NAMES)}")
    draws = generator is not None and generator.draws_objects
    way = {"symmetry": by_symmetry, "none": as_seen}.get(name)
    if way and not draws:
        return way
    from grasp_gen_core.completion.drawn import Drawn
    from grasp_gen_core.generators import load_network

    return Drawn(generator if draws else load_network("jhod", hand), way)


def as_seen(points: np.ndarray, normals: np.ndarray, seed: int) -> Belief:
    """What was seen, and nothing else."""
    return Belief(DistanceGrid.from_cloud(points, normals, pitch=PITCH))


def by_symmetry(points: np.ndarray, normals: np.ndarray, seed: int) -> Belief:
    """What was seen, and what its symmetry adds behind."""
    seen = as_seen(points, normals, seed).field
    whole, whole_normals = complete_by_symmetry(points, normals)
    if len(whole) == len(points):
        return Belief(seen)
    guessed = DistanceGrid.from_cloud(whole, whole_normals, pitch=PITCH)
    return Belief(guessed.union(seen))
