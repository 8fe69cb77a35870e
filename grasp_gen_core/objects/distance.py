"""Signed distance to an object: exact on its mesh, and as a differentiable grid in torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import trimesh
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from torch import nn

from grasp_gen_core.objects.trilinear import Trilinear
from grasp_gen_core.stopping import heed

# Winding number up to which a node counts as outside, and from which as inside. A closed cloud has
# 0 and 1; behind a surface seen from one side it falls from 0.5 towards 0 with the depth. On views
# of household objects matter and free space are best told apart at 0.2.
OUTSIDE_WINDING, INSIDE_WINDING = 0.05, 0.35
# What a cloud's grid may take: a box of 0.3 m at 4 mm is about within; larger ones get coarser.
MOST_NODES, MOST_WAVES = 500_000, 8_000_000


@lru_cache(maxsize=8)
def raycasting_scene(mesh: trimesh.Trimesh):
    """The mesh as an open3d RaycastingScene, kept for the meshes used last.

    A trimesh hashes by its content, so a mesh changed in place gets a scene of its own.
    """
    return build_scene(mesh.vertices, mesh.faces)


def build_scene(vertices: np.ndarray, faces: np.ndarray):
    """An open3d RaycastingScene of one surface."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(vertices.astype(np.float32), faces.astype(np.uint32))
    return scene


