"""A U-Net over images or volumes, and histograms of distances that it says of their places."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}
POOLINGS = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class Block(nn.Module):
    """Two convolutions, and what they add to."""

    def __init__(self, inside: int, outside: int, axes: int) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.first = convolution(inside, outside, 3, padding=1)
        self.second = convolution(outside, outside, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outside) for _ in range(2)])
        self.skip = convolution(inside, outside, 1)

    def forward(self, rows: Tensor) -> Tensor:
        inner = functional.gelu(self.norms[0](self.first(rows)))
        return functional.gelu(self.skip(rows) + self.norms[1](self.second(inner)))


class UNet(Network):
    """What networks over images, or volumes, have in common: all but what goes in and comes out.

    The config has `widths`, a channel count for each resolution, and `dropout` of the coarsest.

    Args:
        hand: not used, as all trained networks have one.
        config: a `config_class`; None takes its defaults.
        inputs, outputs: channels.
    """

    axes: ClassVar[int]

    def __init__(self, hand: ManoHand, config: Any, inputs: int, outputs: int) -> None:
        super().__init__(hand, config)
        widths = self.config.widths

        def blocks(insides: tuple[int, ...], outsides: tuple[int, ...]) -> nn.ModuleList:
            pairs = zip(insides, outsides, strict=True)
            return nn.ModuleList([Block(*pair, self.axes) for pair in pairs])

        self.down = blocks((inputs, *widths[:-1]), widths)
        self.deep = Block(widths[-1], widths[-1], self.axes)
        self.dropout = DROPOUTS[self.axes](self.config.dropout)
        outs = (*widths[-2::-1], widths[0])
        below = (widths[-1], *outs[:-1])
        self.up = blocks(tuple(map(sum, zip(below, widths[::-1], strict=True))), outs)
        self.out = CONVOLUTIONS[self.axes](widths[0], outputs, 1)

    def told(self, rows: Tensor) -> Tensor:
        """(B, outputs, ...) float32 of rows (B, inputs, ...), S along each axis."""
        kept = []
        for block in self.down:
            rows = block(rows)
            kept.append(rows)
            rows = POOLINGS[self.axes](rows, 2)
        rows = self.dropout(self.deep(rows))
        for block, beside in zip(self.up, kept[::-1], strict=True):
            larger = functional.interpolate(rows, scale_factor=2.0, mode="nearest")
            rows = block(torch.cat([larger, beside], dim=1))
        return self.out(rows).float()


def quantile(logits: Tensor, edges: Tensor, share: Tensor) -> Tensor:
    """What a distance by its histogram is exceeded by with probability 1 - share.

    Args:
        logits: (bins, ...) of the histogram.
        edges: (bins + 1,) of the bins, ascending.
        share: (K, ...) in [0, 1].

    Returns:
        (K, ...) in the edges' unit.
    """
    chance = torch.softmax(logits, dim=0).movedim(0, -1)
    total = chance.cumsum(dim=-1)
    number = torch.searchsorted(total, share.movedim(0, -1).contiguous())
    number = number.clamp(max=len(logits) - 1)
    inside = chance.gather(-1, number).clamp(min=1e-6)
    ratio = 1 - (total.gather(-1, number) - share.movedim(0, -1)) / inside
    low, high = edges[number], edges[number + 1]
    return torch.lerp(low, high, ratio.clamp(0, 1)).movedim(-1, 0)
