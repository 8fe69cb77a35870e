"""What a cloud tells of hands on the object: what the evaluator judges them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from grasp_gen_core.contact.closing import hold
from grasp_gen_core.contact.energies import deviation, surface_normal
from grasp_gen_core.contact.maps import distances, pick
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.hand.layer import vertex_normals
from grasp_gen_core.objects.clouds import evenly
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE

PLACES = 64  # of the skin: CHOIR's 32 anchors, and as many others spread over all of it
SEEN = 512  # points of the cloud, evenly
NEAR = 6  # of them, around each place
AHEAD = (-0.005, 0.003, 0.006, 0.01, 0.015, 0.025)  # metres along the skin's normal
UNIT = 0.02  # metres that are 1
MOST = 3.0  # of them, that anything counts as at most
HAND_UNIT = 0.1  # metres that are 1 in places of the skin
CHUNK = 64  # hands
# What the formula has of a hand, and what of it is 1.
FORMULA = {
    "penetration_depth_cm": 1.0,
    "contact_fingers": 5.0,
    "contact_ratio_pct": 100.0,
    "bone_clearance_cm": 1.0,
    "net_wrench": 10.0,
}

HOLD_UNITS = (1.0, 10.0, 10.0, 1.0)  # what of `closing.Hold`'s numbers is 1

# Numbers of a place, and of a hand, in their order.
PLACE_PARTS = {
    "where": 3,  # the place is, from the wrist
    "outward": 3,  # the skin's normal
    "apart": 1,  # signed distance to what the object is taken for
    "unsure": 1,  # its standard deviation over all that the object is taken for
    "away": 3,  # its gradient
    "ahead": len(AHEAD),  # the same distance, along the skin's normal
    "guessed": 1,  # how far the nearest surface is from what was seen
    "view": 3,  # beside the silhouette, in front of what was seen, how one-sided that is
    "near": 3 * NEAR,  # offsets to seen points
    "facing": 3 * NEAR,  # their normals
}
HAND_PARTS = {
    "pose": 45,
    "shape": 10,
    "toward": 4,  # mean normal of what was seen, and its length
    "middle": 3,  # of what was seen, from the wrist
    "hold": len(HOLD_UNITS),  # what it gets hold of when its fingers bend on
    "formula": 1 + len(FORMULA),
}
PLACE_NUMBERS, HAND_NUMBERS = sum(PLACE_PARTS.values()), sum(HAND_PARTS.values())


class Evidence(NamedTuple):
    """What is known of B hands.

    Attributes:
        places: (B, PLACES, PLACE_NUMBERS) of the skin.
        hands: (B, HAND_NUMBERS) of each hand as a whole.
    """

    places: Tensor
    hands: Tensor


@torch.no_grad()
def gather(
    mano: Tensor,
    vertices: Tensor,
    joints: Tensor,
    hand: ManoHand,
    cloud: Tensor,
    normals: Tensor,
    grid: DistanceGrid,
    surface: DistanceGrid,
    score: Tensor,
    metrics: Mapping[str, Tensor],
) -> Evidence:
    """Evidence, all of it in the hands' own frames: moved and turned, hand and cloud tell the same.

    Args:
        mano: (B, 61), vertices: (B, 778, 3), joints: (B, 21, 3) of the hands, metres.
        hand: the hand model.
        cloud, normals: (N, 3) what was seen, and outward.
        grid: signed distance to what the object is taken for.
        surface: the same to what hands act on, one for all that it may be.
        score, metrics: (B,) each, what `formula.score_grasps` says of the hands.
    """
    few = torch.from_numpy(evenly(cloud.cpu().numpy(), SEEN, 0)).to(cloud.device)
    formula = [(metrics[name] / unit).clamp(-MOST, MOST) for name, unit in FORMULA.items()]
    formula = torch.stack([score, *formula], dim=1)
    parts = (one.split(CHUNK) for one in (mano, vertices, joints, formula))
    known = (cloud[few], normals[few], normals.mean(dim=0), grid, surface, surface.middle())
    found = [_gather(*part, hand, *known) for part in zip(*parts, strict=True)]
    return Evidence(*(torch.cat(part) for part in zip(*found, strict=True)))


def _gather(
    mano: Tensor,
    vertices: Tensor,
    joints: Tensor,
    formula: Tensor,
    hand: ManoHand,
    cloud: Tensor,
    normals: Tensor,
    toward: Tensor,
    grid: DistanceGrid,
    surface: DistanceGrid,
    centre: Tensor,
) -> tuple[Tensor, Tensor]:
    chosen = hand.regions.sparse[:PLACES]
    turn = rotations.to_matrix(mano[:, GLOBAL_ORIENT])
    skin, wrist = vertices[:, chosen], joints[:, :1]
    outward = vertex_normals(vertices, hand.closed_faces)[:, chosen]
    each = grid.each(skin)
    apart = each.mean(dim=0)
    away = surface_normal(grid, skin)
    ahead = torch.stack([grid(skin + way * outward) for way in AHEAD], dim=-1)

    every, every_normal = (x.expand(len(mano), -1, -1) for x in (cloud, normals))
    spans, near = distances(skin, every).topk(NEAR, dim=2, largest=False)
    offset = pick(every, near.flatten(1)).unflatten(1, near.shape[1:]) - skin[:, :, None]
    facing = pick(every_normal, near.flatten(1)).unflatten(1, near.shape[1:])
    # How far what the skin is near to by the guess is from what was seen.
    guessed = distances(skin - apart[..., None] * away, every).amin(dim=2)
    # Seen from far away: beside the silhouette, or how far in front of what was seen there.
    view = functional.normalize(toward, dim=0)
    flat, flat_cloud = (x - (x @ view)[..., None] * view for x in (skin, every))
    beside, there = distances(flat, flat_cloud).min(dim=2)
    front = (skin @ view) - (cloud @ view)[there]

    def local(directions: Tensor) -> Tensor:
        return torch.einsum("b...i,bij->b...j", directions, turn)

    def scaled(length: Tensor) -> Tensor:
        return (length / UNIT).clamp(-MOST, MOST)

    seen_share = toward.norm().expand_as(front)
    places = [
        local(skin - wrist) / HAND_UNIT,
        local(outward),
        torch.stack([scaled(apart), scaled(deviation(each))], dim=-1),
        local(away),
        scaled(ahead),
        scaled(guessed)[..., None],
        torch.stack([scaled(beside), scaled(front), seen_share], dim=-1),
        scaled(local(offset)).flatten(2),
        local(facing).flatten(2),
    ]
    middle = (cloud.mean(dim=0) - wrist[:, 0]) / HAND_UNIT
    held = zip(hold(hand, mano, surface, centre), HOLD_UNITS, strict=True)
    whole = [
        mano[:, HAND_POSE],
        0.3 * mano[:, BETAS],
        local(toward.expand(len(mano), -1)),
        seen_share[:, :1],
        local(middle),
        torch.stack([number / unit for number, unit in held], dim=1),
        formula,
    ]
    return torch.cat(places, dim=2), torch.cat(whole, dim=1)
