"""Fitting hands to CHOIRs: known hands have to come back."""

from concurrent.futures import CancelledError
from functools import partial

import pytest
import roma
import torch
import trimesh

from grasp_gen_core.contact import choir
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners.choir_fit import (
    LIMIT_WEIGHT,
    POSE_WEIGHT,
    anchor_places,
    contact_cost,
    distance_cost,
    fit_contact,
    fit_field,
    place_cost,
    refine,
)
from grasp_gen_core.stopping import stopped_by
from grasp_gen_core.synthesis.optimise import Target, optimise_grasps
from grasp_gen_core.types import HAND_POSE


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
    """Off by 5 cm, 15 degrees, and 0.05 rad at each joint; of the mean shape."""
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


def test_without_a_shape_to_find_the_starts_stays(hand, truth):
    field = choir.hand_field(hand(truth)[0][:, hand.regions.anchors])
    start = noisy(truth)
    start[:, :10] = 0.3
    fitted = fit_field(field, hand, start, shape=None)
    assert (fitted.mano[:, :10] == 0.3).all()
    assert (hand(fitted.mano)[1] - hand(truth)[1]).norm(dim=2).mean() < 0.01


def test_a_fit_is_the_same_alone_and_in_any_batch(hand, truth):
    field = choir.hand_field(hand(truth)[0][:, hand.regions.anchors])
    field = field + 0.01 * torch.randn(field.shape, generator=torch.Generator().manual_seed(2))
    together = hand(fit_field(field, hand, noisy(truth)).mano)[0]
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    shuffled = hand(fit_field(field[order], hand, noisy(truth)[order]).mano)[0]
    alone = hand(fit_field(field[2:3], hand, noisy(truth)[2:3]).mano)[0]
    # Metres: where the cost is flat, single precision tells no nearer places apart.
    torch.testing.assert_close(shuffled, together[order], atol=1e-4, rtol=0)
    torch.testing.assert_close(alone, together[2:3], atol=1e-4, rtol=0)


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


@pytest.mark.parametrize(
    "distance, pull, cost, half_slope",
    [
        # mm; 2 * 3^2 outside, the same on this side of the skin's depth, 2 * 1.5^2 at it, and below
        # 2 * 2^2 + 100 * 0.5^2.
        (3.0, 2.0, 18.0, 6.0),
        (-1.0, 2.0, 2.0, -2.0),
        (-1.5, 2.0, 4.5, -3.0),
        (-2.0, 2.0, 33.0, -54.0),
        (-2.0, 0.0, 25.0, -50.0),
        (4.0, 0.0, 0.0, 0.0),
    ],
)
def test_contact_and_penetration_cost_what_eq_12_says(distance, pull, cost, half_slope):
    """Of a half space z < 0, in millimetres: lambda_5 is a hundred times lambda_4."""
    points = torch.tensor([[[0.01, 0.02, distance / 1e3]]], dtype=torch.float64)
    found, gradient, curvature = contact_cost(
        points, torch.tensor([[pull]], dtype=torch.float64), lambda p: p[..., 2]
    )
    assert 1e6 * found.item() == pytest.approx(cost, abs=1e-6)
    assert (1e3 * gradient).flatten().tolist() == pytest.approx([0, 0, half_slope], abs=1e-6)
    steep = pull + (100 if distance < -1.5 else 0)
    assert curvature[0, 0].flatten().tolist() == pytest.approx([0] * 8 + [steep])


def test_what_contact_costs_has_no_jump_where_penetration_begins():
    depth = -torch.linspace(0, 0.003, 3001, dtype=torch.float64)  # a micrometre apart
    points = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], dim=1)[:, None]
    costs = contact_cost(points, torch.ones(3001, 1).double(), lambda p: p[..., 2])
    assert (1e6 * costs[0]).diff().min() >= 0
    # The slope is 2 (d + 100 (d - 1.5 mm)) at most: 0.3 mm^2 in a micrometre.
    assert (1e6 * costs[0]).diff().max() < 0.31
    assert (1e3 * costs[1][:, 0, 2]).diff().abs().max() < 0.102


