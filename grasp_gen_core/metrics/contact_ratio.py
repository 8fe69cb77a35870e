"""Contact ratio: whether a grasp touches the object at all."""

from __future__ import annotations

from torch import Tensor

CONTACT_DISTANCE = 0.005  # metres


def contact_ratio_pct(distance: Tensor) -> Tensor:
    """100 for each grasp with a vertex within 5 mm of the object or inside it, else 0.

    Args:
        distance: (B, V) signed distances of the hand vertices to the object, metres.

    Returns:
        (B,) percent; its mean is the share of grasps in contact (GraspTTA, Table 1).
    """
    return 100.0 * (distance <= CONTACT_DISTANCE).any(dim=-1)
