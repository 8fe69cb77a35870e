"""From what a decoder gives to MANO parameters, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

PARTS = (10, 6, 3, 45)  # betas, 6D rotation, wrist, 15 x 3 joint angles
NUMBERS = sum(PARTS)
MARGIN = 1e-3  # of a joint's range that no angle can be beyond


def to_mano(numbers: Tensor, hand: ManoHand) -> Tensor:
    """(B, 61) MANO parameters, joint angles within the hand's limits, of numbers (B, NUMBERS).

    The rotation is 6D (Zhou et al. 2019), the wrist's place in decimetres; zeros are the hand
    unturned at the origin, its joints in the middle of their ranges.
    """
    betas, sixd, wrist, angles = numbers.split(PARTS, dim=1)
    rotation = rotations.orthonormal(sixd.view(-1, 3, 2) + start_of(sixd))
    pose = hand.regions.to_pose(hand.regions.within_limits(angles))
    transl = 0.1 * wrist - hand.root(betas)
    return torch.cat([betas, rotations.to_rotvec(rotation), pose, transl], dim=1)


def rotation_6d(sixd: Tensor) -> Tensor:
    """(B, 3, 3) rotations from (B, 6) numbers, the identity from zeros (Zhou et al. 2019)."""
    unturned = torch.eye(3, 2, dtype=sixd.dtype, device=sixd.device)
    return rotations.orthonormal(sixd.view(-1, 3, 2) + unturned)


def start_of(numbers: Tensor) -> Tensor:
    """(3, 2) added to the 6D rotation: an untrained decoder has one, too."""
    return 0.1 * torch.eye(3, 2, dtype=numbers.dtype, device=numbers.device)


def from_mano(mano: Tensor, near: Tensor, hand: ManoHand) -> Tensor:
    """What a decoder would have to give (B, NUMBERS) for hands (B, 61), near what it gives."""
    regions, turn = hand.regions, rotations.to_matrix(mano[:, GLOBAL_ORIENT])
    start = start_of(near)
    sixd = near.split(PARTS, dim=1)[1].view(-1, 3, 2) + start
    sixd = turn @ rotations.orthonormal(sixd).mT @ sixd - start
    wrist = 10 * (mano[:, TRANSL] + hand.root(mano[:, BETAS]))
    low, high = regions.limits.unbind(-1)
    angles = (regions.to_angles(mano[:, HAND_POSE]) - low) / (high - low)
    angles = angles.clamp(MARGIN, 1 - MARGIN).logit()
    return torch.cat([mano[:, BETAS], sixd.flatten(1), wrist, angles.flatten(1)], dim=1)
