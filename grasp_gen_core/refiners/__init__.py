"""Refiners by name: each improves hands that a generator proposed or somebody saw.

A refiner is called with hands (B, 61), the object's points (N, 3), its signed distance, and
optionally what is asked whether to stop; it gives (B, 61) hands in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from torch import Tensor

from grasp_gen_core.generators import load_generator
from grasp_gen_core.hand import ManoHand

NAMES = ("quick", "choir", "choir_fit")


def get_refiner(name: str, hand: ManoHand) -> Callable[..., Tensor]:
    """A refiner of right hands.

    Raises:
        ValueError: if the name is unknown.
    """
    if name == "choir":
        return load_generator("joint_diffusion", hand).refine
    if name in NAMES:
        return partial(import_module(f"{__name__}.{name}").refine, hand=hand)
    raise ValueError(f"refiner: {name!r}, accepted are none, {', '.join(NAMES)}")
