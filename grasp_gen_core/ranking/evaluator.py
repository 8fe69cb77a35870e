"""A learned evaluator: from what was seen of an object to what will become of a hand on it.

A committee of small networks. Each is told of places of the skin, what the cloud tells around them,
and of the hand as a whole. They learn from hands as the pipeline refines them, on objects seen from
all around, in part, or by one camera, that were judged on the true meshes: whether they hold when
they close (`metrics.grasp_success`), how far the object moves in them, and what volume they share.
Each member learns without some families of objects; what it says of those is what the chances are
calibrated on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.quality_index import VOLUME_WEIGHT
from grasp_gen_core.ranking.evidence import (
    FORMULA,
    HAND_NUMBERS,
    HAND_PARTS,
    PLACE_NUMBERS,
    PLACES,
    Evidence,
)

GOOD_INDEX = 0.5  # quality index that a good hand has at most
EVEN = 0.05  # added to spreads: what never differs tells nothing
DEEPEST = 0.5  # cm that refined hands are in what the object is taken for, nearly all of them
DEPTH = [*FORMULA].index("penetration_depth_cm") - len(FORMULA)  # its place in a hand's numbers
LEAST = 0.05  # cm^3 and cm that are added before the logarithm: less makes no difference
SPREAD = 2.0  # of these logarithms, about
SURE = 2.0  # steepness of the comparison of two hands
STRAIGHT = HAND_PARTS["hold"] + HAND_PARTS["formula"]  # a hand's last numbers, that say most
NO_FAMILY = -1  # of objects that no member leaves out


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes, and the weights of the losses."""

    members: int = 3
    width: int = 64
    told: int = 6  # numbers of each place
    dropout: float = 0.4
    weight_success: float = 1.0
    weight_numbers: float = 1.0
    weight_order: float = 0.5


class Expected(NamedTuple):
    """What is expected of hands, or what became of them.

    Attributes:
        success: (..., B) logit of the chance that the hand holds the object when it closes; of what
            became of it 1 or 0.
        volume_cm3, displacement_cm: (..., B) as the metrics have them.
    """

    success: Tensor
    volume_cm3: Tensor
    displacement_cm: Tensor

    @property
    def quality_index(self) -> Tensor:
        """(..., B) low is good."""
        return VOLUME_WEIGHT * self.volume_cm3 + (1 - VOLUME_WEIGHT) * self.displacement_cm


def is_good(true: Expected) -> Tensor:
    """(..., B) bool, what the score is the chance of: hands hold, at GOOD_INDEX at most."""
    return (true.success > 0.5) & (true.quality_index <= GOOD_INDEX)


