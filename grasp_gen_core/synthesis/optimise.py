"""Grasps on a known mesh: human starts, then batched optimisation of wrist and joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import trimesh
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import normalize

from grasp_gen_core.contact import energies
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.hand.variables import Descent, HandVariables
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.replay import Replay
from grasp_gen_core.stopping import heed
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES, PreShapes, pre_shapes
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, TRANSL

ADAM_BETAS = (0.7, 0.8)  # a short memory: steep penetration at first must not slow contact later
PLACES, MOST_ROUNDS = 16, 4  # places tried at once for each hand that is optimised
STARTS = 16  # of them posed for each
WAY_SHARE = 0.4  # of the steps
FINGERS_CUT, PALM_CUT = 3.0, 0.3  # cm^2, see energies.sphere_penetration
OPPOSED = 0.8  # cosine between the closing axis and the surface's normals where it ends
ROLLS = 12  # about the approach that are compared at a place
LONGEST = 0.14  # metres that the object is measured across
HANDLE = 0.03  # metres, thicker is no handle
FINGER = 0.012  # metres, a finger's thickness when pressed
PINCHED = 0.001  # metres more where few pads hold
SQUEEZE = 0.001  # metres that pads are pressed in, as soft skin is
STEEPEST = -0.5  # least height of the forearm's direction, towards the elbow


@dataclass
class Candidates:
    """Hands at one object with the grasp type each came from.

    Args:
        mano: (B, 61) parameters.
        kind: (B,) long, index into GRASP_TYPES.
    """

    mano: Tensor
    kind: Tensor


@dataclass
class Target:
    """What is to be grasped.

    Args:
        field: signed distance to it.
        sample: gives `count` random points of its surface and their outward normals, both
            (count, 3), for a count and a seed.
        outline: (N, 3) points spread over all its parts, metres.
        centre: (3,) of mass, metres.
        bottom: height of what it stands on, metres; None where nobody knows which way is up.
    """

    field: DistanceGrid
    sample: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    outline: np.ndarray
    centre: np.ndarray
    bottom: float | None = None

    @classmethod
    def from_mesh(cls, mesh: trimesh.Trimesh, device: torch.device) -> Target:
        """A watertight mesh that stands along z, metres; its grid's nodes are 1.5 to 2.5 mm apart,
        fine enough for thin walls."""
        pitch = float(np.clip(mesh.extents.max() / 60, 0.0015, 0.0025))
        return cls(
            field=DistanceGrid.from_mesh(mesh, pitch=pitch, margin=0.03).to(device),
            sample=partial(sample_surface, mesh),
            outline=mesh.triangles_center,
            centre=mesh.center_mass,
            bottom=float(mesh.bounds[0, 2]),
        )

    @classmethod
    def from_cloud(cls, points: np.ndarray, normals: np.ndarray, field: DistanceGrid) -> Target:
        """A cloud with outward normals, both (N, 3), and the distance to what it was seen of."""

        def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = np.random.default_rng(seed).integers(len(points), size=count)
            return points[chosen], normals[chosen]

        return cls(field, sample, points, points.mean(axis=0))


def optimise_grasps(
    target: Target, hand: ManoHand, count: int, seed: int, steps: int = 100
) -> Candidates:
    """Optimise `count` hands around an object; many, not all, will be good grasps.

    Args:
        target: what is to be grasped.
        hand: the hand model; its device is used.
        count: hands to return.
        seed: same seed, same hands.
        steps: Adam steps.

    Raises:
        InputError: if no grasp type fits the object anywhere.
    """
    rng = torch.Generator(device="cpu").manual_seed(seed)
    shapes = pre_shapes(hand)
    ways, found = ways_to_hold(target), []
    for way in ways:
        places = find_places(target, way, count // len(ways), rng)
        if not len(places.kind):
            continue
        starts = place_hands(places, hand, shapes, rng)
        if target.bottom is not None:
            above = reaches_from_above(starts.mano, hand, target.bottom)
            starts = Candidates(starts.mano[above], starts.kind[above])
        if len(starts.mano):
            starts = best_starts(starts, way.solid, hand, count // len(ways))
            found.append(close_hands(starts, way.solid, target, hand, steps))
    if not found:
        widest = 100 * max(kind.width[1] for kind in GRASP_TYPES)
        raise InputError(
            "no grasp type fits anywhere: accepted are objects standing along z, with places up to "
            f"{widest:.0f} cm wide within reach from above or from the side"
        )
    return Candidates(*(torch.cat(x) for x in zip(*(vars(f).values() for f in found), strict=True)))


@dataclass
class Way:
    """A way to hold an object: what the hand closes on, and where.

    Args:
        solid: distance to the object, or to a vessel as if it were full.
        trunk: distance to the vessel without its handle.
        by_handle: where the trunk is not; otherwise where it is.
    """

    solid: DistanceGrid
    trunk: DistanceGrid | None = None
    by_handle: bool = False


def ways_to_hold(target: Target) -> list[Way]:
    """A vessel is held by its body, by its wall, and if it has one by its handle."""
    grid = target.field
    body = grid if target.bottom is None else filled(grid)
    if body is grid:
        return [Way(grid)]
    trunk = without_handles(body)
    if trunk is None:
        return [Way(body), Way(grid)]
    ways = [Way(body), Way(grid, trunk)]
    points = torch.tensor(target.outline, dtype=torch.float32, device=grid.device)
    if (trunk(points) > HANDLE / 2).any():
        ways.append(Way(grid, trunk, by_handle=True))
    return ways


def filled(grid: DistanceGrid) -> DistanceGrid:
    """The distance to a vessel as if it were full (z is up), or the grid itself if it isn't one."""
    values = grid.values[0, 0].cpu().numpy()  # z, y, x
    inside = values < 0
    full = np.array([ndimage.binary_fill_holes(layer) for layer in inside])
    if full.sum() < 1.1 * inside.sum():
        return grid
    counts = np.array(values.shape[::-1])
    step = ((grid.upper - grid.lower).cpu().numpy() / (counts - 1))[::-1]
    depth = ndimage.distance_transform_edt(full, sampling=step).astype(np.float32)
    values = np.where(full, np.minimum(values, -depth), values).transpose(2, 1, 0)
    return DistanceGrid(values, grid.lower, grid.upper).to(grid.device)


