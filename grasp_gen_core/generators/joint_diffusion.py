"""JointDiffusion (Morales et al., A Versatile and Differentiable Hand-Object Interaction
Representation, 2024): a diffusion model of CHOIRs, for synthesis and for refinement.

Where this differs from the paper, and why:

- The fields are in the principal frame of what is seen of the object.
- Both encoders are trained together (the paper's multimodal variant, appendix C.5).
- The network predicts the clean sample, not the noise: of 4096 distances only 61 numbers are free,
  and few steps suffice to sample them.
- Voxels are folded two by two by two into channels, an eighth of the work; and what the context
  says of a basis point also enters at that point, besides through cross-attention.
- After refinement's second stage the quick refiner takes hands out of what they are still in: far
  from the surface the distance to it leads to either side of a wall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.contact import choir
from grasp_gen_core.contact.energies import misfit
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.generators.layers.frames import (
    hands_in_frame,
    in_four_frames,
    in_principal_frame,
    principal_frame,
)
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.schedules import TIMESTEPS, check_steps, ddim, sample
from grasp_gen_core.generators.layers.sinusoids import sinusoids
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.refiners import quick
from grasp_gen_core.refiners.choir_fit import fit_contact, fit_field

FOLD = 2  # voxels along an edge that become channels
SIDE = choir.SIDE // FOLD
FIELD_MEAN, FIELD_SPREAD = 0.17, 0.06  # metres, over the training grasps
CONTACT_SPREAD = 0.003  # metres
CONTACTS = 32 * 9
SHAPE_WEIGHT = 2e-3  # metres
# For each hand that is refined a few CHOIRs are drawn, each in another frame, and the one that fits
# the object best is kept. Noise says much of the hand: more steps only make samples rougher.
DRAWS, REFINING_STEPS = 3, 2


@dataclass(frozen=True)
class JointDiffusionConfig:
    """Sizes, and the weight of the contacts' loss."""

    width: int = 32
    heads: int = 4
    contact_width: int = 256
    synthesis: float = 0.5  # share of samples that know the object alone; 0 and 1: one task's model
    weight_contacts: float = 0.2


@dataclass(frozen=True)
class JointDiffusionSampling:
    """How CHOIRs are drawn.

    Attributes:
        steps: of the sampler (DDIM, Song et al. 2021).

    Raises:
        InputError: if there are fewer than one or more than TIMESTEPS.
    """

    steps: int = 20

    def __post_init__(self) -> None:
        check_steps(self.steps)


