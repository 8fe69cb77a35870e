"""A learned evaluator: from what was seen of an object to what will become of a hand on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grasp_gen_core.generators.layers.attention import blocks
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.ranking.evidence import HAND_NUMBERS, PLACE_NUMBERS, PLACES, Evidence


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes."""

    width: int = 96
    heads: int = 4
    layers: int = 3
    dropout: float = 0.1


class Evaluator(Network):
    """A transformer over places of the skin and a row for the hand as a whole."""

    config_class = EvaluatorConfig
    outputs = 2

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
            nn.Linear(width, self.outputs),
        )

    def forward(self, evidence: Evidence) -> Tensor:
        rows = self.place_in(evidence.places) + self.order
        row = self.hand_in(evidence.hands)[:, None]
        rows = self.dropout(torch.cat([row, rows], dim=1))
        for layer in self.layers:
            rows = layer(rows, rows)
        return self.out(torch.cat([rows[:, 0], rows[:, 1:].amax(dim=1)], dim=1))
