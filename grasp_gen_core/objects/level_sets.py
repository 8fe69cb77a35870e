"""Watertight meshes of where a function is below zero, by marching tetrahedra."""

from __future__ import annotations

import numpy as np
import trimesh
from manifold3d import Manifold


def lattice(box: np.ndarray, pitch: float) -> np.ndarray:
    """(N, 3) the places at which `level_set` wants a function.

    Args:
        box: (6,) lowest and highest corner, metres.
        pitch: between the places, metres.
    """
    places: list[tuple[float, float, float]] = []
    Manifold.level_set(lambda *at: places.append(at) or -1.0, box.tolist(), pitch)
    return np.array(places)


def level_set(values: np.ndarray, box: np.ndarray, pitch: float) -> trimesh.Trimesh:
    """The surface of where a function is below zero, closed; no faces where it never is.

    Args:
        values: (N,) of the function, at the `lattice` of the same box and pitch.
    """
    inside = iter((-values).tolist())
    raw = Manifold.level_set(lambda *_: next(inside), box.tolist(), pitch).to_mesh()
    vertices, faces = np.array(raw.vert_properties[:, :3], float), np.array(raw.tri_verts)
    return trimesh.Trimesh(vertices, faces.astype(np.int64), process=False)
