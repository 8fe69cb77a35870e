"""Fitting hands to CHOIRs: known hands have to come back."""

import pytest
import roma
import torch
import trimesh

from grasp_gen_core.contact import choir
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners.choir_fit import anchor_places, fit_contact, fit_field
from grasp_gen_core.synthesis.optimise import Target, optimise_grasps


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def truth(hand) -> torch.Tensor:
    """(8, 61) hands of different shapes, bent within their limits, near the origin."""
    rng = torch.Generator().manual_seed(0)
    angles = hand.regions.within_limits(0.7 * torch.randn(8, 45, generator=rng))
    betas = 0.7 * torch.randn(8, 10, generator=rng)
    turn = roma.rotmat_to_rotvec(roma.special_gramschmidt(torch.randn(8, 3, 2, generator=rng)))
    place = 0.06 * torch.randn(8, 3, generator=rng) - hand.root(betas)
    return torch.cat([betas, turn, hand.regions.to_pose(angles), place], dim=1)


def noisy(truth: torch.Tensor) -> torch.Tensor:
    """The benchmark's noise: 5 cm, 15 degrees, and 0.05 rad at each joint."""
    rng = torch.Generator().manual_seed(1)
    start = truth + 0.05 * torch.randn(truth.shape, generator=rng)
    start[:, :10] = 0
    turn = torch.deg2rad(torch.tensor(15.0)) * torch.randn(len(truth), 3, generator=rng)
    start[:, 10:13] = roma.rotvec_composition((turn, truth[:, 10:13]))
    return start


def unknown(truth: torch.Tensor) -> None:
    """A cold start."""


@pytest.mark.parametrize("start", [noisy, unknown])
def test_hands_come_back_from_their_own_field(hand, truth, start):
    vertices, joints = hand(truth)
    field = choir.hand_field(vertices[:, hand.regions.anchors])
    fitted = fit_field(field, hand, start(truth))
    error = (hand(fitted.mano)[1] - joints).norm(dim=2).mean(dim=1)
    assert error.max() < 0.001
    assert fitted.error.max() < 0.0005


def test_a_noisy_field_gives_a_near_hand(hand, truth):
    vertices, joints = hand(truth)
    field = choir.hand_field(vertices[:, hand.regions.anchors])
    field = field + 0.01 * torch.randn(field.shape, generator=torch.Generator().manual_seed(2))
    fitted = fit_field(field, hand, noisy(truth))
    error = (hand(fitted.mano)[1] - joints).norm(dim=2).mean(dim=1)
    # 128 distances for each anchor: a tenth of one distance's error.
    assert error.max() < 0.006
    assert fitted.error.mean().item() == pytest.approx(0.01, rel=0.05)


def test_anchors_are_on_one_side_of_their_plane_or_the_other(hand, truth):
    anchors = hand(truth)[0][:, hand.regions.anchors]
    field = choir.by_anchor(choir.hand_field(anchors), 32)
    places = anchor_places(field, choir.by_anchor(choir.basis()[None], 32))
    apart = (places - anchors[:, :, None]).norm(dim=3).amin(dim=2)
    assert apart.max() < 0.001


@pytest.fixture(scope="module")
def held(hand) -> tuple[torch.Tensor, torch.Tensor, DistanceGrid]:
    """Hands (6, 61) that hold a can, how much each vertex touches, and the can's distance."""
    can = trimesh.creation.cylinder(0.03, 0.14)
    target = Target.from_mesh(can, torch.device("cpu"))
    mano = optimise_grasps(target, hand, 6, seed=0, steps=60).mano
    points = torch.from_numpy(sample_surface(can, 4096, 0)[0]).float()
    vertices = hand(mano)[0].detach()
    weights = choir.contact_weights(points.expand(len(mano), -1, -1), vertices, hand.faces)
    contacts = choir.fit_gaussians(vertices, weights, hand.regions)
    contact = choir.dense_contact(contacts, vertices, hand.regions)
    return mano, contact, DistanceGrid.from_mesh(can)


def test_known_contact_brings_a_hand_back(hand, held):
    """Moved by centimetres, in or off, hands come back most of the way, and out of the can."""
    mano, contact, grid = held
    rng = torch.Generator().manual_seed(0)
    off = mano.clone()
    off[:, 58:] += 0.01 * torch.randn(len(mano), 3, generator=rng)
    off[:, 13:58] += 0.05 * torch.randn(len(mano), 45, generator=rng)
    before, fitted = hand(off)[0], fit_contact(off, contact, hand, grid)
    vertices, truth = hand(fitted)[0], hand(mano)[0]
    error, error_before = ((v - truth).norm(dim=2).mean() for v in (vertices, before))
    assert error < 0.6 * error_before
    assert -grid(before).min() > 0.006
    assert -grid(vertices).amin(dim=1).mean() < 0.003
    touching = (grid(vertices).abs() * contact).sum() / contact.sum()
    assert touching < 0.0015 < (grid(before).abs() * contact).sum() / contact.sum()


def test_without_contact_a_hand_only_leaves_the_object(hand, held):
    mano, contact, grid = held
    outside = mano.clone()
    outside[:, 58:] += torch.tensor([0.0, 0.0, 0.5])
    left = fit_contact(outside, torch.zeros_like(contact), hand, grid)
    torch.testing.assert_close(left, outside, atol=1e-5, rtol=0)


def test_stop_ends_it_at_once(hand, held):
    mano, contact, grid = held
    torch.testing.assert_close(fit_contact(mano, contact, hand, grid, lambda: True), mano)
