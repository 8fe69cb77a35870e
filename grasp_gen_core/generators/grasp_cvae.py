"""GraspCVAE (Jiang et al., Hand-Object Contact Consistency Reasoning for Human Grasps Generation,
ICCV 2021, "GraspTTA"): a conditional VAE from an object cloud to MANO parameters.

Where this differs from the paper: the decoder gives joint angles within the hand's limits, a 6D
wrist rotation and the wrist's place in the cloud's principal frame, from which the 61 MANO
parameters follow; the object's points may be partial.
"""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from torch import Tensor

from grasp_gen_core.generators.layers.frames import in_four_frames, in_principal_frame
from grasp_gen_core.generators.layers.losses import CM, penetration, touching
from grasp_gen_core.generators.layers.mano import NUMBERS, to_mano
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE


@dataclass(frozen=True)
class GraspCVAEConfig:
    """Sizes and loss weights (the paper names the weights, Eq. 1-2, but not their values).

    Vertex and contact losses are in centimetres.
    """

    latent: int = 64
    features: tuple[int, ...] = (64, 128, 512)
    hidden: tuple[int, int] = (512, 256)
    weight_vertices: float = 1.0  # lambda_V
    weight_pose: float = 1.0  # lambda_theta
    weight_betas: float = 0.1  # lambda_beta
    weight_kl: float = 0.1  # lambda_KLD
    weight_penetration: float = 2.0  # lambda_p
    weight_hand_contact: float = 1.0  # lambda_H
    weight_object_contact: float = 5.0  # lambda_O


class GraspCVAE(Network):
    """Object cloud in, MANO hands out.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    config_class = GraspCVAEConfig

    def __init__(self, hand: ManoHand, config: GraspCVAEConfig | None = None) -> None:
        super().__init__(hand, config)
        config = self.config
        feature = config.features[-1]
        self.object_encoder = PointNet(config.features)
        self.hand_encoder = PointNet(config.features)
        self.encoder = mlp(2 * feature, config.hidden, 2 * config.latent)
        self.decoder = mlp(feature + config.latent, config.hidden[::-1] * 2, NUMBERS)

    def sample(self, points: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """Hands for one cloud; z comes from the standard normal (Sec. 2.1, testing).

        Args:
            points: (N, 3) metres, any frame, full or partial.
            num: hands wanted.
            generator: source of randomness, on the CPU.

        Returns:
            (num, 61) MANO parameters in the frame of the points.
        """
        rotation, centre, local = in_four_frames(points)
        feature = self.object_encoder(local)
        chosen = torch.arange(num, device=points.device) % 4
        z = torch.randn(num, self.config.latent, generator=generator).to(points)
        mano = self.decode(feature[chosen], z)
        return self.hand.move(mano, rotation[chosen], centre[chosen])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All losses of Eq. 1 and 2, and their sum under "loss".

        Args:
            batch: `view` (B, N, 3) the points seen, `surface` (B, M, 3) points all around the
                object, `mano` (B, 61) a grasp; metres, one frame. `flip` (B,) 0..3.
        """
        hand, config = self.hand, self.config
        view, surface, truth = in_principal_frame(batch, hand)
        true_vertices, _ = hand(truth)

        feature = self.object_encoder(view)
        mean, log_variance = self.encode(feature, true_vertices)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        predicted = self.decode(feature, z)
        vertices, _ = hand(predicted)

        # L_R: vertices, pose (rotation and joints), shape.
        reconstruction = (CM * (vertices - true_vertices)).square().sum(dim=2).mean()
        turned = roma.rotvec_to_rotmat(predicted[:, GLOBAL_ORIENT])
        orient = (turned - roma.rotvec_to_rotmat(truth[:, GLOBAL_ORIENT])).square().sum(dim=(1, 2))
        joints = (predicted - truth)[:, HAND_POSE].square().sum(dim=1)
        betas = (predicted - truth)[:, BETAS].square().sum(dim=1).mean()
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()

        depth = penetration(surface, vertices, hand)
        reach, contact = touching(surface, vertices, true_vertices, hand)

        losses = {
            "vertices": config.weight_vertices * reconstruction,
            "pose": config.weight_pose * (orient + joints).mean(),
            "betas": config.weight_betas * betas,
            "kl": config.weight_kl * kl,
            "penetration": config.weight_penetration * depth.mean(),
            "hand_contact": config.weight_hand_contact * reach.mean(),  # L_H
            "object_contact": config.weight_object_contact * contact.mean() / 10,  # L_O
        }
        return losses | {"loss": sum(losses.values())}

    def encode(self, feature: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent) of Q(z | object, hand)."""
        both = torch.cat([feature, self.hand_encoder(vertices)], dim=1)
        mean, log_variance = self.encoder(both).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def decode(self, feature: Tensor, z: Tensor) -> Tensor:
        """(B, 61) MANO parameters in the principal frame."""
        return to_mano(self.decoder(torch.cat([feature, z], dim=1)), self.hand)
