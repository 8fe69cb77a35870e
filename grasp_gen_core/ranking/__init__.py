"""What says which grasps are best: the formula, or an evaluator that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand

if TYPE_CHECKING:
    from grasp_gen_core.ranking.evaluator import Evaluator

NAMES = ("evaluator", "formula")


def get_evaluator(name: str | Path, hand: ManoHand) -> Evaluator | None:
    """What scores grasps: the shipped "evaluator", or a folder's; None where the "formula" does.

    Raises:
        InputError: if the name is unknown, or the weights are missing, don't fit, or are of
            something else.
    """
    from grasp_gen_core.generators import load_network
    from grasp_gen_core.ranking.evaluator import Evaluator

    if name == "formula":
        return None
    accepted = f"ranking: {str(name)!r}, accepted are {', '.join(NAMES)}, and folders of weights"
    if name not in NAMES and not Path(name).is_dir():
        raise InputError(accepted)
    network = load_network(name, hand)
    if not isinstance(network, Evaluator):
        raise InputError(f"{accepted} of an evaluator")
    return network
