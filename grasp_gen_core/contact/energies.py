"""Energies of a hand at an object, shared by the synthesis and the quick refiner; lengths in cm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.contact.maps import distances
from grasp_gen_core.hand import HandRegions, ManoHand
from grasp_gen_core.hand.skinning import FlatHand
from grasp_gen_core.objects.distance import DistanceGrid

CM = 100.0


def bone_spheres(joints: Tensor, regions: HandRegions, per_bone: int = 3) -> tuple[Tensor, Tensor]:
    """Spheres along the fingers' bones, for what surface vertices miss on thin objects.

    Args:
        joints: (B, 21, 3) metres.
        regions: the hand's tables.
        per_bone: spheres on each of the 15 finger bones.

    Returns:
        centres (B, 5, 3 * per_bone, 3) by finger, and radii (5, 3 * per_bone), metres.
    """
    bones = regions.bones.view(5, 4, 2)[:, 1:]
    ratio = (torch.arange(per_bone, device=joints.device) + 0.5) / per_bone
    ends = joints[:, bones]  # (B, 5, 3, 2, 3)
    centres = torch.lerp(ends[..., :1, :], ends[..., 1:, :], ratio[:, None])
    radii = regions.bone_radius.view(5, 4)[:, 1:, None].expand(-1, -1, per_bone)
    return centres.flatten(2, 3), radii.flatten(1)


def with_spheres(flat: FlatHand, betas: Tensor, hand: ManoHand) -> tuple[FlatHand, Tensor]:
    """Flat hands that carry `bone_spheres` as further points, as their bones hold them.

    Args:
        flat: of shapes (B, 10).
        betas: the shapes.
        hand: the hand model.

    Returns:
        The hands, and the radii (5, S) of their spheres, metres: the last 5 S points, by finger.
    """
    regions = hand.regions
    tips = hand.flat(betas, regions.tips).points.permute(1, 2, 0)
    centres, radii = bone_spheres(torch.cat([flat.joints, tips], dim=1), regions)
    holders = regions.bones.view(5, 4, 2)[:, 1:, 0].repeat_interleave(radii.shape[1] // 3, dim=1)
    held = holders.flatten() == torch.arange(16, device=holders.device)[:, None]
    return flat.beside(centres.flatten(1, 2), held.to(centres)), radii


def palm_spheres(joints: Tensor, regions: HandRegions, per_bone: int = 4) -> tuple[Tensor, Tensor]:
    """Spheres along the metacarpals of index to little finger, where a thin wall may cut the palm.

    Args:
        joints: (B, 21, 3) metres.
        regions: the hand's tables.
        per_bone: spheres on each bone.

    Returns:
        centres (B, 4, per_bone, 3), and radii (4, per_bone), metres.
    """
    ends = joints[:, regions.bones.view(5, 4, 2)[1:, 0]]  # (B, 4, 2, 3)
    ratio = 0.2 + 0.7 * torch.arange(per_bone, device=joints.device) / (per_bone - 1)
    centres = torch.lerp(ends[:, :, None, 0], ends[:, :, None, 1], ratio[:, None])
    return centres, regions.bone_radius.view(5, 4)[1:, :1].expand(-1, per_bone)


def self_penetration(centres: Tensor, radii: Tensor) -> Tensor:
    """(B,) squared overlap of different fingers' spheres, cm^2; arguments from `bone_spheres`."""
    # Of five fingers in a ring, the next one and the one after it: each pair once.
    others = torch.cat([centres.roll(-1, dims=1), centres.roll(-2, dims=1)], dim=2)
    apart = distances(centres.flatten(0, 1), others.flatten(0, 1)).unflatten(0, centres.shape[:2])
    reach = radii[:, :, None] + torch.cat([radii.roll(-1, 0), radii.roll(-2, 0)], 1)[:, None]
    # Neighbouring fingers share a web at the knuckle: their first spheres may touch.
    return functional.relu(CM * (reach - apart) - 0.1).square().sum(dim=(1, 2, 3))


def misfit(vertices: Tensor, grid: DistanceGrid, regions: HandRegions) -> Tensor:
    """(B,) how much refinement hands need: depth inside the object, fingertips' distance to it.

    Args:
        vertices: (B, 778, 3) metres.
        grid: signed distance of the object.
        regions: the hand's tables.
    """
    distance = grid(vertices)
    inside = (CM * distance).clamp(max=0).square().mean(dim=1)
    return inside + pad_contact(vertices, distance, regions).tip.mean(dim=1)


def penetration(
    vertex_distance: Tensor, sphere_distance: Tensor, radii: Tensor, share: float = 1.0
) -> Tensor:
    """(...) squared depth of vertices and bone spheres inside the object, cm^2.

    Args:
        vertex_distance: (..., V) signed distances of hand vertices, metres.
        sphere_distance: (..., 5, S) of the bone spheres' centres, metres.
        radii: (5, S) metres.
        share: vertices of the hand that each of these stands for.
    """
    vertices = share * functional.relu(-CM * vertex_distance).square().sum(dim=-1)
    return vertices + 3 * sphere_penetration(sphere_distance, radii)


def sphere_penetration(distance: Tensor, radii: Tensor) -> Tensor:
    """(...) squared depth, cm^2, of four fifths of each sphere (R, S) inside the object."""
    return functional.relu(CM * (0.8 * radii - distance)).square().sum(dim=(-2, -1))


