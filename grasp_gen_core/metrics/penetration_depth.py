"""Penetration depth: how deep the hand's deepest vertex lies inside the object."""

from __future__ import annotations

import torch
from torch import Tensor


def penetration_depth_cm(distance: Tensor) -> Tensor:
    """Largest distance from a hand vertex inside the object to its surface.

    Args:
        distance: (B, V) signed distances of the hand vertices to the object, metres, positive
            outside. Exact when they come from the mesh, an estimate when from a cloud.

    Returns:
        (B,) centimetres, 0 without penetration (GraspTTA, Table 1: "Max Depth").
    """
    return 100 * torch.relu(-distance).amax(dim=-1)
