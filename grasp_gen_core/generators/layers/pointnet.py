"""PointNet (Qi et al. 2017): shared point-wise layers, then a maximum over the points."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

IN_CACHE = 4  # clouds whose point features a CPU keeps in its cache


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
        self.point_layers = nn.Sequential(*layers)
        self.last = nn.Conv1d(widths[-2], widths[-1], 1, bias=False)
        # Normalised after the maximum: a thousand times fewer values than before it.
        self.norm = nn.BatchNorm1d(widths[-1])

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) metres to the global feature (B, widths[-1])."""
        if self.training or torch.is_grad_enabled():
            return self.features(points)[1]
        few = points.split(IN_CACHE if points.device.type == "cpu" else len(points))
        # Normalisation is part of each product: nothing else passes over all the features.
        products = []
        for conv, norm in zip(self.point_layers[::3], self.point_layers[1::3], strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - scale * norm.running_mean
            products.append((shift, (scale[:, None] * conv.weight[..., 0]).mT))
        highest = []
        for clouds in few:
            features = 10 * clouds.flatten(0, 1)
            for shift, weight in products:
                features = torch.addmm(shift, features, weight).relu_()
            features = features @ self.last.weight[..., 0].mT
            highest.append(features.unflatten(0, clouds.shape[:2]).amax(dim=1))
        return self.norm(torch.cat(highest))

    def features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Each point's own feature (B, N, widths[-2]) and the global one (B, widths[-1]).

        Args:
            points: (B, N, 3) metres; decimetres inside, so that inputs are near one.
        """
        features = self.point_layers(10 * points.mT)
        # Each maximum depends on one point: only those take part in the backward pass.
        with torch.no_grad():
            few = features.split(IN_CACHE if points.device.type == "cpu" else len(points))
            highest = torch.cat([self.last(clouds).max(dim=2).indices for clouds in few])
        found = features.mT.gather(1, highest[..., None].expand(-1, -1, features.shape[1]))
        return features.mT, self.norm((found * self.last.weight[..., 0]).sum(dim=2))
