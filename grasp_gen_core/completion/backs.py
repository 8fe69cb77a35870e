"""Several backs that an object may have, behind what a camera saw of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import trimesh
from scipy import ndimage
from scipy.special import ndtr, ndtri
from torch.nn import functional

from grasp_gen_core.completion.belief import PITCH, Belief, Completion, Seen, middling_first
from grasp_gen_core.completion.exit_depth import ExitDepth
from grasp_gen_core.generators.layers.unet import quantile
from grasp_gen_core.objects.distance import DistanceGrid, near_surface, nodes_around
from grasp_gen_core.objects.sight import SIZE, Sight

BACKS = 6  # that an object may have
SHARED = 0.8  # of the variance of how thick an object is, that is the same all over it
PATCHES = 5  # along an image's side, in which the rest hangs together
STEEPEST = 0.2  # cosine between ray and surface, at least
REACH = 2.0  # grid steps from the front, by the image, within which the seen surface may be
AROUND = 5  # pixels about each, over whose median its back may lie
STANDS_OUT = 2 * PITCH  # metres deeper, at most
LEAST = 0.5 * PITCH  # metres that anything is thick


class Backs(NamedTuple):
    """Where rays of a sight enter an object and, by each of K guesses, leave it.

    Between it is solid, even where the network takes it for hollow: a hand that believes in a space
    that no camera saw reaches into it through the wall.

    Attributes:
        sight: the image.
        hit: (S, S) bool, where the object is.
        front: (S, S) depth at which it begins, metres, NaN where it isn't.
        last: (K, S, S) depth at which it ends, likewise.
    """

    sight: Sight
    hit: np.ndarray
    front: np.ndarray
    last: np.ndarray

    def places(self, depth: np.ndarray) -> np.ndarray:
        """(..., S, S, 3) the points at some depths (..., S, S) along the rays, metres."""
        return self.sight.eye + depth[..., None] * self.sight.rays()

    def field(self, points: np.ndarray, normals: np.ndarray, pitch: float = PITCH) -> DistanceGrid:
        """Signed distance to each of the K objects.

        Args:
            points, normals: (N, 3) what was seen, metres: its surface lies exactly there.
            pitch: metres between the nodes, at most.
        """
        ends = self.places(self.last)[:, self.hit].reshape(-1, 3)
        nodes = nodes_around(np.concatenate([points, ends]), pitch)
        lower, upper = nodes[0, 0, 0], nodes[-1, -1, -1]
        step = ((upper - lower) / (np.array(nodes.shape[:3]) - 1)).astype(float)
        places, depth = self.sight.project(nodes)
        apart, nearest = ndimage.distance_transform_edt(~self.hit, return_indices=True)
        beside = apart - ndimage.distance_transform_edt(self.hit)
        beside = np.where(beside > 0, beside - 0.5, beside + 0.5)
        front, last = (image[..., nearest[0], nearest[1]] for image in (self.front, self.last))
        pixel = 2 * self.sight.span / SIZE
        images = [beside, front, cosine(front, pixel), *last, *cosine(last, pixel)]
        beside, begin, facing, *rest = at_places(np.stack(images), places)
        # Beyond the image nothing is near.
        outside = np.abs(places - places.clip(0, SIZE - 1)).max(axis=-1)
        beside = (beside + outside) * pixel * depth
        before = np.maximum((begin - depth) * facing, beside)
        exact = np.abs(before) < REACH * pitch
        known = near_surface(points, normals, nodes[exact], before[exact] < 0)
        trusted = np.abs(known) < pitch
        exact[exact], known, near = trusted, known[trusted], depth[exact][trusted]
        values = np.empty((len(last), *nodes.shape[:3]), np.float32)
        every = zip(*np.array_split(np.stack(rest), 2), strict=True)
        for i, (end, facing) in enumerate(every):
            value = np.maximum(before, (depth - end) * facing)
            first, final = begin[exact], end[exact]
            shallow = near < np.minimum(first + 1.5 * pitch, (first + final) / 2)
            value[exact] = np.where(shallow, known, value[exact])
            values[i] = distances(value, step)
        return DistanceGrid(values, lower, upper)

    def shapes(self) -> tuple[trimesh.Trimesh, ...]:
        """The K objects as meshes, closed, metres, of middling thickness first."""
        return tuple(self._shape(self.last[number]) for number in middling_first(len(self.last)))

    def _shape(self, last: np.ndarray) -> trimesh.Trimesh:
        number = np.full(self.hit.shape, -1)
        count = np.count_nonzero(self.hit)
        number[self.hit] = np.arange(count)
        vertices = np.concatenate([self.places(depth)[self.hit] for depth in (self.front, last)])
        corners = [number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]]
        quads = np.stack(corners, axis=-1).reshape(-1, 4)
        quads = quads[(quads >= 0).all(axis=1)]
        sheet = np.concatenate([quads[:, [2, 1, 0]], quads[:, [3, 2, 0]]])  # towards the eye
        edges = sheet[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        # An edge whose other direction isn't there has a triangle on one side alone.
        code, other = edges @ [2 * count, 1], edges @ [1, 2 * count]
        rim = edges[~np.isin(code, other)]
        walls = [
            np.column_stack([rim, rim + count])[:, [1, 0, 3]],
            np.column_stack([rim, rim + count])[:, [0, 2, 3]],
        ]
        faces = np.concatenate([sheet, sheet[:, ::-1] + count, *walls])
        return trimesh.Trimesh(vertices, faces, process=False)


def cosine(depth: np.ndarray, pixel: float) -> np.ndarray:
    """(..., S, S) cosine between the rays and a surface by its depth, at least STEEPEST."""
    down, right = np.gradient(depth, axis=(-2, -1))
    slope = np.hypot(down, right) / (pixel * depth)
    return np.maximum(1 / np.sqrt(1 + slope**2), STEEPEST)


def at_places(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(C, ...) images (C, S, S) between the pixels, at columns and rows (..., 2)."""
    scaled = (2 * places / (SIZE - 1) - 1).astype(np.float32).reshape(1, 1, -1, 2)
    found = functional.grid_sample(
        torch.from_numpy(images).float()[None],
        torch.from_numpy(scaled),
        padding_mode="border",
        align_corners=True,
    )
    return found.numpy().reshape(-1, *places.shape[:-1])


