"""Grasps on a known mesh: human starts, then batched optimisation of wrist and joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
import trimesh
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.contact import energies
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.variables import HandVariables
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES, PreShapes, pre_shapes

ADAM_BETAS = (0.7, 0.8)  # a short memory: steep penetration at first must not slow contact later
OVERSAMPLE = 6  # starts tried for each that is optimised


@dataclass
class Candidates:
    """Hands at one object with the grasp type each came from.

    Args:
        mano: (B, 61) parameters.
        kind: (B,) long, index into GRASP_TYPES.
    """

    mano: Tensor
    kind: Tensor


def object_grid(mesh: trimesh.Trimesh, device: torch.device) -> DistanceGrid:
    """A distance grid fine enough for thin walls: nodes 1.5 to 2.5 mm apart."""
    pitch = float(np.clip(mesh.extents.max() / 60, 0.0015, 0.0025))
    return DistanceGrid.from_mesh(mesh, pitch=pitch, margin=0.03).to(device)


def optimise_grasps(
    mesh: trimesh.Trimesh, hand: ManoHand, count: int, seed: int, steps: int = 100
) -> Candidates:
    """Optimise `count` hands around a watertight mesh; many, not all, will be good grasps.

    Args:
        mesh: watertight, metres.
        hand: the hand model; its device is used.
        count: hands to return.
        seed: same seed, same hands.
        steps: Adam steps.

    Raises:
        ValueError: if no grasp type spans the object anywhere.
    """
    device = hand.faces.device
    rng = torch.Generator(device="cpu").manual_seed(seed)
    grid = object_grid(mesh, device)
    shapes = pre_shapes(hand)
    starts = place_hands(mesh, grid, hand, shapes, count * OVERSAMPLE, rng)
    if not len(starts.mano):
        widest = 100 * max(kind.max_width for kind in GRASP_TYPES)
        raise ValueError(f"too wide for a hand everywhere: accepted is up to {widest:.0f} cm")
    starts = best_starts(starts, grid, hand, count)
    centre = torch.as_tensor(mesh.center_mass, dtype=torch.float32, device=device)
    return close_hands(starts, grid, hand, centre, steps)


def place_hands(
    mesh: trimesh.Trimesh,
    grid: DistanceGrid,
    hand: ManoHand,
    shapes: PreShapes,
    count: int,
    rng: torch.Generator,
) -> Candidates:
    """Pre-shaped hands in front of random places, opened to the width they have to span."""
    device = hand.faces.device
    seed = int(torch.randint(2**31, (1,), generator=rng))
    surface, normals = sample_surface(mesh, count, seed)
    surface = torch.as_tensor(surface, dtype=torch.float32, device=device)
    normals = torch.as_tensor(normals, dtype=torch.float32, device=device)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(device)

    share = torch.tensor([kind.share for kind in GRASP_TYPES])
    kind = torch.multinomial(share, count, replacement=True, generator=rng).to(device)
    max_width = torch.tensor([k.max_width for k in GRASP_TYPES], device=device)[kind]

    power = torch.tensor([k.is_power for k in GRASP_TYPES], device=device)[kind]
    # Palms and half of the fingertips take a hollow thing by its outside, the others by its wall.
    whole = power | (torch.rand(count, generator=rng).to(device) < 0.5)
    approach = -functional.normalize(normals + 0.3 * noise(count, 3), dim=1)
    thickness = path_inside(grid, surface + 0.002 * approach, approach, 0.14, whole)
    depth = (thickness / 2).clamp(max=0.03)
    middle = surface + depth[:, None] * approach

    # The roll about the approach whose closing axis meets the least material, with some noise.
    rolls = 12
    first = functional.normalize(torch.linalg.cross(approach, noise(count, 3)), dim=1)
    second = torch.linalg.cross(approach, first)
    angle = torch.arange(rolls, device=device) * (2 * torch.pi / rolls)
    closing = first[:, None] * angle.cos()[:, None] + second[:, None] * angle.sin()[:, None]
    origin = middle[:, None].expand(-1, rolls, -1)
    ahead = path_inside(grid, origin, closing, 0.14, whole[:, None])
    behind = path_inside(grid, origin, -closing, 0.14, whole[:, None])
    width = ahead + behind
    roll = (width + 0.012 * noise(count, rolls)).argmin(dim=1)
    row = torch.arange(count, device=device)
    width, closing = width[row, roll], closing[row, roll]
    middle = middle + (ahead - behind)[row, roll, None] / 2 * closing

    gap = shapes.gap[kind]
    opening = (gap < (width + 0.025)[:, None]).sum(dim=1).clamp(max=gap.shape[1] - 1)
    local, centre = shapes.frame[kind, opening], shapes.centre[kind, opening]
    target = torch.stack([approach, closing, torch.linalg.cross(approach, closing)], dim=-1)
    rotation = target @ local.mT

    # Power grasps bring the palm to the surface, precision grasps the fingertips to the middle.
    reach = ((centre - shapes.palm[kind, opening]) * local[..., 0]).sum(dim=1)
    palm_first = reach - depth - torch.where(power, 0.012, 0.025)
    advance = torch.where(power, palm_first, palm_first.clamp(max=0))
    target_centre = middle + advance[:, None] * approach

    mano = torch.zeros(count, 61, device=device)
    mano[:, :10] = (0.7 * noise(count, 10)).clamp(-2, 2)
    angles = shapes.angles[kind, opening] + 0.08 * noise(count, 15, 3)
    low, high = hand.regions.limits.unbind(-1)
    mano[:, 10:13] = roma.rotmat_to_rotvec(rotation)
    mano[:, 13:58] = hand.regions.to_pose(angles.clamp(low, high))
    root = hand(torch.zeros(1, 61, device=device))[1][0, 0]
    # MANO turns about the wrist joint: x -> R (x - root) + root + transl.
    mano[:, 58:] = target_centre - (rotation @ (centre - root)[..., None])[..., 0] - root
    # A palm closes around a body, not on the edge of a wall; people don't reach up from below.
    body = ~power | (torch.minimum(thickness, width) > 0.012)
    spans = (width <= max_width) & body & (approach[:, 2] < 0.5)
    return Candidates(mano[spans], kind[spans])


def path_inside(
    grid: DistanceGrid, origin: Tensor, direction: Tensor, longest: float, whole: Tensor
) -> Tensor:
    """(...) metres from a point to where a ray leaves the object: for the last time where `whole`
    (across a mug), else for the first (through its wall)."""
    steps = torch.linspace(0, longest, 36, device=origin.device)
    points = origin[..., None, :] + steps[:, None] * direction[..., None, :]
    outside = (grid(points.flatten(0, -3)) > 0).view(*origin.shape[:-1], -1)
    first = torch.cat([outside[..., :-1], torch.ones_like(outside[..., :1])], dim=-1).float()
    last = (~outside).float() * torch.arange(1, 37, device=origin.device)
    index = torch.where(whole, last.amax(dim=-1).long().clamp(max=35), first.argmax(dim=-1))
    return steps[index]


def best_starts(starts: Candidates, grid: DistanceGrid, hand: ManoHand, count: int) -> Candidates:
    """Of each grasp type the same share: starts that penetrate least, finger pads nearest."""
    with torch.no_grad():
        vertices, _ = hand(starts.mano)
        distance = 100 * grid(vertices)
    inside = functional.relu(-distance).square().sum(dim=1)
    pads = distance[:, hand.regions.anchors[:25]].abs().view(-1, 5, 5).amin(dim=2).sum(dim=1)
    cost = 0.1 * inside + pads
    rank = torch.zeros_like(cost)
    for kind in range(len(GRASP_TYPES)):
        same = (starts.kind == kind).nonzero()[:, 0]
        rank[same] = cost[same].argsort().argsort() / len(same)
    order = rank.argsort(stable=True)[:count]
    return Candidates(starts.mano[order], starts.kind[order])


def close_hands(
    starts: Candidates, grid: DistanceGrid, hand: ManoHand, centre: Tensor, steps: int
) -> Candidates:
    """Minimise the grasp energy over wrist and joints; Adam, limits enforced after each step."""
    regions, kind = hand.regions, starts.kind
    fingers = torch.tensor([k.fingers for k in GRASP_TYPES], device=kind.device)[kind]
    pads = torch.tensor([k.pads for k in GRASP_TYPES], device=kind.device)[kind]
    variables = HandVariables(hand, starts.mano)
    relaxed = variables.angles.detach().clone()
    optimiser = torch.optim.Adam(
        [
            {"params": [variables.transl], "lr": 0.003},
            {"params": [variables.rotation, variables.angles], "lr": 0.03},
        ],
        betas=ADAM_BETAS,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=3e-4)
    strength = energies.thumb_against_fingers(fingers)
    for _ in range(steps):
        optimiser.zero_grad()
        vertices, joints = variables.surface()
        distance = grid(vertices)
        centres, radii = energies.bone_spheres(joints, regions)
        sphere_distance = grid(centres)

        pad = energies.pad_contact(vertices, distance, regions)
        contact = (
            pads[:, 0] * (fingers * pad.tip).sum(dim=1)
            + 0.5 * pads[:, 1] * (fingers * pad.middle).sum(dim=1)
            + 0.4 * pads[:, 2] * (fingers * pad.proximal).sum(dim=1)
            + 2.0 * pads[:, 3] * pad.palm
        )
        normals = energies.surface_normal(grid, pad.points)
        closure = energies.force_closure(pad.points, normals, strength, centre)

        idle = ((variables.angles - relaxed).square().sum(dim=2)).mean(dim=1)
        energy = (
            contact
            + 12 * energies.penetration(distance, sphere_distance, radii)
            + 4 * energies.self_penetration(centres, radii)
            + 1.2 * closure
            + 0.3 * energies.coupling(variables.angles)
            + 0.8 * idle
        )
        energy.sum().backward()
        optimiser.step()
        schedule.step()
        variables.clamp()
    return Candidates(variables.mano(), kind)
