"""Hands as numbers about zero and near one, as diffusions draw them."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

PARTS = (10, 6, 3, 45)  # betas, 6D turn, centre of the grasp, joint angles
NUMBERS = sum(PARTS)
CENTRE = 0.05  # metres that are 1
HELD = 0.09, 0.035  # metres from the wrist to what is held, along the fingers and out of the palm
LEAST = 1e-6  # of the 6D turn
STIFF = 0.1  # radians: half of a joint's range, at least


def numbers_of(mano: Tensor, hand: ManoHand) -> Tensor:
    """(B, NUMBERS) y_H of hands (B, 61): about zero, near one.

    The place is that of what is held, not the wrist's: it depends less on how the hand is turned.
    """
    middle, half = ranges(hand)
    turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
    centre = mano[:, TRANSL] + hand.root(mano[:, BETAS]) + turn @ held(hand)
    angles = (hand.regions.to_angles(mano[:, HAND_POSE]) - middle) / half
    turn = turn[..., :2].flatten(1)
    return torch.cat([mano[:, BETAS], turn, centre / CENTRE, angles.flatten(1)], dim=1)


def mano_of(numbers: Tensor, hand: ManoHand) -> Tensor:
    """(B, 61) hands of numbers (B, NUMBERS), joint angles within their limits."""
    middle, half = ranges(hand)
    betas, turn, centre, angles = numbers.split(PARTS, dim=1)
    # A network that says nothing yet turns nothing where nothing of its state is left either.
    unturned = torch.eye(3, 2, dtype=turn.dtype, device=turn.device)
    turn = rotations.orthonormal(turn.view(-1, 3, 2) + LEAST * unturned)
    low, high = hand.regions.limits.unbind(-1)
    angles = (middle + half * angles.view(-1, 15, 3)).clamp(low, high)
    transl = CENTRE * centre - turn @ held(hand) - hand.root(betas)
    return torch.cat(
        [betas, rotations.to_rotvec(turn), hand.regions.to_pose(angles), transl], dim=1
    )


def held(hand: ManoHand) -> Tensor:
    """(3,) from the wrist to what a hand at rest would hold, metres."""
    along, out = HELD
    return along * hand.regions.finger_axis + out * hand.regions.palm_axis


def ranges(hand: ManoHand) -> tuple[Tensor, Tensor]:
    """Middle and half of the joints' ranges (15, 3), radians."""
    low, high = hand.regions.limits.unbind(-1)
    return (low + high) / 2, ((high - low) / 2).clamp(min=STIFF)
