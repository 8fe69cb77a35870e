"""Human grasp types: pre-shape, approach, contact zones (after Feix et al. 2016's taxonomy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grasp_gen_core.hand import ManoHand


@dataclass(frozen=True)
class GraspType:
    """One way in which people hold things.

    Args:
        name: the taxonomy's term.
        share: how often it is tried.
        closed, open: flexion in degrees of the MCP, PIP and DIP joints of index to little finger.
        thumb_closed, thumb_open: degrees of CMC flexion, CMC deviation, CMC twist, MCP flexion and
            IP flexion.
        fingers: contact weight of thumb, index, middle, ring and little finger.
        pads: contact weight of the distal, middle and proximal pads and of the palm.
        forward: how much of the approach runs along the fingers (the rest is the palm's normal).
        max_width: widest thing it spans, metres.
        idle: flexion in degrees of fingers that take no part.
    """

    name: str
    share: float
    closed: tuple[float, float, float]
    open: tuple[float, float, float]
    thumb_closed: tuple[float, float, float, float, float]
    thumb_open: tuple[float, float, float, float, float]
    fingers: tuple[float, float, float, float, float]
    pads: tuple[float, float, float, float]
    forward: float
    max_width: float
    idle: tuple[float, float, float] = (45, 50, 30)

    @property
    def is_power(self) -> bool:
        """Whether the palm takes part."""
        return self.pads[3] > 0

    def angles(self, opening: float) -> Tensor:
        """(15, 3) joint angles in radians, opening 0 (closed) to 1 (open)."""
        angles = torch.zeros(15, 3)
        # MANO's first joints of index, middle, ring, little.
        for finger, first in enumerate((1, 4, 10, 7), start=1):
            active = self.fingers[finger] > 0
            closed = self.closed if active else self.idle
            widest = self.open if active else self.idle
            angles[first - 1 : first + 2, 0] = torch.lerp(
                torch.tensor(closed, dtype=torch.float32),
                torch.tensor(widest, dtype=torch.float32),
                opening,
            )
        thumb = torch.lerp(
            torch.tensor(self.thumb_closed, dtype=torch.float32),
            torch.tensor(self.thumb_open, dtype=torch.float32),
            opening,
        )
        angles[12], angles[13, 0], angles[14, 0] = thumb[:3], thumb[3], thumb[4]
        return torch.deg2rad(angles)


GRASP_TYPES = (
    GraspType(
        "power_wrap", 0.27,
        closed=(60, 80, 45), open=(30, 35, 20),
        thumb_closed=(15, -35, -25, 25, 25), thumb_open=(0, -30, -25, 5, 10),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0.6, 0.5, 1.0), forward=0.15, max_width=0.07,
    ),
    GraspType(
        "large_diameter", 0.23,
        closed=(35, 50, 30), open=(5, 25, 15),
        thumb_closed=(0, -42, -30, 10, 15), thumb_open=(-20, -35, -25, 0, 5),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0.4, 0.2, 0.6), forward=0.2, max_width=0.11,
    ),
    GraspType(
        "precision_sphere", 0.2,
        closed=(50, 40, 20), open=(15, 25, 15),
        thumb_closed=(12, -42, -35, 15, 15), thumb_open=(-10, -40, -30, 0, 5),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0, 0, 0), forward=0.8, max_width=0.09,
    ),
    GraspType(
        "precision_disk", 0.08,
        closed=(45, 25, 15), open=(10, 15, 10),
        thumb_closed=(10, -42, -35, 10, 10), thumb_open=(-15, -38, -25, 0, 5),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0, 0, 0), forward=1.2, max_width=0.10,
    ),
    GraspType(
        "quadpod", 0.1,
        closed=(55, 40, 20), open=(25, 25, 15),
        thumb_closed=(15, -42, -35, 15, 20), thumb_open=(0, -40, -30, 0, 5),
        fingers=(1, 1, 1, 1, 0), pads=(1, 0, 0, 0), forward=0.9, max_width=0.06,
    ),
    GraspType(
        "tripod", 0.08,
        closed=(55, 40, 20), open=(30, 25, 15),
        thumb_closed=(15, -42, -35, 15, 20), thumb_open=(0, -40, -30, 5, 5),
        fingers=(1, 1, 1, 0, 0), pads=(1, 0, 0, 0), forward=0.9, max_width=0.05,
    ),
    GraspType(
        "palmar_pinch", 0.04,
        closed=(60, 30, 12), open=(40, 20, 10),
        thumb_closed=(12, -40, -35, 10, 10), thumb_open=(0, -40, -30, 0, 5),
        fingers=(1, 1, 0.5, 0, 0), pads=(1, 0, 0, 0), forward=1.0, max_width=0.035,
    ),
)  # fmt: skip


@dataclass
class PreShapes:
    """All pre-shapes of all types at several openings, with their frames in the hand.

    Args:
        angles: (T, S, 15, 3) radians.
        frame: (T, S, 3, 3) columns approach, closing (thumb to fingers), lateral axis.
        centre: (T, S, 3) point between thumb and fingers, metres.
        palm: (T, S, 3) middle of the palm's surface, metres.
        gap: (T, S) distance from the thumb's tip to the fingertips, metres.
    """

    angles: Tensor
    frame: Tensor
    centre: Tensor
    palm: Tensor
    gap: Tensor


def pre_shapes(hand: ManoHand, openings: int = 6) -> PreShapes:
    """Measure every type's pre-shapes on a hand of mean shape."""
    angles = torch.stack(
        [torch.stack([kind.angles(o) for o in np.linspace(0, 1, openings)]) for kind in GRASP_TYPES]
    )
    flat = angles.flatten(0, 1).to(hand.faces.device)
    mano = torch.zeros(len(flat), 61, device=flat.device)
    mano[:, 13:58] = hand.regions.to_pose(flat)
    with torch.no_grad():
        vertices, joints = (x.unflatten(0, angles.shape[:2]) for x in hand(mano))

    weights = torch.tensor([kind.fingers for kind in GRASP_TYPES], device=flat.device)[:, 1:]
    weights = weights / weights.sum(dim=1, keepdim=True)
    thumb = joints[:, :, 16]
    fingers = (joints[:, :, 17:21] * weights[:, None, :, None]).sum(dim=2)
    palm = vertices[:, :, hand.regions.zones == 5].mean(dim=2)
    forward = torch.tensor([kind.forward for kind in GRASP_TYPES], device=flat.device)
    approach = hand.regions.palm_axis + forward[:, None, None] * hand.regions.finger_axis
    approach = torch.nn.functional.normalize(approach, dim=-1).expand_as(thumb)
    closing = fingers - thumb
    gap = closing.norm(dim=-1)
    closing = closing - (closing * approach).sum(-1, keepdim=True) * approach
    closing = torch.nn.functional.normalize(closing, dim=-1)
    frame = torch.stack([approach, closing, torch.linalg.cross(approach, closing)], dim=-1)
    return PreShapes(angles.to(flat.device), frame, (thumb + fingers) / 2, palm, gap)