@dataclass
class Places:
    """Places at an object that afford one grasp type or more, measured for it.

    Args:
        middle: (P, 3) of what lies between thumb and fingers, metres.
        approach, closing: (P, 3) unit vectors, orthogonal.
        depth: (P,) metres from the surface to the middle along the approach.
        width: (P,) metres between thumb and fingers.
        kind: (P,) long, the type chosen among those afforded.
    """

    middle: Tensor
    approach: Tensor
    closing: Tensor
    depth: Tensor
    width: Tensor
    kind: Tensor


def without_handles(body: DistanceGrid) -> DistanceGrid | None:
    """The distance to a vessel's trunk: what remains without parts thinner than a handle."""
    values = body.values[0, 0].cpu().numpy()
    if values.min() > -HANDLE / 2:
        return None
    counts = np.array(values.shape[::-1])
    step = ((body.upper - body.lower).cpu().numpy() / (counts - 1))[::-1]
    far = ndimage.distance_transform_edt(values > -HANDLE / 2, sampling=step) - HANDLE / 2
    return DistanceGrid(far.transpose(2, 1, 0), body.lower, body.upper).to(body.device)


def find_places(target: Target, way: Way, count: int, rng: torch.Generator) -> Places:
    """Places that afford a grasp type, about STARTS times `count` if they are found.

    Args:
        target: the object.
        way: how the object is held.
        count: hands that will be optimised.
        rng: decides.
    """
    found: list[Places] = []
    while sum(len(f.kind) for f in found) < STARTS * count and len(found) < MOST_ROUNDS:
        heed()
        found.append(_look_for_places(target, way, PLACES * count, rng))
    return Places(*(torch.cat(x) for x in zip(*(vars(f).values() for f in found), strict=True)))


