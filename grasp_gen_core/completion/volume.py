"""The space about a part of an object: how far it is from the surface of the whole.

For clouds whose viewpoint isn't known, and for those of which a part is missing: a 3-D U-Net over a
cube of points about what is seen, that looks along the mean normal. Of each point it says a
histogram of the signed distance to the whole object; each of several objects takes one quantile of
them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.completion.backs import distances
from grasp_gen_core.completion.belief import PITCH, Belief, Seen, as_seen, carved, middling_first
from grasp_gen_core.generators.layers.unet import UNet, quantile
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid, near_surface, nodes_around
from grasp_gen_core.objects.level_sets import lattice, level_set
from grasp_gen_core.objects.sampling import OPEN

SIDE = 24  # points along each side of the cube
ROOM = 0.12  # metres that it reaches beyond the opening, at least
MARGIN = 0.03  # and beyond what is seen
SMALLEST = 0.16  # metres: its side, at least
USUAL = 0.2  # metres: a side that counts as 1
EDGES = (-3.0, 5.0)  # distances that are told apart, in steps of the cube
CHANNELS = 9
FEWEST = 8  # lowest points whose mean height is the opening's
COUNT = 6  # objects that a part may belong to
TEMPERATURE = 0.3  # of the histograms: what may be is to matter less than what is likely
MESHED = 0.008  # metres between the places at which objects are made meshes


@dataclass(frozen=True)
class VolumeConfig:
    """Sizes."""

    widths: tuple[int, ...] = (16, 48, 96)
    bins: int = 16
    dropout: float = 0.1


class Cube(NamedTuple):
    """Points about a part of an object, the axis z against its opening.

    Attributes:
        turn: (3, 3) its axes in rows.
        lower: (3,) the first point, in these axes, metres.
        step: metres between the points.
        rim: height of the opening along z, metres.
        open: the mean normal's length.
    """

    turn: np.ndarray
    lower: np.ndarray
    step: float
    rim: float
    open: float

    @classmethod
    def about(cls, points: np.ndarray, normals: np.ndarray) -> Cube:
        """The cube for points (N, 3), metres, and their outward normals."""
        toward = normals.mean(axis=0)
        length = np.linalg.norm(toward)
        toward = toward / length
        first = np.cross(toward, np.eye(3)[np.abs(toward).argmin()])
        first /= np.linalg.norm(first)
        turn = np.stack([first, np.cross(toward, first), toward])
        local = points @ turn.T
        low, high = local.min(axis=0), local.max(axis=0)
        wide = (high - low) + np.array([2 * MARGIN, 2 * MARGIN, MARGIN + ROOM])
        side = max(SMALLEST, wide.max())
        lower = np.append((low + high)[:2] / 2 - side / 2, high[2] + MARGIN - side)
        rim = np.sort(local[:, 2])[:FEWEST].mean()
        return cls(turn, lower, side / (SIDE - 1), float(rim), float(length))

    def places(self) -> np.ndarray:
        """(SIDE, SIDE, SIDE, 3) the points, in the cube's axes, metres."""
        steps = self.step * np.arange(SIDE)
        axes = np.meshgrid(*(start + steps for start in self.lower), indexing="ij")
        return np.stack(axes, axis=-1)

    def channels(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """(CHANNELS, SIDE, SIDE, SIDE) float32: what is known of these points.

        Nearness of what is seen, twice; the height over its nearest plane, and that one's normal;
        the height over the opening; the step; how open it is.
        """
        places = self.places().reshape(-1, 3)
        away, nearest = cKDTree(points @ self.turn.T).query(places, workers=-1)
        away, facing = away / self.step, (normals @ self.turn.T)[nearest]
        offset = places - (points @ self.turn.T)[nearest]
        height = np.einsum("nd,nd->n", offset, facing) / self.step
        near = np.exp(-((away / 2) ** 2))
        rows = [
            np.exp(-(away**2)),
            away.clip(max=4) / 4,
            near * height.clip(-2, 2),
            *(near * facing.T),
            (places[:, 2] - self.rim) / ROOM,
            np.full(len(places), np.log(self.step * SIDE / USUAL)),
            np.full(len(places), self.open),
        ]
        return np.stack(rows).reshape(CHANNELS, SIDE, SIDE, SIDE).astype(np.float32)


class Volume(UNet):
    """Says how far the points of a cube are from the object of which a part is seen in it.

    Args:
        hand: not used, as all trained networks have one.
        config: sizes.
    """

    axes = 3
    config_class = VolumeConfig

    def __init__(self, hand: ManoHand, config: VolumeConfig | None = None) -> None:
        config = config or VolumeConfig()
        super().__init__(hand, config, CHANNELS, config.bins)
        self.register_buffer("edges", torch.linspace(*EDGES, config.bins + 1), persistent=False)

    def forward(self, channels: Tensor) -> Tensor:
        """(B, bins, S, S, S) logits of distances, in steps, by B cubes' `channels`."""
        return self.told(channels)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the distances, under "loss".

        Args:
            batch: `channels` (B, CHANNELS, S, S, S), `steps` (B, S, S, S) of the cube that the true
                distances are; `weight` likewise.
        """
        bins = torch.bucketize(batch["steps"], self.edges, right=True) - 1
        bins = bins.clamp(0, self.config.bins - 1)
        losses = functional.cross_entropy(self(batch["channels"]), bins, reduction="none")
        return {"loss": (losses * batch["weight"]).sum() / batch["weight"].sum().clamp(min=1)}


class ByVolume:
    """Objects that a part may belong to by what a network says of the space about it.

    They are nested: each is thicker everywhere than the last.

    Args:
        network: that says how far it is to the whole.
        count: of objects.
    """

    def __init__(self, network: Volume, count: int = COUNT) -> None:
        self.network, self.count = network, count

    def __call__(self, seen: Seen, seed: int) -> Belief:
        """What the object is taken for, see `completion.Completion`; the seed isn't used."""
        if np.linalg.norm(seen.normals.mean(axis=0)) <= OPEN:
            return as_seen(seen, seed)
        field = carved(self.field(seen.points, seen.normals), seen)
        return Belief(field, meshes(field))

    @torch.no_grad()
    def field(self, points: np.ndarray, normals: np.ndarray) -> DistanceGrid:
        """Signed distance to each of the objects, thinnest first, by points (N, 3) and normals."""
        cube, net = Cube.about(points, normals), self.network
        rows = torch.from_numpy(cube.channels(points, normals)).to(net.edges.device)
        share = (torch.arange(self.count, device=rows.device) + 0.5) / self.count
        share = share.flip(0)[:, None, None, None].expand(-1, SIDE, SIDE, SIDE)
        logits = net(rows[None])[0] / TEMPERATURE
        told = quantile(logits, net.edges, share).cpu().numpy() * cube.step
        inside = (told < 0).any(axis=0)
        ends = cube.places()[inside] @ cube.turn
        nodes = nodes_around(np.concatenate([points, ends]), PITCH)
        lower, upper = nodes[0, 0, 0], nodes[-1, -1, -1]
        step = ((upper - lower) / (np.array(nodes.shape[:3]) - 1)).astype(float)
        told = DistanceGrid(told, cube.lower, cube.lower + cube.step * (SIDE - 1))
        values = told.each(torch.from_numpy(nodes @ cube.turn.T.astype(np.float32))).numpy()
        within = values.mean(axis=0).ravel() < 0
        known = near_surface(points, normals, nodes.reshape(-1, 3), within)
        known = known.reshape(nodes.shape[:3])
        exact = np.abs(known) < PITCH
        values[:, exact] = known[exact]
        return DistanceGrid(np.stack([distances(one, step) for one in values]), lower, upper)


def meshes(field: DistanceGrid) -> tuple[trimesh.Trimesh, ...]:
    """The objects whose distances a field has, closed, metres, of middling thickness first."""
    lower, upper = field.lower.numpy(), field.upper.numpy()
    box = np.concatenate([lower, upper]).astype(float)
    places = lattice(box, MESHED)
    values = field.each(torch.from_numpy(places).float()).double().numpy()
    some = (level_set(values[number], box, MESHED) for number in middling_first(len(values)))
    return tuple(mesh for mesh in some if len(mesh.faces))
