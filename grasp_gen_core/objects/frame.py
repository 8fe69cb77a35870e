"""The frame in which an object is grasped: where it lies makes no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import trimesh
from torch import nn

if TYPE_CHECKING:
    from grasp_gen_core.objects.distance import DistanceGrid

# Metres: no camera tells less apart, and what turning a cloud does to its last digits is nearly
# always rounded away. Choices further on depend on them.
STEP = 2.0**-14
MIRROR = np.array([-1.0, 1.0, 1.0])  # in x, as hands are mirrored


class Frame(NamedTuple):
    """An object's own frame, in which everything is near zero, in float64.

    A point there is `(point - origin) @ rotation`, mirrored in x if `mirrored`.

    Attributes:
        rotation: (3, 3) proper; its columns are the frame's axes.
        origin: (3,) metres.
        mirrored: for left hands, which are grasped with as right ones.
    """

    rotation: np.ndarray
    origin: np.ndarray
    mirrored: bool

    @classmethod
    def of(cls, points: np.ndarray, mirrored: bool = False) -> Frame:
        """The principal frame of points (N, 3), each axis towards its longer tail.

        A moved cloud has an equally moved frame, and a cloud's mirror image the same coordinates in
        its mirrored frame.
        """
        about = points[0].astype(np.float64)  # far away, a sum of all would lose digits
        origin = about + (points - about).mean(axis=0)
        centred = points - origin
        axes = np.linalg.eigh(centred.T @ centred)[1]
        tails = ((centred @ axes) ** 3).sum(axis=0)
        axes *= np.where(tails < 0, -1, 1)
        if (np.linalg.det(axes) < 0) != mirrored:
            axes[:, np.abs(tails).argmin()] *= -1
        return cls(axes * MIRROR if mirrored else axes, origin, mirrored)

    def into(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) float32 coordinates in the frame of points (..., 3), metres, in whole STEPs."""
        local = self._mirror((points - self.origin) @ self.rotation)
        return (STEP * np.rint(local / STEP)).astype(np.float32)

    def turn_into(self, directions: np.ndarray) -> np.ndarray:
        """(..., 3) float32 directions (..., 3) in the frame."""
        return (STEP * np.rint(self._mirror(directions @ self.rotation) / STEP)).astype(np.float32)

    def out(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) float64 points of the frame where they lie."""
        return self.turn_out(points) + self.origin

    def turn_out(self, directions: np.ndarray) -> np.ndarray:
        """(..., 3) float64 directions of the frame as they are outside."""
        return self._mirror(directions.astype(np.float64)) @ self.rotation.T

    def mesh_out(self, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        """A mesh of the frame where it lies, its faces outward."""
        faces = mesh.faces[:, ::-1] if self.mirrored else mesh.faces
        return trimesh.Trimesh(self.out(mesh.vertices), faces, process=False)

    def _mirror(self, points: np.ndarray) -> np.ndarray:
        return points * MIRROR if self.mirrored else points


class FieldInFrame(nn.Module):
    """Signed distance in a frame, of one that is known outside.

    Args:
        field: of points (..., 3) outside.
        frame: in which it is asked.
    """

    def __init__(self, field: DistanceGrid, frame: Frame) -> None:
        super().__init__()
        self.field, self.frame = field, frame
        mirror = MIRROR[:, None] if frame.mirrored else 1.0
        rows = mirror * frame.rotation.T
        self.register_buffer("rows", torch.from_numpy(rows).float())
        self.register_buffer("origin", torch.from_numpy(frame.origin).float())

    @property
    def device(self) -> torch.device:
        return self.origin.device

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """(...) metres, of points (..., 3) in the frame."""
        return self.each(points).mean(dim=0)

    def each(self, points: torch.Tensor) -> torch.Tensor:
        """(K, ...) metres to each object that it may be."""
        return self.field.each(points @ self.rows + self.origin)

    def middle(self) -> torch.Tensor:
        """(3,) centre of what is inside, metres, in the frame, see `DistanceGrid`."""
        return (self.field.middle() - self.origin) @ self.rows.T

    def leaning(self, deviations: float) -> FieldInFrame:
        """Distance to one surface for all that the object may be, see `DistanceGrid`."""
        return FieldInFrame(self.field.leaning(deviations), self.frame)
