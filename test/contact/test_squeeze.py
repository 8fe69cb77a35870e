"""The squeeze: forces that balance, torques by finite differences, and what stays as it is."""

import numpy as np
import pytest
import torch

from grasp_gen_core.contact.squeeze import LOAD, TOUCHING, balanced_forces, squeeze
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.mechanism import STRETCH, TORQUE

RADIUS = 0.035


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def ball(centre: torch.Tensor):
    """Exact signed distance to a ball."""
    return lambda points: (points - centre).norm(dim=-1) - RADIUS


@pytest.fixture(scope="module")
def grasp(hand) -> tuple[torch.Tensor, torch.Tensor]:
    """A hand half closed, and the centre of a ball amid its fingertips."""
    angles = torch.zeros(1, 15, 3)
    angles[0, :12, 0] = torch.tensor([0.7, 0.6, 0.4]).repeat(4)
    angles[0, 12, 2], angles[0, 13:, 0] = -0.6, 0.2
    mano = torch.zeros(1, 61)
    mano[:, 13:58] = hand.regions.to_pose(angles)
    tips = hand(mano)[1][0, 16:]
    centre = (tips[0] + tips[1:4].mean(dim=0)) / 2
    return mano, centre


def wrench(points: np.ndarray, normals: np.ndarray, force: np.ndarray) -> np.ndarray:
    """(6,) of contacts that press with forces (K,)."""
    pushes = -force[:, None] * normals
    middle = (points * force[:, None]).sum(axis=0) / force.sum()
    torque = np.cross((points - middle) / 0.05, pushes).sum(axis=0)
    return np.concatenate([pushes.sum(axis=0), torque])


def test_opposite_pads_press_alike():
    """Thumb and one finger on both sides of a plate: one newton each, nothing left over."""
    points, normals = torch.zeros(1, 32, 3), torch.zeros(1, 32, 3)
    normals[..., 2] = 1
    points[0, 2, 2], points[0, 7, 2], normals[0, 2, 2] = -0.01, 0.01, -1
    touching = torch.zeros(1, 32, dtype=torch.bool)
    touching[0, [2, 7]] = True
    force = balanced_forces(points, normals, touching)[0]
    torch.testing.assert_close(force[[2, 7]], torch.ones(2), atol=0.02, rtol=0)
    assert force.sum() == force[[2, 7]].sum()


def test_forces_balance_better_than_pressing_alike():
    """Random contacts on a ball: no force pulls, and less is left over than of even ones."""
    rng = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(20, 32, 3, generator=rng), dim=2)
    points, touching = RADIUS * normals, torch.ones(20, 32, dtype=torch.bool)
    force = balanced_forces(points, normals, touching).double().numpy()
    assert (force >= 0).all() and (force.sum(axis=1) > 0.5).all()
    thumb, others = force[:, :5].sum(axis=1), force[:, 5:25].sum(axis=1)
    assert (thumb > 0.1).all() and (others > 0.1).all()
    for f, p, n in zip(force, points.double().numpy(), normals.double().numpy(), strict=True):
        even = np.concatenate([np.full(5, 1 / 5), np.full(20, 1 / 20), np.zeros(7)])
        left, plain = (np.linalg.norm(wrench(p, n, one) / one.sum()) for one in (f, even))
        assert left < 0.5 * plain


def test_offsets_are_torques_over_stiffness(hand, grasp):
    """J^T f of the pads' forces, J by central differences of the layer."""
    mano, centre = grasp
    # A larger ball that all fingertips are in: no gap is left to close.
    deep = ball(centre)
    distance = lambda points: deep(points) - 0.03  # noqa: E731
    found = squeeze(hand, mano, distance)
    anchors = hand.regions.anchors
    points = hand(mano)[0][0, anchors]
    gap, normals = distance(points[None])[0], torch.nn.functional.normalize(points - centre, dim=1)
    force = balanced_forces(points[None], normals[None], (gap < TOUCHING)[None])[0].double()
    assert (gap[:25].view(5, 5).min(dim=1).values <= 0).all()
    angles = hand.regions.to_angles(mano[:, 13:58])
    torque = torch.zeros(15, 3, dtype=torch.double)
    step = 1e-3
    for joint in range(15):
        for axis in range(2):
            ends = []
            for sign in (1, -1):
                moved = angles.clone()
                moved[0, joint, axis] += sign * step
                turned = torch.cat([mano[:, :13], hand.regions.to_pose(moved), mano[:, 58:]], 1)
                ends.append(hand(turned)[0][0, anchors].double())
            way = (ends[0] - ends[1]) / (2 * step)
            torque[joint, axis] = -(force[:, None] * way * normals.double()).sum()
    load = torque / torch.tensor(TORQUE).repeat(5)[:, None]
    expected = STRETCH * LOAD * load / load.abs().max()
    offset = (hand.regions.to_angles(found[:, 13:58]) - angles)[0].double()
    torch.testing.assert_close(offset, expected, atol=1e-3, rtol=0.02)
    assert offset.abs().max() == pytest.approx(STRETCH * LOAD, rel=1e-3)


def test_fingers_that_do_not_touch_are_brought_to_the_surface(hand, grasp):
    mano, centre = grasp
    distance = ball(centre)
    anchors = hand.regions.anchors[:25]
    nearest = lambda one: distance(hand(one)[0][:, anchors])[0].view(5, 5).min(dim=1).values  # noqa: E731
    before, after = nearest(mano), nearest(squeeze(hand, mano, distance))
    off = (before > 0.002) & (before < 0.02)
    assert off.any() and (after[off] < 0.4 * before[off]).all()
    assert (after[before < 0.02] < 0.003).all()


def test_only_the_fingers_move(hand, grasp):
    mano, centre = grasp
    mano = mano.clone()
    mano[0, :13] = torch.linspace(-1, 1, 13)
    mano[0, 58:] = torch.tensor([0.1, -0.2, 0.3])
    found = squeeze(hand, mano, ball(hand(mano)[1][0, 16:].mean(dim=0)))
    torch.testing.assert_close(found[:, :13], mano[:, :13], rtol=0, atol=0)
    torch.testing.assert_close(found[:, 58:], mano[:, 58:], rtol=0, atol=0)
    assert (found[:, 13:58] != mano[:, 13:58]).any()
    far = squeeze(hand, mano, lambda points: points.norm(dim=-1) + 1)
    torch.testing.assert_close(far, mano)
