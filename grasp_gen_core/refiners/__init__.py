"""Refiners by name: each improves hands that a generator proposed or somebody saw.

A refiner is called with hands (B, 61), the object's points (N, 3), its signed distance, and what
tells how deep places are in what stands around it; it gives (B, 61) hands in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from torch import Tensor, nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.generators import load_network
from grasp_gen_core.hand import ManoHand

LEARNED = {"choir": "joint_diffusion", "grasp_tta": "contact_net"}  # by the network that refines
NAMES = ("quick", "choir_fit", *LEARNED)


def get_refiner(
    name: str, hand: ManoHand, generator: nn.Module | None = None
) -> Callable[..., Tensor]:
    """A refiner of right hands: one of NAMES, or a folder of weights of a network that refines.

    Args:
        name: of the refiner.
        hand: the hand model.
        generator: that proposes the hands; "grasp_tta" adapts its decoder.

    Raises:
        InputError: if the name is unknown, or the refiner needs another generator.
    """
    if name in NAMES and name not in LEARNED:
        return partial(import_module(f"{__name__}.{name}").refine, hand=hand)
    if name in LEARNED or Path(name).is_dir():
        network = load_network(LEARNED.get(name, name), hand)
        if hasattr(network, "refine"):
            return network.refine
        if hasattr(network, "contact"):
            from grasp_gen_core.refiners import grasp_tta

            if not hasattr(generator, "recognise"):
                raise InputError(
                    f"refiner: {name!r} adapts the decoder of grasp_cvae, accepted with no other "
                    "generator"
                )
            return partial(grasp_tta.refine, generator=generator, contact_net=network)
    raise InputError(
        f"refiner: {name!r}, accepted are none, {', '.join(NAMES)}, and folders of weights that "
        "refine"
    )