class JointDiffusion(Network):
    """Object cloud in, or cloud and noisy hands; MANO hands out.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    proposals = 2
    knows_surface = True
    config_class = JointDiffusionConfig
    sampling_class = JointDiffusionSampling

    def __init__(self, hand: ManoHand, config: JointDiffusionConfig | None = None) -> None:
        super().__init__(hand, config)
        config = self.config
        width = config.width
        self.object_encoder, self.pair_encoder = Context(1, config), Context(2, config)
        self.encoder = Encoder(3, config, timed=True)
        self.middle = Level(4 * width, 4 * width, config, timed=True, attends=True)
        self.inner = Level(6 * width, 2 * width, config, timed=True, attends=True)
        self.outer = Level(3 * width, width, config, timed=True)
        self.out = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv3d(width, FOLD**3, 3, padding=1)
        )
        self.time = mlp(width, (4 * width,), 4 * width)
        deep = 4 * width * (SIDE // 4) ** 3
        self.contact_in = nn.Linear(CONTACTS + deep + 4 * width, config.contact_width)
        self.contact_blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(config.contact_width),
                mlp(config.contact_width, (config.contact_width,), config.contact_width),
            )
            for _ in range(3)
        )
        self.contact_out = nn.Linear(config.contact_width, CONTACTS)

    def sample(
        self,
        points: Tensor,
        num: int,
        rng: torch.Generator,
        normals: Tensor,
        grid: DistanceGrid,
    ) -> Tensor:
        """Hands for one cloud, both stages of the fit done (Sec. 3.3).

        Args:
            points: (N, 3) metres, any frame, full or partial.
            num: hands wanted.
            rng: source of randomness, on the CPU.
            normals: (N, 3), not used.
            grid: signed distance to the object.

        Returns:
            (num, 61) MANO parameters in the frame of the points.
        """
        rotation, centre, local = in_four_frames(points)
        chosen = torch.arange(num, device=points.device) % 4
        thing = normalise_field(choir.object_field(local))
        tokens = self.object_encoder(fold(thing))
        steps = int(self.sampling.steps)
        noise = torch.randn(num, choir.SIDE**3 + CONTACTS, generator=rng).to(points)
        field, contacts = self.draw(thing[chosen], None, tokens[chosen], noise, steps)
        mano = fit_field(field, self.hand, shape=SHAPE_WEIGHT).mano
        return self.touch(mano, contacts, rotation[chosen], centre[chosen], grid)

    def refine(
        self,
        mano: Tensor,
        points: Tensor,
        grid: DistanceGrid,
        around: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Noisy hands made grasps (Sec. 3.2, setting 1), of the shape that they have.

        All start from the same noise: but for last digits, which the quick refiner's steps may
        make millimetres of, a hand's result doesn't depend on those beside it.

        Args:
            mano: (B, 61) hands.
            points: (N, 3) the object, metres, in the same frame, full or partial.
            grid: signed distance to the object.
            around: as of `quick.refine`, which comes last.

        Returns:
            (B, 61) hands near the given ones.
        """
        rotation, centre, local = (x[:DRAWS] for x in in_four_frames(points))
        hand, count = self.hand, len(mano)
        rng = torch.Generator().manual_seed(0)
        noise = torch.randn(DRAWS, choir.SIDE**3 + CONTACTS, generator=rng).to(mano)
        rotation, centre, noise, thing = (
            x.repeat_interleave(count, dim=0)
            for x in (rotation, centre, noise, normalise_field(choir.object_field(local)))
        )
        start = hands_in_frame(mano.repeat(DRAWS, 1), rotation, centre, hand)
        noisy = normalise_field(self.field_of(start))
        tokens = self.pair_encoder(fold(thing, noisy))
        field, contacts = self.draw(thing, noisy, tokens, noise, REFINING_STEPS)
        fitted = fit_field(field, hand, start, shape=None).mano
        cost = misfit(hand(hand.move(fitted, rotation, centre))[0], grid, hand.regions)
        best = cost.view(DRAWS, count).argmin(dim=0) * count + torch.arange(
            count, device=cost.device
        )
        chosen = (x[best] for x in (fitted, contacts, rotation, centre))
        touching = self.touch(*chosen, grid)
        return quick.refine(touching, points, grid, around, hand=hand)

    def touch(
        self,
        mano: Tensor,
        contacts: Tensor,
        rotation: Tensor,
        centre: Tensor,
        grid: DistanceGrid,
    ) -> Tensor:
        """Stage 2 on hands (B, 61) of the principal frame; they come back in the object's."""
        hand = self.hand
        contact = choir.dense_contact(contacts, hand(mano)[0], hand.regions)
        return fit_contact(hand.move(mano, rotation, centre), contact, hand, grid)

    def draw(
        self,
        thing: Tensor,
        noisy: Tensor | None,
        tokens: Tensor,
        noise: Tensor,
        steps: int,
    ) -> tuple[Tensor, Tensor]:
        """Hand fields (B, choir.SIDE^3) in metres and contacts (B, 32, 9) of a context.

        Args:
            thing, noisy: (B, choir.SIDE^3) normalised fields of objects, and of hands if known.
            tokens: (B, T, W) what the context's encoder made of them.
            noise: (B, choir.SIDE^3 + CONTACTS) to start from.
            steps: of the sampler.
        """
        state = sample(lambda x, time: self(x, time, thing, noisy, tokens), noise, steps)
        field, contacts = state.split((thing.shape[1], CONTACTS), dim=1)
        return (
            field * FIELD_SPREAD + FIELD_MEAN,
            (contacts * CONTACT_SPREAD).unflatten(1, (32, 9)),
        )

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Squared errors of the denoised field and contacts, and their weighted sum under "loss".

        Args:
            batch: `view` (B, N, 3) the points seen, `surface` (B, M, 3) points all around the
                object, `mano` (B, 61) a grasp and its `contacts` (B, 32, 9); metres, one frame.
                `flip` (B,) 0..3.
        """
        hand = self.hand
        # What is to be learned is never rounded, whatever precision the network is trained in.
        with torch.no_grad(), torch.autocast(batch["view"].device.type, enabled=False):
            rotation, _ = principal_frame(batch["view"], batch["flip"])
            view, _, mano = in_principal_frame(batch, hand)
            contacts = choir.turn_contacts(batch["contacts"], rotation.mT).flatten(1)
            field = normalise_field(self.field_of(mano))
            thing = normalise_field(choir.object_field(view))
            seed = int(torch.randint(2**31, ()))
            shaken = perturb(mano, torch.Generator().manual_seed(seed))
            noisy = normalise_field(self.field_of(shaken))
            clean = torch.cat([field, contacts / CONTACT_SPREAD], dim=1)
            time = torch.randint(TIMESTEPS, (len(clean),), device=clean.device)
            state = ddim().add_noise(clean, torch.randn_like(clean), time)
        alone = round(self.config.synthesis * len(clean))
        noisy[:alone] = 0
        tokens = torch.cat(
            [
                self.object_encoder(fold(thing[:alone])),
                self.pair_encoder(fold(thing[alone:], noisy[alone:])),
            ]
        )
        found = self(state, time, thing, noisy, tokens).float()
        apart = (found - clean).square()
        size = field.shape[1]
        losses = {
            "field": apart[:, :size].mean(),
            "contacts": self.config.weight_contacts * apart[:, size:].mean(),
        }
        parts = {"field_synthesis": apart[:alone, :size], "field_refinement": apart[alone:, :size]}
        watched = {name: part.mean() for name, part in parts.items() if len(part)}
        return losses | watched | {"loss": sum(losses.values())}

    def forward(
        self, state: Tensor, time: Tensor, thing: Tensor, noisy: Tensor | None, tokens: Tensor
    ) -> Tensor:
        """The clean sample (B, choir.SIDE^3 + CONTACTS) of a noisy one at times (B,).

        Args:
            state: as the result.
            time: 0 (clean) to TIMESTEPS - 1.
            thing, noisy, tokens: see `draw`.
        """
        field, contacts = state.split((thing.shape[1], CONTACTS), dim=1)
        when = self.time(sinusoids(time, self.config.width))
        unknown = torch.zeros_like(thing) if noisy is None else noisy
        outer, inner, deep = self.encoder(fold(field, thing, unknown), when, tokens)
        deep = self.middle(deep, when, tokens)
        hidden = self.contact_in(torch.cat([contacts, deep.flatten(1), when], dim=1))
        for block in self.contact_blocks:
            hidden = hidden + block(hidden)
        up = torch.cat([functional.interpolate(deep, scale_factor=2.0), inner], dim=1)
        up = self.inner(up, when, tokens)
        up = torch.cat([functional.interpolate(up, scale_factor=2.0), outer], dim=1)
        unfolded = unfold(self.out(self.outer(up, when, tokens)))
        return torch.cat([unfolded, self.contact_out(hidden)], dim=1)

    def field_of(self, mano: Tensor) -> Tensor:
        """(B, choir.SIDE^3) metres, the hand fields of hands (B, 61)."""
        anchors, _ = self.hand.carry(mano, self.hand.regions.anchors)
        return choir.hand_field(anchors)


class Encoder(nn.Module):
    """From a folded grid to features at its three scales.

    Args:
        fields: fields that are folded into the grid.
        config: sizes.
        timed: whether the blocks know the time and attend to a context.
    """

    def __init__(self, fields: int, config: JointDiffusionConfig, timed: bool = False) -> None:
        super().__init__()
        width = config.width
        self.stem = nn.Conv3d(fields * FOLD**3, width, 3, padding=1)
        self.outer = Level(width, width, config, timed)
        self.down = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)
        self.inner = Level(2 * width, 2 * width, config, timed, attends=True)
        self.down_again = nn.Conv3d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.deep = Level(4 * width, 4 * width, config, timed, attends=True)

    def forward(
        self, grid: Tensor, when: Tensor | None = None, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, W, 8, 8, 8), (B, 2 W, 4, 4, 4) and (B, 4 W, 2, 2, 2)."""
        outer = self.outer(self.stem(grid), when, tokens)
        inner = self.inner(self.down(outer), when, tokens)
        return outer, inner, self.deep(self.down_again(inner), when, tokens)


