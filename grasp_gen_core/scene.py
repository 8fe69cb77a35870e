"""What the pipeline's stages know of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import trimesh
from torch import Tensor

from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.frame import FieldInFrame, Frame
from grasp_gen_core.ranking.collision import Obstacles

if TYPE_CHECKING:
    from grasp_gen_core.generators.shape_autoencoder import Objects


class Scene(NamedTuple):
    """An object as it was seen, in a frame of its own, for right hands.

    Attributes:
        points: (N, 3) the points used, metres, in the caller's frame.
        frame: in which the rest is.
        cloud, normals: (N, 3) the points and their outward normals.
        toward: (3,) mean normal of what was seen; zero where that is all around.
        whole: (M, 3) points of all of the first of `shapes`, None where none was drawn,
            and for generators that know the object otherwise.
        grid: signed distance to the object, or to each of several that it may be.
        surface: signed distance to what hands act on, one for all that it may be.
        shapes: objects that it may be, in this frame, where some were drawn.
        objects: the same as they were drawn.
        obstacles: what stands around it, where that is known.
        up: (3,) unit vector against gravity, in the caller's frame, None where that isn't known.
        notes: on what was given.
    """

    points: np.ndarray
    frame: Frame
    cloud: Tensor
    normals: Tensor
    toward: Tensor
    whole: Tensor | None
    grid: DistanceGrid | FieldInFrame
    surface: DistanceGrid | FieldInFrame
    shapes: tuple[trimesh.Trimesh, ...]
    objects: Objects | None
    obstacles: Obstacles | None
    up: np.ndarray | None
    notes: list[str]
