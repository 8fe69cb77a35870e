"""The score by which grasps are ranked, and what it is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.contact import energies
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers, finger_touches
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.objects.distance import DistanceGrid

CLEARANCE, TOLERANCE = 0.001, 0.0015  # metres: bones of hands that touch stay 2 mm and more outside


def score_grasps(
    vertices: Tensor,
    joints: Tensor,
    approach: Tensor,
    hand: ManoHand,
    grid: DistanceGrid,
    normals: Tensor,
    centre: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Score each hand on the object as far as the cloud shows it.

    Where the object may be several, score and metrics are the means over them.

    score = touch * depth * clear * balance * sight, each in [0, 1]:
        touch    share of the five fingers within 5 mm, halved without the thumb;
        depth    exp(-(penetration depth / 5 mm)^2);
        clear    0.2 + 0.8 exp(-((1 mm - c) / 1.5 mm)^2) for c < 1 mm, else 1; c is the distance of
                 the fingers' bones to the object: no finger goes through a wall;
        balance  0.1 + 0.9 exp(-w / 2), w the squared net wrench of thumb against fingers;
        sight    1 - max(0, approach . mean outward normal): a one-sided cloud is grasped from
                 the side that was seen (on a closed cloud the mean normal vanishes).

    Args:
        vertices: (B, 778, 3) and joints: (B, 21, 3) metres; approach: (B, 3) unit vectors.
        hand: the hand model.
        grid: signed distance of the object.
        normals: (N, 3) the cloud's outward normals.
        centre: (3,) the cloud's middle, metres.

    Returns:
        (B,) scores and the metrics behind them, each (B,).
    """
    distance = grid.each(vertices)
    several = len(distance)
    distance = distance.flatten(0, 1)  # (K * B, V)
    touches = finger_touches(distance, hand.parts)
    metrics = {
        "penetration_depth_cm": penetration_depth_cm(distance),
        "contact_fingers": contact_fingers(distance, hand.parts),
        "contact_ratio_pct": contact_ratio_pct(distance),
    }
    pads = energies.pad_contact(vertices.repeat(several, 1, 1), distance, hand.regions)
    strength = energies.thumb_against_fingers(touches.float() + 1e-3)
    pressing = energies.surface_normal(grid, pads.points)
    wrench = energies.force_closure(pads.points, pressing, strength, centre)
    touch = metrics["contact_fingers"] / 5 * torch.where(touches[:, 0], 1.0, 0.5)
    depth = torch.exp(-((metrics["penetration_depth_cm"] / 0.5) ** 2))
    balance = 0.1 + 0.9 * torch.exp(-wrench / 2)
    bones, _ = energies.bone_spheres(joints, hand.regions, per_bone=8)
    clearance = grid.each(bones).amin(dim=(2, 3)).flatten()
    pierced = (CLEARANCE - clearance).clamp(min=0) / TOLERANCE
    clear = 0.2 + 0.8 * torch.exp(-pierced.square())
    metrics |= {"bone_clearance_cm": 100 * clearance, "net_wrench": wrench}
    score = (touch * depth * clear * balance).view(several, -1).mean(dim=0)
    sight = 1 - (approach @ normals.mean(dim=0)).clamp(0, 1)
    means = {name: value.view(several, -1).mean(dim=0) for name, value in metrics.items()}
    return score * sight, means
