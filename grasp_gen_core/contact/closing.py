"""What a hand gets hold of when its fingers bend on: an estimate of the closing test
(`metrics.grasp_success`) for many hands at once, on what the object is taken for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.contact.energies import surface_normal
from grasp_gen_core.contact.force_closure import TORQUE_LENGTH
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.hand.mechanism import TORQUE
from grasp_gen_core.metrics.grasp_success import BEND_ON, FINGER_SHARE, PRESETS, THUMB_SHARE
from grasp_gen_core.replay import Replay
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

STAGES = 5  # in which joints bend on by BEND_ON
FEELS = 0.001  # metres from which on a joint stops
TOUCHES, FADES = 0.002, 0.0007  # metres at which a contact counts half, and over which that fades
FRICTION, EDGES = PRESETS["strict"].friction[0], 4  # edges of a pyramid that stands for a cone
STRONGEST = 4.0  # weights of the object that an edge presses with at most
ITERATIONS, EASY = 60, 0.002  # of the least squares, and what large forces cost there
LEVER = 0.06  # metres from joint to contact


class Hold(NamedTuple):
    """What holds the object, of B hands.

    Attributes:
        slip: (B,) what is left of its weight, pulling along six directions, that the contacts don't
            answer: 0 where they bear all of it, about 1 where they bear nothing.
        push: (B,) N, the net wrench with which the fingers press.
        contacts: (B,) segments of the hand that touch.
        palm: (B,) how much the palm touches, in [0, 1].
    """

    slip: Tensor
    push: Tensor
    contacts: Tensor
    palm: Tensor


@torch.no_grad()
def hold(
    hand: ManoHand, mano: Tensor, distance: Callable[[Tensor], Tensor], centre: Tensor
) -> Hold:
    """How well hands hold an object once their fingers have bent on until they touch.

    Each of the hand's 16 segments touches at its deepest point. The contacts' forces lie in
    friction cones; torques count by levers of 5 cm.

    Args:
        hand: the hand model.
        mano: (B, 61) grasps.
        distance: signed distance to the object, (..., 3) metres to (...).
        centre: (3,) of its mass, metres.
    """
    points, depth = _bend_on(hand, mano, distance)
    turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])  # into the hand's own frame
    normals = surface_normal(distance, points) @ turn
    arm = (points - centre) @ turn / TORQUE_LENGTH
    touch = torch.sigmoid((TOUCHES - depth) / FADES)
    slip, push = _slip(arm, normals, touch), _push(arm, normals, touch)
    return Hold(slip, push, touch.sum(dim=1), touch[:, 0])


def _bend_on(
    hand: ManoHand, mano: Tensor, distance: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """(B, 16, 3) each segment's deepest point and (B, 16) its distance to the object, metres."""
    regions, sparse = hand.regions, hand.regions.sparse
    owner = hand.model.lbs_weights.argmax(dim=1)
    others = owner != torch.arange(16, device=owner.device)[:, None]
    # Half of the vertices say as much of where a joint stops.
    flat, elsewhere = hand.flat(mano[:, BETAS], sparse), others[:, sparse]
    wrist, transl = rotations.to_matrix(mano[:, GLOBAL_ORIENT]), mano[:, TRANSL]
    angles, most = regions.to_angles(mano[:, HAND_POSE]), regions.limits[:, 0, 1]
    for _ in range(STAGES):
        points, _ = hand.bend(flat, wrist, regions.to_pose(angles), transl)
        depth = (distance(points)[:, None] + elsewhere).amin(dim=2)
        # A joint stops when it, or what hangs on it, touches.
        touching = (depth[:, 1:] < FEELS).unflatten(1, (5, 3)).flip(2)
        touching = touching.cummax(dim=2).values.flip(2).flatten(1)
        on = torch.where(touching, 0.0, BEND_ON / STAGES)
        angles[..., 0] = torch.maximum(angles[..., 0], torch.minimum(angles[..., 0] + on, most))
    every = hand.flat(mano[:, BETAS], torch.arange(len(hand.parts), device=owner.device))
    points, _ = hand.bend(every, wrist, regions.to_pose(angles), transl)
    depth, deepest = (distance(points)[:, None] + others).min(dim=2)
    return points.gather(1, deepest[..., None].expand(-1, -1, 3)), depth


def _slip(arm: Tensor, normals: Tensor, touch: Tensor) -> Tensor:
    """(B,) mean over six directions of what no forces (least squares, f >= 0) answer."""
    helper = torch.eye(3, device=normals.device)[normals.abs().argmin(dim=-1)]
    first = functional.normalize(torch.linalg.cross(normals, helper), dim=-1)
    second = torch.linalg.cross(normals, first)
    turn = 2 * pi / EDGES * torch.arange(EDGES, device=normals.device)[:, None]
    across = turn.cos() * first[:, :, None] + turn.sin() * second[:, :, None]
    force = FRICTION * across - normals[:, :, None]
    wrench = torch.cat([force, torch.linalg.cross(arm[:, :, None], force)], dim=-1)
    wrench = (touch[..., None, None] * wrench).flatten(1, 2)  # (B, 16 * EDGES, 6)
    eye = torch.eye(3, device=normals.device)
    weight = torch.cat([torch.cat([eye, -eye]), eye.new_zeros(6, 3)], dim=1)
    # In six dimensions the steepest slope is as in all, and bounded better.
    steepest = (wrench.mT @ wrench).abs().sum(dim=2).amax(dim=1)
    rate = 1 / (steepest + EASY)[:, None, None]
    found = wrench.new_zeros(len(wrench), len(weight), wrench.shape[1])
    ahead, count = found.clone(), wrench.new_zeros(())

    def step() -> None:  # Nesterov's, projected
        slope = (ahead @ wrench + weight) @ wrench.mT + EASY * ahead
        new = (ahead - rate * slope).clamp(0, STRONGEST)
        ahead.copy_(new + count / (count + 3) * (new - found))
        found.copy_(new)
        count.add_(1)

    once = Replay(step, wrench.device)
    for _ in range(ITERATIONS):
        once()
    return (found @ wrench + weight).norm(dim=2).mean(dim=1)


def _push(arm: Tensor, normals: Tensor, touch: Tensor) -> Tensor:
    """(B,) N, net wrench of fingers that press along the normals as strongly as they can."""
    parts = touch[:, 1:].unflatten(1, (5, 3)).unbind(dim=2)
    share = torch.stack([part * most for part, most in zip(parts, TORQUE, strict=True)], dim=2)
    share = share / share.sum(dim=2, keepdim=True).clamp(min=0.2)
    press = torch.cat([FINGER_SHARE * share[:, :4], THUMB_SHARE * share[:, 4:]], dim=1)
    press = press.flatten(1) / LEVER
    force = -normals[:, 1:] * press[..., None]
    wrench = torch.cat([force, torch.linalg.cross(arm[:, 1:], force)], dim=-1)
    return wrench.sum(dim=1).norm(dim=1)
