"""Exit depth: for each ray of a camera's view, where it leaves the object that it met.

A U-Net over the view-aligned depth image. Of each pixel it says whether the object is there even
though nothing was measured, how deep it begins then, how thick it is up to the last crossing, as a
histogram, and whether it is hollow between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.generators.layers.unet import UNet
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


class ExitDepth(UNet):
    """Says what is behind what a camera saw.

    Args:
        hand: not used, as all trained networks have one.
        config: sizes and weights.
    """

    axes = 2
    config_class = ExitDepthConfig

    def __init__(self, hand: ManoHand, config: ExitDepthConfig | None = None) -> None:
        config = config or ExitDepthConfig()
        super().__init__(hand, config, CHANNELS, 3 + config.bins)
        # Finer where objects are thin.
        edges = THICKEST * (torch.arange(config.bins + 1) / config.bins) ** 2
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, depth: Tensor, radius: Tensor, middle: Tensor) -> Exits:
        """What is behind B views.

        Args:
            depth: (B, SIZE, SIZE) in radii from the image's middle, NaN where nothing was measured.
            radius, middle: (B,) of the images, metres, see `Sight`.
        """
        told = self.told(channels(depth, radius, middle))
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
