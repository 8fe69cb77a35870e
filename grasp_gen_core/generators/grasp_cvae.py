"""GraspCVAE (Jiang et al., Hand-Object Contact Consistency Reasoning for Human Grasps Generation,
ICCV 2021, "GraspTTA"): a conditional VAE from an object cloud to MANO parameters (Sec. 2.1), and
ContactNet (Sec. 2.2). The adaptation at test time that both serve is `refiners/grasp_tta.py`.

Where this differs from the paper: the decoder gives joint angles within the hand's limits, a 6D
wrist rotation and the wrist's place in the cloud's principal frame, from which the 61 MANO
parameters follow; the object's points may be partial. ContactNet sees object and hand in the
wrist's frame, and hands that are off in training, as those are that it corrects.
L_O is a sum over the surface's points, of which a tenth counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.layers.frames import (
    hands_in_frame,
    in_four_frames,
    in_principal_frame,
)
from grasp_gen_core.generators.layers.losses import CM, object_contact, penetration, touching
from grasp_gen_core.generators.layers.mano import NUMBERS, from_mano, to_mano
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

MAP_SHARE = 0.1  # of ||Omega^ - Omega||^2, a sum over the surface's points, that lambda_O weighs


@dataclass(frozen=True)
class GraspCVAEConfig:
    """Sizes and loss weights (the paper names the weights, Eq. 1-2, but not their values).

    Vertex and contact losses are in centimetres. lambda_O weighs MAP_SHARE of L_O.
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


class Recognised(NamedTuple):
    """How the decoder comes by B hands.

    Attributes:
        inputs: (B, feature + latent) of the decoder.
        shift: (B, 64) what its output lacks to be the hands.
        rotation, centre: (B, 3, 3) and (B, 3), the frames that it gives them in.
    """

    inputs: Tensor
    shift: Tensor
    rotation: Tensor
    centre: Tensor


class Consistency(NamedTuple):
    """Contact losses of B hands, centimetres where they are lengths.

    Attributes:
        map: (B,) ||Omega^ - Omega||^2 of the hands' contact map and another: L_O, L_refine.
        hand: (B,) L_H, as a mean over the possible contact points.
        penetration: (B,) L_penetr.
    """

    map: Tensor
    hand: Tensor
    penetration: Tensor


@dataclass(frozen=True)
class GraspCVAESampling:
    """How the decoder is adapted to each grasp at test time (Sec. 2.3, refiner grasp_tta).

    Attributes:
        steps: of the adaptation.

    Raises:
        InputError: if it isn't a whole number.
    """

    steps: float = 25

    def __post_init__(self) -> None:
        if not (self.steps >= 0 and float(self.steps).is_integer()):
            raise InputError(f"steps: {self.steps}, accepted are 0, 1, 2, ...")


class GraspCVAE(Network):
    """Object cloud in, MANO hands out.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    config_class = GraspCVAEConfig
    sampling_class = GraspCVAESampling

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
        turned = rotations.to_matrix(predicted[:, GLOBAL_ORIENT])
        orient = (turned - rotations.to_matrix(truth[:, GLOBAL_ORIENT])).square().sum(dim=(1, 2))
        joints = (predicted - truth)[:, HAND_POSE].square().sum(dim=1)
        betas = (predicted - truth)[:, BETAS].square().sum(dim=1).mean()
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()

        omega = object_contact(surface, true_vertices, hand)
        contact = self.consistency(surface, vertices, omega)
        losses = {
            "vertices": config.weight_vertices * reconstruction,
            "pose": config.weight_pose * (orient + joints).mean(),
            "betas": config.weight_betas * betas,
            "kl": config.weight_kl * kl,
            "penetration": config.weight_penetration * contact.penetration.mean(),
            "hand_contact": config.weight_hand_contact * contact.hand.mean(),
            "object_contact": config.weight_object_contact * MAP_SHARE * contact.map.mean(),
        }
        return losses | {"loss": sum(losses.values())}

    def consistency(self, points: Tensor, vertices: Tensor, omega: Tensor) -> Consistency:
        """The losses that Eq. 2 and Eq. 3 share.

        Args:
            points: (B, N, 3) of the object, metres.
            vertices: (B, 778, 3) of the hands.
            omega: (B, N) the contact map that they should have.
        """
        reach, difference = touching(points, vertices, omega, self.hand)
        return Consistency(difference, reach, penetration(points, vertices, self.hand))

    def encode(self, feature: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent) of Q(z | object, hand)."""
        both = torch.cat([feature, self.hand_encoder(vertices)], dim=1)
        mean, log_variance = self.encoder(both).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def decode(self, feature: Tensor, z: Tensor) -> Tensor:
        """(B, 61) MANO parameters in the principal frame."""
        return self.to_mano(self.decoder(torch.cat([feature, z], dim=1)))

    def to_mano(self, decoded: Tensor) -> Tensor:
        """(B, 61) MANO parameters of what the decoder gives (B, 64)."""
        return to_mano(decoded, self.hand)

    def recognise(self, mano: Tensor, points: Tensor) -> Recognised:
        """How the decoder comes by hands, its own or others: the latent's mean, nearest frame.

        Args:
            mano: (B, 61) hands.
            points: (N, 3) the object, metres, one frame with the hands.
        """
        rotation, centre, local = in_four_frames(points)
        feature, count = self.object_encoder(local), len(mano)
        rotation, centre, feature = (
            x.repeat_interleave(count, dim=0) for x in (rotation, centre, feature)
        )
        turned = hands_in_frame(mano.repeat(4, 1), rotation, centre, self.hand)
        vertices, _ = self.hand(turned)
        inputs = torch.cat([feature, self.encode(feature, vertices)[0]], dim=1)
        decoded = self.decoder(inputs)
        error = (self.hand(self.to_mano(decoded))[0] - vertices).square().sum(dim=(1, 2))
        best = error.view(4, count).argmin(dim=0) * count + torch.arange(count, device=mano.device)
        wanted = from_mano(turned[best], decoded[best], self.hand)
        return Recognised(inputs[best], wanted - decoded[best], rotation[best], centre[best])


