"""GraspTTA's adaptation at test time (Jiang et al., ICCV 2021, Sec. 2.3): GraspCVAE's decoder is
trained further for each grasp by itself, until the hand's contact map is ContactNet's.

All grasps of a batch adapt at once, each with decoder weights of its own: torch.func calls the
decoder with stacked parameters. Its own parameters stay as they are, and so does all else.

Where this differs from the paper: hands need not come with the latent that they were decoded from.
The encoder gives one, and what the decoder's answer lacks to be the hand is added to it throughout,
so that adaptation starts from just the hand that was proposed, moved, mirrored or seen. Hands keep
their shape, which is somebody's. Adam in tens of steps, not hundreds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.stopping import heed
from grasp_gen_core.types import BETAS

if TYPE_CHECKING:
    from grasp_gen_core.generators.grasp_cvae import ContactNet, GraspCVAE

POINTS = 512  # of the object that losses look at
RATE = 1.5e-4  # Adam's
WEIGHT_HAND, WEIGHT_PENETRATION = 60.0, 200.0  # lambda_H, lambda_p; lengths in centimetres


def refine(
    mano: Tensor,
    points: Tensor,
    grid: DistanceGrid,
    around: Callable[[Tensor], Tensor] | None = None,
    *,
    generator: GraspCVAE,
    contact_net: ContactNet,
) -> Tensor:
    """Adapt GraspCVAE's decoder to each grasp.

    Args:
        mano: (B, 61) proposed hands.
        points: (N, 3) the object, metres.
        grid: not used: the paper's losses know the object by its points.
        around: not used.
        generator: whose decoder is adapted, and whose `sampling` says in how many steps.
        contact_net: predicts the contact maps that hands should have.

    Returns:
        (B, 61) hands of the adapted decoders.
    """
    adaptation = Adaptation(mano, points, generator, contact_net)
    weights = adaptation.weights()
    optimiser = torch.optim.Adam(weights.values(), lr=RATE, fused=True)
    for _ in range(int(generator.sampling.steps)):
        heed()
        for name, gradient in adaptation.gradients(weights).items():
            # Whatever the gradient's order in memory, fused Adam reads it in the weights'.
            weights[name].grad = gradient.contiguous()
        optimiser.step()
    return adaptation.hands(adaptation.decode(weights))


class Adaptation:
    """Grasps of one object, their decoders and what these are to learn.

    Args:
        mano, points, generator, contact_net: as of `refine`.
    """

    def __init__(
        self, mano: Tensor, points: Tensor, generator: GraspCVAE, contact_net: ContactNet
    ) -> None:
        self.generator, self.betas = generator, mano[:, BETAS]
        with torch.no_grad():
            self.known = generator.recognise(mano, points)
            few = points[:: -(-len(points) // POINTS)]
            self.points = few.expand(len(mano), -1, -1)
            self.target = contact_net.contact(self.points, mano)  # Omega_c

    def weights(self) -> dict[str, Tensor]:
        """The decoder's parameters by name, (B, ...) a copy for each grasp."""
        return {
            name: value.detach().repeat(len(self.betas), *[1] * value.ndim)
            for name, value in self.generator.decoder.named_parameters()
        }

    def decode(self, weights: dict[str, Tensor]) -> Tensor:
        """(B, 64) what each grasp's own decoder gives."""

        def call(own: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self.generator.decoder, own, inputs)

        return vmap(call)(weights, self.known.inputs) + self.known.shift

    def hands(self, decoded: Tensor) -> Tensor:
        """(B, 61) MANO parameters in the object's frame."""
        hand, known = self.generator.hand, self.known
        moved = hand.move(self.generator.to_mano(decoded), known.rotation, known.centre)
        return hand.reshape(moved, self.betas)

    def loss(self, mano: Tensor) -> Tensor:
        """(B,) L_TTA of hands (B, 61) (Eq. 3)."""
        vertices, _ = self.generator.hand(mano)
        terms = self.generator.consistency(self.points, vertices, self.target)
        return terms.map + WEIGHT_HAND * terms.hand + WEIGHT_PENETRATION * terms.penetration

    def gradients(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, ...) of each grasp's loss; none acts on another's, so that the sum has them all."""
        return grad(lambda own: self.loss(self.hands(self.decode(own))).sum())(weights)