def signed_distance(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Exact distance to the mesh surface, positive outside and negative inside.

    Inside is where the majority of five rays crosses the surface an odd number of times, so small
    holes, as scans have them, do no harm. Single precision: right to 0.1 micrometres on scans and
    evenly meshed shapes, to 0.2 mm beside triangles a hundred times as long as wide.

    Args:
        mesh: in metres.
        points: (..., 3) in metres.

    Returns:
        (...) float32, metres.
    """
    query = np.ascontiguousarray(points, dtype=np.float32)
    return raycasting_scene(mesh).compute_signed_distance(query, nsamples=5).numpy()


def closest_surface(mesh: trimesh.Trimesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface nearest to each of some points.

    Args:
        mesh: in metres.
        points: (..., 3) in metres.

    Returns:
        Two (..., 3) float32 arrays: the nearest points of the surface, metres, and the outward unit
        normals of the triangles they lie on.
    """
    query = np.ascontiguousarray(points, dtype=np.float32)
    found = raycasting_scene(mesh).compute_closest_points(query)
    return found["points"].numpy(), mesh.face_normals[found["primitive_ids"].numpy()]


class DistanceGrid(nn.Module):
    """Signed distance sampled on a regular grid, differentiable in the query points.

    Of one object, or of several that it may be.

    Args:
        values: (X, Y, Z) distance at the nodes, metres, positive outside; or (K, X, Y, Z).
        lower, upper: (3,) first and last node, metres.
    """

    def __init__(self, values: np.ndarray, lower: np.ndarray, upper: np.ndarray):
        super().__init__()
        values = torch.as_tensor(values, dtype=torch.float32)
        values = values.reshape(-1, *values.shape[-3:])
        # In this order the last axis, along which memory goes, is x.
        self.register_buffer("values", values.permute(0, 3, 2, 1)[None].contiguous())
        self.register_buffer("lower", torch.as_tensor(lower, dtype=torch.float32))
        self.register_buffer("upper", torch.as_tensor(upper, dtype=torch.float32))

    @property
    def device(self) -> torch.device:
        return self.values.device

    @classmethod
    def from_mesh(
        cls, mesh: trimesh.Trimesh, pitch: float = 0.0025, margin: float = 0.04
    ) -> DistanceGrid:
        """Exact distances at the nodes of a grid around a mesh.

        Args:
            mesh: in metres.
            pitch: largest distance between nodes, metres.
            margin: how far the grid reaches beyond the mesh, metres.
        """
        return cls.from_meshes([mesh], pitch, margin)

    @classmethod
    def from_meshes(
        cls, meshes: Sequence[trimesh.Trimesh], pitch: float = 0.0025, margin: float = 0.04
    ) -> DistanceGrid:
        """The same of several that an object may be, in one grid."""
        bounds = np.stack([mesh.bounds for mesh in meshes])
        lower, upper = bounds[:, 0].min(axis=0) - margin, bounds[:, 1].max(axis=0) + margin
        nodes = _nodes(lower, upper, pitch)
        values = []
        for mesh in meshes:
            heed()
            values.append(signed_distance(mesh, nodes))
        return cls(np.stack(values), lower, upper)

    @classmethod
    def from_cloud(
        cls,
        points: np.ndarray,
        normals: np.ndarray,
        pitch: float = 0.004,
        margin: float = 0.04,
    ) -> DistanceGrid:
        """Distances at the nodes of a grid around a cloud of surface points.

        Within one point spacing of the cloud the distance is that to the planes of the nearest
        points, which keeps thin walls apart. Further off it is the distance to the nearest point,
        negative where the cloud winds around the node. So a closed cloud is solid throughout. One
        seen from a single side is solid behind its surface to about a quarter of its width. Beyond,
        where nobody knows, the distance has risen through zero to the unsigned one, so that no
        penetration is claimed there.

        Args:
            points: (N, 3) metres, evenly spaced (see `clouds.thin`).
            normals: (N, 3) outward unit normals.
            pitch: largest distance between nodes, metres; more where they would be too many.
            margin: how far the grid reaches beyond the points, metres.
        """
        nodes = nodes_around(points, pitch, margin)
        lower, upper = nodes[0, 0, 0], nodes[-1, -1, -1]
        tree = cKDTree(points)
        area = point_areas(tree)
        spacing = np.sqrt(np.median(area))
        places = nodes.reshape(-1, 3)
        to_points, _ = tree.query(places, workers=-1)
        winding = _winding_number(
            points - lower, normals * area[:, None], nodes.shape[:3], upper - lower, spacing
        )
        inside = (winding.ravel() - OUTSIDE_WINDING) / (INSIDE_WINDING - OUTSIDE_WINDING)
        side = 1 - 2 * np.clip(inside, 0, 1)
        values = _surface_distance(tree, normals, spacing, places, to_points, side)
        return cls(values.reshape(nodes.shape[:3]), lower, upper)

    def union(self, other: DistanceGrid) -> DistanceGrid:
        """Distance to both objects together, in this one's box."""
        values = self.values[0].permute(0, 3, 2, 1)
        values = torch.minimum(values, other.each(self.nodes()))
        return DistanceGrid(values, self.lower, self.upper)

    def beside(self, others: Sequence[DistanceGrid]) -> DistanceGrid:
        """Distance to each object that this and others may be, in the box of this."""
        nodes, values = self.nodes(), [self.values[0].permute(0, 3, 2, 1)]
        values += [other.each(nodes) for other in others]
        return DistanceGrid(torch.cat(values), self.lower, self.upper)

    def without(self, free: np.ndarray) -> DistanceGrid:
        """Distance to what isn't free, (X, Y, Z) bool at the nodes."""
        step = ((self.upper - self.lower).numpy() / (np.array(free.shape) - 1)).astype(float)
        carved = ndimage.distance_transform_edt(free, sampling=step)
        carved -= ndimage.distance_transform_edt(~free, sampling=step)
        carved -= np.sign(carved) * step.max() / 2  # the border lies between the nodes
        values = self.values[0].permute(0, 3, 2, 1)
        values = torch.maximum(values, torch.from_numpy(carved).float())
        return DistanceGrid(values, self.lower, self.upper)

    def leaning(self, deviations: float) -> DistanceGrid:
        """Distance to one surface for all that the object may be.

        Args:
            deviations: standard deviations that it lies deeper than their mean.
        """
        every, mean = self.values[0], self.values[0].mean(dim=0)
        spread = (every - mean).square().mean(dim=0).sqrt()  # torch.std takes six times as long
        values = (mean + deviations * spread).permute(2, 1, 0)
        return DistanceGrid(values, self.lower, self.upper)

    def middle(self) -> torch.Tensor:
        """(3,) centre of what is inside, metres, or of the box where no node is."""
        inside = (self.values[0].mean(dim=0) < 0).float()  # (Z, Y, X)
        inside = torch.where(inside.any(), inside, 1.0)
        counts = inside.shape[::-1]
        along = [inside.sum(dim=[d for d in range(3) if d != 2 - axis]) for axis in range(3)]
        share = [
            (one * torch.arange(count, device=one.device)).sum() / (one.sum() * (count - 1))
            for one, count in zip(along, counts, strict=True)
        ]
        return torch.lerp(self.lower, self.upper, torch.stack(share))

    def nodes(self) -> torch.Tensor:
        """(X, Y, Z, 3) the nodes, metres."""
        counts = self.values.shape[:1:-1]
        axes = [torch.linspace(*ends) for ends in zip(self.lower, self.upper, counts, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance, the mean where the object may be several, metres: see `each`.

        Args:
            points: (..., 3) metres.

        Returns:
            (...) metres.
        """
        return self.each(points).mean(dim=0)

    def each(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance to each object that it may be, metres.

        Outside the box it is the distance at the nearest point of the box plus the way there, so
        that its gradient leads back from anywhere.

        Args:
            points: (..., 3) metres.

        Returns:
            (K, ...) metres.
        """
        places = points.reshape(-1, 3).mT.contiguous()
        found = Trilinear.apply(places, self.values[0], self.lower, self.upper)
        return found.view(-1, *points.shape[:-1])


def _counts(size: np.ndarray, pitch: float) -> np.ndarray:
    """(3,) nodes along the sides of a box, at most `pitch` apart."""
    return np.ceil(size / pitch).astype(int) + 1


def _affordable_pitch(size: np.ndarray, pitch: float) -> float:
    """The pitch, or the least larger one with which nodes and waves of a box aren't too many."""
    while True:
        counts = _counts(size, pitch)
        if counts.prod() <= MOST_NODES and np.prod(_padded(counts)) <= MOST_WAVES:
            return pitch
        pitch *= 1.02


def _padded(shape: Sequence[int]) -> list[int]:
    """Nodes of the box in which the winding number is solved: larger by half its longest side."""
    return [fft.next_fast_len(int(n + max(shape) // 2), real=True) for n in shape]


def _nodes(lower: np.ndarray, upper: np.ndarray, pitch: float) -> np.ndarray:
    """(X, Y, Z, 3) float32 grid from lower to upper, at most `pitch` apart."""
    counts = _counts(upper - lower, pitch)
    axes = [np.linspace(*ends, dtype=np.float32) for ends in zip(lower, upper, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def nodes_around(points: np.ndarray, pitch: float = 0.004, margin: float = 0.04) -> np.ndarray:
    """(X, Y, Z, 3) float32 nodes of a grid around points (N, 3), see `DistanceGrid.from_cloud`."""
    lower, upper = points.min(axis=0) - margin, points.max(axis=0) + margin
    return _nodes(lower, upper, _affordable_pitch(upper - lower, pitch))


def near_surface(
    points: np.ndarray, normals: np.ndarray, places: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """(M,) signed distances of places to a cloud's surface, NaN from two spacings on, metres.

    Args:
        points, normals: (N, 3) as of `DistanceGrid.from_cloud`.
        places: (M, 3) metres.
        inside: (M,) bool, which are in the object, where the planes of the points don't tell.
    """
    tree = cKDTree(points)
    spacing = np.sqrt(np.median(point_areas(tree)))
    found = np.full(len(places), np.nan)
    away = tree.query(places, distance_upper_bound=2 * spacing, workers=-1)[0]
    near, side = np.isfinite(away), np.where(inside, -1.0, 1.0)
    told = (one[near] for one in (places, away, side))
    found[near] = _surface_distance(tree, normals, spacing, *told)
    return found


def point_areas(tree: cKDTree, neighbours: int = 8) -> np.ndarray:
    """(N,) surface area each point stands for, square metres."""
    radius = tree.query(tree.data, k=[neighbours + 1], workers=-1)[0][:, 0]
    return np.pi * radius**2 / (neighbours + 0.5)  # the disc cuts the outermost point in half


def _surface_distance(
    tree: cKDTree,
    normals: np.ndarray,
    spacing: float,
    places: np.ndarray,
    away: np.ndarray,
    side: np.ndarray,
) -> np.ndarray:
    """(M,) signed distances of places (M, 3), metres: to the points' planes within a spacing of
    them, from two on `away` (M,), the distance to the nearest, times `side` (M,)."""
    far = np.clip(away / spacing - 1, 0, 1)
    values = far * away * side
    near = far < 1
    values[near] += (1 - far[near]) * _plane_distance(tree, normals, spacing, places[near])
    return values


def _plane_distance(
    tree: cKDTree, normals: np.ndarray, spacing: float, nodes: np.ndarray
) -> np.ndarray:
    """(M,) signed distances of nodes (M, 3) to the tangent planes of the points around, metres.

    Only planes that face the same way as the most trusted one count, so that the two sides of a
    thin wall don't average out. Trusted is a point that is near and doesn't have the node behind
    it: where a wall is thinner than the spacing the nearest point may be that of the far side.
    """
    distance, nearest = tree.query(nodes, k=4, workers=-1)
    normal = normals[nearest]
    offset = np.einsum("mkd,mkd->mk", nodes[:, None] - tree.data[nearest], normal)
    trusted = np.argmin(distance + np.maximum(-offset, 0), axis=1)
    facing = np.einsum("md,mkd->mk", normal[np.arange(len(nodes)), trusted], normal)
    weight = np.maximum(facing, 0) ** 2 / (distance**2 + 0.1 * spacing**2)
    return (weight * offset).sum(1) / weight.sum(1)


def _winding_number(
    points: np.ndarray,
    area_normals: np.ndarray,
    shape: tuple[int, ...],
    size: np.ndarray,
    spacing: float,
) -> np.ndarray:
    """How often the cloud winds around each node: 1 inside a closed cloud, 0 outside.

    It is the function whose gradient is the field of inward area normals, solved by FFT in a larger
    box, so that the copies in the periodic world stay far (Kazhdan et al., Poisson Surface
    Reconstruction, 2006; Barill et al., Fast Winding Numbers, 2018).

    Args:
        points: (N, 3) metres from the first node.
        area_normals: (N, 3) outward normals times area.
        shape: nodes along x, y, z; size: (3,) from first to last node, metres.
        spacing: of the points, metres.

    Returns:
        (X, Y, Z) winding number.
    """
    step = size / (np.array(shape) - 1)
    padded = _padded(shape)
    cells = np.ravel_multi_index(np.rint(points / step).astype(int).T, padded)
    waves = [fft.fftfreq(n, s) for n, s in zip(padded[:2], step[:2], strict=True)]
    waves.append(fft.rfftfreq(padded[2], step[2]))
    wave = np.meshgrid(*waves, indexing="ij", sparse=True)
    wave = [(2 * np.pi * axis).astype(np.float32) for axis in wave]
    square = sum(axis**2 for axis in wave)
    square[0, 0, 0] = 1  # the mean is free
    divergence = 0
    for axis, component in zip(wave, area_normals.T, strict=True):
        field = np.bincount(cells, component / np.prod(step), np.prod(padded)).reshape(padded)
        divergence = divergence + axis * fft.rfftn(field.astype(np.float32), workers=-1)
    blur = np.float32((0.7 * spacing) ** 2 + (0.5 * step.max()) ** 2) / 2
    spectrum = 1j * divergence / square * np.exp(-blur * square)
    winding = fft.irfftn(spectrum, padded, workers=-1)
    winding -= np.mean([winding[-1].mean(), winding[:, -1].mean(), winding[:, :, -1].mean()])
    return winding[: shape[0], : shape[1], : shape[2]]
