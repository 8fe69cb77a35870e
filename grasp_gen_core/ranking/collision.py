"""Hands against what stands around an object: the table, and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.objects.clouds import thin
from grasp_gen_core.objects.frame import Frame
from grasp_gen_core.objects.sampling import outward_normals
from grasp_gen_core.perception import FIRST_OBJECT, Segmentation
from grasp_gen_core.perception.plane import Plane

FREE = 0.005  # metres that a hand may be in what stands around: noise, and fingers that give way
NEAR = 0.05  # metres to a neighbour's seen surface, from where on nothing is known
ASIDE = 0.01  # metres beside its nearest point that a place behind a surface is
FEWEST, MOST = 12, 4096  # points of neighbours: fewer have no normals
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
    """

    def __init__(self, around: Surroundings, frame: Frame) -> None:
        self.plane, self.tree = None, None
        if around.plane is not None:
            normal, offset = around.plane
            foot = frame.origin - (normal @ frame.origin - offset) * normal
            normal = frame.turn_into(normal)
            self.plane = Plane(normal, float(normal @ frame.into(foot)))
        if len(around.neighbours) >= FEWEST:
            points = frame.into(thin(around.neighbours, MOST))
            eye = None if around.viewpoint is None else frame.into(around.viewpoint)
            self.normals, self.tree = outward_normals(points, eye), cKDTree(points)

    def depth(self, vertices: Tensor) -> Tensor:
        """How deep hands are in the plane or in a neighbour.

        Args:
            vertices: (B, V, 3) metres.

        Returns:
            (B,) metres, 0 where they are free.
        """
        places = vertices.cpu().numpy()
        deepest = np.zeros(len(places), np.float32)
        if self.plane is not None:
            deepest = np.maximum(deepest, -self.plane.height(places).min(axis=1))
        if self.tree is not None:
            flat = places.reshape(-1, 3)
            distance, index = self.tree.query(flat, distance_upper_bound=NEAR)
            near = np.isfinite(distance)
            index = index[near]
            above = ((flat[near] - self.tree.data[index]) * self.normals[index]).sum(axis=1)
            depth = np.zeros(len(flat), np.float32)
            # Beside the end of a surface nothing tells that it goes on.
            behind = distance[near] ** 2 - above**2 < ASIDE**2
            depth[near] = np.where(behind, -above, 0)
            deepest = np.maximum(deepest, depth.reshape(places.shape[:2]).max(axis=1))
        return torch.from_numpy(deepest.astype(np.float32)).to(vertices.device)


def way(pregrasp: Tensor, mano: Tensor) -> Tensor:
    """(4, B, 61) the hand on its way from pre-grasp to grasp, both (B, 61)."""
    return torch.stack([torch.lerp(pregrasp, mano, stage) for stage in STAGES])
