"""JHOD (Cao et al., Joint Diffusion for Universal Hand-Object Grasp Generation, 2024): one
diffusion of hand and object, each with its own time.

Where this differs from the paper, and why:

- The object's latent is that of `shape_autoencoder`: few latent points instead of 2048, each a row
  of the transformer, where the paper's MLP makes four rows of all (Eq. 7).
- The object's rows have an order, that of directions from its middle: what a row is about is known
  before anything else is.
- Noise is added to the hand's numbers and the latent points themselves, as in MDM (Tevet et al.
  2022), not to what the MLPs of Eq. 7 make of them: these are trained with the denoiser, and could
  make the loss of Eq. 4 small by making everything small.
- The hand has its shape, too: 64 numbers for the paper's 51, its turn as 6D (Zhou et al. 2019), and
  the place of what it holds instead of its wrist's.
- Where the object is known (t_O = 0, Eq. 12), it doesn't look at the hand and its loss, that of
  copying, is left out: its rows are computed once for all hands and steps. The hand's row asks the
  object's alone: it is one, and has itself by the residual.
- Of an object that is known several grasps are learned from at once, with the same rows.
- The network finds v (Salimans and Ho 2022), of which the clean sample follows, and losses of clean
  samples are weighted as v's: copying what is nearly clean has not to be learned, and small errors
  there count. Eq. 15 and 16 also count as much as is left of hand and object in the noise: of what
  is all noise only the mean can be told, which is nowhere near any grasp.
- Eq. 15's points are the surface where the object is known, and the latent points' places where it
  is drawn, of the true and the predicted object each; Eq. 16's joints are 21, with the fingertips.
- A hand's row is also told where its joints are, and which latent point is near each: the losses of
  Eq. 15 and 16 are about just that, which no few steps teach from angles alone.
- All is in the principal frame of what is seen, and of a given object in each of its four.

Beyond the paper: what a camera saw, and the direction in which it stood, are a condition of the
object (cross-attention, dropped for half of the samples). For a cloud of one side objects are drawn
first (Eq. 14's marginal, under that condition), then hands for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grasp_gen_core.contact.maps import distances, pick
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.layers.attention import JointLayer, Known, TimedOut, blocks
from grasp_gen_core.generators.layers.frames import (
    few_of,
    in_four_frames,
    in_view_frame,
    principal_frame,
)
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.numbers import CENTRE, NUMBERS, PARTS, mano_of, numbers_of
from grasp_gen_core.generators.layers.schedules import (
    TIMESTEPS,
    certainty,
    check_steps,
    corrupt,
    denoised,
    sample,
    signal,
)
from grasp_gen_core.generators.layers.sinusoids import sinusoids
from grasp_gen_core.generators.shape_autoencoder import (
    SPREAD,
    WAVES,
    Objects,
    Pieces,
    ShapeAutoencoder,
    arranged,
    take,
    waves,
)
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import OPEN
from grasp_gen_core.types import GLOBAL_ORIENT

UNIT = 0.05  # metres that are 1 in Eq. 15 and 16
JOINTS = 21  # with the fingertips
VAGUE = 0.3  # share of a hand's signal below which it isn't scaled up any more
NEAREST = 10  # object points of each joint (Eq. 15)
OBJECTS = 8  # drawn for a cloud of one side
SPARE = 2  # hands drawn on these for each that is wanted
NOISES = 4  # that are put on each hand that is learned from, where the object is given
SHOWN = 0.5  # share of the samples that learn with what was seen
FACING = 0.3  # most cosine between a hand's approach and the direction to the camera
NEVER = TIMESTEPS - 1  # time at which nothing is known


@dataclass(frozen=True)
class JHODConfig:
    """Sizes, and the weights of Eq. 17."""

    width: int = 160
    heads: int = 4
    layers: int = 6
    look_places: int = 48  # that a camera's cloud is seen by
    look_neighbours: int = 32
    look_layers: int = 2
    weight_hand: float = 1.0
    weight_parts: tuple[float, ...] = (0.25, 4.0, 4.0, 1.0)  # of a hand's numbers, see PARTS
    weight_object: float = 1.0
    weight_places: float = 4.0  # of latent points, for each of their features' ones
    asynchronous: bool = True  # times of hand and object (Eq. 9); False is for Table 4 alone
    weight_xyz: float = 0.2
    weight_distance: float = 0.2


@dataclass(frozen=True)
class JHODSampling:
    """How hands and objects are drawn.

    Attributes:
        steps: of the sampler (DDIM, Song et al. 2021).
        guidance: how much more than without them the condition counts, hands' objects and objects'
            views (Ho and Salimans 2022); 1 is as trained.

    Raises:
        InputError: as of `check_steps`, or if guidance is negative.
    """

    steps: int = 20
    guidance: float = 1.0

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not 0 <= self.guidance < 100:
            raise InputError(f"guidance: {self.guidance}, accepted are 0 to 100")


class JHOD(Network):
    """Object cloud in, or a part of it, or nothing; MANO hands out, and objects where they lack.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    knows_surface = draws_objects = True
    config_class = JHODConfig
    sampling_class = JHODSampling
    stages = {
        "joint": ("hand_in", "object_in", "time", "camera", "looks", "look", "layers")
        + ("hand_out", "object_out")
    }

    def __init__(self, hand: ManoHand, config: JHODConfig | None = None) -> None:
        super().__init__(hand, config)
        config, width = self.config, self.config.width
        self.shapes = ShapeAutoencoder(hand)
        count, channels = self.shapes.config.tokens, self.shapes.config.channels
        around = JOINTS * (3 + channels)
        self.hand_in, self.object_in = (
            mlp(n, (width,), width) for n in (NUMBERS + WAVES + around, channels + WAVES)
        )
        self.order = nn.Parameter(0.02 * torch.randn(count, width))
        self.time = nn.ModuleList(mlp(width, (width,), width) for _ in ("hand", "object"))
        self.camera = nn.Linear(3, width)
        self.looks = Pieces(width, config.look_places, config.look_neighbours)
        self.look = blocks(config.look_layers, width, config.heads)
        self.nothing = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.layers = nn.ModuleList(JointLayer(width, config.heads) for _ in range(config.layers))
        self.hand_out, self.object_out = (TimedOut(width, n) for n in (NUMBERS, channels))

    def begin(self, stage: str) -> None:
        """As of any network; the object's autoencoder is the shipped one, and stays as it is."""
        from grasp_gen_core.generators import load_network

        super().begin(stage)
        shipped = load_network("shape_autoencoder", self.hand)
        self.shapes.load_state_dict(shipped.state_dict())

    def sample(
        self,
        points: Tensor,
        num: int,
        rng: torch.Generator,
        normals: Tensor,
        grid: DistanceGrid,
        objects: Objects | None = None,
    ) -> Tensor:
        """Hands for one cloud (Eq. 2); for a part of an object, on objects that it may belong to.

        Args:
            points: (N, 3) metres, any frame, full or partial.
            num: hands wanted.
            rng: source of randomness, on the CPU.
            normals: (N, 3) of the points, outward.
            grid: signed distance to the object, not used.
            objects: that a part is taken for, None for some of its own.

        Returns:
            (num, 61) MANO parameters in the frame of the points.
        """
        toward, wanted = normals.mean(dim=0), num
        if toward.norm() > OPEN:
            wanted = SPARE * num
            latent, rotation, centre = objects or self.complete(points, normals, OBJECTS, rng)
        else:
            rotation, centre, local = in_four_frames(few_of(points, rng, self.shapes.config.points))
            latent = self.encode(local)
        rounds = -(-wanted // len(latent))
        noise = torch.randn(rounds, len(latent), NUMBERS, generator=rng).to(points)
        numbers = self.draw_hands(latent, noise.transpose(0, 1)).transpose(0, 1).flatten(0, 1)
        chosen = torch.arange(wanted, device=points.device) % len(latent)
        mano = mano_of(numbers[:wanted], self.hand)
        mano = self.hand.move(mano, rotation[chosen], centre[chosen])
        # Hands come from where the camera stood, as in training, if there are enough of them.
        approach = rotations.to_matrix(mano[:, GLOBAL_ORIENT]) @ self.hand.regions.palm_axis
        behind = approach @ toward > FACING * toward.norm()
        return mano[behind.long().argsort(stable=True)[:num]]

    def encode(self, points: Tensor) -> Tensor:
        """(B, K, C) objects' latent points, each near the same place on every object.

        Args:
            points: (B, N, 3) all around the surface, metres, in the principal frame.
        """
        return arranged(self.shapes.encode(points))

    def complete(
        self, points: Tensor, normals: Tensor, count: int, rng: torch.Generator
    ) -> Objects:
        """Objects that may have been seen.

        Args:
            points, normals: (N, 3) what was seen; the normals' mean points to the camera.
            count: objects wanted.
            rng: source of randomness, on the CPU.
        """
        rotation, centre, local = in_four_frames(few_of(points, rng, self.shapes.config.points))
        toward = nn.functional.normalize(normals.mean(dim=0), dim=0) @ rotation
        chosen = torch.arange(count, device=points.device) % len(local)
        context = self.see(local, toward)[chosen]
        shape = (count, *self.order.shape[:1], self.shapes.config.channels)
        state = torch.randn(shape, generator=rng).to(points)
        numbers = torch.randn(count, NUMBERS, generator=rng).to(points)  # Eq. 14: they stay noise
        never = torch.full((count,), NEVER).to(points)

        def clean(state: Tensor, time: Tensor) -> Tensor:
            told = self.both(state, numbers, time, never, context)[0]
            if self.sampling.guidance == 1:
                return told
            free = self.both(state, numbers, time, never, self.unseen(count))[0]
            return free + self.sampling.guidance * (told - free)

        return Objects(sample(clean, state, self.sampling.steps), rotation[chosen], centre[chosen])

    def draw_hands(self, latent: Tensor, noise: Tensor) -> Tensor:
        """(B, D, NUMBERS) hands for objects (B, K, C), of noise (B, D, NUMBERS)."""
        known = self.know(latent)
        guidance = self.sampling.guidance
        if guidance != 1:  # an object of which nothing is known
            unknown = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
            unknown = self.know(unknown.to(latent), NEVER)

        def clean(state: Tensor, time: Tensor) -> Tensor:
            when = time[:, None].expand(state.shape[:2])
            told = self.hands(state, when, known)
            if guidance == 1:
                return told
            free = self.hands(state, when, unknown)
            return free + guidance * (told - free)

        return sample(clean, noise, self.sampling.steps)

    def imagine(self, num: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Objects with hands on them, of nothing: t_H = t_O = t (Sec. 3.3.3).

        Args:
            num: of them.
            rng: source of randomness, on the CPU.

        Returns:
            latent (num, K, C) of the objects, see `ShapeAutoencoder`, and numbers (num, NUMBERS) of
            the hands, in the objects' frame.
        """
        where = self.order.device
        shape = (num, len(self.order), self.shapes.config.channels)
        latent = torch.randn(shape, generator=rng).to(where).flatten(1)
        numbers = torch.randn(num, NUMBERS, generator=rng).to(where)

        def clean(state: Tensor, time: Tensor) -> Tensor:
            parts = state.split((latent.shape[1], NUMBERS), dim=1)
            found = self.both(parts[0].view(shape), parts[1], time, time, self.unseen(num))
            return torch.cat([found[0].flatten(1), found[1]], dim=1)

        noise = torch.cat([latent, numbers], dim=1)
        state = sample(clean, noise, self.sampling.steps)
        latent, numbers = state.split((latent.shape[1], NUMBERS), dim=1)
        return latent.view(shape), numbers

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Eq. 11-17, and their weighted sum under "loss".

        Args:
            batch: `view` (B, N, 3) the points seen, `eye` (B, 3) where the camera stood, NaN if
                there was none, `surface` (B, M, 3) points all around the object, `mano` (B, 61) a
                grasp, `others` (B, G, 61) grasps of the same object; metres, one frame; `flip` (B,)
                0..3; and `shapes` (S, M, 3) points all around objects that have no grasps.
        """
        hand, config = self.hand, self.config
        half = len(batch["view"]) // 2
        # What is to be learned is never rounded, whatever precision the network is trained in.
        with torch.no_grad(), torch.autocast(batch["view"].device.type, enabled=False):
            view, surface, mano, toward = in_view_frame(batch, hand)
            alone = batch["shapes"]
            turn, middle = principal_frame(alone, torch.randint(4, (len(alone),)).to(alone.device))
            alone = (alone - middle[:, None]) @ turn
            latent = self.encode(torch.cat([surface, alone]))
            every = mano.flatten(0, 1)
            numbers, joints = numbers_of(every, hand), hand.skeleton(every)
            numbers, joints = (x.unflatten(0, mano.shape[:2]) for x in (numbers, joints))
        # Eq. 12: what hands there may be for half of the objects.
        known = [x[:half].repeat_interleave(NOISES, dim=1) for x in (numbers, joints)]
        times, states = corrupt(known[0])
        found = self.hands(states, times, self.know(latent[:half])).float().flatten(0, 1)
        true = (x.flatten(0, 1) for x in known)
        surface = surface[:half].repeat_interleave(states.shape[1], dim=0)
        kept = signal(times).flatten()
        given = self.hand_losses(found, *true, surface, kept, kept)
        # Eq. 11 and 13: both, and objects alone; half of those that were seen with what was seen.
        numbers, joints, count = numbers[:, 0], joints[:, 0], len(view)
        context = self.see(view, toward)
        context = torch.cat([context, self.unseen(len(alone)).expand(-1, context.shape[1], -1)])
        seen = torch.rand(len(latent), 1, 1, device=latent.device) < SHOWN
        context = torch.where(seen, context, self.nothing)
        object_time, object_state = corrupt(latent, 1)
        shared = None if config.asynchronous else object_time
        hand_time, hand_state = corrupt(numbers, time=None if shared is None else shared[:count])
        kept, object_kept = signal(hand_time), signal(object_time)
        empty = torch.randn(len(alone), NUMBERS).to(latent)
        hand_state = torch.cat([hand_state, empty])
        never = torch.full((len(alone),), NEVER).to(hand_time)
        hand_time = torch.cat([hand_time, never]) if shared is None else shared
        objects, hands = self.both(object_state, hand_state, object_time, hand_time, context)
        objects, hands = objects.float(), hands.float()
        joint = self.hand_losses(
            hands[:count],
            numbers,
            joints,
            self.shapes.places(latent[:count]),
            kept,
            kept * object_kept[:count],
            self.shapes.places(objects[:count]),
        )
        losses = {name: given[name] + joint[name] for name in given}
        apart = (objects - latent).square() * certainty(object_kept)[:, None, None]
        weights = torch.ones_like(apart[0, 0])
        weights[:3] = config.weight_places
        losses["object"] = config.weight_object * (weights * apart).mean()
        watched = {f"{name}_given": value.detach() for name, value in given.items()}
        return losses | watched | {"loss": sum(losses.values())}

    def hand_losses(
        self,
        found: Tensor,
        numbers: Tensor,
        joints: Tensor,
        points: Tensor,
        kept: Tensor,
        kept_both: Tensor,
        found_points: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses of hands.

        Args:
            found, numbers: (B, NUMBERS) predicted and true.
            joints: (B, 21, 3) the true ones.
            points: (B, N, 3) of the object.
            kept, kept_both: (B,) signal of the hand, and of hand and object together.
            found_points: of the object that was predicted, None if it is given.
        """
        config = self.config
        now = self.hand.skeleton(mano_of(found, self.hand))
        field = distance_field(joints, points)
        found_field = distance_field(now, points if found_points is None else found_points)
        weights = torch.tensor(config.weight_parts).to(found)
        weights = weights.repeat_interleave(torch.tensor(PARTS).to(found.device))
        numbers_apart = (weights * (found - numbers).square()).mean(dim=1)
        xyz = ((now - joints) / UNIT).square().sum(dim=2).mean(dim=1)
        distance = ((found_field - field) / UNIT).square().sum(dim=3).mean(dim=(1, 2))
        return {
            "hand": config.weight_hand * (certainty(kept) * numbers_apart).mean(),
            "xyz": config.weight_xyz * (kept * certainty(kept) * xyz).mean(),
            "distance": config.weight_distance
            * (kept_both * certainty(kept_both) * distance).mean(),
        }

    def see(self, view: Tensor, toward: Tensor) -> Tensor:
        """(B, S, W) what a camera's clouds (B, N, 3) and the directions to it (B, 3) tell."""
        _, rows = self.looks(view)
        rows = rows + self.camera(toward)[:, None]
        for block in self.look:
            rows = block(rows, rows)
        return rows

    def unseen(self, count: int) -> Tensor:
        """(count, 1, W) what no camera tells."""
        return self.nothing.expand(count, -1, -1)

    def know(self, latent: Tensor, time: int = 0) -> Known:
        """What hands ask of objects (B, K, C)."""
        when = self.when_object(torch.full((len(latent),), time).to(latent))
        rows = self.object_rows(latent)
        known, context = [rows], self.unseen(len(latent))
        for layer in self.layers[:-1]:
            rows = layer.of_object(rows, rows, context, when)
            known.append(rows)
        return Known(latent, known)

    def hands(self, numbers: Tensor, time: Tensor, known: Known) -> Tensor:
        """Clean hands (B, D, NUMBERS) of noisy ones at times (B, D), for B known objects."""
        row, when = self.hand_rows(numbers, time, known.latent), self.when_hand(time)
        for layer, rows in zip(self.layers, known.rows, strict=True):
            row = layer.hand(row, rows, when)
        return denoised(numbers, self.hand_out(row, when, numbers), time)

    def both(
        self,
        latent: Tensor,
        numbers: Tensor,
        object_time: Tensor,
        hand_time: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Clean objects (B, K, C) and hands (B, NUMBERS), of noisy ones at times (B,) of their own.

        Args:
            latent, numbers: as the results.
            object_time, hand_time: 0 (clean) to NEVER.
            context: (B, S, W) of `see`.
        """
        rows = self.object_rows(latent)
        row = self.hand_rows(numbers[:, None], hand_time[:, None], latent)
        when, hand_when = self.when_object(object_time), self.when_hand(hand_time[:, None])
        for layer in self.layers:
            source = torch.cat([rows, row], dim=1)
            row = layer.hand(row, rows, hand_when)
            rows = layer.of_object(rows, source, context, when)
        hand = self.hand_out(row, hand_when, numbers[:, None])[:, 0]
        found = self.object_out(rows, when, latent)
        return denoised(latent, found, object_time), denoised(numbers, hand, hand_time)

    def object_rows(self, latent: Tensor) -> Tensor:
        """(B, K, W) of latents (B, K, C)."""
        return self.object_in(torch.cat([latent, waves(latent[..., :3])], dim=2)) + self.order

    def hand_rows(self, numbers: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """(B, D, W) of hands (B, D, NUMBERS) at times (B, D), by objects (B, K, C)."""
        centre = numbers.split(PARTS, dim=2)[2] * (CENTRE / SPREAD)
        around = self.surroundings(numbers, time, latent)
        return self.hand_in(torch.cat([numbers, waves(centre), around], dim=2))

    @torch.no_grad()
    def surroundings(self, numbers: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """(B, D, JOINTS (3 + C)) of each joint of noisy hands the place, and the latent point that
        is nearest, as seen from there; arguments as of `hand_rows`."""
        with torch.autocast(numbers.device.type, enabled=False):
            scaled = numbers / signal(time).sqrt().clamp(min=VAGUE)[..., None]
            joints = self.hand.skeleton(mano_of(scaled.flatten(0, 1), self.hand)) / SPREAD
            joints = joints.unflatten(0, numbers.shape[:2]).flatten(1, 2)
            near = pick(latent, distances(joints, latent[..., :3]).argmin(dim=2))
            around = torch.cat([joints, near[..., :3] - joints, near[..., 3:]], dim=2)
            return around.unflatten(1, (numbers.shape[1], JOINTS)).flatten(2)

    def when_object(self, time: Tensor) -> Tensor:
        """(B, 1, W) of times (B,)."""
        return self.time[1](sinusoids(time, self.config.width))[:, None]

    def when_hand(self, time: Tensor) -> Tensor:
        """(B, D, W) of times (B, D)."""
        return self.time[0](sinusoids(time.flatten(), self.config.width)).view(*time.shape, -1)


def distance_field(joints: Tensor, points: Tensor) -> Tensor:
    """y_f (B, 16, 10, 3): from each joint (B, 21, 3) to its nearest object points, metres (Eq. 15).

    Args:
        joints: of which the first 16 are asked.
        points: (B, N, 3).
    """
    joints = joints[:, :16]
    with torch.no_grad():
        _, near = torch.cdist(joints, points).topk(NEAREST, dim=2, largest=False)
    return take(points, near) - joints[:, :, None]
