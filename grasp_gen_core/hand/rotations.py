"""Turns as matrices, rotation vectors and two columns of a matrix, all differentiable.

The formulas are those of roma (Bregier 2021), whose import alone starts PyTorch's compiler, which
takes as long as all else that generating grasps loads.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 1e-6  # radians up to which a turn is taken for its first order
FLAT = 0.05  # radians up to which a series is nearer than its quotient


def to_matrix(rotvec: Tensor) -> Tensor:
    """(..., 3, 3) rotations of rotation vectors (..., 3), radians (Rodrigues' formula)."""
    angle = rotvec.norm(dim=-1, keepdim=True)
    axis = rotvec / angle.clamp(min=SMALL)
    sine, rest = angle.sin(), 1 - angle.cos()
    x, y, z = torch.where(angle < SMALL, rotvec, axis * sine).unbind(-1)
    xx, yy, zz = (axis.square() * rest).unbind(-1)
    xy, yz, zx = (axis * axis.roll(-1, dims=-1) * rest).unbind(-1)
    rows = (1 - yy - zz, xy - z, zx + y, xy + z, 1 - xx - zz, yz - x, zx - y, yz + x, 1 - xx - yy)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def to_rotvec(matrix: Tensor) -> Tensor:
    """(..., 3) rotation vectors of rotations (..., 3, 3): the shortest, radians."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in matrix.unbind(-2))
    a, b, c, d, e, f = xy + yx, xz + zx, yz + zy, zy - yz, xz - zx, yx - xy
    # Four times q q^T of the quaternion q, of which the longest row tells most (Markley 2008).
    rows = (1 + xx - yy - zz, a, b, d, a, 1 + yy - zz - xx, c, e)
    rows += (b, c, 1 + zz - xx - yy, f, d, e, f, 1 + xx + yy + zz)
    product = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    longest = product.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
    chosen = product.take_along_dim(longest, dim=-2)[..., 0, :]
    return _of_quaternion(chosen / chosen.norm(dim=-1, keepdim=True))


def jacobian(rotvec: Tensor) -> Tensor:
    """(..., 3, 3) left Jacobians of rotation vectors (..., 3), radians.

    A column is the axis, times the rate, about which the turn turns as that number grows: the
    derivative of the matrix is its cross-product matrix times the matrix (Chirikjian 2012, Sec.
    10.6).
    """
    angle = rotvec.norm(dim=-1)[..., None, None]
    cross = cross_matrix(rotvec)
    first = torch.sinc(angle / (2 * torch.pi)).square() / 2  # (1 - cos a) / a^2
    rest = (1 - torch.sinc(angle / torch.pi)) / angle.square().clamp(min=FLAT**2)
    second = torch.where(angle < FLAT, 1 / 6 - angle.square() / 120, rest)
    unit = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return unit + first * cross + second * (cross @ cross)


def cross_matrix(vector: Tensor) -> Tensor:
    """(..., 3, 3) matrices that multiply as vectors (..., 3) do in cross products."""
    x, y, z = vector.unbind(-1)
    nothing = torch.zeros_like(x)
    rows = (nothing, -z, y, z, nothing, -x, -y, x, nothing)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def compose(second: Tensor, first: Tensor) -> Tensor:
    """(..., 3) rotation vectors that turn by the first (..., 3), then by the second (..., 3)."""
    (u, r), (v, s) = _quaternion(second), _quaternion(first)
    vector = r * v + s * u + torch.linalg.cross(u, v)
    return _of_quaternion(torch.cat([vector, r * s - (u * v).sum(dim=-1, keepdim=True)], dim=-1))


def orthonormal(columns: Tensor) -> Tensor:
    """(..., 3, 3) rotations of their first two columns (..., 3, 2), made orthonormal in order.

    The 6D rotation of Zhou et al. 2019.
    """
    x, y = columns.unbind(-1)
    x = x / x.norm(dim=-1, keepdim=True)
    y = y - (x * y).sum(dim=-1, keepdim=True) * x
    y = y / y.norm(dim=-1, keepdim=True)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def _quaternion(rotvec: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (..., 3) and scalars (..., 1) of unit quaternions."""
    half = rotvec.norm(dim=-1, keepdim=True) / 2
    return torch.sinc(half / torch.pi) / 2 * rotvec, half.cos()


def _of_quaternion(quaternion: Tensor) -> Tensor:
    """(..., 3) rotation vectors of unit quaternions (..., 4), the scalar last."""
    sign = torch.where(quaternion[..., 3:] > 0, 1.0, -1.0)
    vector, scalar = (sign * quaternion).split((3, 1), dim=-1)
    half = torch.atan2(vector.norm(dim=-1, keepdim=True), scalar)
    return 2 / torch.sinc(half / torch.pi) * vector
