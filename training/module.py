"""What lightning needs of a generator: its losses logged, its optimiser and schedule."""

from __future__ import annotations

import math

import lightning
import torch
from torch import Tensor, nn

from grasp_gen_core.hand import ManoHand


class GeneratorTraining(lightning.LightningModule):
    """Any generator with a `loss(batch)` that gives a dict with the sum under "loss"."""

    def __init__(self, generator: nn.Module, hand: ManoHand, lr: float, steps: int) -> None:
        super().__init__()
        self.generator, self.lr, self.steps = generator, lr, steps
        self.hand = [hand]  # no weights of this module: it only has to follow to the device

    def on_fit_start(self) -> None:
        self.hand[0].to(self.device)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return self._log("train", batch)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return self._log("validation", batch)

    def _log(self, stage: str, batch: dict[str, Tensor]) -> Tensor:
        losses = self.generator.loss(batch)
        logged = {f"{stage}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged, batch_size=len(batch["mano"]))
        self.log("loss", losses["loss"].detach(), prog_bar=True, logger=False)
        return losses["loss"]

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(self.generator.parameters(), lr=self.lr, weight_decay=1e-4)
        warm = min(200, self.steps // 10 + 1)

        def rate(step: int) -> float:
            """Linear warm-up, then half a cosine down to zero."""
            return min(step / warm, 0.5 + 0.5 * math.cos(math.pi * min(step / self.steps, 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
