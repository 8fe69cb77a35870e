"""Quick refiner: a few gradient steps of contact and penetration against the object's distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grasp_gen_core.contact import energies
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.variables import Descent, HandVariables
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.replay import Replay
from grasp_gen_core.stopping import heed

STEPS = 35
# A short memory: the first steps' steep penetration must not slow the later ones down.
BETAS = (0.3, 0.5)
# Skin gives way under what it holds: that deep it costs nothing, and pads are pressed in further.
# A hand that only touches lets go of what it should hold.
SKIN, SQUEEZE = 0.0012, 0.003  # metres
TIP_REACH, PAD_REACH = 4.0, 1.0  # cm from which fingertips, and other pads, are pulled
BLOCKED = 3.0  # weight of squared centimetres in what stands around


def refine(
    mano: Tensor,
    points: Tensor,
    grid: DistanceGrid,
    around: Callable[[Tensor], Tensor] | None = None,
    *,
    hand: ManoHand,
) -> Tensor:
    """Bring the pads to the surface and the rest out of it, near the proposed pose.

    Args:
        mano: (B, 61) proposed hands.
        points: (N, 3) the object, metres; torques are balanced about their mean.
        grid: signed distance of the object, from its mesh or its cloud.
        around: metres (B, V) that places (B, V, 3) are in what stands around the object.
        hand: the hand model.

    Returns:
        (B, 61) refined hands, joint angles within their limits.
    """
    regions, centre = hand.regions, points.mean(dim=0)
    variables = HandVariables(hand, mano)
    # Half of the vertices say as much of where the skin is too deep.
    flat = hand.flat(variables.betas, regions.sparse)
    flat, radii = energies.with_spheres(flat, variables.betas, hand)
    pads, skin = len(regions.anchors), len(regions.sparse)
    share = len(hand.parts) / skin
    # Whether a pad takes part follows from how near the proposal brought it.
    reach = torch.full((pads,), PAD_REACH, device=mano.device)
    reach[:25].view(5, 5)[:, 2:] = TIP_REACH
    unit = torch.eye(45, device=mano.device)
    uncoupled = energies.uncoupled(unit.unflatten(1, (15, 3)))
    proposed = variables.angles.detach().clone()
    start = variables.transl.detach().clone()
    strength = energies.thumb_against_fingers(torch.ones(len(mano), 5, device=mano.device))
    descent = Descent(variables, place=0.0035, turns=0.025, last=7e-4, steps=STEPS, betas=BETAS)

    def step() -> None:
        points, _ = variables.bend(flat)
        anchors, _, centres = points.split((pads, skin - pads, radii.numel()), dim=1)
        distance, bones = grid(points).split((skin, radii.numel()), dim=1)
        inside = energies.penetration(
            distance + SKIN, bones.unflatten(1, radii.shape) + SKIN, radii, share
        )
        pad = energies.anchor_contact(anchors, distance[:, :pads], reach, SQUEEZE)
        normals = energies.surface_normal(grid, pad.points)
        energy = (
            (pad.tip + 0.4 * pad.middle + 0.3 * pad.proximal).sum(dim=1)
            + pad.palm
            + 12 * inside
            + 4 * energies.self_penetration(centres.unflatten(1, radii.shape), radii)
            + energies.force_closure(pad.points, normals, strength, centre)
            + 0.3 * (variables.angles.flatten(1) @ uncoupled).square().sum(dim=1)
            + 0.1 * (variables.angles - proposed).square().sum(dim=(1, 2))
            + 0.02 * (energies.CM * (variables.transl - start)).square().sum(dim=1)
        )
        if around is not None:
            blocked = (energies.CM * around(points[:, :skin])).square().sum(dim=1)
            energy = energy + BLOCKED * share * blocked
        descent.step(energy)

    once = Replay(step, mano.device)
    for _ in range(STEPS):
        heed()
        once()
    return variables.mano()
