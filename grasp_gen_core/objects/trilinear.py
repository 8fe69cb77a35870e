"""Distances between the nodes of a grid and beyond it, their slopes found on the way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Trilinear(torch.autograd.Function):
    """Faster on a CPU than `grid_sample` and its slope: both are looked up at once, and points lie
    side by side in memory, coordinate by coordinate."""

    @staticmethod
    def forward(ctx, points: Tensor, values: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Distances at points; beyond the box that at its nearest point, and the way there.

        Args:
            points: (3, P) metres.
            values: (K, Z, Y, X) of K grids, metres.
            lower, upper: (3,) their first and last node, metres.

        Returns:
            (K, P) metres.
        """
        depth, rows, columns = values.shape[1:]
        last = columns - 1, rows - 1, depth - 1
        lower, upper = lower[:, None], upper[:, None]
        nearest = torch.maximum(torch.minimum(points, upper), lower)
        share = (nearest - lower) / (upper - lower)
        places = [one * n for one, n in zip(share, last, strict=True)]
        cells = [one.floor().clamp(0, n - 1) for one, n in zip(places, last, strict=True)]
        shares = [one - cell for one, cell in zip(places, cells, strict=True)]
        x, y, z = (cell.int() for cell in cells)
        first, layer = (z * rows + y) * columns + x, rows * columns
        corners = [i * layer + j * columns + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        index = torch.stack([first + corner for corner in corners]).flatten()
        value = values.flatten(1).index_select(1, index).unflatten(1, (8, -1))
        slopes: list[Tensor] = []
        for share in reversed(shares):  # along z, y, x: 8 corners become 4, 2 and 1
            near, far = value.chunk(2, dim=1)
            step = far - near
            value = near + share * step
            slopes = [step, *(torch.lerp(*slope.chunk(2, dim=1), share) for slope in slopes)]
        beyond = points - nearest
        away = beyond.square().sum(dim=0).sqrt()
        if ctx.needs_input_grad[0]:
            slope = torch.cat([one * n for one, n in zip(slopes, last, strict=True)], dim=1)
            slope *= (beyond == 0) / (upper - lower)
            ctx.save_for_backward(slope + beyond / away.clamp(min=1e-12))
        return value[:, 0] + away

    @staticmethod
    @once_differentiable
    def backward(ctx, change: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (change[:, None] * slope).sum(dim=0), None, None, None
