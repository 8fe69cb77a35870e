"""Depth, contact ratio and contact fingers: known by construction, and beside trimesh."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers, finger_touches
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.objects.distance import signed_distance

DATA = Path(__file__).parents[2] / "training" / "data"
PARTS = torch.tensor([0, 0, 1, 2, 3, 4, 5])


def test_depth_is_the_deepest_vertex_in_centimetres():
    distance = torch.tensor([[0.1, -0.003, -0.012], [0.0, 0.01, 0.02]])
    assert penetration_depth_cm(distance).tolist() == pytest.approx([1.2, 0.0])


@pytest.mark.parametrize("depth", [0.001, 0.012, 0.04])
def test_a_ball_as_large_as_a_hand_in_a_box(depth):
    """What of a 5 cm ball reaches furthest behind a face is its pole, at every depth."""
    ball = trimesh.creation.icosphere(4, 0.05).apply_translation((0, 0, 0.15 - depth))
    box = trimesh.creation.box((0.2, 0.2, 0.2))
    distance = torch.from_numpy(signed_distance(box, ball.vertices[None]))
    assert penetration_depth_cm(distance).item() == pytest.approx(100 * depth, abs=0.01)


def test_depth_agrees_with_trimesh():
    """Within 0.1 mm of the exact closest point, on made-up objects and on grasps of every depth."""
    data, hand = GraspDataset.load(DATA), ManoHand()
    rng = np.random.default_rng(0)
    for number in rng.choice(len(data.objects), 6, replace=False):
        mesh = data.mesh(int(number))
        drawn = rng.choice(np.flatnonzero(data.object_index == number), 2)
        mano = torch.from_numpy(data.mano[drawn])
        mano[:, 58:] += torch.from_numpy(rng.normal(0, 0.008, (2, 3))).float()
        hands = hand(mano)[0].numpy()
        depth = penetration_depth_cm(torch.from_numpy(signed_distance(mesh, hands))).numpy()
        for vertices, ours in zip(hands, depth, strict=True):
            inside = vertices[mesh.contains(vertices)]
            exact = trimesh.proximity.closest_point(mesh, inside)[1].max() if len(inside) else 0.0
            assert ours == pytest.approx(100 * exact, abs=0.01)


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
