"""How much of a hand's contact lies on surface that was seen."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.metrics.contact_ratio import CONTACT_DISTANCE

SEEN = 0.004  # metres beyond the contact distance that a seen point may be: clouds have gaps


def contact_seen(distance: Tensor, vertices: Tensor, points: Tensor) -> Tensor:
    """Share of the vertices in contact that are as near to a seen point as contact is.

    Args:
        distance: (B, V) signed distances of the hands' vertices to what the object is taken for.
        vertices: (B, V, 3) metres.
        points: (N, 3) what was seen, metres.

    Returns:
        (B,) in [0, 1], 0 where nothing touches.
    """
    touching = distance.abs() <= CONTACT_DISTANCE
    apart, _ = cKDTree(points.cpu().numpy()).query(
        vertices.cpu().numpy(), distance_upper_bound=CONTACT_DISTANCE + SEEN
    )
    near = torch.from_numpy(apart).to(distance.device).isfinite() & touching
    return near.sum(dim=1) / touching.sum(dim=1).clamp(min=1)
