"""Exit depth: for each ray of a camera's view, where it leaves the object that it met.

A U-Net over the view-aligned depth image. Of each pixel it says whether the object is there even
though nothing was measured, how deep it begins then, how thick it is up to the last crossing, as a
histogram, and whether it is hollow between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.sight import SIZE

THICKEST = 4.0  # radii of the image
USUAL = 0.08  # metres: a radius that counts as 1
AWAY = 10.0  # radii, that a camera is away that counts as 1
CHANNELS = 7
FARTHEST = 4.0  # radii that depth is from the middle at most


@dataclass(frozen=True)
class ExitDepthConfig:
    """Sizes, and the weights of the losses."""

    widths: tuple[int, ...] = (32, 64, 96, 128)
    bins: int = 40
    dropout: float = 0.1
    weight_hit: float = 1.0
    weight_front: float = 2.0
    weight_filled: float = 0.5


class Exits(NamedTuple):
    """What is behind B images' pixels, (B, ..., SIZE, SIZE).

    Attributes:
        hit: logit of the object being there.
        front: depth at which it begins, radii from the middle, where nothing was measured.
        thickness: (B, bins, SIZE, SIZE) logits of how thick it is, see `edges`.
        filled: logit of the object being solid halfway.
    """

    hit: Tensor
    front: Tensor
    thickness: Tensor
    filled: Tensor


class Block(nn.Module):
    """Two convolutions, and what they add to."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outside) for _ in range(2)])
        self.skip = nn.Conv2d(inside, outside, 1)

    def forward(self, image: Tensor) -> Tensor:
        inner = functional.gelu(self.norms[0](self.first(image)))
        return functional.gelu(self.skip(image) + self.norms[1](self.second(inner)))


class ExitDepth(Network):
    """Says what is behind what a camera saw.

    Args:
        hand: not used, as all trained networks have one.
        config: sizes and weights.
    """

    config_class = ExitDepthConfig

    def __init__(self, hand: ManoHand, config: ExitDepthConfig | None = None) -> None:
        super().__init__(hand, config)
        widths, bins = self.config.widths, self.config.bins
        ins = (CHANNELS, *widths[:-1])
        self.down = nn.ModuleList([Block(*pair) for pair in zip(ins, widths, strict=True)])
        self.deep = Block(widths[-1], widths[-1])
        self.dropout = nn.Dropout2d(self.config.dropout)
        outs = (*widths[-2::-1], widths[0])
        ups = [
            Block(below + beside, out)
            for below, beside, out in zip((widths[-1], *outs[:-1]), widths[::-1], outs, strict=True)
        ]
        self.up = nn.ModuleList(ups)
        self.out = nn.Conv2d(widths[0], 3 + bins, 1)
        # Finer where objects are thin.
        edges = THICKEST * (torch.arange(bins + 1) / bins) ** 2
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, depth: Tensor, radius: Tensor, middle: Tensor) -> Exits:
        """What is behind B views.

        Args:
            depth: (B, SIZE, SIZE) in radii from the image's middle, NaN where nothing was measured.
            radius, middle: (B,) of the images, metres, see `Sight`.
        """
        rows, kept = channels(depth, radius, middle), []
        for block in self.down:
            rows = block(rows)
            kept.append(rows)
            rows = functional.avg_pool2d(rows, 2)
        rows = self.dropout(self.deep(rows))
        for block, beside in zip(self.up, kept[::-1], strict=True):
            larger = functional.interpolate(rows, scale_factor=2.0, mode="nearest")
            rows = block(torch.cat([larger, beside], dim=1))
        told = self.out(rows).float()
        return Exits(told[:, 0], told[:, 1], told[:, 3:], told[:, 2])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses, and their sum under "loss".

        Args:
            batch: `depth` (B, S, S), `radius`, `middle` (B,) as of `forward`; `hit`, `filled`
                (B, S, S) 0 or 1; `first`, `last` (B, S, S) true depths as `depth`, where hit.
        """
        config, depth, hit = self.config, batch["depth"], batch["hit"]
        found = self(depth, batch["radius"], batch["middle"])
        measured = ~depth.isnan()
        unseen = (hit > 0) & ~measured
        begins = torch.where(measured, depth.nan_to_num(), batch["first"])
        thick = (batch["last"] - begins).clamp(0, THICKEST - 1e-3)
        bins = torch.bucketize(thick, self.edges, right=True) - 1
        thickness = functional.cross_entropy(found.thickness, bins, reduction="none")
        filled = functional.binary_cross_entropy_with_logits(
            found.filled, batch["filled"], reduction="none"
        )
        here = functional.binary_cross_entropy_with_logits(found.hit, hit, reduction="none")
        front = functional.smooth_l1_loss(found.front, batch["first"], reduction="none", beta=0.1)
        losses = {
            "thickness": mean(thickness, hit),
            "filled": config.weight_filled * mean(filled, hit),
            "hit": config.weight_hit * mean(here, 1 - measured.float()),
            "front": config.weight_front * mean(front, unseen),
        }
        return losses | {"loss": sum(losses.values())}

    def quantile(self, thickness: Tensor, share: Tensor) -> Tensor:
        """Thickness, radii, that is exceeded with probability 1 - share.

        Args:
            thickness: (bins, ...) logits.
            share: (K, ...) in [0, 1].

        Returns:
            (K, ...).
        """
        chance = torch.softmax(thickness, dim=0).movedim(0, -1)
        total = chance.cumsum(dim=-1)
        number = torch.searchsorted(total, share.movedim(0, -1).contiguous())
        number = number.clamp(max=self.config.bins - 1)
        inside = chance.gather(-1, number).clamp(min=1e-6)
        ratio = 1 - (total.gather(-1, number) - share.movedim(0, -1)) / inside
        low, high = self.edges[number], self.edges[number + 1]
        return torch.lerp(low, high, ratio.clamp(0, 1)).movedim(-1, 0)


def channels(depth: Tensor, radius: Tensor, middle: Tensor) -> Tensor:
    """(B, CHANNELS, SIZE, SIZE): mask, depth, slopes where they are known, size, distance."""
    measured = ~depth.isnan()
    known = depth.nan_to_num().clamp(-FARTHEST, FARTHEST)
    slopes = []
    for dim in (1, 2):
        step = (depth.roll(-1, dim) - depth.roll(1, dim)) * (SIZE / 4)
        slopes.append(torch.atan(step.nan_to_num()))
    size = (radius / USUAL).log()[:, None, None].expand_as(known)
    away = (middle / radius / AWAY)[:, None, None].expand_as(known)
    edge = torch.isnan(depth.roll(-1, 1) - depth.roll(1, 1) + depth.roll(-1, 2) - depth.roll(1, 2))
    rows = [measured.float(), known, *slopes, (measured & edge).float(), size, away]
    return torch.stack(rows, dim=1)


def mean(losses: Tensor, where: Tensor) -> Tensor:
    """Mean of losses where something is."""
    return (losses * where).sum() / where.sum().clamp(min=1)
