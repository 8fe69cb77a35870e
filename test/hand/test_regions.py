"""Hand regions: what the tables say must hold on the hand itself."""

import pytest
import torch

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.hand.regions import FIRST_JOINT
from grasp_gen_core.hand.variables import Descent, HandVariables


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand(GENERIC_HAND)


def posed(hand: ManoHand, joint: int, axis: int, degrees: float) -> torch.Tensor:
    angles = torch.zeros(1, 15, 3)
    angles[0, joint - 1, axis] = torch.deg2rad(torch.tensor(degrees))
    mano = torch.zeros(1, 61)
    mano[:, 13:58] = hand.regions.to_pose(angles)
    return hand(mano)[1][0]


def test_parts_cover_the_hand(hand):
    counts = torch.bincount(hand.parts, minlength=6)
    assert counts.sum() == 778 and (counts[:5] > 50).all() and counts[5] > 200


def test_anchors_are_32_palmar_places_spread_over_all_parts(hand):
    anchors = hand.regions.anchors
    assert len(set(anchors.tolist())) == 32
    assert torch.bincount(hand.parts[anchors], minlength=6).tolist() == [5, 5, 5, 5, 5, 7]
    assert hand.regions.palmar[anchors].float().mean() > 0.9


def test_contact_zones_are_fingertip_pads_and_palm(hand):
    zones = hand.regions.zones
    for finger in range(5):
        inside = zones == finger
        assert inside.sum() >= 5 and (hand.parts[inside] == finger).all()
    vertices, joints = hand(torch.zeros(1, 61))
    palm = vertices[0, zones == 5]
    assert (zones == 5).sum() > 40
    assert palm[:, 1].mean() < joints[0, [1, 4, 7, 10]].mean(dim=0)[1]  # on the palm's side (-y)


def test_a_key_lies_against_the_index_fingers_thumb_side(hand):
    side = hand.regions.index_side
    assert len(set(side.tolist())) == 3 and (hand.parts[side] == 1).all()
    vertices, joints = hand(torch.zeros(1, 61))
    vertices, joints = vertices[0, side], joints[0]
    bone = torch.nn.functional.normalize(joints[17] - joints[2], dim=0)
    away = vertices - joints[2]
    along = away @ bone
    # On the two outer phalanges, off their middle line towards the thumb.
    assert (along > 0).all() and (along < (joints[17] - joints[2]).norm()).all()
    across = torch.nn.functional.normalize(away - along[:, None] * bone, dim=1)
    radial = torch.nn.functional.normalize(joints[1] - joints[4], dim=0)
    assert (across @ radial > 0.7).all()


@pytest.mark.parametrize("finger", range(1, 5))
def test_flexion_brings_the_fingertip_to_the_palm(hand, finger):
    first = FIRST_JOINT[finger]
    rest, bent = posed(hand, first, 0, 0.0), posed(hand, first, 0, 60.0)
    moved = bent[16 + finger] - rest[16 + finger]
    palm = hand.regions.joint_axes[3, 1]
    reach = (rest[16 + finger] - rest[first]).norm()
    # A 60 degree turn lifts the tip by sin 60 of the finger's length.
    assert float(moved @ palm) == pytest.approx(0.866 * float(reach), rel=0.15)


def test_thumb_opposes(hand):
    rest = posed(hand, 13, 1, 0.0)
    opposed = posed(hand, 13, 1, -40.0)
    palm = hand.regions.joint_axes[3, 1]
    assert (opposed[16] - rest[16]) @ palm > 0.03  # in front of the palm


def test_axes_are_orthonormal_and_angles_round_trip(hand):
    axes = hand.regions.joint_axes
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3).expand(15, 3, 3), atol=1e-5, rtol=0)
    pose = torch.randn(4, 45)
    torch.testing.assert_close(hand.regions.to_pose(hand.regions.to_angles(pose)), pose)


def test_limits_let_hands_flex_but_not_bend_backwards(hand):
    low, high = hand.regions.limits.unbind(-1)
    assert (low < high).all()
    fingers = torch.arange(12)
    assert (low[fingers, 0] >= -0.3).all() and (high[fingers, 0] > 1.2).all()


def test_variables_reproduce_and_clamp(hand):
    generator = torch.Generator().manual_seed(0)
    mano = 0.5 * torch.randn(4, 61, generator=generator)
    low, high = hand.regions.limits.unbind(-1)
    angles = low + (high - low) * torch.rand(4, 15, 3, generator=generator)
    mano[:, 13:58] = hand.regions.to_pose(angles)
    variables = HandVariables(hand, mano)
    vertices, joints = variables.surface()
    torch.testing.assert_close(vertices, hand(mano)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(joints, hand(mano)[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(hand(variables.mano())[0], hand(mano)[0], atol=1e-5, rtol=0)
    with torch.no_grad():
        variables.angles.add_(10)
    variables.clamp()
    assert (variables.angles <= high + 1e-6).all()


def test_descent_is_torchs_adam_with_a_cosine_within_limits(hand):
    mano = 0.1 * torch.randn(3, 61, generator=torch.Generator().manual_seed(0))
    ours, theirs = HandVariables(hand, mano), HandVariables(hand, mano)
    goal = hand(0.1 * torch.randn(3, 61, generator=torch.Generator().manual_seed(1)))[1]
    descent = Descent(ours, place=0.004, turns=0.04, last=1e-3, steps=20, betas=(0.5, 0.6))
    rates = [([theirs.rotation, theirs.angles], 0.04), ([theirs.transl], 0.004)]
    groups = [{"params": parts, "lr": rate} for parts, rate in rates]
    adam = torch.optim.Adam(groups, betas=(0.5, 0.6))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 20, eta_min=1e-3)
    for _ in range(20):
        descent.step((ours.surface()[1] - goal).square().sum(dim=(1, 2)))
        adam.zero_grad()
        (theirs.surface()[1] - goal).square().sum().backward()
        adam.step()
        schedule.step()
        theirs.clamp()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)
    low, high = hand.regions.limits.unbind(-1)
    assert (ours.angles >= low).all() and (ours.angles <= high).all()
    assert (ours.angles == low).any() or (ours.angles == high).any()
