"""Contact maps: how near each object point is to the hand."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 32  # hands


def contact_map(points: Tensor, vertices: Tensor) -> Tensor:
    """Contact of object points with a hand (GraspTTA, Sec. 2.1).

    f(D) = 1 - 2 (sigmoid(2 D) - 0.5) of the distance D to the nearest hand vertex. The paper
    leaves D's unit open; centimetres make contact fall from 1 to 0.24 at 1 cm, 0.04 at 2 cm.

    Args:
        points: (B, N, 3) or (N, 3) object points, metres.
        vertices: (B, V, 3) hand vertices, metres.

    Returns:
        (B, N) in [0, 1].
    """
    points = points.expand(len(vertices), -1, -1)
    # Some hands at a time: all distances of a thousand hands would take 6 GB.
    pairs = zip(points.split(CHUNK), vertices.split(CHUNK), strict=True)
    return contact_value(torch.cat([torch.cdist(p, v).amin(dim=2) for p, v in pairs]))


def contact_value(distance: Tensor) -> Tensor:
    """f(D) of the distances in metres."""
    return 2 - 2 * torch.sigmoid(200 * distance)
