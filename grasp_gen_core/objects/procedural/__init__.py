"""Random household objects, one function per family.

Sizes come from tables of what shops sell, varied by some per cent; no object is modelled on a
particular scan. Every mesh is watertight, in metres and stands along z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from numpy.random import Generator

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.procedural import containers, solids

_MAKERS: dict[str, Callable[[Generator], trimesh.Trimesh]] = {
    "box": containers.box,
    "slab": solids.slab,
    "can": containers.can,
    "bottle": containers.bottle,
    "jar": containers.jar,
    "mug": containers.mug,
    "pitcher": containers.pitcher,
    "cup": containers.cup,
    "bowl": containers.bowl,
    "hammer": solids.hammer,
    "screwdriver": solids.screwdriver,
    "drill": solids.drill,
    "pen": solids.pen,
    "scissors": solids.scissors,
    "fruit": solids.fruit,
    "banana": solids.banana,
    "composite": solids.composite,
    "plate": containers.plate,
    "ball": solids.ball,
    "cutlery": solids.cutlery,
    "card": solids.card,
    "ring": solids.ring,
    "pan": containers.pan,
    "basket": containers.basket,
    "lid": containers.lid,
    "block": solids.block,
    "brush": solids.brush,
    "tube": containers.squeeze_tube,
    "spray": containers.spray,
    "kettle": containers.kettle,
    "flashlight": solids.flashlight,
}
FAMILIES: tuple[str, ...] = tuple(_MAKERS)
# Never trained on: what is measured on them tells how a method does on new shapes.
HELD_OUT: tuple[str, ...] = ("kettle", "flashlight")


def make_object(family: str, seed: int) -> trimesh.Trimesh:
    """One random object of a family.

    Args:
        family: one of FAMILIES.
        seed: same family and seed, same mesh.

    Returns:
        A watertight mesh, metres, z up, centred at the middle of its bounding box.

    Raises:
        InputError: if the family is unknown.
    """
    if family not in _MAKERS:
        raise InputError(f"family: {family!r}, accepted are {', '.join(FAMILIES)}")
    mesh = _MAKERS[family](np.random.default_rng([seed, *family.encode()]))
    mesh.apply_scale(0.001)
    return mesh.apply_translation(-mesh.bounds.mean(axis=0))
