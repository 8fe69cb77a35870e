"""The score's factors on fields and hands made to differ in one thing."""

import pytest
import torch

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.ranking import score_grasps


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def score(hand, field, approach=(0.0, -1.0, 0.0), normals=None):
    vertices, joints = hand(torch.zeros(1, 61))
    value, metrics = score_grasps(
        vertices,
        joints,
        torch.tensor([approach]),
        hand,
        field,
        torch.zeros(4, 3) if normals is None else normals,
        torch.zeros(3),
    )
    return float(value), {name: float(v) for name, v in metrics.items()}


def floor(hand, gap: float):
    """The half-space under the flat hand, its top `gap` metres below the lowest vertex."""
    level = float(hand(torch.zeros(1, 61))[0][..., 1].min()) - gap
    return lambda points: points[..., 1] - level


def test_out_of_reach_scores_nothing(hand):
    value, metrics = score(hand, floor(hand, 0.02))
    assert value == 0 and metrics["contact_fingers"] == 0 and metrics["contact_ratio_pct"] == 0


def test_penetration_lowers_the_score(hand):
    touching, deep = (score(hand, floor(hand, gap)) for gap in (0.001, -0.008))
    assert deep[1]["penetration_depth_cm"] == pytest.approx(0.8, abs=1e-3)
    assert 0 < deep[0] < touching[0]


def test_a_wire_through_a_finger_scores_far_below_one_beside_it(hand):
    """A wire of 4 mm along the hand's width, inside the fingers or just under their pads."""
    joints = hand(torch.zeros(1, 61))[1][0]
    bone = (joints[5] + joints[6]) / 2  # middle finger

    def wire(drop: float):
        across, below = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, drop, 0.0])
        return lambda points: ((points - bone + below) * across).norm(dim=-1) - 0.002

    pierced, beside = score(hand, wire(0.0)), score(hand, wire(0.012))
    assert pierced[1]["bone_clearance_cm"] < 0 < beside[1]["bone_clearance_cm"]
    assert pierced[1]["contact_fingers"] > 0 and beside[1]["contact_fingers"] > 0
    assert pierced[0] < 0.5 * beside[0]


def test_hands_come_from_the_side_that_was_seen(hand):
    field = floor(hand, 0.001)
    seen = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)  # a surface that faces +y
    along = score(hand, field, approach=(0.0, -1.0, 0.0), normals=seen)[0]
    against = score(hand, field, approach=(0.0, 1.0, 0.0), normals=seen)[0]
    assert along > 0 and against == 0
