"""Noise on grasps, as a hand tracker makes it: the perturbed-grasp benchmark's."""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor

from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

TRANSLATION = 0.05  # metres along each axis
ROTATION = math.radians(15)  # about each axis
POSE = 0.05  # of each component of the pose


def perturb(mano: Tensor, rng: torch.Generator) -> Tensor:
    """Hands off by Gaussian noise (ContactOpt, Grady et al. 2021; CHOIR, Sec. 4).

    The papers draw the pose's noise in MANO's PCA space. Its components are orthonormal, so noise
    of one size on all 45 is the same as noise on the 45 joint angles themselves.

    Args:
        mano: (B, 61) hands; their shapes stay.
        rng: on the CPU.

    Returns:
        (B, 61).
    """

    def noise(size: int, scale: float) -> Tensor:
        return scale * torch.randn(len(mano), size, generator=rng).to(mano)

    turned = roma.rotvec_composition((noise(3, ROTATION), mano[:, GLOBAL_ORIENT]))
    pose = mano[:, HAND_POSE] + noise(45, POSE)
    moved = mano[:, TRANSL] + noise(3, TRANSLATION)
    return torch.cat([mano[:, BETAS], turned, pose, moved], dim=1)
