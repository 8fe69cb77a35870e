"""In which order 21 joints of a hand stand, told by lengths that no pose changes.

The wrist and the five knuckles are parts of one rigid palm, and bones keep their lengths: 30
distances that depend on the hand alone. Read in a wrong order, they are no hand's.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand

# MANO's joints of thumb, index, middle, ring and little finger, tips last.
CHAINS = ((13, 14, 15, 16), (1, 2, 3, 17), (4, 5, 6, 18), (10, 11, 12, 19), (7, 8, 9, 20))
FINGERS = np.array(CHAINS)
# Where MANO's joints stand in an order's.
ORDERS = {
    "MANO": np.arange(21),
    # Wrist, then thumb to little finger, each from the palm to the tip (Cao et al. 2017).
    "OpenPose": np.argsort([0, *FINGERS.ravel()]),
}
# RMS of the logarithms of lengths over the given hand's, sizes apart: hands of shapes two standard
# deviations wide are up to 0.18 off, one read in another of the orders 0.52 and more.
FURTHEST = 0.35
FEWEST = 32  # grasps that tell the order of all


def mano_order(joints: np.ndarray, hand: ManoHand, source: str) -> tuple[np.ndarray, str | None]:
    """Joints in MANO's order, whichever known one they came in.

    Args:
        joints: (B, 21, 3) of any pose, side, size and frame, metres.
        hand: whose lengths at rest they are compared with.
        source: names the joints in error messages.

    Returns:
        (B, 21, 3) MANO's 16 joints, then the tips thumb, index, middle, ring, little; and a note if
        they came in another order.

    Raises:
        InputError: if they fit no known order.
    """
    with torch.no_grad():
        rest = hand(torch.zeros(1, 61, device=hand.faces.device))[1].cpu().numpy()
    drawn = np.linspace(0, len(joints) - 1, min(FEWEST, len(joints))).astype(int)
    misfits = {name: _misfit(joints[drawn][:, order], rest) for name, order in ORDERS.items()}
    name = min(misfits, key=misfits.get)
    ordered = joints[:, ORDERS[name]]
    if misfits[name] > FURTHEST or not _fingers_fit(ordered[drawn], rest):
        raise InputError(
            f"{source}: joints are in no known order; accepted are MANO's (wrist, three each of "
            "index, middle, little, ring, thumb, then the tips thumb, index, middle, ring, little) "
            "and OpenPose's (wrist, then thumb, index, middle, ring, little from palm to tip)"
        )
    note = f"joints came in {name}'s order and were put into MANO's" if name != "MANO" else None
    return ordered, note


def _misfit(joints: np.ndarray, rest: np.ndarray) -> float:
    """RMS of log length ratios to a hand at rest (1, 21, 3), the size left out."""
    ratios = np.median(_log_lengths(joints), axis=0) - _log_lengths(rest)[0]
    return float(np.std(ratios))


def _log_lengths(joints: np.ndarray) -> np.ndarray:
    """(B, 30) logarithms of the palm's 15 distances and of 15 bones, joints in MANO's order."""
    fingers = joints[:, FINGERS]
    palm = np.concatenate([joints[:, :1], fingers[:, :, 0]], axis=1)
    one, other = np.triu_indices(6, 1)
    bones = np.diff(fingers, axis=2).reshape(len(joints), -1, 3)
    apart = np.concatenate([palm[:, one] - palm[:, other], bones], axis=1)
    return np.log(np.maximum(np.linalg.norm(apart, axis=-1), 1e-6))


def _fingers_fit(joints: np.ndarray, rest: np.ndarray) -> bool:
    """Whether no other way to name the fingers, or to give them their tips, fits better."""
    fingers, tips = [], []
    for names in map(list, permutations(range(5))):  # the given one first
        for moved, misfits in ((FINGERS, fingers), (FINGERS[:, 3], tips)):
            order = np.arange(21)
            order[moved] = moved[names]
            misfits.append(_misfit(joints[:, order], rest))
    return min(fingers) == fingers[0] and min(tips) == tips[0]
