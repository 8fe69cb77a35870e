"""Turns against roma's, and their slopes against finite differences."""

import math

import pytest
import roma
import torch

from grasp_gen_core.hand.rotations import (
    compose,
    cross_matrix,
    jacobian,
    orthonormal,
    to_matrix,
    to_rotvec,
)


def vectors() -> torch.Tensor:
    """(60, 3) random ones of 0 to 180 degrees, among them none, tiny ones, and half a turn."""
    rng = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(60, 3, generator=rng).double(), dim=1)
    angle = math.pi * torch.rand(60, 1, generator=rng).double()
    angle[:5, 0] = torch.tensor([0.0, 1e-9, 1e-4, 0.14, math.pi - 1e-7])
    return axis * angle


def columns() -> torch.Tensor:
    return torch.randn(4, 5, 3, 2, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_romas(dtype):
    turns, sixd = vectors().to(dtype), columns().to(dtype)
    close = {"atol": 1e-6 if dtype is torch.float32 else 1e-12, "rtol": 0}
    matrices = roma.rotvec_to_rotmat(turns)
    torch.testing.assert_close(to_matrix(turns), matrices, **close)
    torch.testing.assert_close(to_matrix(turns.view(3, 20, 3)).flatten(0, 1), matrices, **close)
    torch.testing.assert_close(to_rotvec(matrices), roma.rotmat_to_rotvec(matrices), **close)
    torch.testing.assert_close(orthonormal(sixd), roma.special_gramschmidt(sixd), **close)
    both = turns, turns.flip(0)
    torch.testing.assert_close(compose(*both), roma.rotvec_composition(both), **close)


def test_slopes_are_finite_differences():
    turns = vectors()[5:15].requires_grad_()
    assert torch.autograd.gradcheck(to_matrix, turns)
    assert torch.autograd.gradcheck(compose, (turns, turns.detach().flip(0)))
    assert torch.autograd.gradcheck(
        lambda sixd: to_rotvec(orthonormal(sixd)), columns()[0].requires_grad_()
    )


def test_no_turn_has_a_slope():
    still = torch.zeros(1, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(to_matrix(still)[0, 1, 0], still)
    assert slope.tolist() == [[0.0, 0.0, 1.0]]
    unturned = torch.eye(3)[None].requires_grad_()
    (slope,) = torch.autograd.grad(to_rotvec(unturned)[0, 2], unturned)
    torch.testing.assert_close(slope[0], torch.tensor([[0, -0.5, 0], [0.5, 0, 0], [0, 0, 0.0]]))
    (slope,) = torch.autograd.grad(compose(still, still)[0, 0], still)
    assert slope.tolist() == [[2.0, 0.0, 0.0]]


def test_jacobian_is_the_slope_of_the_matrix():
    """Each column's cross-product matrix times the turn, against automatic differentiation."""
    turns = vectors()
    slopes = torch.func.vmap(torch.func.jacfwd(to_matrix))(turns)  # (60, 3, 3, 3), parameter last
    found = torch.einsum("npxz,nzy->nxyp", cross_matrix(jacobian(turns).mT), to_matrix(turns))
    torch.testing.assert_close(found[2:], slopes[2:], atol=1e-7, rtol=0)
    # At no turn the matrix is the cross product alone, in single precision, too.
    small = 1e-4 * torch.ones(1, 3)
    torch.testing.assert_close(jacobian(small), torch.eye(3)[None] + cross_matrix(small) / 2)


def test_cross_products():
    one, other = vectors()[:30], vectors()[30:]
    found = (cross_matrix(one) @ other[..., None])[..., 0]
    torch.testing.assert_close(found, torch.linalg.cross(one, other))
