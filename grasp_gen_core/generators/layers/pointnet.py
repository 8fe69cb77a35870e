"""PointNet (Qi et al. 2017): shared point-wise layers, then a maximum over the points."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class PointNet(nn.Module):
    """Global feature of a cloud of any size and order.

    Args:
        widths: features after each point-wise layer; the last is the global feature's size.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in pairwise((3, *widths[:-1])):
            layers += [nn.Conv1d(inside, outside, 1, bias=False)]
            layers += [nn.BatchNorm1d(outside), nn.ReLU()]
        self.point_layers = nn.Sequential(*layers, nn.Conv1d(widths[-2], widths[-1], 1, bias=False))
        # Normalised after the maximum: a thousand times fewer values than before it.
        self.norm = nn.BatchNorm1d(widths[-1])

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) metres to (B, widths[-1]); decimetres inside, so that inputs are near one."""
        return self.norm(self.point_layers(10 * points.mT).max(dim=2).values)
