"""DVQ-VAE (Zhao et al., Decomposed Vector-Quantized Variational Autoencoder for Human Grasp
Generation, ECCV 2024): part-wise codes of the hand, drawn for the object by an autoregressive
prior, then posture first and position second.

Where this differs from the paper, and why:

- Clouds and hands are in the principal frame of what is seen, so that a moved object gets the
  same, moved hands.
- The posture (Eq. 6) includes how the hand is turned. The centred vertices that are encoded show
  it; without it one posture would have one place, the mean of all that it is held in.
- The position decoder sees the object from the hand that it places: z_p is encoded in the frame of
  a hand so turned, at a rough place. Asked without one, a decoder gives the mean of all places
  where such a hand could be, which is in the object. In training the rough place is the true one
  with noise; in sampling it is a random spot of what is seen, for `reposition` the hand's own.
- Joint angles lie within the hand's limits; the gate (Eq. 8) corrects them before.
- In Eq. 6 the shape weighs a tenth of angles and turn: it says little of a grasp.
- The losses are squares, lengths in centimetres, contact and penetration (Eq. 13-16) means over
  points of the object's surface; Eq. 14's counts are softened, so that they have a gradient. The
  paper names no units; read as norms in metres, its weights let contact and codes outweigh the
  hand.
- The prior is trained at the same time, on indices without gradient. A PixelCNN over a column of
  seven has no vertical stack: it is a gated causal convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.contact.maps import nearest
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.layers.frames import (
    few_of,
    in_four_frames,
    in_principal_frame,
    random_spots,
)
from grasp_gen_core.generators.layers.gated_prior import GatedPrior
from grasp_gen_core.generators.layers.losses import is_inside
from grasp_gen_core.generators.layers.mano import rotation_6d
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.hand import PARTS, HandRegions, ManoHand, rotations
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE

CM, DM = 100.0, 10.0
CONTACT = 0.005  # metres from the hand, within which a point is of its contact map
SOFTNESS = 0.001  # metres over which membership of the contact map fades
SMALL = 0.1  # of the position decoder's 6D numbers: a new network hardly turns hands
ROUGHLY = 4  # one of so many points tells where hands roughly are
STAND_OFF = 0.035  # metres between the vertices' mean and the spot that is to be held


@dataclass(frozen=True)
class DVQVAEConfig:
    """Sizes and loss weights.

    The authors' code has 128 entries of 256 and PointNets of 1024 features throughout; Sec. 4.4
    has the weights lambda_e 10, lambda_m -50, lambda_c 1500, lambda_p 5, lambda_h 0.1, lambda_v 10.
    """

    entries: int = 128
    width: int = 64  # of a hand part's code
    type_features: tuple[int, ...] = (64, 128, 256)
    pose_features: tuple[int, ...] = (64, 64, 256)
    part_features: tuple[int, ...] = (32, 64, 128)
    hidden: tuple[int, int] = (512, 256)
    prior_width: int = 128
    prior_layers: int = 4
    prior_dropout: float = 0.1
    commitment: float = 1.0
    beta: float = 0.25
    rough: float = 0.06  # metres, largest standard deviation of rough places in training
    patience: int = 200  # steps after which an unused entry is replaced
    weight_codes: float = 10.0  # lambda_e
    weight_map: float = 5.0  # -lambda_m
    weight_contact: float = 2.0  # lambda_c
    weight_penetration: float = 2.0  # lambda_p
    weight_parameters: float = 1.0  # lambda_h
    weight_betas: float = 0.1  # of the shape in Eq. 6
    weight_vertices: float = 1.0  # lambda_v


@dataclass(frozen=True)
class DVQVAESampling:
    """How indices are drawn from the prior.

    Attributes:
        temperature: divides the logits: below 1 the likely are drawn more often.
        top_k: only so many likeliest entries are drawn of each codebook; 0 means all.

    Raises:
        InputError: if the temperature isn't positive or top_k negative.
    """

    temperature: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature: {self.temperature}, accepted are numbers above 0")
        if self.top_k < 0 or self.top_k != int(self.top_k):
            raise InputError(f"top_k: {self.top_k}, accepted are 0 (all), 1, 2, ...")


class Posture(NamedTuple):
    """What the codes tell of B hands.

    Attributes:
        betas: (B, 10).
        turn: (B, 3, 3) the wrist's rotation.
        pose: (B, 45) axis-angle.
    """

    betas: Tensor
    turn: Tensor
    pose: Tensor


class Placed(NamedTuple):
    """B hands about an object: `mano` (B, 61), `turn` (B, 3, 3), `vertices` (B, 778, 3) in metres
    and their mean `centre` (B, 3). Turn and centre have no gradient to the posture (Eq. 9, 10)."""

    mano: Tensor
    vertices: Tensor
    turn: Tensor
    centre: Tensor


class DVQVAE(Network):
    """Object cloud in, MANO hands out.

    Args:
        hand: the right hand whose parameters are generated.
        config: sizes and weights.
    """

    config_class = DVQVAEConfig
    sampling_class = DVQVAESampling

    def __init__(self, hand: ManoHand, config: DVQVAEConfig | None = None) -> None:
        super().__init__(hand, config)
        config = self.config
        feature, parts = config.type_features[-1], len(PARTS)
        self.type_encoder = PointNet(config.type_features)
        self.pose_encoder = PointNet(config.pose_features)
        self.part_encoders = nn.ModuleList(
            nn.Sequential(
                PointNet(config.part_features), mlp(config.part_features[-1], (128,), config.width)
            )
            for _ in PARTS
        )
        self.object_codes = Codebooks(1, config.entries, feature, config)
        self.hand_codes = Codebooks(parts, config.entries, config.width, config)
        # Betas, 6D turn, 15 x 3 joint angles.
        self.posture_decoder = mlp(parts * config.width + feature, config.hidden, 10 + 6 + 45)
        self.gate = SkeletalGate()
        self.posture_encoder = mlp(3 * len(hand.regions.anchors), (256,), 128)
        self.position_decoder = mlp(128 + config.pose_features[-1], config.hidden, 6 + 3)
        self.prior = GatedPrior(parts, config)

    def sample(self, points: Tensor, num: int, rng: torch.Generator) -> Tensor:
        """Hands for one cloud (Sec. 3.1, inference).

        Args:
            points: (N, 3) metres, any frame, full or partial.
            num: hands wanted.
            rng: source of randomness, on the CPU.

        Returns:
            (num, 61) MANO parameters in the frame of the points.
        """
        rotation, centre, local = in_four_frames(few_of(points, rng))
        feature = self.type_encoder(local)
        _, index, _ = self.object_codes(feature[:, None])
        chosen = torch.arange(num, device=points.device) % 4
        indices = self.prior.sample(index[chosen, 0], rng, self.sampling)
        codes = self.hand_codes.look_up(indices)
        posture = self.decode_posture(codes, feature[chosen])
        approach = posture.turn @ self.hand.regions.palm_axis
        start = random_spots(local[chosen], rng) - STAND_OFF * approach
        placed = self.place_twice(posture, local[chosen], start)
        return self.hand.move(placed.mano, rotation[chosen], centre[chosen])

    def reposition(self, mano: Tensor, points: Tensor) -> Tensor:
        """Hands of any origin, put where the position decoder holds them best (Sec. 4.6).

        Args:
            mano: (B, 61) hands.
            points: (N, 3) the object, metres, in the same frame.

        Returns:
            (B, 61) the same postures, slightly turned, in better places nearby.
        """
        few = few_of(points, torch.Generator().manual_seed(0))
        turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
        posture = Posture(mano[:, BETAS], turn, mano[:, HAND_POSE])
        start, few = self.hand(mano)[0].mean(dim=1), few.expand(len(mano), -1, -1)
        return self.place_twice(posture, few, start).mano

    def place_twice(self, posture: Posture, local: Tensor, start: Tensor) -> Placed:
        """`place`, and again from where that led."""
        upright = self.upright(posture)
        first = self.place(posture, upright, local[:, ::ROUGHLY], start)
        return self.place(posture._replace(turn=first.turn), upright, local, first.centre)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All terms of Eq. 18 and the prior's, their sum under "loss", and codebooks' perplexity.

        Args:
            batch: `view` (B, N, 3) the points seen, `surface` (B, M, 3) points all around the
                object, `mano` (B, 61) a grasp; metres, one frame. `flip` (B,) 0..3.
        """
        hand, config = self.hand, self.config
        view, surface, mano = in_principal_frame(batch, hand)
        with torch.no_grad():
            true_vertices, _ = hand(mano)
            true_centre = true_vertices.mean(dim=1)
        true_turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])

        feature = self.type_encoder(view)
        _, object_index, object_loss = self.object_codes(feature[:, None])
        codes, indices, hand_loss = self.hand_codes(
            self.encode_parts(true_vertices - true_centre[:, None])
        )
        posture = self.decode_posture(codes, feature)
        away = torch.randn_like(true_centre) * torch.rand_like(true_centre[:, :1])
        rough = true_centre + config.rough * away
        placed = self.place(posture, self.upright(posture), view, rough)
        vertices = placed.vertices

        bent = (posture.pose - mano[:, HAND_POSE]).square().sum(dim=1)
        shape = (posture.betas - mano[:, BETAS]).square().sum(dim=1)
        coarse = (posture.turn - true_turn).square().sum(dim=(1, 2))
        turned = (placed.turn - true_turn).square().sum(dim=(1, 2))
        shifted = (CM * (placed.centre - true_centre)).square().sum(dim=1)
        apart = (CM * (vertices - true_vertices)).square().sum(dim=2).mean(dim=1)

        posture_loss = bent + config.weight_betas * shape + coarse
        prior_zones = hand.regions.touching  # P_c
        true_distance, _ = nearest(surface, true_vertices)
        touched = (true_distance < CONTACT).float()
        count = touched.sum(dim=1).clamp(min=1)
        distance, index = nearest(surface, vertices)
        reach, _ = nearest(surface, vertices[:, prior_zones])
        contact = (CM * reach * touched).sum(dim=1) / count
        member = torch.sigmoid((CONTACT - distance) / SOFTNESS)
        missed = ((1 - member) * touched).sum(dim=1) / count
        inside = is_inside(surface, vertices, index, hand.closed_faces)
        penetration = (CM * distance * inside).square().sum(dim=1) / inside.sum(dim=1).clamp(min=1)

        terms = {
            "codes": config.weight_codes * (object_loss + hand_loss),
            "posture": config.weight_parameters * posture_loss.mean(),
            "position": config.weight_parameters * (turned + shifted).mean(),
            "vertices": config.weight_vertices * apart.mean(),
            "map": config.weight_map * missed.mean(),
            "contact": config.weight_contact * contact.mean(),
            "penetration": config.weight_penetration * penetration.mean(),
            "prior": self.prior.loss(object_index[:, 0], indices),
        }
        spread = zip((*PARTS, "object"), torch.cat([indices, object_index], dim=1).T, strict=True)
        used = {f"perplexity/{name}": perplexity(index) for name, index in spread}
        return terms | used | {"loss": sum(terms.values())}

    def encode_parts(self, centred: Tensor) -> Tensor:
        """(B, 6, width) features of the hand's parts.

        Args:
            centred: (B, 778, 3) vertices less their mean: they don't tell where the hand is.
        """
        parts = self.hand.parts
        encoded = [
            encoder(centred[:, parts == part]) for part, encoder in enumerate(self.part_encoders)
        ]
        return torch.stack(encoded, dim=1)

    def decode_posture(self, codes: Tensor, feature: Tensor) -> Posture:
        """Codes (B, 6, width) and object features (B, F) to a hand's posture and turn (Eq. 6-8)."""
        hand = self.hand
        decoded = self.posture_decoder(torch.cat([codes.flatten(1), feature], dim=1))
        betas, sixd, free = decoded.split((10, 6, 45), dim=1)
        free = self.gate(free, betas, hand)
        return Posture(
            betas, rotation_6d(sixd), hand.regions.to_pose(hand.regions.within_limits(free))
        )

    def upright(self, posture: Posture) -> Tensor:
        """(B, 778, 3) hands of a posture, but not turned, metres."""
        still = posture.betas.new_zeros(len(posture.betas), 3)
        return self.hand(torch.cat([posture.betas, still, posture.pose, still], dim=1))[0]

    def place(self, posture: Posture, upright: Tensor, local: Tensor, start: Tensor) -> Placed:
        """The second stage (Eq. 9): where hands are.

        Args:
            posture: of B hands.
            upright: (B, 778, 3) the same hands, not turned.
            local: (B, N, 3) the object's points, metres.
            start: (B, 3) roughly where the vertices' mean is.
        """
        hand, betas = self.hand, posture.betas
        mean = upright.mean(dim=1)
        upright = upright - mean[:, None]
        # Nothing flows from the position's decoder back into the posture.
        anchors, turn = upright[:, hand.regions.anchors].detach(), posture.turn.detach()
        seen = (local - start[:, None]) @ turn
        encoded = [self.posture_encoder(DM * anchors.flatten(1)), self.pose_encoder(seen)]
        sixd, shift = self.position_decoder(torch.cat(encoded, dim=1)).split((6, 3), dim=1)
        centre = start + (turn @ shift[..., None])[..., 0] / DM
        correction = rotation_6d(SMALL * sixd)
        whole = posture.turn @ correction
        # The wrist turns about its own joint.
        root = hand.root(betas)
        transl = centre - root - (whole @ (mean - root)[..., None])[..., 0]
        mano = torch.cat([betas, rotations.to_rotvec(whole), posture.pose, transl], dim=1)
        return Placed(mano, upright @ whole.mT + centre[:, None], turn @ correction, centre)


