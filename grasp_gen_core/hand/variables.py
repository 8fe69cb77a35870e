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
    """

    def __init__(self, hand: ManoHand, mano: Tensor) -> None:
        self.hand, self.betas = hand, mano[:, BETAS].detach()
        mano = mano.detach()
        rotation = roma.rotvec_to_rotmat(mano[:, GLOBAL_ORIENT])
        self.rotation = rotation[..., :2].clone().requires_grad_()
        self.transl = mano[:, TRANSL].clone().requires_grad_()
        self.angles = hand.regions.to_angles(mano[:, HAND_POSE]).clone().requires_grad_()
        self.clamp()
        # The wrist turns about its own joint, which the shape coefficients move.
        self._root = hand.root(self.betas)[:, None]

    def surface(self) -> tuple[Tensor, Tensor]:
        """(B, 778, 3) vertices and (B, 21, 3) joints, differentiable in all variables."""
        still = self.transl.new_zeros(len(self.transl), 3)
        local = torch.cat([self.betas, still, self.pose(), still], dim=1)
        vertices, joints = self.hand(local)
        rotation = roma.special_gramschmidt(self.rotation)
        shift = self._root + self.transl[:, None]
        return (
            (vertices - self._root) @ rotation.mT + shift,
            (joints - self._root) @ rotation.mT + shift,
        )

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
