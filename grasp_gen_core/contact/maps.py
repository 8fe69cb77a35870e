"""Contact maps: how near each object point is to the hand."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

CHUNK = 32  # hands
LEAF = 48  # vertices that a tree's leaf holds: of 8 to 48 the fastest


def contact_map(points: Tensor, vertices: Tensor) -> Tensor:
    """Contact of object points with a hand (GraspTTA, Sec. 2.1).

    f(D) = 1 - 2 (sigmoid(2 D) - 0.5) of the distance D to the nearest hand vertex. The paper
    leaves D's unit open; centimetres make contact fall from 1 to 0.24 at 1 cm, 0.04 at 2 cm.

    Args:
        points: (B, N, 3) or (N, 3) object points, metres.
        vertices: (B, V, 3) hand vertices, metres.

    Returns:
        (B, N) in [0, 1], without a slope.
    """
    points = points.expand(len(vertices), -1, -1)
    if vertices.device.type == "cpu":  # a quarter of the time that all distances take there
        trees = [cKDTree(one, LEAF, False, balanced_tree=False) for one in vertices]
        found = [tree.query(p)[0] for tree, p in zip(trees, points, strict=True)]
        return contact_value(torch.from_numpy(np.float32(found)))
    # Some hands at a time: all distances of a thousand hands would take 6 GB.
    pairs = zip(points.split(CHUNK), vertices.split(CHUNK), strict=True)
    return contact_value(torch.cat([nearest(p, v)[0] for p, v in pairs]))


def nearest(points: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest vertex (B, N), differentiable, and that vertex' number (B, N).

    Args:
        points: (B, N, 3).
        vertices: (B, V, 3).
    """
    # Searched without a gradient: only the nearest of V vertices has one.
    with torch.no_grad():
        index = _order(points, vertices).argmin(dim=2)
    return (points - pick(vertices, index)).norm(dim=2), index


def distances(points: Tensor, others: Tensor) -> Tensor:
    """(B, N, V) from points (B, N, 3) to others (B, V, 3), as exact far from the origin as near it.

    By a matrix product, which is cdist's default, they are off by millimetres 20 m away.
    """
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def _order(points: Tensor, others: Tensor) -> Tensor:
    """(B, N, V) numbers in the order of `distances`, without a slope."""
    if points.device.type == "cpu":
        return distances(points, others)
    # CUDA's cdist gives each pair a block of threads.
    pairs = zip(points.unbind(-1), others.unbind(-1), strict=True)
    return sum((a[..., None] - b[..., None, :]).square() for a, b in pairs)


def pick(rows: Tensor, index: Tensor) -> Tensor:
    """(B, N, C) rows (B, V, C) with the numbers (B, N)."""
    if rows.device.type != "cpu":  # the gradient of `gather` is summed in any order there
        return rows[torch.arange(len(rows), device=rows.device)[:, None], index]
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def contact_value(distance: Tensor) -> Tensor:
    """f(D) of the distances in metres."""
    return 2 - 2 * torch.sigmoid(200 * distance)
