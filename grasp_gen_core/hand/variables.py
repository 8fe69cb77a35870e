"""A batch of hands as free variables of an optimisation."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from grasp_gen_core.hand import rotations
from grasp_gen_core.hand.layer import ManoHand
from grasp_gen_core.hand.skinning import FlatHand
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
        rotation = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
        self.rotation = rotation[..., :2].clone().requires_grad_()
        self.transl = mano[:, TRANSL].clone().requires_grad_()
        self.angles = hand.regions.to_angles(mano[:, HAND_POSE]).clone().requires_grad_()
        self.clamp()

    def bend(self, flat: FlatHand) -> tuple[Tensor, Tensor]:
        """(B, K, 3) points of flat hands and MANO's (B, 16, 3) joints where they are now.

        Differentiable in all variables.
        """
        wrist = rotations.orthonormal(self.rotation)
        return self.hand.bend(flat, wrist, self.pose(), self.transl)

    def surface(self) -> tuple[Tensor, Tensor]:
        """(B, 778, 3) vertices and (B, 21, 3) joints, differentiable in all variables."""
        vertices, joints = self.bend(self._whole)
        return vertices, torch.cat([joints, vertices[:, self.hand.regions.tips]], dim=1)

    @cached_property
    def _whole(self) -> FlatHand:
        parts = self.hand.parts
        return self.hand.flat(self.betas, torch.arange(len(parts), device=parts.device))

    def parameters(self) -> list[Tensor]:
        """The free variables."""
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
            orient = rotations.to_rotvec(rotations.orthonormal(self.rotation))
            return torch.cat([self.betas, orient, self.pose(), self.transl], dim=1)


class Descent:
    """Adam (Kingma and Ba 2015) for a batch of hands, its rates falling along half a cosine.

    PyTorch's would start its compiler, which takes longer than 32 hands do.

    Args:
        variables: of the hands; changed in place, joint angles stay within their limits.
        place: the first step's rate for the wrist's place, metres.
        turns: that for rotation and joint angles.
        last: the rate that all come down to.
        steps: how many that takes.
        betas: how much the means of the slope and of its square keep from step to step.
    """

    def __init__(
        self,
        variables: HandVariables,
        place: float,
        turns: float,
        last: float,
        steps: int,
        betas: tuple[float, float],
    ) -> None:
        self.variables, self.last, self.betas = variables, last, betas
        count = [part[0].numel() for part in variables.parameters()]
        first = zip((turns, place, turns), count, strict=True)
        self.first = torch.cat([variables.betas.new_full((n,), rate) for rate, n in first])
        self.mean = variables.betas.new_zeros(len(variables.betas), sum(count))
        # On the device, so that a step is the same work each time.
        self.square, self.done = self.mean.clone(), torch.zeros_like(self.mean[0, :1]).long()
        plan = [self._plan(step / steps, step + 1) for step in range(steps)]
        self.plan = torch.tensor(plan).to(self.mean)

    def _plan(self, share: float, count: int) -> tuple[float, float, float]:
        """A step's rate between the last and the first, and what both means are divided by."""
        keep, keep_square = self.betas
        rate = (1 + math.cos(math.pi * share)) / 2
        return rate, 1 - keep**count, 1 - keep_square**count

    def step(self, energy: Tensor) -> None:
        """Down the energies (B,) of the hands as they are."""
        parts = self.variables.parameters()
        slopes = torch.autograd.grad(energy.sum(), parts)
        slope = torch.cat([one.flatten(1) for one in slopes], dim=1)
        rate, whole, whole_square = self.plan.index_select(0, self.done)[0]
        rate = self.last + rate * (self.first - self.last)
        self.done += 1
        keep, keep_square = self.betas
        self.mean.lerp_(slope, 1 - keep)
        self.square.mul_(keep_square).addcmul_(slope, slope, value=1 - keep_square)
        size = (self.square / whole_square).sqrt() + 1e-8
        change = rate / whole * self.mean / size
        with torch.no_grad():
            split = change.split([one[0].numel() for one in slopes], dim=1)
            for part, by in zip(parts, split, strict=True):
                part.sub_(by.view_as(part))
        self.variables.clamp()
