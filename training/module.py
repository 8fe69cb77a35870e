"""What lightning needs of a generator: its losses and its grasps' metrics logged, its optimiser."""

from __future__ import annotations

import math
from collections import defaultdict

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.objects.distance import DistanceGrid, signed_distance
from grasp_gen_core.objects.sampling import outward_normals
from grasp_gen_training.data import Batches, HeldOut, load

HANDS = 8  # sampled for each held-out object
SHOWN = (
    "train/loss",
    "validation/penetration_depth_cm",
    "validation/contact_ratio_pct",
    "validation/surface_error_mm",
)
SHOW_EVERY = 20  # steps
PITCH = 0.001  # metres between the lines of the volume: enough for means, and faster


class NetworkTraining(lightning.LightningModule):
    """Any network with a `loss(batch)` that gives a dict with the sum under "loss".

    Args:
        generator: a generator, or one of their helpers.
        lr, steps: of the optimiser.
    """

    def __init__(self, generator: nn.Module, lr: float, steps: int) -> None:
        super().__init__()
        self.generator, self.lr, self.steps = generator, lr, steps

    def on_validation_epoch_start(self) -> None:
        # Not at its end: there the callback has put the weights that are no average back.
        if not self.trainer.sanity_checking:
            measured = {f"validation/{name}": value for name, value in self.measure().items()}
            self.log_dict(measured)

    def measure(self) -> dict[str, float]:
        """What validation measures besides the losses: nothing."""
        return {}

    def finish(self) -> None:
        """What is done once the network is trained: nothing."""

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return self._log("train", batch)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return self._log("validation", batch)

    def _log(self, stage: str, batch: dict[str, Tensor]) -> Tensor:
        losses = self.generator.loss(batch)
        logged = {f"{stage}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged, batch_size=len(next(iter(batch.values()))))
        return losses["loss"]

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(
            self.generator.parameters(),
            lr=self.lr,
            weight_decay=1e-4,
            fused=self.trainer.precision == "32-true",  # lightning can't clip it otherwise
        )
        warm = min(200, self.steps // 10 + 1)

        def rate(step: int) -> float:
            """Linear warm-up, then half a cosine down to zero."""
            return min(step / warm, 0.5 + 0.5 * math.cos(math.pi * min(step / self.steps, 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class HelperTraining(NetworkTraining):
    """The training of a network that makes no hands, of which only the losses are looked at.

    Args:
        generator: the network.
        hand, measured: not used.
        lr, steps: of the optimiser.
    """

    def __init__(self, generator: nn.Module, hand, lr: float, steps: int, measured) -> None:
        super().__init__(generator, lr, steps)


class RecordData(lightning.LightningDataModule):
    """Training and validation samples whose `[numbers, seed]` is a batch; nothing else is measured.

    Args:
        training, validation: the samples.
        batch: how many there are in a batch.
        workers: processes that make batches of the training's.
    """

    def __init__(self, training: Dataset, validation: Dataset, batch: int, workers: int) -> None:
        super().__init__()
        self.training, self.validation, self.measured = training, validation, ()
        self.batch, self.workers = batch, workers

    def train_dataloader(self) -> DataLoader:
        return load(self.training, Batches(len(self.training), self.batch, True), self.workers)

    def val_dataloader(self) -> DataLoader:
        return load(self.validation, Batches(len(self.validation), self.batch, False), 0)


class GeneratorTraining(NetworkTraining):
    """The training of what learns from grasps.

    Args:
        generator: its hands are measured, too, if it has `sample(points, num, rng)`.
        hand: the hand whose parameters are generated.
        lr, steps: of the optimiser.
        measured: objects on which validation samples and measures grasps.
    """

    def __init__(
        self, generator: nn.Module, hand: ManoHand, lr: float, steps: int, measured: list[HeldOut]
    ) -> None:
        super().__init__(generator, lr, steps)
        self.hand = [hand]  # no weights of this module: it only has to follow to the device
        self.measured = measured

    def on_fit_start(self) -> None:
        self.hand[0].to(self.device)

    def measure(self) -> dict[str, float]:
        """Means of the metrics of sampled grasps, on the exact meshes of the held-out objects."""
        if not hasattr(self.generator, "sample"):
            return {}
        hand, rng, found = self.hand[0], torch.Generator().manual_seed(0), defaultdict(list)
        faces, parts = hand.closed_faces.cpu().numpy(), hand.parts.cpu()
        for mesh, points in self.measured:
            with torch.no_grad():
                cloud, known = torch.from_numpy(points).to(self.device), ()
                if self.generator.knows_surface:
                    normals = torch.from_numpy(outward_normals(points)).to(self.device)
                    known = (normals, DistanceGrid.from_mesh(mesh).to(self.device))
                mano = self.generator.sample(cloud, HANDS, rng, *known)
                vertices = hand(mano)[0].cpu().numpy()
            distance = torch.from_numpy(signed_distance(mesh, vertices))
            found["penetration_depth_cm"] += penetration_depth_cm(distance).tolist()
            volume = penetration_volume_cm3(vertices, faces, mesh, PITCH)
            found["penetration_volume_cm3"] += volume.tolist()
            found["contact_ratio_pct"] += contact_ratio_pct(distance).tolist()
            found["contact_fingers"] += contact_fingers(distance, parts).tolist()
        return {name: sum(values) / len(values) for name, values in found.items()}


class Progress(lightning.Callback):
    """One bar over all steps, with the loss and what validation found last.

    Args:
        words: before the bar.
        quiet: no bar.
    """

    def __init__(self, words: str, quiet: bool) -> None:
        self.words, self.quiet = words, quiet

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        done, steps = trainer.global_step, trainer.max_steps
        self.bar = tqdm(desc=self.words, total=steps, initial=done, unit="step", disable=self.quiet)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_) -> None:
        if trainer.global_step % SHOW_EVERY == 1:  # a GPU would be waited for in every step
            metrics = trainer.callback_metrics
            found = {name.partition("/")[2]: metrics[name] for name in SHOWN if name in metrics}
            words = {name: f"{float(value):.3g}" for name, value in found.items()}
            self.bar.set_postfix(words, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def teardown(self, *_, **__) -> None:
        if hasattr(self, "bar"):
            self.bar.close()
