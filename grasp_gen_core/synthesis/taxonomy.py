"""Human grasp types: pre-shape, approach, contact zones (after Feix et al. 2016's taxonomy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from grasp_gen_core.hand import ManoHand

ANY = (0.0, 1.0)


@dataclass(frozen=True)
class GraspType:
    """One way in which people hold things, and what a thing must be like to be held so.

    The measures of a place, in metres: its width is what lies between thumb and fingers, its
    thickness what lies behind the surface along the approach, its length what runs along the
    knuckles.

    Args:
        name: the taxonomy's term.
        share: how often it is tried where several types fit.
        closed, open: flexion in degrees of the MCP, PIP and DIP joints of index to little finger.
        thumb_closed, thumb_open: degrees of CMC flexion, CMC deviation, CMC twist, MCP flexion and
            IP flexion.
        fingers: contact weight of thumb, index, middle, ring and little finger.
        pads: contact weight of the distal, middle and proximal pads and of the palm.
        forward: how much of the approach runs along the fingers (the rest is the palm's normal).
        width, thickness, length: smallest and largest that it takes, metres.
        roundness: least ratio of the shorter to the longer of width and length.
        from_above: approaches downwards only.
        hole: needs free space for the fingers behind what they hold.
        by_side: the thumb presses against the index finger's radial side, not against pads.
        spread: degrees between neighbouring fingers.
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
    width: tuple[float, float]
    thickness: tuple[float, float] = ANY
    length: tuple[float, float] = ANY
    roundness: float = 0.0
    from_above: bool = False
    hole: bool = False
    by_side: bool = False
    spread: float = 0.0
    idle: tuple[float, float, float] = (45, 50, 30)

    @property
    def is_power(self) -> bool:
        """Whether the palm takes part."""
        return self.pads[3] > 0

    def is_held(self, touches: np.ndarray) -> bool:
        """Whether what takes part touches: the thumb, all but one of the fingers, the palm.

        Args:
            touches: (6,) bool, see hand.PARTS.
        """
        fingers = np.array(self.fingers[1:]) >= 0.5
        enough = touches[1:5][fingers].sum() >= max(1, fingers.sum() - 1)
        return bool(touches[0] and enough and (touches[5] or self.pads[3] < 0.8))

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
            # Deviation is positive towards the little finger; the middle finger stays.
            angles[first - 1, 1] = (finger - 2) * self.spread * opening
        thumb = torch.lerp(
            torch.tensor(self.thumb_closed, dtype=torch.float32),
            torch.tensor(self.thumb_open, dtype=torch.float32),
            opening,
        )
        angles[12], angles[13, 0], angles[14, 0] = thumb[:3], thumb[3], thumb[4]
        return torch.deg2rad(angles)


GRASP_TYPES = (
    GraspType(
        "power_wrap", 2.5,
        closed=(60, 80, 45), open=(30, 35, 20),
        thumb_closed=(15, -35, -25, 25, 25), thumb_open=(0, -30, -25, 5, 10),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0.6, 0.5, 1.0), forward=0.15,
        width=(0.012, 0.05), thickness=(0.012, 0.06), length=(0.06, 1),
    ),
    GraspType(
        "medium_wrap", 1.5,
        closed=(50, 65, 38), open=(15, 30, 18),
        thumb_closed=(5, -40, -28, 15, 20), thumb_open=(-12, -33, -25, 0, 8),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0.5, 0.4, 0.8), forward=0.18,
        width=(0.04, 0.075), thickness=(0.025, 0.12), length=(0.045, 1),
    ),
    GraspType(
        "large_diameter", 1.2,
        closed=(35, 50, 30), open=(5, 25, 15),
        thumb_closed=(0, -42, -30, 10, 15), thumb_open=(-20, -35, -25, 0, 5),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0.4, 0.2, 0.6), forward=0.2,
        width=(0.06, 0.115), thickness=(0.03, 1), length=(0.03, 1),
    ),
    GraspType(
        "tip_pinch", 0.5,
        closed=(55, 55, 38), open=(40, 42, 28),
        thumb_closed=(15, -42, -38, 15, 35), thumb_open=(0, -40, -32, 5, 20),
        fingers=(1, 1, 0, 0, 0), pads=(1, 0, 0, 0), forward=1.0,
        width=(0, 0.022), idle=(40, 45, 28),
    ),
    GraspType(
        "palmar_pinch", 0.5,
        closed=(60, 30, 12), open=(40, 20, 10),
        thumb_closed=(12, -40, -35, 10, 10), thumb_open=(0, -40, -30, 0, 5),
        fingers=(1, 1, 0.5, 0, 0), pads=(1, 0, 0, 0), forward=1.0,
        width=(0, 0.035),
    ),
    GraspType(
        "tripod", 0.7,
        closed=(55, 40, 20), open=(30, 25, 15),
        thumb_closed=(15, -42, -35, 15, 20), thumb_open=(0, -40, -30, 5, 5),
        fingers=(1, 1, 1, 0, 0), pads=(1, 0, 0, 0), forward=0.9,
        width=(0.005, 0.05),
    ),
    GraspType(
        "quadpod", 0.7,
        closed=(55, 40, 20), open=(25, 25, 15),
        thumb_closed=(15, -42, -35, 15, 20), thumb_open=(0, -40, -30, 0, 5),
        fingers=(1, 1, 1, 1, 0), pads=(1, 0, 0, 0), forward=0.9,
        width=(0.01, 0.065), length=(0.02, 1),
    ),
    GraspType(
        "lateral", 1.2,
        closed=(60, 65, 40), open=(50, 55, 35),
        thumb_closed=(-11, -3, 8, 35, 42), thumb_open=(-23, -10, 0, 28, 42),
        fingers=(1, 1, 0, 0, 0), pads=(1, 0, 0, 0), forward=0.0,
        width=(0, 0.016), length=(0.012, 1), by_side=True, idle=(60, 65, 40),
    ),
    GraspType(
        "sphere_4finger", 1.0,
        closed=(45, 40, 22), open=(12, 25, 15),
        thumb_closed=(12, -42, -35, 15, 15), thumb_open=(-10, -40, -30, 0, 5),
        fingers=(1, 1, 1, 1, 0), pads=(1, 0.3, 0, 0), forward=0.7,
        width=(0.035, 0.09), thickness=(0.012, 1), length=(0.03, 0.11),
        roundness=0.6, spread=7.0, idle=(35, 35, 20),
    ),
    GraspType(
        "disk", 1.0,
        closed=(45, 25, 15), open=(10, 15, 10),
        thumb_closed=(10, -42, -35, 10, 10), thumb_open=(-15, -38, -25, 0, 5),
        fingers=(1, 1, 1, 1, 1), pads=(1, 0, 0, 0), forward=1.0,
        width=(0.04, 0.105), thickness=(0.012, 1), length=(0.04, 0.14),
        roundness=0.7, from_above=True, spread=6.0,
    ),
    GraspType(
        "handle", 4.0,
        closed=(65, 85, 45), open=(40, 55, 30),
        thumb_closed=(15, -32, -22, 25, 25), thumb_open=(0, -28, -22, 10, 12),
        fingers=(1, 1, 1, 0.6, 0.3), pads=(1, 0.7, 0.6, 0.5), forward=0.1,
        width=(0, 0.035), thickness=(0, 0.03), length=(0.03, 1), hole=True,
    ),
    GraspType(
        "flat", 1.0,
        closed=(45, 20, 10), open=(12, 12, 8),
        thumb_closed=(5, -42, -35, 10, 10), thumb_open=(-15, -38, -25, 0, 5),
        fingers=(1, 1, 1, 1, 0.7), pads=(1, 0.2, 0, 0), forward=1.3,
        width=(0.012, 0.095), thickness=(0.008, 1), length=(0.05, 1), from_above=True,
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
        gap: (T, S) distance from the thumb's tip to what it presses against, metres.
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
    against = (joints[:, :, 17:21] * weights[:, None, :, None]).sum(dim=2)
    palm = vertices[:, :, hand.regions.zones == 5].mean(dim=2)
    forward = torch.tensor([kind.forward for kind in GRASP_TYPES], device=flat.device)
    approach = hand.regions.palm_axis + forward[:, None, None] * hand.regions.finger_axis
    approach = approach.expand_as(thumb).clone()
    by_side = torch.tensor([kind.by_side for kind in GRASP_TYPES], device=flat.device)
    against[by_side] = vertices[by_side][:, :, hand.regions.index_side].mean(dim=2)
    approach[by_side] = (thumb - joints[:, :, 15])[by_side]  # a key sticks out beyond the thumb
    gap = (against - thumb).norm(dim=-1)
    approach = normalize(approach, dim=-1)
    closing = against - thumb
    closing = normalize(closing - (closing * approach).sum(-1, keepdim=True) * approach, dim=-1)
    frame = torch.stack([approach, closing, torch.linalg.cross(approach, closing)], dim=-1)
    return PreShapes(angles.to(flat.device), frame, (thumb + against) / 2, palm, gap)
