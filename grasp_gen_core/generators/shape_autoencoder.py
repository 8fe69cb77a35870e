"""The object's autoencoder of JHOD (Cao et al., 2024, Sec. 3.2.2-3.2.3): from surface points to a
few latent points, and from these to the signed distance of any point, of which a mesh is made.

Where this differs from the paper, and why:

- The paper takes LION's latents, one for each of 2048 points: a place and one feature. Here they
  are few, evenly spread over the surface, with more features: what a network draws and attends to
  at once. They have no order: nothing that reads them may ask for it.
- LION decodes points, of which the paper makes a surface by alpha shapes: holes or webs, as the
  radius has it. Here the decoder tells the distance to the surface, which has an inside, so that
  meshes are watertight and cups are hollow. A point asks the latent points near it (3DILG, Zhang
  et al. 2022): what is learned of pieces of surfaces holds for objects never seen.
- Features are normalised, each point's by themselves, and latents get a little noise in training,
  instead of LION's Kullback-Leibler term: those that the diffusion draws aren't exact either.
- There is no global latent, as in the paper.
- Shapes have their true size: hands have theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.layers.attention import blocks
from grasp_gen_core.generators.layers.mlp import mlp
from grasp_gen_core.generators.layers.network import Network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.level_sets import lattice, level_set
from grasp_gen_core.objects.sampling import sphere_directions

TRUNCATION = 0.02  # metres, beyond which distances matter little
REACH = 0.3  # metres from the centre within which there is anything
MARGIN = 0.03  # metres around the latent points in which there is anything
COARSE = 0.01  # metres between the points at which a surface is first looked for
SPECK = 0.01  # of the largest body's volume: less is no part of the object
APART = 1e-5  # metres between vertices that would coincide
MOST_NODES = 1_000_000  # of the lattice: larger boxes get a coarser one
AT_ONCE = 2048  # points that are decoded together
SPREAD = 0.05  # metres: latent places are in units of it
OCTAVES = 4
WAVES = 3 + 6 * OCTAVES  # Fourier features of a place
THIN = 0.1  # of SPREAD: objects are stretched as if they were so wide
PATCH = 0.03  # metres: a piece of surface that a latent point tells of


@dataclass(frozen=True)
class ShapeAutoencoderConfig:
    """Sizes, and the noise that latents get in training.

    The latent is `tokens` times `channels` numbers, three of them a place; the paper has 2048 x 4.
    """

    tokens: int = 64
    channels: int = 16
    points: int = 2048  # of the surface, that the encoder sees
    neighbours: int = 48  # of these in each latent point's piece
    asked: int = 8  # latent points that tell a point's distance
    width: int = 128
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 2
    noise: float = 0.03


class Objects(NamedTuple):
    """Objects (O of them) as their latent points, see `ShapeAutoencoder`.

    Attributes:
        latent: (O, K, C) latent points.
        rotation, centre: (O, 3, 3), (O, 3) of the frames that these are in, `principal_frame`.
    """

    latent: Tensor
    rotation: Tensor
    centre: Tensor


class ShapeAutoencoder(Network):
    """Surface points in, latent points out, and back to signed distances.

    Args:
        hand: not used; all networks have one.
        config: sizes.
    """

    config_class = ShapeAutoencoderConfig

    def __init__(self, hand: ManoHand, config: ShapeAutoencoderConfig | None = None) -> None:
        super().__init__(hand, config)
        config, width = self.config, self.config.width
        self.pieces = Pieces(width, config.tokens, config.neighbours)
        self.encoder = blocks(config.encoder_layers, width, config.heads)
        self.out = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.channels - 3),
            nn.LayerNorm(config.channels - 3, elementwise_affine=False),
        )
        self.into = nn.Linear(config.channels - 3 + WAVES, width)
        self.decoder = blocks(config.decoder_layers, width, config.heads)
        self.told, self.where = nn.Linear(width, width), nn.Linear(WAVES, width)
        self.answer = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def encode(self, points: Tensor) -> Tensor:
        """Latent points (B, K, C): the place, in units of SPREAD, then normalised features.

        Args:
            points: (B, N, 3) all around the surface, evenly, metres, about the object's centre; of
                more than the configured number only so many are used.
        """
        points = points[:, : self.config.points]
        place, rows = self.pieces(points)
        for block in self.encoder:
            rows = block(rows, rows)
        return torch.cat([place / SPREAD, self.out(rows).float()], dim=2)

    def places(self, tokens: Tensor) -> Tensor:
        """(B, K, 3) where latent points (B, K, C) are, metres."""
        return SPREAD * tokens[..., :3]

    def decode(self, tokens: Tensor) -> Tensor:
        """What points ask, (B, K, 3 + W), of latent points (B, K, C) in any order."""
        place, features = self.places(tokens), tokens[..., 3:]
        state = self.into(torch.cat([waves(place / SPREAD), features], dim=2))
        for block in self.decoder:
            state = block(state, state)
        return torch.cat([place, self.told(state).float()], dim=2)

    def field(self, state: Tensor, points: Tensor) -> Tensor:
        """Signed distance (B, N), metres, negative inside; beyond TRUNCATION its sign alone counts.

        Args:
            state: (B, K, 3 + W) of `decode`.
            points: (B, N, 3) metres.
        """
        place, told = state[..., :3], state[..., 3:]
        with torch.no_grad():
            _, near = torch.cdist(points, place).topk(self.config.asked, dim=2, largest=False)
        offset = points[:, :, None] - take(place, near)
        rows = self.where(waves(offset / PATCH)) + take(told, near)
        distance, weight = self.answer(rows).float().unbind(-1)
        # The farthest of them has no say: where another takes its place nothing jumps.
        apart = offset.square().sum(dim=-1)
        fade = (1 - apart / apart.amax(dim=2, keepdim=True)).clamp(min=1e-6)
        weight = (weight + fade.log()).softmax(dim=2)
        return TRUNCATION * (weight * distance).sum(dim=2)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean error of truncated distances under "loss", cm; and the share of wrong signs.

        Args:
            batch: `surface` (B, N, 3), `points` (B, M, 3) and their signed `distance` (B, M),
                metres.
        """
        tokens = self.encode(batch["surface"])
        if self.training:
            tokens = tokens + self.config.noise * torch.randn_like(tokens)
        found, true = self.field(self.decode(tokens), batch["points"]), batch["distance"]
        apart = (truncate(found) - truncate(true)).abs()
        wrong = ((found < 0) != (true < 0)).float().mean()
        return {"wrong_side": wrong.detach(), "loss": 100 * apart.mean()}

    @torch.no_grad()
    def mesh(self, tokens: Tensor, pitch: float = 0.0025) -> trimesh.Trimesh:
        """The object's watertight surface, metres, in the frame in which its points were encoded.

        Looked for on a coarse grid, then decoded close to where it is, on a lattice on which
        marching tetrahedra leave no hole.

        Args:
            tokens: (K, C).
            pitch: metres between the lattice's points, at least.

        Raises:
            InputError: if the tokens have no surface near their places.
        """
        state = self.decode(tokens[None])
        places = state[0, :, :3].cpu().numpy()
        lower, upper = (places.min(axis=0) - MARGIN, places.max(axis=0) + MARGIN)
        lower, upper = lower.clip(-REACH, REACH), upper.clip(-REACH, REACH)
        axes = [np.arange(*ends, COARSE) for ends in zip(lower, upper + COARSE, strict=True)]
        coarse = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        distance = self._distances(state, coarse.reshape(-1, 3)).reshape(coarse.shape[:3])
        parts, count = ndimage.label(distance < COARSE)
        if not count:
            raise InputError("tokens: they decode to no object, accepted are an encoded object's")
        near = coarse[parts == np.bincount(parts.flat)[1:].argmax() + 1]
        box = np.concatenate([near.min(axis=0) - COARSE, near.max(axis=0) + COARSE])

        pitch = max(pitch, (2 * np.prod(box[3:] - box[:3]) / MOST_NODES) ** (1 / 3))
        points = lattice(box, pitch)
        # Of the coarse grid's cells, those through which the surface may go.
        cell = np.rint((points - lower) / COARSE).astype(int)
        cell = cell.clip(0, np.array(distance.shape) - 1)
        values = distance[tuple(cell.T)]
        close = np.abs(values) < 1.2 * COARSE  # half of a cell's diagonal, and what is wrong
        values[close] = self._distances(state, points[close])
        return with_vertices_apart(without_specks(level_set(values, box, pitch)))

    def _distances(self, state: Tensor, points: np.ndarray) -> np.ndarray:
        """(N,) of points (N, 3), in turns."""
        parts = torch.from_numpy(points).to(state).split(AT_ONCE)
        return torch.cat([self.field(state, part[None])[0] for part in parts]).cpu().numpy()