def walls_within(joints: Tensor, grid: DistanceGrid, regions: HandRegions) -> tuple[Tensor, Tensor]:
    """(B,) squared depth, cm^2, of the object in the fingers' bones, and (B,) in the palm's.

    A thin wall may go through a hand though hardly a vertex is in it; refinement leaves it there.

    Args:
        joints: (B, 21, 3) metres.
        grid: signed distance of the object.
        regions: the hand's tables.
    """
    spheres = (find(joints, regions) for find in (bone_spheres, palm_spheres))
    fingers, palm = (sphere_penetration(grid(centres), radii) for centres, radii in spheres)
    return fingers, palm


def deviation(distance: Tensor) -> Tensor:
    """(...) standard deviation of distances (K, ...) to K objects that it may be."""
    return ((distance - distance.mean(dim=0)).square().mean(dim=0) + 1e-12).sqrt()


def smooth_length(distance: Tensor) -> Tensor:
    """|distance| in cm, rounded off within a millimetre of zero."""
    return torch.sqrt((CM * distance).square() + 0.01) - 0.1


@dataclass
class PadContact:
    """How far a hand's pads are from touching, in cm.

    Args:
        tip: (B, 5) distal pads, thumb to little finger.
        middle, proximal: (B, 5) pads of the other phalanges.
        palm: (B,) mean over the palm.
        points: (B, 5, 3) where each distal pad touches, metres.
    """

    tip: Tensor
    middle: Tensor
    proximal: Tensor
    palm: Tensor
    points: Tensor


def pad_contact(
    vertices: Tensor,
    distance: Tensor,
    regions: HandRegions,
    reach: float = float("inf"),
    squeeze: float = 0.0,
) -> PadContact:
    """Lengths that pull the hand's anchors onto the surface.

    Args:
        vertices: (B, V, 3) metres.
        distance: (B, V) signed distances of the vertices to the object, metres.
        regions: the hand's tables.
        reach, squeeze: see `anchor_contact`.
    """
    anchors = regions.anchors
    return anchor_contact(vertices[:, anchors], distance[:, anchors], reach, squeeze)


def anchor_contact(
    anchors: Tensor, distance: Tensor, reach: float | Tensor = float("inf"), squeeze: float = 0.0
) -> PadContact:
    """`pad_contact` of the anchors themselves.

    Args:
        anchors: (B, 32, 3) metres.
        distance: (B, 32) signed distances of them to the object, metres.
        reach: cm beyond which the pull fades, of all or each (32,); infinite pulls from anywhere.
        squeeze: metres that pads are pressed in, as soft skin is.
    """
    length = smooth_length(distance + squeeze)
    if isinstance(reach, Tensor) or reach < float("inf"):
        length = reach * torch.tanh(length / reach)
    fingers = length[:, :25].view(-1, 5, 5)  # each finger: proximal, middle, three distal anchors
    distal = fingers[:, :, 2:]
    nearest = torch.softmax(-4 * distal, dim=2)
    places = anchors[:, :25].view(-1, 5, 5, 3)[:, :, 2:]
    return PadContact(
        tip=(nearest * distal).sum(dim=2) + 0.15 * distal.mean(dim=2),
        middle=fingers[:, :, 1],
        proximal=fingers[:, :, 0],
        palm=length[:, 25:].mean(dim=1),
        points=(nearest[..., None] * places).sum(dim=2),
    )


def coupling(angles: Tensor) -> Tensor:
    """(B,) how far joint angles leave the human couplings, rad^2."""
    return uncoupled(angles).square().sum(dim=1)


def uncoupled(angles: Tensor) -> Tensor:
    """(B, 40) what `coupling` sums the squares of, linear in the angles (B, 15, 3).

    The DIP joint flexes with two thirds of the PIP joint, and neighbouring fingers flex alike.
    """
    fingers = angles[:, :12, 0].view(-1, 4, 3)  # index, middle, little, ring
    tendon = fingers[:, :, 2] - 0.67 * fingers[:, :, 1]
    index, middle, little, ring = fingers.unbind(1)
    ordered = torch.stack([index, middle, ring, little], dim=1)
    alike = (ordered[:, 1:] - ordered[:, :-1])[..., :2]
    others = torch.cat([alike.flatten(1), angles[..., 1:].flatten(1)], dim=1)
    return torch.cat([tendon, 0.5**0.5 * others], dim=1)


def surface_normal(distance: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """(B, C, 3) outward normals by central differences over 6 mm; differentiable in the points."""
    step = 0.003 * torch.eye(3, dtype=points.dtype, device=points.device)
    step = torch.cat([step, -step])
    values = distance((points[:, :, None] + step).flatten(1, 2)).unflatten(1, (-1, 6))
    return functional.normalize(values[..., :3] - values[..., 3:], dim=-1, eps=1e-9)


def thumb_against_fingers(fingers: Tensor) -> Tensor:
    """(B, 5) pressing strengths: the thumb answers all the fingers that take part (B, 5)."""
    others = fingers[:, 1:] / fingers[:, 1:].sum(dim=1, keepdim=True)
    return torch.cat([torch.ones_like(others[:, :1]), others], dim=1)


def force_closure(points: Tensor, normals: Tensor, strength: Tensor, centre: Tensor) -> Tensor:
    """(B,) squared net wrench of the contacts pressing along the normals (Liu et al. 2021, Eq. 7).

    Args:
        points, normals: (B, C, 3) contacts in metres, outward unit normals.
        strength: (B, C) how hard each presses; the sum of one side should match the other's.
        centre: (3,) or (B, 1, 3) where torques are taken, metres.
    """
    force = -normals * strength[..., None]
    torque = torch.linalg.cross((points - centre) / 0.05, force)
    return force.sum(dim=1).square().sum(dim=1) + torque.sum(dim=1).square().sum(dim=1)
