"""What hands get hold of: against closed forms, non-negative least squares, and the simulation."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.optimize import nnls
from sklearn.metrics import roc_auc_score

from grasp_gen_core.contact import closing
from grasp_gen_core.contact.closing import (
    BEND_ON,
    EASY,
    EDGES,
    FRICTION,
    _bend_on,
    _push,
    _slip,
    hold,
)
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.types import HAND_POSE, TRANSL


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def contacts(*rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One hand of which the first segments touch: arms, normals, touch."""
    arm, normals, touch = torch.zeros(1, 16, 3), torch.zeros(1, 16, 3), torch.zeros(1, 16)
    normals[..., 2] = 1.0
    for number, (place, normal) in enumerate(rows):
        arm[0, number] = torch.tensor(place)
        normals[0, number] = torch.tensor(normal)
        touch[0, number] = 1.0
    return arm, normals, touch


def test_what_nothing_touches_falls():
    assert _slip(*contacts()).item() == 1.0
    assert _push(*contacts()).item() == 0.0


def test_one_contact_bears_what_leans_on_it():
    # Away from the contact nothing holds, against it all, along it what friction takes of it.
    along = 1 / np.hypot(1, FRICTION)
    found = _slip(*contacts(((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)))).item()
    assert found == pytest.approx((1 + 0 + 4 * along) / 6, abs=0.01)


def test_two_opposite_contacts_bear_all():
    found = _slip(*contacts(((1.0, 0, 0), (1.0, 0, 0)), ((-1.0, 0, 0), (-1.0, 0, 0)))).item()
    assert found < 0.02


def test_forces_are_those_of_non_negative_least_squares(monkeypatch):
    """Nearly so in as few steps as are taken, and exactly in many."""
    rng = np.random.default_rng(0)
    for count in (2, 3, 5, 8):
        normals = rng.normal(size=(count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        arms = normals + 0.2 * rng.normal(size=(count, 3))
        columns = []
        for arm, normal in zip(arms, normals, strict=True):
            first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
            first /= np.linalg.norm(first)
            for turn in 2 * np.pi * np.arange(EDGES) / EDGES:
                across = np.cos(turn) * first + np.sin(turn) * np.cross(normal, first)
                force = FRICTION * across - normal
                columns.append(np.concatenate([force, np.cross(arm, force)]))
        edges = np.array(columns).T
        eased = np.vstack([edges, np.sqrt(EASY) * np.eye(edges.shape[1])])
        left = []
        for axis in np.vstack([np.eye(3), -np.eye(3)]):
            weight = np.concatenate([axis, np.zeros(3)])
            force, _ = nnls(eased, -np.concatenate([weight, np.zeros(edges.shape[1])]))
            left.append(np.linalg.norm(edges @ force + weight))
        rows = [(a.tolist(), n.tolist()) for a, n in zip(arms, normals, strict=True)]
        with monkeypatch.context() as patched:
            patched.setattr(closing, "STRONGEST", np.inf)
            assert 0 <= _slip(*contacts(*rows)).item() - np.mean(left) + 0.01 < 0.15
            patched.setattr(closing, "ITERATIONS", 5000)
            assert _slip(*contacts(*rows)).item() == pytest.approx(np.mean(left), abs=0.01)


@pytest.mark.parametrize("height", [1.0, 0.0])
def test_joints_bend_on_until_they_touch(hand, height):
    """Over a floor far below all joints bend; in one that reaches above the hand, none."""
    mano = torch.zeros(2, 61)
    mano[1, HAND_POSE] = 0.3 * torch.randn(45, generator=torch.Generator().manual_seed(0))

    def distance(points):
        return points[..., 1] + (height - 0.5)

    points, depth = _bend_on(hand, mano, distance)
    angles = hand.regions.to_angles(mano[:, HAND_POSE])
    if height:
        most = torch.maximum(hand.regions.limits[:, 0, 1], angles[..., 0])
        angles[..., 0] = torch.minimum(angles[..., 0] + BEND_ON, most)
    bent = mano.clone()
    bent[:, HAND_POSE] = hand.regions.to_pose(angles)
    vertices, _ = hand(bent)
    owner = hand.model.lbs_weights.argmax(dim=1)
    lowest = torch.stack([vertices[:, owner == n, 1].amin(dim=1) for n in range(16)], dim=1)
    torch.testing.assert_close(points[..., 1], lowest, atol=1e-5, rtol=0)
    torch.testing.assert_close(depth, lowest + (height - 0.5), atol=1e-5, rtol=0)


def test_hands_that_hold_in_the_simulation_slip_and_push_less():
    pipeline = GraspPipeline(device="cpu", ranking="formula")
    better = {"slip": [], "push": []}
    for number, family in enumerate(("bottle", "mug", "box")):
        mesh = make_object(family, 880_000 + number)
        field = DistanceGrid.from_mesh(mesh)
        scene = pipeline.look_at(view_object(mesh, "full").points, 0, field)
        mano = pipeline.propose(scene, 8, torch.Generator().manual_seed(0))
        grasps = pipeline.finish(pipeline.promising(mano, scene, 24), scene, 0)
        held = ClosingTest(mesh, pipeline.hand)(grasps.mano).outcome == HELD
        placed = torch.from_numpy(grasps.mano)
        found = hold(pipeline.hand, placed, field, field.middle())
        for name, told in better.items():
            told.append(roc_auc_score(held, -getattr(found, name).numpy()))
    assert np.mean(better["slip"]) > 0.65 and np.mean(better["push"]) > 0.65, better


def test_moved_and_turned_hands_hold_as_well(hand):
    ball = trimesh.creation.icosphere(radius=0.04).apply_translation((-0.09, -0.05, 0))
    field = DistanceGrid.from_mesh(ball)
    mano = 0.2 * torch.randn(4, 61, generator=torch.Generator().manual_seed(1))
    mano[:, TRANSL] *= 0.05
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]]))
    shift = torch.tensor([0.3, -0.2, 0.5])
    here = hold(hand, mano, field, field.middle())
    there = hold(
        hand,
        hand.move(mano, turn, shift),
        lambda points: field((points - shift) @ turn),
        turn @ field.middle() + shift,
    )
    assert here.contacts.max() > 1
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)