class Codebooks(nn.Module):
    """Vector quantisation with a codebook of its own for each part (Eq. 1-5).

    Args:
        books: codebooks.
        entries: of each.
        width: of an entry.
        config: its commitment, beta and patience.
    """

    def __init__(self, books: int, entries: int, width: int, config: DVQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.entries = nn.Parameter(torch.randn(books, entries, width))
        # Steps since an entry was chosen; the first batch replaces all but those it chooses.
        self.register_buffer("idle", torch.full((books, entries), float(config.patience)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nearest entries (Eq. 4, 5).

        Args:
            features: (B, books, width).

        Returns:
            Those entries (B, books, width), their gradient going to the features, their numbers
            (B, books) and the loss of Eq. 1 or 2.
        """
        with torch.no_grad():
            index = torch.cdist(features.transpose(0, 1), self.entries).argmin(dim=2).T
            if self.training:
                self.replace_idle(features, index)
        found = self.look_up(index)
        # Eq. 1 weighs the encoder's term by 1 and the codebook's by beta, VQ-VAE the other way.
        encoder = (found.detach() - features).square().mean(dim=2)
        book = (features.detach() - found).square().mean(dim=2)
        loss = (self.config.commitment * encoder + self.config.beta * book).sum(dim=1).mean()
        return features + (found - features).detach(), index, loss

    def look_up(self, index: Tensor) -> Tensor:
        """(B, books, width) entries with the numbers (B, books)."""
        return self.entries[torch.arange(len(self.entries), device=index.device), index]

    def replace_idle(self, features: Tensor, index: Tensor) -> None:
        """Put entries that nothing has chosen for long where features of this batch are."""
        self.idle += 1
        self.idle.scatter_(1, index.T, 0)
        book, entry = (self.idle > self.config.patience).nonzero(as_tuple=True)
        chosen = torch.randint(len(features), book.shape, device=book.device)
        self.entries[book, entry] = features[chosen, book]
        self.idle[book, entry] = 0


class SkeletalGate(nn.Module):
    """Corrects joint angles where the skeleton's bends call for it (Eq. 7, 8)."""

    def __init__(self) -> None:
        super().__init__()
        width = 32
        self.gate = nn.Sequential(mlp(15, (64,), 45), nn.Sigmoid())
        self.inside = nn.Linear(3, width)
        self.joint = nn.Parameter(0.1 * torch.randn(15, width))
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.outside = nn.Linear(width, 3)

    def forward(self, free: Tensor, betas: Tensor, hand: ManoHand) -> Tensor:
        """Free joint variables (B, 45) of `HandRegions.within_limits`, corrected."""
        still = betas.new_zeros(len(betas), 3)
        pose = hand.regions.to_pose(hand.regions.within_limits(free))
        joints = hand.skeleton(torch.cat([betas, still, pose, still], dim=1))
        bends = bone_angles(joints, hand.regions)
        correction = self.outside(self.layer(self.inside(free.view(-1, 15, 3)) + self.joint))
        return free + self.gate(bends) * correction.flatten(1)


def bone_angles(joints: Tensor, regions: HandRegions) -> Tensor:
    """(B, 15) angles between neighbouring bones at each finger's three joints (Eq. 7), radians.

    Args:
        joints: (B, 21, 3) metres.
        regions: the hand's tables.
    """
    ends = joints[:, regions.bones.view(5, 4, 2)]
    bones = functional.normalize(ends[..., 1, :] - ends[..., 0, :], dim=3)
    cosine = -(bones[:, :, :-1] * bones[:, :, 1:]).sum(dim=3)
    return torch.acos(cosine.clamp(-0.9999, 0.9999)).flatten(1)


def perplexity(index: Tensor) -> Tensor:
    """exp of the entropy of the numbers (B,): how many entries are used, if used alike."""
    share = torch.bincount(index) / len(index)
    return torch.special.entr(share).sum().exp()
