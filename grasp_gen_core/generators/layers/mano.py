"""From what a decoder gives to MANO parameters."""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from grasp_gen_core.hand import ManoHand

NUMBERS = 10 + 6 + 3 + 45  # betas, 6D rotation, wrist, 15 x 3 joint angles


def to_mano(numbers: Tensor, hand: ManoHand) -> Tensor:
    """(B, 61) MANO parameters, joint angles within the hand's limits, of numbers (B, NUMBERS).

    The rotation is 6D (Zhou et al. 2019), the wrist's place in decimetres; zeros are the hand
    unturned at the origin, its joints in the middle of their ranges.
    """
    betas, sixd, wrist, angles = numbers.split((10, 6, 3, 45), dim=1)
    start = torch.eye(3, device=numbers.device)[:, :2]
    rotation = roma.special_gramschmidt(sixd.view(-1, 3, 2) + 0.1 * start)
    pose = hand.regions.to_pose(hand.regions.within_limits(angles))
    transl = 0.1 * wrist - hand.root(betas)
    return torch.cat([betas, roma.rotmat_to_rotvec(rotation), pose, transl], dim=1)