@dataclass(frozen=True)
class ContactNetConfig:
    """Sizes, and the noise that is on hands in training: largest standard deviations.

    Every hand has a share of them, from nothing to all, drawn evenly.
    """

    features: tuple[int, ...] = (64, 128, 256)
    hidden: tuple[int, ...] = (256, 128)
    noise_place: float = 0.02  # metres along each axis
    noise_turn: float = 0.25  # radians about each axis
    noise_pose: float = 0.2  # of each joint angle, radians


class ContactNet(Network):
    """Contact map of an object from its points and a hand (Sec. 2.2, Fig. 6).

    Args:
        hand: the right hand.
        config: sizes and noise.
    """

    config_class = ContactNetConfig

    def __init__(self, hand: ManoHand, config: ContactNetConfig | None = None) -> None:
        super().__init__(hand, config)
        config = self.config
        *_, local, feature = config.features
        self.object_encoder = PointNet(config.features)
        self.hand_encoder = PointNet(config.features)
        # The first layer over [local, object, hand]; what all points share is added to each.
        self.of_point = nn.Linear(local, config.hidden[0])
        self.of_both = nn.Linear(2 * feature, config.hidden[0], bias=False)
        self.layers = nn.Sequential(nn.ReLU(), mlp(config.hidden[0], config.hidden[1:], 1))

    def contact(self, points: Tensor, mano: Tensor) -> Tensor:
        """Contact (B, N) in [0, 1] of points (B, N, 3), metres, with hands (B, 61) near them."""
        hand = self.hand
        # In the wrist's frame: where object and hand lie together makes no difference.
        rotation = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
        wrist = (hand.root(mano[:, BETAS]) + mano[:, TRANSL])[:, None]
        local, of_object = self.object_encoder.features((points - wrist) @ rotation)
        # The hand's palmar side tells all that its other vertices do, in a third of the time.
        vertices = hand.carry(mano, hand.regions.palmar.nonzero()[:, 0])[0]
        of_hand = self.hand_encoder((vertices - wrist) @ rotation)
        both = self.of_both(torch.cat([of_object, of_hand], dim=1))
        # Linear layers on each point are the figure's 1-D convolutions.
        return self.layers(self.of_point(local) + both[:, None])[..., 0].sigmoid()

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_cont, as a mean over the points, under "loss".

        Args:
            batch: `view` (B, N, 3) the points seen, `mano` (B, 61) a grasp; metres, one frame.
        """
        truth = object_contact(batch["view"], self.hand(batch["mano"])[0], self.hand)
        predicted = self.contact(batch["view"], self.disturb(batch["mano"]))
        return {"loss": (predicted - truth).square().mean()}

    def disturb(self, mano: Tensor) -> Tensor:
        """Hands (B, 61) near the true ones, as the ones to be adapted are."""
        config, strength = self.config, torch.rand_like(mano[:, :1])
        turn = config.noise_turn * strength * torch.randn_like(mano[:, GLOBAL_ORIENT])
        pose = config.noise_pose * strength * torch.randn_like(mano[:, HAND_POSE])
        away = config.noise_place * strength * torch.randn_like(mano[:, TRANSL])
        turned = rotations.compose(turn, mano[:, GLOBAL_ORIENT])
        pose = mano[:, HAND_POSE] + pose
        return torch.cat([mano[:, BETAS], turned, pose, mano[:, TRANSL] + away], dim=1)
