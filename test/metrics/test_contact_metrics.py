"""Depth, contact ratio and contact fingers on distances known by construction."""

import pytest
import torch

from grasp_gen_core.metrics.contact_fingers import contact_fingers, finger_touches
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm

PARTS = torch.tensor([0, 0, 1, 2, 3, 4, 5])


def test_depth_is_the_deepest_vertex_in_centimetres():
    distance = torch.tensor([[0.1, -0.003, -0.012], [0.0, 0.01, 0.02]])
    assert penetration_depth_cm(distance).tolist() == pytest.approx([1.2, 0.0])


def test_contact_is_within_five_millimetres_or_inside():
    distance = torch.tensor([[0.0051, 0.1], [0.005, 0.1], [-0.01, 0.1]])
    assert contact_ratio_pct(distance).tolist() == [0.0, 100.0, 100.0]


def test_fingers_are_counted_once_and_the_palm_not_at_all():
    far, near = 0.02, 0.004
    distance = torch.tensor(
        [
            [near, near, far, far, far, far, far],  # two vertices of one thumb
            [far, far, near, near, near, near, far],
            [far, far, far, far, far, far, near],  # palm alone
        ]
    )
    assert contact_fingers(distance, PARTS).tolist() == [1.0, 4.0, 0.0]
    assert finger_touches(distance, PARTS)[1].tolist() == [False, True, True, True, True]
