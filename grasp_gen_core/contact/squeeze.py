"""Where fingers are driven to, so that they press on the object with forces that balance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grasp_gen_core.contact.energies import surface_normal, thumb_against_fingers
from grasp_gen_core.contact.force_closure import TORQUE_LENGTH
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.mechanism import STRETCH, TORQUE
from grasp_gen_core.replay import Replay
from grasp_gen_core.types import HAND_POSE

TOUCHING, REACH = 0.005, 0.02  # metres: pads that press, and that fingers are brought to touch from
LOAD = 0.3  # share of its strength that the joint gives that works hardest
EVEN = 0.03  # how much it counts that thumb and fingers press alike, balance being 1
STEPS = 60


def squeeze(hand: ManoHand, mano: Tensor, distance: Callable[[Tensor], Tensor]) -> Tensor:
    """The hands that a grasp's fingers are to be driven towards, the wrist staying where it is.

    A controller that drives stiff joints to these poses presses at the pads with forces f that
    balance: each joint is off by its torque J^T f over its stiffness, that of `Mechanism`. Fingers
    that don't touch yet are first brought to the surface the shortest way, from up to 2 cm.

    Args:
        hand: the hand model.
        mano: (B, 61) grasps.
        distance: signed distance to the object, (B, N, 3) metres to (B, N).

    Returns:
        (B, 61), different from `mano` in hand_pose alone.
    """
    regions, anchors = hand.regions, hand.regions.anchors
    with torch.no_grad():
        points, _ = hand.carry(mano, anchors)
        gap, normals = distance(points), surface_normal(distance, points)
        force = balanced_forces(points, normals, gap < TOUCHING)
        slopes = hand.derivative(mano, anchors)[..., HAND_POSE].unflatten(3, (15, 3))
        # How far each pad goes into the object for a radian of flexion and of deviation.
        axes = regions.joint_axes[:, :2]
        inward = -torch.einsum("bkxjy,jay,bkx->bkja", slopes, axes, normals)
        strength = torch.tensor(TORQUE, device=mano.device).repeat(5)[:, None]
        load = torch.einsum("bk,bkja->bja", force, inward) / strength
        most = load.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
        offset = STRETCH * LOAD * load / most
        nearest, pad = gap[:, :25].view(-1, 5, 5).min(dim=2)
        pad = pad + 5 * torch.arange(5, device=mano.device)
        way = inward.gather(1, pad[..., None, None].expand(-1, -1, 15, 2))  # (B, 5, 15, 2)
        need = torch.where(nearest < REACH, nearest.clamp(min=0), 0.0)
        need = need / way.square().sum(dim=(2, 3)).clamp(min=1e-6)
        offset = offset + torch.einsum("bf,bfja->bja", need, way)
        angles = regions.to_angles(mano[:, HAND_POSE])
        angles[..., :2] += offset
        return torch.cat([mano[:, :13], regions.to_pose(angles), mano[:, 58:]], dim=1)


def balanced_forces(points: Tensor, normals: Tensor, touching: Tensor) -> Tensor:
    """How hard each anchor presses so that forces and torques nearly cancel.

    Least squares of the net wrench under f >= 0, by projected gradients, drawn towards the thumb
    pressing as strongly as the other fingers together. The palm presses only where that balances.

    Args:
        points, normals: (B, 32, 3) the hand's anchors, metres, and the object's outward unit
            normals there.
        touching: (B, 32) bool, which of them press.

    Returns:
        (B, 32), of no unit: the thumb's are 1 in all where it alone answers the fingers.
    """
    fingers = touching[:, :25].view(-1, 5, 5)
    some = fingers.any(dim=2)
    share = thumb_against_fingers(some + 1e-6) * some
    even = share[..., None] * fingers / fingers.sum(dim=2, keepdim=True).clamp(min=1)
    even = torch.cat([even.flatten(1), torch.zeros_like(points[:, 25:, 0])], dim=1)
    weight = even / even.sum(dim=1, keepdim=True).clamp(min=1e-9)
    arm = (points - torch.einsum("bk,bkx->bx", weight, points)[:, None]) / TORQUE_LENGTH
    wrench = torch.cat([normals, torch.linalg.cross(arm, normals)], dim=2) * touching[..., None]
    hessian = wrench @ wrench.mT + EVEN * torch.eye(points.shape[1], device=points.device)
    rate = 1 / hessian.abs().sum(dim=2).amax(dim=1, keepdim=True)
    force = even.clone()

    def step() -> None:
        slope = torch.einsum("bkl,bl->bk", hessian, force) - EVEN * even
        force.copy_((force - rate * slope).clamp(min=0) * touching)

    once = Replay(step, points.device)
    for _ in range(STEPS):
        once()
    return force