class Member(nn.Module):
    """One of the committee.

    Args:
        config: sizes.
    """

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        width, both = config.width, PLACES * config.told + config.width
        self.place_in = nn.Sequential(
            nn.Linear(PLACE_NUMBERS, width), nn.GELU(), nn.Linear(width, config.told)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.hand_in = nn.Linear(HAND_NUMBERS, width)
        self.out = nn.Sequential(
            nn.LayerNorm(both),
            nn.Dropout(config.dropout),
            nn.Linear(both, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, len(Expected._fields)),
        )
        self.straight = nn.Linear(STRAIGHT, len(Expected._fields), bias=False)

    def forward(self, places: Tensor, hands: Tensor) -> Tensor:
        """(B, 3) told of hands, by evidence (B, PLACES, PLACE_NUMBERS) and (B, HAND_NUMBERS)."""
        told = self.hand_in(self.dropout(hands))
        told = self.out(torch.cat([self.place_in(places).flatten(1), told], dim=1))
        return told + self.straight(hands[:, -STRAIGHT:])


class Evaluator(Network):
    """Expects success, volume and displacement of hands.

    Args:
        hand: the right hand.
        config: sizes and weights.
    """

    config_class = EvaluatorConfig

    def __init__(self, hand: ManoHand, config: EvaluatorConfig | None = None) -> None:
        super().__init__(hand, config)
        self.members = nn.ModuleList(Member(self.config) for _ in range(self.config.members))
        # Middle and spread of the evidence.
        for name, count in (("places", PLACE_NUMBERS), ("hands", HAND_NUMBERS)):
            self.register_buffer(f"scale_{name}", torch.tensor([[0.0], [1.0]]).repeat(1, count))
        # Of logits of success, and of the logarithm of the index, to logits: factor and summand.
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))

    def forward(self, evidence: Evidence) -> Expected:
        """What each member expects of B hands, (members, B), by evidence (B, ...)."""
        scales = (self.scale_places, self.scale_hands)
        told = [(x - middle) / spread for x, (middle, spread) in zip(evidence, scales, strict=True)]
        told = torch.stack([member(*told) for member in self.members])
        success, volume, displacement = told.unbind(dim=-1)
        return Expected(success, functional.softplus(volume), functional.softplus(displacement))

    def chance(self, evidence: Evidence) -> Tensor:
        """(B,) chances in [0, 1] that hands are good, by evidence (B, ...)."""
        reasons = self._reasons(self(evidence)).mean(dim=1)
        factor, summand = self.calibration.unsqueeze(-1).unbind(dim=1)
        # Given what was seen, the one hardly tells of the other.
        chance = torch.sigmoid(factor * reasons + summand).prod(dim=0)
        # It learned from refined hands: of those that are deeper in the object it knows nothing.
        deeper = (evidence.hands[:, DEPTH] * FORMULA["penetration_depth_cm"] - DEEPEST).clamp(min=0)
        return chance * torch.exp(-((deeper / DEEPEST) ** 2))

    def standardise(self, evidence: Evidence) -> None:
        """Take middle and spread from evidence (..., numbers)."""
        for name, told in evidence._asdict().items():
            told = told.flatten(0, -2)
            scale = torch.stack([told.mean(dim=0), told.std(dim=0) + EVEN])
            getattr(self, f"scale_{name}").copy_(scale)

    def calibrate(self, found: Expected, true: Expected) -> None:
        """Logistic regressions: that hands hold, and that they are at GOOD_INDEX at most.

        Args:
            found: (B,) expected by members that don't know these hands' families.
            true: (B,) what became of the hands.
        """
        found = self._reasons(found)
        became = torch.stack([true.success > 0.5, true.quality_index <= GOOD_INDEX]).float()
        weights = torch.zeros_like(self.calibration, requires_grad=True)
        optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            told = weights[:, :1] * found + weights[:, 1:]
            value = functional.binary_cross_entropy_with_logits(told, became)
            value.backward()
            return value

        optimiser.step(loss)
        self.calibration.copy_(weights.detach())

    def _reasons(self, found: Expected) -> Tensor:
        """(2, ..., B) what `calibration` is applied to."""
        return torch.stack([found.success, _logarithm(found.quality_index)])

    def unaware(self, family: Tensor) -> Tensor:
        """(members, ...) bool, who leaves the families numbered (...) out."""
        numbers = torch.arange(len(self.members), device=family.device)
        left_out = family % len(self.members) == numbers.view(-1, *[1] * family.ndim)
        return left_out & (family != NO_FAMILY)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses, and their sum under "loss".

        Args:
            batch: of O objects with H hands each `places` (O, H, PLACES, PLACE_NUMBERS) and
                `hands` (O, H, HAND_NUMBERS), see `Evidence`, their truth `success`, `volume_cm3`,
                `displacement_cm` (O, H), and the objects' `family` (O,), numbers or NO_FAMILY.
        """
        config, shape = self.config, batch["success"].shape
        found = self(Evidence(*(batch[name].flatten(0, 1) for name in Evidence._fields)))
        found = Expected(*(one.unflatten(1, shape) for one in found))
        true = Expected(*(batch[name].expand_as(found.success) for name in Expected._fields))
        learns = (~self.unaware(batch["family"])).float()

        def mean(losses: Tensor) -> Tensor:
            """Over the objects (members, O, ...) that members learn from."""
            return (losses.flatten(2).mean(dim=2) * learns).sum() / learns.sum().clamp(min=1)

        success = functional.binary_cross_entropy_with_logits(
            found.success, true.success, reduction="none"
        )
        numbers = sum(
            functional.smooth_l1_loss(
                _logarithm(mine) / SPREAD, _logarithm(one) / SPREAD, reduction="none"
            )
            for mine, one in zip(found[1:], true[1:], strict=True)
        )
        # Of two hands on one object, which is better, by how much better it is (as RankNet).
        mine, one = (_logarithm(x.quality_index) for x in (found, true))
        apart = one[..., :, None] - one[..., None, :]
        wrong = functional.softplus(
            -SURE * (mine[..., :, None] - mine[..., None, :]) * apart.sign()
        )
        losses = {
            "success": config.weight_success * mean(success),
            "numbers": config.weight_numbers * mean(numbers),
            "order": config.weight_order * mean(wrong * apart.abs().clamp(max=SPREAD)),
        }
        return losses | {"loss": sum(losses.values())}


def _logarithm(number: Tensor) -> Tensor:
    return (number + LEAST).log()
