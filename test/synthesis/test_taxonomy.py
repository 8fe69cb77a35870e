"""Grasp types: what a hand can do, and what each calls a hold."""

import numpy as np
import pytest
import torch

from grasp_gen_core.hand import PARTS
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES, pre_shapes

BY_NAME = {kind.name: kind for kind in GRASP_TYPES}
NAMES = (
    "power_wrap medium_wrap large_diameter tip_pinch palmar_pinch tripod quadpod lateral "
    "sphere_4finger disk handle flat"
).split()


@pytest.fixture(scope="module")
def shapes(hand):
    return pre_shapes(hand)


def test_names():
    assert [kind.name for kind in GRASP_TYPES] == NAMES
    power = {"power_wrap", "medium_wrap", "large_diameter", "handle"}
    assert {kind.name for kind in GRASP_TYPES if kind.is_power} == power


def test_pre_shapes_are_postures_of_a_hand(hand, shapes):
    low, high = hand.regions.limits.unbind(-1)
    assert (shapes.angles >= low - 1e-6).all() and (shapes.angles <= high + 1e-6).all()
    eye = torch.eye(3).expand_as(shapes.frame)
    torch.testing.assert_close(shapes.frame.mT @ shapes.frame, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.det(shapes.frame), torch.ones(12, 6), atol=1e-5, rtol=0)


def test_hands_open_and_span_what_their_type_takes(shapes):
    for kind, gap in zip(GRASP_TYPES, shapes.gap, strict=True):
        # What a power grasp's curled fingers open is their arch, not the way to the thumb.
        assert kind.is_power or (gap.diff() > 0).all(), kind.name
        assert gap[-1] > kind.width[1], kind.name
        assert kind.width[0] < kind.width[1]


def test_closing_axis_leads_from_the_thumb_to_the_finger(hand, shapes):
    number = NAMES.index("tip_pinch")
    mano = torch.zeros(6, 61)
    mano[:, 13:58] = hand.regions.to_pose(shapes.angles[number])
    with torch.no_grad():
        joints = hand(mano)[1]
    across = joints[:, 17] - joints[:, 16]
    along = (across * shapes.frame[number, :, :, 1]).sum(1)
    assert (along > 0.7 * across.norm(dim=1)).all()
    torch.testing.assert_close(shapes.gap[number], across.norm(dim=1))
    torch.testing.assert_close(shapes.centre[number], (joints[:, 17] + joints[:, 16]) / 2)


@pytest.mark.parametrize(
    ("name", "touching", "held"),
    [
        ("power_wrap", "thumb index middle ring little palm", True),
        ("power_wrap", "thumb index middle ring palm", True),
        ("power_wrap", "thumb index middle palm", False),
        ("power_wrap", "thumb index middle ring little", False),
        ("power_wrap", "index middle ring little palm", False),
        ("medium_wrap", "thumb index middle ring little", False),
        ("large_diameter", "thumb index middle ring", True),
        ("tip_pinch", "thumb index", True),
        ("tip_pinch", "thumb middle", False),
        ("tip_pinch", "index palm", False),
        ("palmar_pinch", "thumb middle", True),
        ("tripod", "thumb middle", True),
        ("tripod", "thumb ring little palm", False),
        ("quadpod", "thumb index ring", True),
        ("quadpod", "thumb index little", False),
        ("lateral", "thumb index", True),
        ("lateral", "thumb palm", False),
        ("sphere_4finger", "thumb index middle", True),
        ("disk", "thumb index middle ring", True),
        ("disk", "thumb index middle", False),
        ("handle", "thumb index middle ring", True),
        ("handle", "thumb index middle", True),
        ("handle", "thumb index little", False),
        ("flat", "thumb index middle ring", True),
        ("flat", "thumb", False),
    ],
)
def test_what_counts_as_held(name, touching, held):
    touches = np.isin(PARTS, touching.split())
    assert BY_NAME[name].is_held(touches) is held
