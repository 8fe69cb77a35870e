"""A learned evaluator: from what was seen of an object to what will become of a hand on it.

A transformer over places of the skin, each with what the cloud tells around it, and over one row
for the hand as a whole. It learns from hands as the pipeline refines them, on objects seen from all
around, in part, or by one camera, that were judged on the true meshes: whether they hold when they
close (`metrics.grasp_success`), how far the object moves in them, and what volume they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.generators.layers.attention import blocks
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.quality_index import VOLUME_WEIGHT
from grasp_gen_core.ranking.evidence import HAND_NUMBERS, PLACE_NUMBERS, PLACES, Evidence

LEAST = 0.05  # cm^3 and cm that are added before the logarithm: less makes no difference
SPREAD = 2.0  # of these logarithms, about
SURE = 2.0  # steepness of the comparison of two hands


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes, and the weights of the losses."""

    width: int = 96
    heads: int = 4
    layers: int = 3
    dropout: float = 0.1
    weight_success: float = 1.0
    weight_numbers: float = 1.0
    weight_order: float = 0.5


class Expected(NamedTuple):
    """What is expected of B hands.

    Attributes:
        success: (B,) logit of the chance that the hand holds the object when it closes.
        volume_cm3, displacement_cm: (B,) as the metrics have them.
    """

    success: Tensor
    volume_cm3: Tensor
    displacement_cm: Tensor

    @property
    def quality_index(self) -> Tensor:
        """(B,) low is good."""
        return VOLUME_WEIGHT * self.volume_cm3 + (1 - VOLUME_WEIGHT) * self.displacement_cm


class Evaluator(Network):
    """Expects success, volume and displacement of hands.

    Args:
        hand: the right hand.
        config: sizes and weights.
    """

    config_class = EvaluatorConfig

    def __init__(self, hand: ManoHand, config: EvaluatorConfig | None = None) -> None:
        super().__init__(hand, config)
        width = self.config.width
        self.place_in = nn.Sequential(
            nn.Linear(PLACE_NUMBERS, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.hand_in = nn.Linear(HAND_NUMBERS, width)
        self.order = nn.Parameter(0.02 * torch.randn(PLACES, width))
        self.dropout = nn.Dropout(self.config.dropout)
        self.layers = blocks(self.config.layers, width, self.config.heads)
        self.out = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Linear(width, len(Expected._fields)),
        )

    def forward(self, evidence: Evidence) -> Expected:
        """What is expected of B hands, by evidence (B, ...)."""
        rows = self.place_in(evidence.places) + self.order
        rows = torch.cat([self.hand_in(evidence.hands)[:, None], rows], dim=1)
        rows = self.dropout(rows)
        for layer in self.layers:
            rows = layer(rows, rows)
        told = self.out(torch.cat([rows[:, 0], rows[:, 1:].amax(dim=1)], dim=1))
        success, volume, displacement = told.unbind(dim=1)
        return Expected(success, *(_number(one) for one in (volume, displacement)))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses, and their sum under "loss".

        Args:
            batch: of O objects with H hands each `places` (O, H, PLACES, PLACE_NUMBERS) and
                `hands` (O, H, HAND_NUMBERS), see `Evidence`, and their truth `success`,
                `volume_cm3`, `displacement_cm` (O, H).
        """
        config = self.config
        found = self(Evidence(*(batch[name].flatten(0, 1) for name in Evidence._fields)))
        true = Expected(*(batch[name].flatten() for name in Expected._fields))
        success = functional.binary_cross_entropy_with_logits(found.success, true.success)
        numbers = sum(
            functional.smooth_l1_loss(_logarithm(mine) / SPREAD, _logarithm(one) / SPREAD)
            for mine, one in zip(found[1:], true[1:], strict=True)
        )
        # Of two hands on one object, which is better, by how much better it is (as RankNet).
        mine, one = (
            _logarithm(x.quality_index).view(batch["success"].shape) for x in (found, true)
        )
        apart = one[:, :, None] - one[:, None]
        wrong = functional.softplus(-SURE * (mine[:, :, None] - mine[:, None]) * apart.sign())
        losses = {
            "success": config.weight_success * success,
            "numbers": config.weight_numbers * numbers,
            "order": config.weight_order * (wrong * apart.abs().clamp(max=SPREAD)).mean(),
        }
        return losses | {"loss": sum(losses.values())}


def _logarithm(number: Tensor) -> Tensor:
    return (number + LEAST).log()


def _number(told: Tensor) -> Tensor:
    """Positive numbers, of about any that a layer tells."""
    return functional.softplus(told)
