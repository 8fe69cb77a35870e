"""What isn't seen of an object, guessed: one file for each way, all by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import trimesh
from torch import nn

from grasp_gen_core.completion.symmetry import complete_by_symmetry
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid

NAMES = ("symmetry", "jhod", "none")
PITCH = 0.004  # metres between the nodes of fields


class Belief(NamedTuple):
    """What an object is taken for.

    Attributes:
        field: signed distance to it.
        shapes: objects that may have been seen, likeliest first, metres, the cloud's frame; none
            where nothing was drawn.
    """

    field: DistanceGrid
    shapes: tuple[trimesh.Trimesh, ...] = ()


# Points (N, 3), metres, their outward normals (N, 3) and a seed to a Belief.
Completion = Callable[[np.ndarray, np.ndarray, int], Belief]


def get_completion(name: str, hand: ManoHand, generator: nn.Module | None = None) -> Completion:
    """A way to guess what isn't seen.

    Args:
        name: one of NAMES.
        hand: says on which device to work.
        generator: the one that makes the hands: where it can draw objects, it does.

    Raises:
        InputError: if the name is unknown.
    """
    if name == "jhod":
        from grasp_gen_core.completion.drawn import Drawn
        from grasp_gen_core.generators import load_network

        return Drawn(generator if hasattr(generator, "complete") else load_network(name, hand))
    ways = {"symmetry": by_symmetry, "none": as_seen}
    if name not in ways:
        raise InputError(f"completion: {name!r}, accepted are {', '.join(NAMES)}")
    return ways[name]


def as_seen(points: np.ndarray, normals: np.ndarray, seed: int) -> Belief:
    """What was seen, and nothing else."""
    return Belief(DistanceGrid.from_cloud(points, normals, pitch=PITCH))


def by_symmetry(points: np.ndarray, normals: np.ndarray, seed: int) -> Belief:
    """What was seen, and what its symmetry adds behind."""
    seen, _ = as_seen(points, normals, seed)
    whole, whole_normals = complete_by_symmetry(points, normals)
    if len(whole) == len(points):
        return Belief(seen)
    guessed = DistanceGrid.from_cloud(whole, whole_normals, pitch=PITCH)
    return Belief(guessed.union(seen))
