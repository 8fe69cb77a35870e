"""FastGrasp (Wu et al., FastGrasp: Efficient Grasp Synthesis with Diffusion, 2024): diffusion in
the latent space of an autoencoder of hands, then one step that makes physics of what was drawn.

Where this differs from the paper, and why:

- Clouds and hands are in the principal frame of what is seen, so that a moved object gets the
  same, moved hands.
- The encoder sees the hand's vertices in their order; a PointNet has to find out which is which,
  and stays twice as far off after as many steps (benchmarks/fastgrasp_latents.py).
- The decoder gives joint angles within the hand's limits, a 6D wrist rotation and the wrist's
  place, of which the 61 MANO parameters follow; Eq. 2 compares rotations as matrices: no jumps.
  In it the shape weighs a tenth of angles and turn: it says little of a grasp.
- Eq. 3 compares corresponding vertices: both meshes are MANO's, and the nearest vertex knows less.
- N_z is 64: fewer numbers lose more of the hand, more gain nothing (same benchmark).
- Latents are normalised to zero mean and unit variance, which is what the diffusion's noise has,
  and in training the decoder gets them with a little noise: those that are generated aren't exact.
- A latent has no neighbourhoods: the U-Net's layers are linear, not convolutions.
- At inference the times fall with the noise, as the scheduler gives them.
- The adaptation module also feels the object: where it is from each patch of the skin of the hand
  that was drawn (Sec. 3.4 has it see the object, Eq. 9 doesn't). It is applied twice, and in
  training half of the hands that it gets have been adapted once: it learns to stop.
- Eq. 5 holds on to points within a centimetre; that module is also to bring fingertips' pads to
  the object from farther away: penetration alone is got rid of by letting go.
- What Eq. 7 calls the truth is for that module the hand that was drawn: another grasp of the same
  object would pull all of them to one mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.contact.maps import nearest, pick
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.layers.frames import few_of, in_four_frames, in_principal_frame
from grasp_gen_core.generators.layers.losses import (
    CM,
    is_inside,
    object_contact,
    out_of_touch,
    penetration,
    touching,
)
from grasp_gen_core.generators.layers.mano import NUMBERS, to_mano
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.generators.layers.schedules import TIMESTEPS, check_steps, sample
from grasp_gen_core.generators.layers.sinusoids import sinusoids
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.stopping import heed
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

DM = 10.0
LOOKED_AT = 256  # points, of those given, that the object's encoder sees
CLIPPED = 4.0  # most that a clean latent's numbers are taken for
FELT = 0.03  # metres from the skin, beyond which the object isn't felt


@dataclass(frozen=True)
class FastGraspConfig:
    """Sizes, and weights of parameters, mesh, contact, penetration, consistency (Eq. 7), and pads.

    Lengths are in centimetres. The paper has N_z = 768 and, in other units, weights of 0.1, 1,
    1000, 10, 10 and, for the adaptation module, 100, 0.1, 1000, 20, 0.1.
    """

    latent: int = 64  # N_z
    noise: float = 0.1  # on normalised latents in the decoder's training
    object_features: tuple[int, ...] = (64, 128, 512)
    hidden: tuple[int, int] = (512, 512)
    unet: tuple[int, ...] = (256, 128, 64)
    draws: int = 4  # noise and times for each object that is encoded in training
    physical: bool = False  # Eq. 7 in the diffusion's training, too (Table 1)
    feels: bool = True  # the adaptation module: the object, besides z1
    weight_betas: float = 0.1  # of the shape in Eq. 2
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 2.0, 0.5, 0.0)
    adaptation_weights: tuple[float, ...] = (1.0, 0.1, 1.0, 20.0, 0.1, 3.0)


@dataclass(frozen=True)
class FastGraspSampling:
    """How hands are drawn.

    Attributes:
        steps: of the sampler (DDIM, Song et al. 2021).
        adapt: times that the adaptation module corrects them; 0 is what the diffusion alone draws.

    Raises:
        InputError: if there are fewer steps than one or more than TIMESTEPS, or adapt is negative.
    """

    steps: int = 10
    adapt: int = 2

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.adapt < 0 or self.adapt != int(self.adapt):
            raise InputError(f"adapt: {self.adapt}, accepted are 0, 1, 2, ...")


class FastGrasp(Network):
    """Object cloud in, MANO hands out.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    config_class = FastGraspConfig
    sampling_class = FastGraspSampling
    stages = {
        "autoencoder": ("encoder", "decoder"),
        "diffusion": ("object_encoder", "unet"),
        "adaptation": ("adaptation",),
    }

    def __init__(self, hand: ManoHand, config: FastGraspConfig | None = None) -> None:
        super().__init__(hand, config)
        config = self.config
        self.encoder = nn.Sequential(
            mlp(3 * len(hand.parts), config.hidden, config.latent),
            nn.BatchNorm1d(config.latent, affine=False),
        )
        self.decoder = mlp(config.latent, config.hidden, NUMBERS)
        self.object_encoder = PointNet(config.object_features)
        self.unet = UNet(config.latent, config.object_features[-1], config.unet)
        felt = config.object_features[-1] + 4 * len(hand.regions.anchors) if config.feels else 0
        self.adaptation = mlp(config.latent + felt, config.hidden, config.latent)
        for parameter in self.adaptation[-1].parameters():
            nn.init.zeros_(parameter)  # z2 = 0: it starts from what the diffusion draws

    def sample(self, points: Tensor, num: int, rng: torch.Generator) -> Tensor:
        """Hands for one cloud (Sec. 3.4).

        Args:
            points: (N, 3) metres, any frame, full or partial.
            num: hands wanted.
            rng: source of randomness, on the CPU.

        Returns:
            (num, 61) MANO parameters in the frame of the points.
        """
        rotation, centre, local = in_four_frames(few_of(points, rng))
        chosen = torch.arange(num, device=points.device) % 4
        feature = self.look(local[:num])[chosen]
        z = self.draw(feature, torch.randn(num, self.config.latent, generator=rng).to(feature))
        for _ in range(int(self.sampling.adapt)):
            heed()
            z = z + self.adapt(z, feature, local[chosen])  # Eq. 9, 10
        return self.hand.move(self.decode(z), rotation[chosen], centre[chosen])

    def look(self, points: Tensor) -> Tensor:
        """P(o_p), (B, F) features of objects' points (B, N, 3)."""
        return self.object_encoder(points[:, :: -(-points.shape[1] // LOOKED_AT)])

    def draw(self, feature: Tensor, noise: Tensor) -> Tensor:
        """z1 (B, N_z), what the diffusion makes of noise (B, N_z) for objects' features (B, F)."""
        return sample(
            lambda z, time: self.unet(z, feature, time), noise, self.sampling.steps, ddim()
        )

    def adapt(self, z1: Tensor, feature: Tensor, points: Tensor) -> Tensor:
        """z2 (B, N_z) of latents, objects' features (B, F) and points (B, N, 3) (Eq. 9)."""
        if not self.config.feels:
            return self.adaptation(z1)
        felt = self.feel(points, self.decode(z1))
        return self.adaptation(torch.cat([z1, feature, felt], dim=1))

    @torch.no_grad()
    def feel(self, points: Tensor, mano: Tensor) -> Tensor:
        """(B, 4 * 32) the object from the skin: its signed distance from the patch of each anchor,
        and its nearest point from the anchor in the wrist's frame; 1 is FELT.

        Args:
            points: (B, N, 3) of the object.
            mano: (B, 61).
        """
        hand, regions = self.hand, self.hand.regions
        vertices, _ = hand(mano)
        distance, index = nearest(points, vertices)
        inside = is_inside(points, vertices, index, hand.closed_faces)
        signed = torch.where(inside, -distance, distance) / FELT
        far = signed.new_ones(len(mano), len(regions.anchors))
        depth = far.scatter_reduce(1, regions.nearest_anchor[index], signed, "amin").clamp(min=-1)
        anchors = vertices[:, regions.anchors]
        offset = pick(points, nearest(anchors, points)[1]) - anchors
        turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
        offset = (offset @ turn / FELT).clamp(-1, 1)
        return torch.cat([depth, offset.flatten(1)], dim=1)

    def encode(self, vertices: Tensor) -> Tensor:
        """(B, N_z) latents of hands' vertices (B, 778, 3) in the principal frame."""
        return self.encoder(DM * vertices.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """(B, 61) MANO parameters in the principal frame, of latents (B, N_z)."""
        return to_mano(self.decoder(z), self.hand)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of the stage that has begun, and their sum under "loss".

        Args:
            batch: `view` (B, N, 3) the points seen, `surface` (B, M, 3) points all around the
                object, `mano` (B, 61) a grasp; metres, one frame. `flip` (B,) 0..3.
        """
        view, surface, mano = in_principal_frame(batch, self.hand)
        losses = getattr(self, f"{self.stage}_loss")(view, surface, mano)
        return losses | {"loss": sum(losses.values())}

    def autoencoder_loss(self, view: Tensor, surface: Tensor, mano: Tensor) -> dict[str, Tensor]:
        """Eq. 7 of the reconstructed hands."""
        vertices, _ = self.hand(mano)
        z = self.encode(vertices)
        z = z + self.config.noise * torch.randn_like(z)
        return self.grasp_losses(self.decode(z), mano, vertices, surface, self.config.weights)

    def diffusion_loss(self, view: Tensor, surface: Tensor, mano: Tensor) -> dict[str, Tensor]:
        """Eq. 8."""
        config, scheduler = self.config, ddim()
        vertices, _ = self.hand(mano)
        z0 = self.encode(vertices).repeat(config.draws, 1)
        feature = self.look(view).repeat(config.draws, 1)
        time = torch.randint(TIMESTEPS, (len(z0),), device=z0.device)
        noise = torch.randn_like(z0)
        state = scheduler.add_noise(z0, noise, time)
        found = self.unet(state, feature, time)
        losses = {"noise": (found - noise).square().mean()}
        if config.physical:
            few = slice(len(mano))
            kept = scheduler.alphas_cumprod.to(z0)[time[few], None]
            clean = (state[few] - (1 - kept).sqrt() * found[few]) / kept.sqrt()
            predicted = self.decode(clean.clamp(-CLIPPED, CLIPPED))
            losses |= self.grasp_losses(predicted, mano, vertices, surface, config.weights)
        return losses

    def adaptation_loss(self, view: Tensor, surface: Tensor, mano: Tensor) -> dict[str, Tensor]:
        """Eq. 7 of adapted hands; what they are compared with is what the diffusion drew."""
        with torch.no_grad():
            feature = self.look(view)
            noise = torch.randn(len(view), self.config.latent, device=view.device)
            z1 = self.draw(feature, noise)
            drawn = self.decode(z1)
            vertices, _ = self.hand(drawn)
            half = len(z1) // 2  # have been adapted once: the module also learns where to stop
            again = self.adapt(z1[:half], feature[:half], view[:half])
            z1 = torch.cat([z1[:half] + again, z1[half:]])
        predicted = self.decode(z1 + self.adapt(z1, feature, view))  # Eq. 10
        weights = self.config.adaptation_weights
        return self.grasp_losses(predicted, drawn, vertices, surface, weights)

    def grasp_losses(
        self,
        predicted: Tensor,
        mano: Tensor,
        true_vertices: Tensor,
        surface: Tensor,
        weights: tuple[float, ...],
    ) -> dict[str, Tensor]:
        """Eq. 1-7, weighted.

        Args:
            predicted, mano: (B, 61) hands, and the true ones.
            true_vertices: (B, 778, 3) theirs.
            surface: (B, M, 3) points all around the object.
            weights: lambda_1, ..., lambda_5, and that of the pads.
        """
        vertices, _ = self.hand(predicted)  # Eq. 11
        turned, turn = (rotations.to_matrix(m[:, GLOBAL_ORIENT]) for m in (predicted, mano))
        parameters = (turned - turn).square().sum(dim=(1, 2))
        parameters = parameters + (predicted - mano)[:, HAND_POSE].square().sum(dim=1)
        shape = (predicted - mano)[:, BETAS].square().sum(dim=1)
        parameters = parameters + self.config.weight_betas * shape
        omega = object_contact(surface, true_vertices, self.hand)
        reach, contact = touching(surface, vertices, omega, self.hand)
        terms = {
            "parameters": parameters,
            "mesh": (CM * (vertices - true_vertices)).square().sum(dim=2).mean(dim=1),
            "contact": reach,
            "penetration": penetration(surface, vertices, self.hand),
            "consistency": contact,
            "pads": out_of_touch(surface, vertices, self.hand),
        }
        pairs = zip(weights, terms.items(), strict=True)
        return {name: weight * term.mean() for weight, (name, term) in pairs}


class UNet(nn.Module):
    """The noise in latents at given times, for objects' features.

    Args:
        latent: N_z.
        feature: of objects.
        widths: from the outermost level to the innermost.
    """

    def __init__(self, latent: int, feature: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first = widths[0]
        self.time, self.object = mlp(first, (first,), first), nn.Linear(feature, first)
        self.inside, self.outside = nn.Linear(latent, first), nn.Linear(first, latent)
        self.down = nn.ModuleList(Level(a, b, first) for a, b in pairwise((first, *widths)))
        self.middle = Level(widths[-1], widths[-1], first)
        up = zip(widths[::-1], (*widths[-2::-1], first), strict=True)
        self.up = nn.ModuleList(Level(2 * a, b, first) for a, b in up)

    def forward(self, state: Tensor, feature: Tensor, time: Tensor) -> Tensor:
        """(B, N_z) the noise in states (B, N_z), of features (B, F) and times (B,)."""
        known = self.time(sinusoids(time, self.object.out_features)) + self.object(feature)
        state, skipped = self.inside(state), []
        for level in self.down:
            state = level(state, known)
            skipped.append(state)
        state = self.middle(state, known)
        for level in self.up:
            state = level(torch.cat([state, skipped.pop()], dim=1), known)
        return self.outside(functional.silu(state))


class Level(nn.Module):
    """Residual block that a condition scales and shifts.

    Args:
        inside, outside: channels.
        condition: channels.
    """

    def __init__(self, inside: int, outside: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.LayerNorm(inside), nn.SiLU(), nn.Linear(inside, outside))
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * outside))
        self.norm = nn.LayerNorm(outside)
        self.second = nn.Linear(outside, outside)
        self.skip = nn.Linear(inside, outside) if inside != outside else nn.Identity()

    def forward(self, state: Tensor, known: Tensor) -> Tensor:
        """(B, outside) of states (B, inside) and conditions (B, condition)."""
        scale, shift = self.condition(known).chunk(2, dim=1)
        hidden = self.norm(self.first(state)) * (1 + scale) + shift
        return self.skip(state) + self.second(functional.silu(hidden))


def ddim() -> DDIMScheduler:
    """The noise's schedule: T steps, the noise predicted, clean latents clipped."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_schedule="scaled_linear",
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample_range=CLIPPED,
        timestep_spacing="trailing",
    )
