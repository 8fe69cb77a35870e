"""Terms of generators' losses between a hand and points around the object."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.hand import vertex_normals


def nearest(points: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest vertex (B, N), differentiable, and that vertex' number (B, N).

    Args:
        points: (B, N, 3).
        vertices: (B, V, 3).
    """
    # Searched without a gradient: only the nearest of V vertices has one.
    with torch.no_grad():
        index = torch.cdist(points, vertices).argmin(dim=2)
    return (points - pick(vertices, index)).norm(dim=2), index


def pick(rows: Tensor, index: Tensor) -> Tensor:
    """(B, N, C) rows (B, V, C) with the numbers (B, N)."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def is_inside(points: Tensor, vertices: Tensor, index: Tensor, faces: Tensor) -> Tensor:
    """(B, N) whether points lie behind the hand's skin at their nearest vertex.

    Args:
        points: (B, N, 3).
        vertices: (B, V, 3).
        index: (B, N) numbers of the nearest vertices.
        faces: (F, 3) outward triangles.
    """
    with torch.no_grad():
        normals = vertex_normals(vertices, faces)
        outward = points - pick(vertices, index)
        return (outward * pick(normals, index)).sum(dim=2) < 0