def costs(hand: ManoHand) -> list:
    """What the fits minimise, as functions of points (1, 32, 3), in double precision."""
    rng = torch.Generator().manual_seed(5)
    grid = choir.by_anchor(choir.basis()[None], 32).double()
    wanted = 0.1 + 0.05 * torch.rand(1, 128, 32, generator=rng, dtype=torch.float64)
    places = 0.1 * torch.randn(1, 32, 2, 3, generator=rng, dtype=torch.float64)
    pull = torch.rand(1, 32, generator=rng, dtype=torch.float64)
    can = DistanceGrid.from_mesh(trimesh.creation.cylinder(0.03, 0.14)).double()
    return [
        partial(place_cost, places=places),
        partial(distance_cost, grid=grid, wanted=wanted),
        partial(contact_cost, pull=pull, grid=can),
    ]


@pytest.mark.parametrize("number", range(3))
def test_derivatives_are_what_small_steps_find(hand, number):
    cost = costs(hand)[number]
    rng = torch.Generator().manual_seed(6)
    points = 0.03 * torch.randn(1, 32, 3, generator=rng, dtype=torch.float64)
    _, gradient, curvature = cost(points)
    step = 1e-7
    for axis in range(3):
        way = torch.zeros(3).double()
        way[axis] = step
        for point in range(0, 32, 3):
            there, back = points.clone(), points.clone()
            there[0, point] += way
            back[0, point] -= way
            slope = (cost(there)[0] - cost(back)[0]) / (4 * step)
            assert gradient[0, point, axis].item() == pytest.approx(
                slope.item(), rel=1e-4, abs=1e-7
            )
    assert torch.linalg.eigvalsh(curvature).min() > -1e-9


def test_refined_hands_keep_their_shape_whatever_stands_beside_them(hand, held):
    mano, _, grid = held
    can = trimesh.creation.cylinder(0.03, 0.14)
    points = torch.from_numpy(sample_surface(can, 4096, 0)[0]).float()
    together = refine(mano, points, grid, hand=hand)
    assert (together[:, :10] == mano[:, :10]).all()
    shuffled = refine(mano.flip(0), points, grid, hand=hand).flip(0)
    alone = refine(mano[1:2], points, grid, hand=hand)
    torch.testing.assert_close(hand(shuffled)[0], hand(together)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(hand(alone)[0], hand(together[1:2])[0], atol=1e-5, rtol=0)


def test_a_field_of_no_hand_still_gives_joints_within_limits(hand, truth):
    """What a network draws is no hand's field exactly: the fit mustn't break fingers for it."""
    rng = torch.Generator().manual_seed(3)
    field = choir.hand_field(hand.carry(truth, hand.regions.anchors)[0])
    drawn = field + 0.01 * torch.randn(field.shape, generator=rng)
    angles = hand.regions.to_angles(fit_field(drawn, hand).mano[:, HAND_POSE])
    low, high = hand.regions.limits.unbind(-1)
    assert torch.maximum(low - angles, angles - high).max() < 0.2


def test_the_limits_pull_is_what_small_steps_find(hand):
    """Of cost and slope alike: bent beyond its limits, a hand whose anchors are right bends back
    to where the anchors' errors, worked out by L-BFGS on the same sum, weigh the same."""
    bent = torch.zeros(1, 61)
    angles = torch.zeros(1, 15, 3)
    angles[0, 4, 0] = hand.regions.limits[4, 0, 1] + 0.6
    bent[:, HAND_POSE] = hand.regions.to_pose(angles)
    field = choir.hand_field(hand.carry(bent, hand.regions.anchors)[0])
    fitted = fit_field(field, hand, bent, shape=None).mano

    def total(free: torch.Tensor) -> torch.Tensor:
        mano = torch.cat([bent[:, :10], free], dim=1)
        apart = choir.hand_field(hand.carry(mano, hand.regions.anchors)[0]) - field
        pose = mano[:, HAND_POSE]
        beyond = hand.regions.to_angles(pose)
        beyond = beyond - beyond.clamp(*hand.regions.limits.unbind(-1))
        far = (POSE_WEIGHT * (pose - bent[:, HAND_POSE])).square().sum()
        size = field.shape[1]
        return apart.square().sum() + size * (far + (LIMIT_WEIGHT * beyond).square().sum())

    free = bent[:, 10:].clone().requires_grad_()
    optimiser = torch.optim.LBFGS([free], max_iter=500, line_search_fn="strong_wolfe", lr=0.1)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        cost = total(free)
        cost.backward()
        return cost

    optimiser.step(closure)
    assert total(fitted[:, 10:]).item() < 1.01 * total(free).item()


def test_stop_ends_it_at_once(hand, held):
    mano, contact, grid = held
    asked = []
    with pytest.raises(CancelledError), stopped_by(lambda: asked.append(0) or True):
        fit_contact(mano, contact, hand, grid)
    assert len(asked) == 1