class Pieces(nn.Module):
    """Places evenly spread over a cloud, and what the cloud looks like around each.

    Args:
        width: of the rows.
        count: of places.
        neighbours: points around each.
    """

    def __init__(self, width: int, count: int, neighbours: int) -> None:
        super().__init__()
        self.count, self.neighbours = count, neighbours
        self.near = mlp(3, (width // 2,), width)
        self.mix = nn.Linear(width, width)
        self.place = nn.Linear(WAVES, width)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Places (B, K, 3), metres, and rows (B, K, width), of points (B, N, 3)."""
        with torch.no_grad():
            place = take(points, farthest(points, self.count))
            around = min(self.neighbours, points.shape[1])
            _, near = torch.cdist(place, points).topk(around, dim=2, largest=False)
            offset = (take(points, near) - place[:, :, None]) / PATCH
        rows = self.mix(functional.relu(self.near(offset).amax(dim=2)))
        return place, rows + self.place(waves(place / SPREAD))


def farthest(points: Tensor, count: int) -> Tensor:
    """(B, count) of the points (B, N, 3): each is the one farthest from all before it.

    The first is the one farthest from the middle: the order of the points makes no difference.
    """
    x, y, z = (points - points.mean(dim=1, keepdim=True)).unbind(-1)
    last = (x.square() + y.square() + z.square()).argmax(dim=1, keepdim=True)
    chosen, apart = [last], torch.full_like(x, torch.inf)
    for _ in range(count - 1):
        squared = [(axis - axis.gather(1, last)).square() for axis in (x, y, z)]
        apart = torch.minimum(apart, squared[0] + squared[1] + squared[2])
        last = apart.argmax(dim=1, keepdim=True)
        chosen.append(last)
    return torch.cat(chosen, dim=1)


def take(rows: Tensor, which: Tensor) -> Tensor:
    """(B, ..., W) of rows (B, N, W) those with the numbers (B, ...)."""
    flat = which.flatten(1)
    found = rows.gather(1, flat[..., None].expand(-1, -1, rows.shape[2]))
    return found.unflatten(1, which.shape[1:])


def waves(places: Tensor) -> Tensor:
    """(..., WAVES) Fourier features of places (..., 3), the longest wave two units."""
    octaves = torch.arange(OCTAVES, dtype=places.dtype, device=places.device)
    rates = torch.pi * 2.0**octaves
    phase = (places[..., None] * rates).flatten(-2)
    return torch.cat([places, phase.sin(), phase.cos()], dim=-1)


def without_specks(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A closed mesh without its bodies smaller than SPECK of the largest.

    Manifold's own `decompose` takes minutes where a young network leaves thousands of them.

    Raises:
        InputError: if it has no faces.
    """
    if not len(mesh.faces):
        raise InputError("tokens: they decode to no object, accepted are an encoded object's")
    body = trimesh.graph.connected_component_labels(mesh.face_adjacency, len(mesh.faces))
    a, b, c = np.moveaxis(mesh.triangles, 1, 0)
    # Hollows without an opening are bodies of negative volume.
    volume = np.abs(np.bincount(body, np.einsum("fd,fd->f", a, np.cross(b, c)) / 6))
    mesh.update_faces((volume > SPECK * volume.max())[body])
    mesh.remove_unreferenced_vertices()
    return mesh


def with_vertices_apart(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A closed mesh whose vertices that coincide went a little inward, where its surface touches
    itself: who reads it from a file takes them for one, and finds it open."""
    places = np.round(mesh.vertices / (0.1 * APART))
    _, number, count = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    touching = count[number.ravel()] > 1
    mesh.vertices[touching] -= APART * mesh.vertex_normals[touching]
    return mesh


def truncate(distance: Tensor) -> Tensor:
    """Distances, metres, as they are near the surface, and TRUNCATION at most far from it."""
    return TRUNCATION * torch.tanh(distance / TRUNCATION)


def arranged(latent: Tensor) -> Tensor:
    """Latent points (B, K, C) in the order of K directions spread over the sphere.

    Each is given to one direction, so that together they are least far from what they are given to,
    the object stretched to be as wide along all axes.
    """
    place = latent[..., :3] - latent[..., :3].mean(dim=1, keepdim=True)
    place = place / place.std(dim=1, keepdim=True).clamp(min=THIN)
    directions = torch.from_numpy(sphere_directions(latent.shape[1])).to(place) * 3**0.5
    cost = torch.cdist(directions.expand(len(place), -1, -1), place).square()
    order = np.stack([linear_sum_assignment(one)[1] for one in cost.cpu().numpy()])
    return take(latent, torch.from_numpy(order).to(latent.device))