def distances(value: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(X, Y, Z) signed distances, of what is about that near the surface and of that sign anywhere.

    Args:
        value: (X, Y, Z) metres.
        step: (3,) metres between the nodes.
    """
    inside, reach = value < 0, step.max()
    near = np.abs(value) < 0.5 * reach
    for axis in range(3):
        change = np.diff(inside, axis=axis)
        pad = [(int(i == axis), 0) for i in range(3)]
        near |= np.pad(change, pad) | np.pad(change, [one[::-1] for one in pad])
    away, nearest = ndimage.distance_transform_edt(~near, sampling=step, return_indices=True)
    base = value.clip(-reach, reach)[tuple(nearest)]
    return base + np.where(inside, -away, away)


def mixed(count: int, seed: int) -> np.ndarray:
    """(count, S, S) shares in [0, 1], alike in neighbouring pixels and spread over the count."""
    rng = np.random.default_rng(seed)
    whole = ndtri((np.arange(count) + 0.5) / count)[:, None, None]
    patches = rng.standard_normal((count, PATCHES, PATCHES))
    local = ndimage.zoom(patches, (1, SIZE / PATCHES, SIZE / PATCHES), order=3, mode="nearest")
    local /= local.std()
    return ndtr(np.sqrt(SHARED) * whole + np.sqrt(1 - SHARED) * local)


class ByExitDepth:
    """What a network says of the backs, several drawn.

    Args:
        network: that says how thick objects are.
        otherwise: another way, for what isn't a camera's view.
        count: of backs.
    """

    def __init__(self, network: ExitDepth, otherwise: Completion, count: int = BACKS) -> None:
        self.network, self.count, self.otherwise = network, count, otherwise

    def __call__(self, seen: Seen, seed: int) -> Belief:
        """What the object is taken for, see `completion.Completion`."""
        if seen.eye is None:
            return self.otherwise(seen, seed)
        backs = self.draw(seen, seed)
        return Belief(backs.field(seen.points, seen.normals), backs.shapes())

    @torch.no_grad()
    def draw(self, seen: Seen, seed: int) -> Backs:
        """Backs of an object as a camera saw it, by seed.

        Where something else is before it, between what was seen, it goes on.
        """
        sight, net = Sight.of(seen.points, seen.eye, seen.before), self.network
        device = net.edges.device
        depth = torch.from_numpy((sight.depth - sight.middle) / sight.radius).float()
        size = torch.tensor([[sight.radius], [sight.middle]], dtype=torch.float32)
        told = net(depth[None].to(device), *size.to(device))
        share = torch.from_numpy(mixed(self.count, seed)).float().to(device)
        thickness = quantile(told.thickness[0], net.edges, share) * sight.radius
        images = torch.cat([thickness, told.hit, told.front]).cpu().numpy()  # in one go
        thickness, (hit, front) = images[: self.count], images[self.count :]
        measured = ~np.isnan(sight.depth)
        front = np.where(measured, sight.depth, sight.middle + front * sight.radius)
        hit = (hit > 0) | measured
        gap = sight.covered & ~hit
        if gap.any():  # of which the network has nothing to say: as about it
            from scipy.interpolate import LinearNDInterpolator

            known = np.concatenate([front[None], thickness])[:, hit]
            told = LinearNDInterpolator(np.argwhere(hit), known.T)(np.argwhere(gap)).T
            front[gap], thickness[:, gap], hit[gap] = told[0], told[1:], True
        front = np.where(hit, front, np.nan)
        last = front + np.maximum(thickness, LEAST)
        # Single rays that miss a thin wall that those beside them hit would stand out of the back.
        rows, columns = ndimage.distance_transform_edt(
            ~hit, return_distances=False, return_indices=True
        )
        around = ndimage.median_filter(last[:, rows, columns], (1, AROUND, AROUND))
        last = np.minimum(last, np.maximum(around + STANDS_OUT, front + LEAST))
        return Backs(sight, hit, front, last)
