"""Refiners by name: each improves hands that a generator proposed or somebody saw.

A refiner is called with hands (B, 61), the object's points (N, 3), its signed distance, and
optionally what is asked whether to stop; it gives (B, 61) hands in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from torch import Tensor

from grasp_gen_core.generators import load_generator
from grasp_gen_core.hand import ManoHand

LEARNED = {"choir": "joint_diffusion"}  # by the generator that refines
NAMES = ("quick", "choir_fit", *LEARNED)


def get_refiner(name: str, hand: ManoHand) -> Callable[..., Tensor]:
    """A refiner of right hands: one of NAMES, or a folder of weights of a generator that refines.

    Raises:
        ValueError: if the name is unknown.
    """
    if name in NAMES and name not in LEARNED:
        return partial(import_module(f"{__name__}.{name}").refine, hand=hand)
    if name in LEARNED or Path(name).is_dir():
        generator = load_generator(LEARNED.get(name, name), hand)
        if hasattr(generator, "refine"):
            return generator.refine
    raise ValueError(
        f"refiner: {name!r}, accepted are none, {', '.join(NAMES)}, and folders of weights that "
        "refine"
    )
