"""Hands against what stands around an object: the table, and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.objects.clouds import thin
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.frame import Frame
from grasp_gen_core.objects.sampling import outward_normals
from grasp_gen_core.perception import FIRST_OBJECT, Segmentation
from grasp_gen_core.perception.plane import Plane

FREE = 0.005  # metres that a hand may be in what stands around: noise, and fingers that give way
NEAR = 0.05  # metres to a neighbour's seen surface, from where on nothing is known
ASIDE = 0.01  # metres beside its nearest point that a place behind a surface is
FEWEST, MOST = 12, 4096  # points of neighbours: fewer have no normals
REACH = 0.5  # metres from an object's middle, beyond which no hand gets that holds it
PITCH, MOST_NODES = 0.005, 300_000  # metres between the nodes of neighbours' distances, at least
STAGES = (0.0, 1 / 3, 2 / 3, 1.0)  # of the way from pre-grasp to grasp that are looked at


@dataclass(frozen=True)
class Surroundings:
    """What a hand must not touch.

    Args:
        plane: on which the object stands, its normal up; None without one.
        neighbours: (M, 3) points of everything else, metres, in the object's frame.
        viewpoint: (3,) from where they were seen, None where that isn't known.
    """

    plane: Plane | None
    neighbours: np.ndarray
    viewpoint: np.ndarray | None = None

    @classmethod
    def of(cls, seen: Segmentation, number: int) -> Surroundings:
        """What is around one object of a scene, by its label."""
        others = (seen.labels >= FIRST_OBJECT) & (seen.labels != number)
        return cls(seen.plane, seen.points[others].astype(np.float64), seen.viewpoint)


class Obstacles:
    """Surroundings in the frame in which an object is grasped.

    Args:
        around: in the caller's frame.
        frame: the object's.
        device: on which hands are.
    """

    def __init__(
        self, around: Surroundings, frame: Frame, device: torch.device | str = "cpu"
    ) -> None:
        self.normal, self.grid = None, None
        if around.plane is not None:
            normal, offset = around.plane
            foot = frame.origin - (normal @ frame.origin - offset) * normal
            normal = frame.turn_into(normal)
            self.offset = float(normal @ frame.into(foot))
            self.normal = torch.as_tensor(normal, dtype=torch.float32, device=device)
        if len(around.neighbours) >= FEWEST:
            points = frame.into(thin(around.neighbours, MOST))
            eye = None if around.viewpoint is None else frame.into(around.viewpoint)
            grid = _distances(points, outward_normals(points, eye))
            self.grid = None if grid is None else grid.to(device)

    def inside(self, places: Tensor) -> Tensor:
        """(...) metres that places (..., 3) are in the plane or in a neighbour, 0 outside."""
        depth = torch.zeros_like(places[..., 0])
        if self.normal is not None:
            depth = torch.relu(self.offset - places @ self.normal.to(places))
        if self.grid is not None:
            depth = torch.maximum(depth, -self.grid(places.float()))
        return depth

    def depth(self, vertices: Tensor) -> Tensor:
        """(B,) metres that hands (B, V, 3) are in at most."""
        return self.inside(vertices).amax(dim=1).float()


def _distances(points: np.ndarray, normals: np.ndarray) -> DistanceGrid | None:
    """Signed distance to what was seen of neighbours, NEAR where nothing is known; None if they are
    far from the origin.

    Args:
        points, normals: (N, 3) metres, about the object, and outward.
    """
    lower = (points.min(axis=0) - NEAR).clip(-REACH, REACH)
    upper = (points.max(axis=0) + NEAR).clip(-REACH, REACH)
    if not (lower < upper).all():
        return None
    pitch = max(PITCH, float(np.prod(upper - lower) / MOST_NODES) ** (1 / 3))
    counts = np.ceil((upper - lower) / pitch).astype(int) + 1
    axes = [np.linspace(*ends) for ends in zip(lower, upper, counts, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance, index = cKDTree(points).query(nodes, distance_upper_bound=NEAR, workers=-1)
    near = np.isfinite(distance)
    index, distance = index[near], distance[near]
    above = ((nodes[near] - points[index]) * normals[index]).sum(axis=1)
    values = np.full(len(nodes), NEAR, np.float32)
    # Beside the end of a surface nothing tells that it goes on.
    behind = distance**2 - above**2 < ASIDE**2
    values[near] = np.where(behind, above, distance)
    return DistanceGrid(values.reshape(counts), lower, upper)


def way(pregrasp: Tensor, mano: Tensor) -> Tensor:
    """(4, B, 61) the hand on its way from pre-grasp to grasp, both (B, 61)."""
    return torch.stack([torch.lerp(pregrasp, mano, stage) for stage in STAGES])