def _look_for_places(target: Target, way: Way, count: int, rng: torch.Generator) -> Places:
    solid, device, upright = way.solid, way.solid.device, target.bottom is not None
    seed = int(torch.randint(2**31, (1,), generator=rng))
    surface, normals = target.sample(8 * count if way.by_handle else count, seed)
    surface = torch.as_tensor(surface, dtype=torch.float32, device=device)
    normals = torch.as_tensor(normals, dtype=torch.float32, device=device)
    if way.trunk is not None:
        here = ((way.trunk(surface) > HANDLE / 4) == way.by_handle).nonzero()[:count, 0]
        if not len(here):
            none = surface[:0]
            return Places(none, none, none, none[:, 0], none[:, 0], here)
        surface, normals = surface[here], normals[here]
        count = len(here)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(device)

    # A third of the places are at edges: fingers go along both sides of a rim, a card, a blade.
    at_edge = (torch.rand(count, generator=rng).to(device) < 0.35)[:, None]
    within = (
        surface - path_inside(solid, surface - 0.001 * normals, -normals)[:, None] / 2 * normals
    )
    along = normalize(torch.linalg.cross(normals, noise(count, 3)), dim=1)
    edge = within - path_inside(solid, within, -along)[:, None] * along
    surface = torch.where(at_edge, edge, surface)
    approach = normalize(torch.where(at_edge, along, -normals) + 0.3 * noise(count, 3), dim=1)
    thickness = path_inside(solid, surface + 0.002 * approach, approach)
    room = path_outside(solid, surface + (thickness + 0.006)[:, None] * approach, approach)
    depth = (thickness / 2).clamp(max=0.03)
    middle = surface + depth[:, None] * approach

    # The roll whose closing axis meets the least material, with some noise.
    first = normalize(torch.linalg.cross(approach, noise(count, 3)), dim=1)
    second = torch.linalg.cross(approach, first)
    angle = torch.arange(ROLLS, device=device) * (2 * torch.pi / ROLLS)
    closing = first[:, None] * angle.cos()[:, None] + second[:, None] * angle.sin()[:, None]
    origin = middle[:, None].expand(-1, ROLLS, -1)
    ahead = path_inside(solid, origin, closing)
    back = ahead.roll(ROLLS // 2, dims=1)
    lateral = torch.linalg.cross(approach[:, None].expand_as(closing), closing)
    # People keep the thumb's side up; a right hand's lateral axis points away from it.
    awkward = 0.05 * functional.relu(lateral[..., 2] - 0.3) * upright
    roll = ((ahead + back) * (1 + 0.15 * noise(count, ROLLS)) + awkward).argmin(dim=1)
    row = torch.arange(count, device=device)
    ahead, back, closing, lateral = (x[row, roll] for x in (ahead, back, closing, lateral))
    width = ahead + back
    middle = middle + (ahead - back)[:, None] / 2 * closing

    one_way, other_way = (path_inside(solid, middle, s * lateral) for s in (1, -1))
    length = one_way + other_way
    ends = middle[:, None] + width[:, None, None] / 2 * torch.stack([closing, -closing], dim=1)
    outward = (energies.surface_normal(solid, ends) * torch.stack([closing, -closing], 1)).sum(-1)
    beside = (
        middle[:, None]
        + (ends - middle[:, None]) * (1 + FINGER / (width / 2 + 1e-6))[:, None, None]
    )
    is_bar = (solid(beside) > 0.6 * FINGER).all(dim=1) & (room > 1.5 * FINGER)
    is_bar &= (room < 0.9 * LONGEST) if way.by_handle else (room < 0.05) & (way.trunk is None)
    afforded = afforded_types(approach if upright else None, width, thickness, length, is_bar)
    afforded &= (outward > OPPOSED).all(dim=1, keepdim=True)
    before = surface[:, None] - torch.tensor([[0.01], [0.03]], device=device) * approach[:, None]
    afforded &= (solid(before) > 0).all(dim=1, keepdim=True)
    share = torch.tensor([k.share for k in GRASP_TYPES], device=device)
    fits = afforded.any(dim=1)
    weight = torch.where(fits[:, None], afforded * share, share).cpu()
    kind = torch.multinomial(weight, 1, generator=rng)[:, 0].to(device)
    # A hand closes where there is something under all of it, not over the end of a thing.
    half = torch.tensor([0.04 if k.is_power else 0.02 for k in GRASP_TYPES], device=device)[kind]
    margin = torch.minimum(length / 2, half)
    shift = functional.relu(margin - other_way) - functional.relu(margin - one_way)
    middle = middle + shift[:, None] * lateral
    found = Places(middle, approach, closing, depth, width, kind)
    return Places(**{name: value[fits] for name, value in vars(found).items()})


def afforded_types(
    approach: Tensor | None, width: Tensor, thickness: Tensor, length: Tensor, is_bar: Tensor
) -> Tensor:
    """(P, T) bool, which grasp types each place affords by its measures (see GraspType).

    Args:
        approach: (P, 3) unit vectors, None where nobody knows which way is up.
        width, thickness, length: (P,) metres.
        is_bar: (P,) bool, fingers have room beside and behind it.
    """

    def table(*values) -> Tensor:
        return torch.tensor(values, device=width.device)

    def within(value: Tensor, limits: Tensor) -> Tensor:
        return (value[:, None] >= limits[:, 0]) & (value[:, None] <= limits[:, 1])

    roundness = torch.minimum(width, length) / torch.maximum(width, length).clamp(min=1e-6)
    afforded = within(width, table(*(k.width for k in GRASP_TYPES)))
    afforded &= within(thickness, table(*(k.thickness for k in GRASP_TYPES)))
    afforded &= within(length, table(*(k.length for k in GRASP_TYPES)))
    afforded &= roundness[:, None] >= table(*(k.roundness for k in GRASP_TYPES))
    afforded &= ~table(*(k.hole for k in GRASP_TYPES)) | is_bar[:, None]
    if approach is not None:  # and people don't reach up from below
        down = approach[:, 2:] < -0.7
        afforded &= down | ~table(*(k.from_above for k in GRASP_TYPES))
        afforded &= approach[:, 2:] < 0.3
    return afforded


def place_hands(
    places: Places, hand: ManoHand, shapes: PreShapes, rng: torch.Generator
) -> Candidates:
    """Pre-shaped hands in front of the places, opened to the width they have to span."""
    device, kind, count = hand.faces.device, places.kind, len(places.kind)
    approach, closing = places.approach, places.closing

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(device)

    power = torch.tensor([k.is_power for k in GRASP_TYPES], device=device)[kind]
    gap = shapes.gap[kind]
    # What closes around a thing starts with its fingers clear of it.
    spare = torch.where(power, 0.04, 0.025)
    opening = (gap < (places.width + spare)[:, None]).sum(dim=1).clamp(max=gap.shape[1] - 1)
    local, centre = shapes.frame[kind, opening], shapes.centre[kind, opening]
    target = torch.stack([approach, closing, torch.linalg.cross(approach, closing)], dim=-1)
    rotation = target @ local.mT

    # Power grasps bring the palm to the surface, precision grasps the fingertips to the middle.
    reach = ((centre - shapes.palm[kind, opening]) * local[..., 0]).sum(dim=1)
    palm_first = reach - places.depth - torch.where(power, 0.012, 0.025)
    by_side = torch.tensor([k.by_side for k in GRASP_TYPES], device=device)[kind]
    # A key is held a centimetre from its edge.
    precise = torch.where(by_side, 0.01 - places.depth, palm_first.clamp(max=0))
    advance = torch.where(power, palm_first, precise)
    target_centre = places.middle + advance[:, None] * approach

    mano = torch.zeros(count, 61, device=device)
    mano[:, :10] = (0.7 * noise(count, 10)).clamp(-2, 2)
    angles = shapes.angles[kind, opening] + 0.08 * noise(count, 15, 3)
    low, high = hand.regions.limits.unbind(-1)
    mano[:, 10:13] = rotations.to_rotvec(rotation)
    mano[:, 13:58] = hand.regions.to_pose(angles.clamp(low, high))
    root = hand(torch.zeros(1, 61, device=device))[1][0, 0]
    # MANO turns about the wrist joint: x -> R (x - root) + root + transl.
    mano[:, 58:] = target_centre - (rotation @ (centre - root)[..., None])[..., 0] - root
    return Candidates(mano, kind)


def reaches_from_above(mano: Tensor, hand: ManoHand, bottom: float) -> Tensor:
    """(B,) bool, whether the forearm comes to the object without passing through its support.

    Args:
        mano: (B, 61) parameters.
        hand: the hand model.
        bottom: height of the surface on which the object stands, metres.
    """
    wrist = hand.root(mano[:, BETAS]) + mano[:, TRANSL]
    forearm = -(rotations.to_matrix(mano[:, GLOBAL_ORIENT]) @ hand.regions.finger_axis)
    return (wrist[:, 2] >= bottom) & (forearm[:, 2] >= STEEPEST)


def path_inside(grid: DistanceGrid, origin: Tensor, direction: Tensor) -> Tensor:
    """(...) metres from a point to where a ray leaves the object, LONGEST if it doesn't."""
    steps, outside = along_ray(grid, origin, direction)
    outside = torch.cat([outside[..., :-1], torch.ones_like(outside[..., :1])], dim=-1)
    return steps[outside.float().argmax(dim=-1)]


def path_outside(grid: DistanceGrid, origin: Tensor, direction: Tensor) -> Tensor:
    """(...) metres from a point outside to where a ray enters the object, LONGEST if nowhere."""
    steps, outside = along_ray(grid, origin, direction)
    inside = torch.cat([~outside[..., :-1], torch.ones_like(outside[..., :1])], dim=-1)
    return steps[inside.float().argmax(dim=-1)]


def along_ray(grid: DistanceGrid, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """(S,) metres along rays, and (..., S) whether they are outside of the object there."""
    steps = torch.linspace(0, LONGEST, 36, device=origin.device)
    points = origin[..., None, :] + steps[:, None] * direction[..., None, :]
    return steps, (grid(points.flatten(0, -3)) > 0).view(*origin.shape[:-1], -1)


def best_starts(starts: Candidates, grid: DistanceGrid, hand: ManoHand, count: int) -> Candidates:
    """By the grasp types' shares: starts that penetrate least, finger pads nearest."""
    with torch.no_grad():
        vertices, joints = hand(starts.mano)
        distance = 100 * grid(vertices)
        fingers_cut, palm_cut = energies.walls_within(joints, grid, hand.regions)
    inside = functional.relu(-distance).square().sum(dim=1)
    near = distance[:, hand.regions.anchors[:25]].abs().view(-1, 5, 5).amin(dim=2)
    fingers = torch.tensor([k.fingers for k in GRASP_TYPES], device=near.device)[starts.kind]
    cost = 0.1 * inside + fingers_cut + 5 * palm_cut + (fingers * near).sum(dim=1)
    rank = torch.zeros_like(cost)
    for kind in range(len(GRASP_TYPES)):
        same = (starts.kind == kind).nonzero()[:, 0]
        rank[same] = cost[same].argsort().argsort() / GRASP_TYPES[kind].share
    # What a wall cuts through stays so.
    rank = rank + len(rank) * ((fingers_cut > FINGERS_CUT) | (palm_cut > PALM_CUT))
    order = rank.argsort(stable=True)[:count]
    return Candidates(starts.mano[order], starts.kind[order])


def close_hands(
    starts: Candidates, way: DistanceGrid, target: Target, hand: ManoHand, steps: int
) -> Candidates:
    """Minimise the grasp energy over wrist and joints; Adam, limits enforced after each step.

    First against `way`, a vessel as if it were full, which pushes fingers out of its wall to the
    outside; then against the object.
    """
    regions, kind, grid = hand.regions, starts.kind, target.field
    centre = torch.as_tensor(target.centre, dtype=torch.float32, device=kind.device)
    fingers = torch.tensor([k.fingers for k in GRASP_TYPES], device=kind.device)[kind]
    pads = torch.tensor([k.pads for k in GRASP_TYPES], device=kind.device)[kind]
    by_side = torch.tensor([k.by_side for k in GRASP_TYPES], device=kind.device)[kind]
    # Two or three pads hold only what they press; a wrap holds by its shape.
    skin = PINCHED * ((fingers >= 0.5).sum(dim=1, keepdim=True) <= 3)
    variables = HandVariables(hand, starts.mano)
    relaxed = variables.angles.detach().clone()
    descent = Descent(variables, place=0.003, turns=0.03, last=3e-4, steps=steps, betas=ADAM_BETAS)
    strength = energies.thumb_against_fingers(fingers)
    is_index = torch.arange(5, device=kind.device) == 1

    def close(solid: DistanceGrid) -> None:
        vertices, joints = variables.surface()
        distance = solid(vertices)
        centres, radii = energies.bone_spheres(joints, regions)
        sphere_distance = solid(centres)

        palm, palm_radii = energies.palm_spheres(joints, regions)
        pad = energies.pad_contact(vertices, distance, regions, squeeze=SQUEEZE + skin)
        # A key lies against the index finger's side.
        side = energies.smooth_length(distance[:, regions.index_side] + SQUEEZE + skin).mean(dim=1)
        side_point = vertices[:, regions.index_side].mean(dim=1)
        tip = torch.where(by_side[:, None] & is_index, side[:, None], pad.tip)
        points = torch.where(
            (by_side[:, None] & is_index)[..., None], side_point[:, None], pad.points
        )
        contact = (
            pads[:, 0] * (fingers * tip).sum(dim=1)
            + 0.5 * pads[:, 1] * (fingers * pad.middle).sum(dim=1)
            + 0.4 * pads[:, 2] * (fingers * pad.proximal).sum(dim=1)
            + 2.0 * pads[:, 3] * pad.palm
        )
        normals = energies.surface_normal(solid, points)
        closure = energies.force_closure(points, normals, strength, centre)

        idle = ((variables.angles - relaxed).square().sum(dim=2)).mean(dim=1)
        energy = (
            contact
            + 12 * energies.penetration(distance + skin, sphere_distance + skin[..., None], radii)
            + 36 * energies.sphere_penetration(solid(palm), palm_radii)
            + 4 * energies.self_penetration(centres, radii)
            + 1.2 * closure
            + 0.3 * energies.coupling(variables.angles)
            + 0.8 * idle
        )
        descent.step(energy)

    first, then = (Replay(partial(close, solid), kind.device) for solid in (way, grid))
    for step in range(steps):
        heed()
        (first if step < WAY_SHARE * steps else then)()
    return Candidates(variables.mano(), kind)
