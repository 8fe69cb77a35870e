"""A batch of hands as free variables of an optimisation."""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from grasp_gen_core.hand.layer import ManoHand
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL


class HandVariables:
    """Wrist rotation (6D, Zhou et al. 2019), translation and joint angles within their limits.

    Args:
        hand: the hand model.
        mano: (B, 61) where to start; shape coefficients stay as they are.
        vertices: (K,) numbers of those that are asked for; None for all.
    """

    def __init__(self, hand: ManoHand, mano: Tensor, vertices: Tensor | None = None) -> None:
        self.hand, self.betas = hand, mano[:, BETAS].detach()
        mano = mano.detach()
        rotation = roma.rotvec_to_rotmat(mano[:, GLOBAL_ORIENT])
        self.rotation = rotation[..., :2].clone().requires_grad_()
        self.transl = mano[:, TRANSL].clone().requires_grad_()
        self.angles = hand.regions.to_angles(mano[:, HAND_POSE]).clone().requires_grad_()
        self.clamp()
        tips = hand.regions.tips
        if vertices is None:
            vertices = torch.arange(len(hand.parts), device=tips.device)
        self._flat = hand.flat(self.betas, torch.cat([tips, vertices]))

    def surface(self) -> tuple[Tensor, Tensor]:
        """(B, K, 3) vertices and (B, 21, 3) joints, differentiable in all variables."""
        wrist = roma.special_gramschmidt(self.rotation)
        points, joints = self.hand.bend(self._flat, wrist, self.pose())
        tips, points = points.split((5, points.shape[1] - 5), dim=1)
        shift = self.transl[:, None]
        return points + shift, torch.cat([joints, tips], dim=1) + shift

    def parameters(self) -> list[Tensor]:
        """The free variables, for an optimiser."""
        return [self.rotation, self.transl, self.angles]

    def pose(self) -> Tensor:
        """(B, 45) axis-angle joint rotations."""
        return self.hand.regions.to_pose(self.angles)

    def clamp(self) -> None:
        """Put the joint angles back within their limits."""
        low, high = self.hand.regions.limits.unbind(-1)
        with torch.no_grad():
            self.angles.copy_(self.angles.clamp(low, high))

    def mano(self) -> Tensor:
        """(B, 61) parameters as they are now."""
        with torch.no_grad():
            orient = roma.rotmat_to_rotvec(roma.special_gramschmidt(self.rotation))
            return torch.cat([self.betas, orient, self.pose(), self.transl], dim=1)
