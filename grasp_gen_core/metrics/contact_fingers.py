"""Contact fingers: how many of the five fingers touch the object."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.metrics.contact_ratio import CONTACT_DISTANCE


def contact_fingers(distance: Tensor, parts: Tensor) -> Tensor:
    """Fingers (0..5) with a vertex within 5 mm of the object's surface or inside it.

    Args:
        distance: (B, V) signed distances of the hand vertices to the object, metres.
        parts: (V,) 0..4 = thumb to little finger, other numbers = no finger.

    Returns:
        (B,) number of fingers, as float.
    """
    return finger_touches(distance, parts).sum(dim=1).float()


def finger_touches(distance: Tensor, parts: Tensor) -> Tensor:
    """(B, 5) bool: thumb, index, middle, ring, little in contact; arguments as above."""
    owned = parts == torch.arange(5, device=parts.device)[:, None]
    return ((distance <= CONTACT_DISTANCE)[:, None] & owned).any(dim=2)
