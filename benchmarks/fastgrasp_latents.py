"""How small FastGrasp's latent may be, and what its encoder gains by knowing vertices' order.

    python benchmarks/fastgrasp_latents.py [DATASET] [--steps 500]

Autoencoders are trained on parameters and mesh alone (Eq. 1), all on the same batches; then hands
of held-out objects are encoded and decoded with noise on their latents, as a diffusion leaves it.
"""

from __future__ import annotations

import argparse
import math
import platform
from datetime import date
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from grasp_gen_core.generators.fastgrasp import CM, FastGrasp, FastGraspConfig
from grasp_gen_core.generators.layers.frames import in_principal_frame
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.report import table
from grasp_gen_core.runtime import tune_allocator
from grasp_gen_training.data import GraspData

DATA = Path(__file__).parents[1] / "training" / "data"
LATENTS = (16, 32, 64, 128)
NOISES = (0.0, 0.1, 0.3)
LR, BATCH = 1e-3, 64
HELD_OUT = 12  # batches


class WithPointNet(FastGrasp):
    """FastGrasp whose encoder sees the hand's vertices without their order, as in the paper."""

    def __init__(self, hand: ManoHand, config: FastGraspConfig) -> None:
        super().__init__(hand, config)
        self.encoder[0] = nn.Sequential(
            PointNet((32, 64, 256)), mlp(256, config.hidden, config.latent)
        )

    def encode(self, vertices: Tensor) -> Tensor:
        return self.encoder(vertices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default=DATA)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    tune_allocator()
    torch.manual_seed(0)
    hand = ManoHand()
    views = {"full": 0.4, "masked": 0.3, "camera": 0.3}
    data = GraspData(arguments.dataset, BATCH, views, hand.regions.palm_axis.numpy(), 512)
    weights = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    nets = {
        f"order, {latent}": FastGrasp(hand, FastGraspConfig(latent=latent, weights=weights))
        for latent in LATENTS
    }
    nets["PointNet, 64"] = WithPointNet(hand, FastGraspConfig(latent=64, weights=weights))
    train(nets, data, arguments.steps)
    batches = list(islice(data.val_dataloader(), HELD_OUT))
    rows = []
    for name, net in nets.items():
        net.eval()
        off = {f"noise {noise}": f"{error(net, batches, noise):.2f}" for noise in NOISES}
        rows.append({"encoder, N_z": name, **off})
    print(f"cpu, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")
    print(f"{arguments.steps} steps of {BATCH} grasps; vertices off by [cm]\n\n{table(rows)}")


def train(nets: dict[str, FastGrasp], data: GraspData, steps: int) -> None:
    """Train the autoencoders, all on the same batches."""
    optimisers = []
    for net in nets.values():
        net.begin("autoencoder")
        optimisers.append(torch.optim.AdamW(net.parameters(), lr=LR))
    for step, batch in enumerate(tqdm(islice(data.train_dataloader(), steps), total=steps)):
        rate = LR * min(step / 50, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for net, optimiser in zip(nets.values(), optimisers, strict=True):
            optimiser.param_groups[0]["lr"] = rate
            optimiser.zero_grad()
            net.loss(batch)["loss"].backward()
            optimiser.step()


@torch.no_grad()
def error(net: FastGrasp, batches: list[dict[str, Tensor]], noise: float) -> float:
    """Root mean square distance, cm, of vertices to those of hands decoded from noisy latents."""
    squares, rng = [], torch.Generator().manual_seed(0)
    for batch in batches:
        _, _, mano = in_principal_frame(batch, net.hand)
        vertices, _ = net.hand(mano)
        z = net.encode(vertices)
        z = z + noise * torch.randn(z.shape, generator=rng)
        apart = CM * (net.hand(net.decode(z))[0] - vertices)
        squares.append(apart.square().sum(dim=2).mean())
    return float(torch.stack(squares).mean().sqrt())


if __name__ == "__main__":
    main()
