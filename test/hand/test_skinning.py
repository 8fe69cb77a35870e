"""Skinning's slope in closed form against finite differences."""

import torch

from grasp_gen_core.hand.skinning import Skinning


def test_slopes_are_finite_differences():
    rng = torch.Generator().manual_seed(0)
    shapes = (2, 16, 3, 4), (2, 16, 3), (3, 2, 6)  # links, joints and points at rest

    def some(shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()

    weights = torch.rand(16, 6, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *told: Skinning.apply(*told, weights), list(map(some, shapes))
    )
