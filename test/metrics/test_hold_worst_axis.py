"""The MuJoCo hold test in free fall; test/synthesis holds real grasps against it."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.hold_worst_axis import GRAVITY, HoldTest, hand_cells


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def test_cells_cover_the_hand(hand):
    cells = hand_cells(hand)
    assert len(cells) == 42
    assert len(np.unique(np.concatenate(cells))) == 778
    template = hand.model.v_template.numpy()
    whole = trimesh.Trimesh(template, hand.closed_faces.numpy(), process=False).volume
    hulls = sum(trimesh.convex.convex_hull(template[cell]).volume for cell in cells)
    assert whole < hulls < 1.6 * whole  # neighbours overlap by a ring of faces


def test_free_fall(hand):
    """An object out of the hand's reach falls g t^2 / 2 along every axis."""
    ball = trimesh.creation.icosphere(2, 0.03)
    vertices = hand(torch.zeros(1, 61))[0].numpy() + 10
    fallen = HoldTest(ball, hand, duration=0.2)(vertices, lost=1.0)
    assert fallen[0] == pytest.approx(100 * GRAVITY * 0.2**2 / 2, rel=0.03)