class Context(nn.Module):
    """A context's tokens: an encoder as the U-Net's, its two deeper scales projected.

    Args:
        fields: 1 for the object, 2 with a noisy hand.
        config: sizes.
    """

    def __init__(self, fields: int, config: JointDiffusionConfig) -> None:
        super().__init__()
        width = config.width
        self.encoder = Encoder(fields, config)
        self.inner = nn.Linear(2 * width, 4 * width)
        self.deep = nn.Linear(4 * width, 4 * width)
        self.place = nn.Parameter(0.02 * torch.randn(4**3 + 2**3, 4 * width))

    def forward(self, grid: Tensor) -> Tensor:
        """(B, 72, 4 W) tokens of a folded grid."""
        _, inner, deep = self.encoder(grid)
        tokens = [self.inner(inner.flatten(2).mT), self.deep(deep.flatten(2).mT)]
        return torch.cat(tokens, dim=1) + self.place


class Level(nn.Module):
    """Residual block, then self-attention and cross-attention where the grid is small.

    Args:
        inside, outside: channels.
        config: sizes.
        timed: whether the block knows the time, and attends to a context.
        attends: whether there is attention at all.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        config: JointDiffusionConfig,
        timed: bool = False,
        attends: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, inside), nn.SiLU(), nn.Conv3d(inside, outside, 3, padding=1)
        )
        self.norm = nn.GroupNorm(8, outside)
        self.second = nn.Conv3d(outside, outside, 3, padding=1)
        self.skip = nn.Conv3d(inside, outside, 1) if inside != outside else nn.Identity()
        self.when = nn.Linear(4 * config.width, 2 * outside) if timed else None
        self.own = Attention(outside, outside, config) if attends else None
        self.cross = Attention(outside, 4 * config.width, config) if attends and timed else None

    def forward(self, grid: Tensor, when: Tensor | None, tokens: Tensor | None) -> Tensor:
        """(B, outside, S, S, S) of (B, inside, S, S, S)."""
        kind = grid.device.type
        # On a grid of 2^3 oneDNN's bfloat16 gradients of weights are wrong (torch 2.13).
        rounded = torch.is_autocast_enabled(kind) and grid.shape[-1] > 2
        with torch.autocast(kind, enabled=rounded):
            grid = grid if rounded else grid.float()
            hidden = self.norm(self.first(grid))
            if self.when is not None:
                scale, shift = self.when(when.float())[:, :, None, None, None].chunk(2, dim=1)
                hidden = hidden * (1 + scale) + shift
            grid = self.skip(grid) + self.second(functional.silu(hidden))
        if self.own is not None:
            rows = grid.flatten(2).mT
            rows = self.own(rows, rows)
            if self.cross is not None:
                rows = self.cross(rows, tokens)
            grid = rows.mT.unflatten(2, grid.shape[2:])
        return grid


class Attention(nn.Module):
    """Multi-head attention with a residual.

    Args:
        width: of what attends.
        source: width of what is attended to.
        config: its heads.
    """

    def __init__(self, width: int, source: int, config: JointDiffusionConfig) -> None:
        super().__init__()
        self.norm, self.norm_source = nn.LayerNorm(width), nn.LayerNorm(source)
        self.attention = nn.MultiheadAttention(
            width, config.heads, kdim=source, vdim=source, batch_first=True
        )

    def forward(self, rows: Tensor, source: Tensor) -> Tensor:
        """(B, R, width) of rows (B, R, width) and a source (B, S, source)."""
        known, own = self.norm_source(source).float(), self.norm(rows).float()
        # In bfloat16 its gradient takes nine times as long on a CPU.
        with torch.autocast(rows.device.type, enabled=False):
            return rows + self.attention(own, known, known, need_weights=False)[0]


def fold(*fields: Tensor) -> Tensor:
    """Fields (B, choir.SIDE^3) as one grid (B, F * FOLD^3, SIDE, SIDE, SIDE)."""
    cubes = torch.stack(fields, dim=1).unflatten(2, (SIDE, FOLD) * 3)
    return cubes.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def unfold(grid: Tensor) -> Tensor:
    """The one field (B, choir.SIDE^3) of a grid (B, FOLD^3, SIDE, SIDE, SIDE)."""
    cubes = grid.unflatten(1, (FOLD,) * 3)
    return cubes.permute(0, 4, 1, 5, 2, 6, 3).flatten(1)


def normalise_field(field: Tensor) -> Tensor:
    """Distances in metres as numbers about zero, near one."""
    return (field - FIELD_MEAN) / FIELD_SPREAD
