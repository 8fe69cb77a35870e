"""Where things can be held, and hands that start there, on shapes of known measures."""

from collections import Counter

import numpy as np
import pytest
import roma
import torch
import trimesh

from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.synthesis.optimise import (
    LONGEST,
    OPPOSED,
    Target,
    best_starts,
    filled,
    find_places,
    optimise_grasps,
    path_inside,
    path_outside,
    place_hands,
    reaches_from_above,
    ways_to_hold,
    without_handles,
)
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES, pre_shapes

CPU = torch.device("cpu")
STEP = LONGEST / 35  # between the places where a ray looks
PINCHES = {"tip_pinch", "palmar_pinch", "tripod", "lateral"}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def names(kinds: torch.Tensor) -> Counter:
    return Counter(GRASP_TYPES[number].name for number in kinds.tolist())


@pytest.fixture(scope="module")
def mug_target(mug) -> Target:
    return Target.from_mesh(mug, CPU)


@pytest.fixture(scope="module")
def can_target(can) -> Target:
    return Target.from_mesh(can, CPU)


def test_rays_end_where_a_box_does():
    box = Target.from_mesh(trimesh.creation.box((0.06, 0.1, 0.04)), CPU).field
    axes = torch.eye(3)
    inside = path_inside(box, torch.zeros(3, 3), axes)
    assert ((inside - torch.tensor([0.03, 0.05, 0.02])).abs() < 1.01 * STEP).all()
    outside = path_outside(box, 0.08 * axes, -axes)
    assert ((outside - torch.tensor([0.05, 0.03, 0.06])).abs() < 1.01 * STEP).all()
    assert path_outside(box, 0.08 * axes, axes).tolist() == pytest.approx([LONGEST] * 3)
    long = Target.from_mesh(trimesh.creation.box((0.04, 0.04, 0.32)), CPU).field
    assert float(path_inside(long, torch.zeros(1, 3), axes[2:])) == pytest.approx(LONGEST)


def test_a_full_mug_has_no_cavity_but_a_handle(mug, mug_target):
    body = filled(mug_target.field)
    probes = torch.rand(4000, 3, generator=rng()) * torch.tensor([0.14, 0.1, 0.11])
    probes += torch.tensor([-0.05, -0.05, -0.055])
    exact = signed_distance(mug, probes.numpy())
    radius, height = probes[:, :2].norm(dim=1).numpy(), probes[:, 2].numpy()
    cavity = (radius < 0.034) & (np.abs(height) < 0.038)
    elsewhere = (radius > 0.042) & (np.abs(exact) > 0.002)
    assert (exact[cavity] > 0).mean() > 0.9 and (body(probes).numpy()[cavity] < 0).all()
    np.testing.assert_array_equal(body(probes).numpy()[elsewhere] < 0, exact[elsewhere] < 0)
    middle = float(body(torch.zeros(1, 3)))
    assert middle == pytest.approx(-0.04, abs=0.003)
    hole = torch.tensor([[0.0575, 0.0, 0.0]])
    assert float(body(hole)) == float(mug_target.field(hole)) > 0.01


@pytest.mark.parametrize("extents", [(0.05, 0.06, 0.1), (0.2, 0.02, 0.02)])
def test_a_solid_thing_stays_as_it_is(extents):
    target = Target.from_mesh(trimesh.creation.box(extents), CPU)
    assert filled(target.field) is target.field
    (way,) = ways_to_hold(target)
    assert way.solid is target.field and way.trunk is None


def test_a_trunk_has_no_handle(mug_target):
    trunk = without_handles(filled(mug_target.field))
    angle = torch.linspace(1, 5.28, 20)  # around the wall, but for the handle
    wall = 0.04 * torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)
    ring = torch.tensor([[0.08, 0, 0], [0.055, 0, 0.025], [0.055, 0, -0.025]])
    assert trunk(wall).abs().max() < 0.004
    assert trunk(ring).min() > 0.01


def test_a_mug_is_held_by_body_wall_and_handle(mug_target):
    body, wall, handle = ways_to_hold(mug_target)
    assert not wall.by_handle and handle.by_handle
    places = find_places(mug_target, handle, 16, rng())
    assert names(places.kind)["handle"] > 5
    x, y, z = places.middle.T
    ring = torch.hypot(torch.hypot(x - 0.055, z) - 0.025, y)  # from the handle's core
    assert ring.max() < 0.006
    for way in (body, wall):
        places = find_places(mug_target, way, 16, rng())
        assert len(places.kind) > 30
        assert "handle" not in names(places.kind)
    # Across the wall, thin as it is, not across the mug.
    assert places.width.max() < 0.04
    assert (places.middle[:, :2].norm(dim=1) < 0.05).all()


def test_a_card_is_pinched_across_its_thin_side():
    card = Target.from_mesh(trimesh.creation.box((0.085, 0.003, 0.07)), CPU)
    (way,) = ways_to_hold(card)
    places = find_places(card, way, 16, rng())
    assert len(places.kind) > 30
    assert set(names(places.kind)) <= PINCHES
    assert places.closing[:, 1].abs().min() >= OPPOSED - 0.02
    assert (places.width <= 0.003 + 2 * STEP).all()


def test_a_can_is_wrapped_from_the_side_and_disked_from_above(can_target):
    (way,) = ways_to_hold(can_target)
    places = find_places(can_target, way, 48, rng())
    found = names(places.kind)
    assert found["medium_wrap"] + found["large_diameter"] > 0.5 * len(places.kind)
    above = places.approach[:, 2] < -0.7
    for name in ("disk", "flat"):
        chosen = torch.tensor([GRASP_TYPES[k].name == name for k in places.kind.tolist()])
        assert chosen.any() and above[chosen].all()
    assert (places.approach[:, 2] < 0.3).all()  # nobody reaches up from below
    # Thumb and fingers end on opposite sides of the wall, 6 cm apart.
    level = (places.closing[:, 2].abs() < 0.1) & (places.middle[:, 2].abs() < 0.05)
    assert level.sum() > 50
    assert ((places.width - 0.06)[level].abs() < 2 * STEP).all()
    assert (places.middle[level, :2].norm(dim=1) < 0.02).all()  # a chord, 0.6 r off at most


def test_starts_bring_the_palm_or_the_fingertips(can_target, hand):
    (way,) = ways_to_hold(can_target)
    places = find_places(can_target, way, 24, rng())
    starts = place_hands(places, hand, pre_shapes(hand), rng())
    with torch.no_grad():
        vertices, joints = hand(starts.mano)
    palm = can_target.field(vertices[:, hand.regions.zones == 5]).mean(dim=1)
    power = torch.tensor([kind.is_power for kind in GRASP_TYPES])[starts.kind]
    assert palm[power].median() < 0.03 and palm[power].max() < 0.05
    assert palm[~power].median() > 0.04
    # The object is between thumb and fingers.
    tips = joints[:, 16:21] - places.middle[:, None]
    side = (tips * places.closing[:, None]).sum(-1)
    assert (side[:, 0] < 0).float().mean() > 0.95 and (side[:, 1] > 0).float().mean() > 0.95
    low, high = hand.regions.limits.unbind(-1)
    angles = hand.regions.to_angles(starts.mano[:, 13:58])
    assert (angles >= low - 1e-4).all() and (angles <= high + 1e-4).all()

    chosen = best_starts(starts, way.solid, hand, 16)
    assert len(chosen.mano) == 16 and len(names(chosen.kind)) >= 4

    def depth(mano):
        with torch.no_grad():
            return -can_target.field(hand(mano)[0]).amin(dim=1).clamp(max=0)

    assert depth(chosen.mano).mean() < depth(starts.mano).mean()


@pytest.mark.parametrize(
    ("forearm", "wrist", "reaches"),
    [
        ((0, 0, 1), 0.1, True),  # straight down on it
        ((1, 0, 0), 0.1, True),
        ((1, 0, -0.4), 0.1, True),
        ((0, 0, -1), 0.1, False),  # up through the table
        ((1, 0, -1), 0.1, False),
        ((1, 0, 0), -0.1, False),  # level, but under the table
    ],
)
def test_forearms_do_not_pass_the_table(hand, forearm, wrist, reaches):
    rest = hand.regions.finger_axis
    fingers = -torch.nn.functional.normalize(torch.tensor(forearm).float(), dim=0)
    across = torch.linalg.cross(rest, fingers)
    angle = torch.atan2(across.norm(), rest @ fingers)
    if across.norm() < 1e-3:
        across = torch.linalg.cross(rest, torch.tensor([0.3, 0.5, 0.8]))
    turn = angle * torch.nn.functional.normalize(across, dim=0)
    torch.testing.assert_close(roma.rotvec_to_rotmat(turn) @ rest, fingers, atol=1e-4, rtol=0)
    mano = torch.zeros(1, 61)
    mano[0, 10:13] = turn
    mano[0, 60] = wrist
    with torch.no_grad():
        mano[0, 58:] -= hand(torch.zeros(1, 61))[1][0, 0]
        height = float(hand(mano)[1][0, 0, 2])
    assert height == pytest.approx(wrist, abs=1e-5)
    assert reaches_from_above(mano, hand, 0.0).tolist() == [reaches]


def test_same_seed_same_hands_which_end_at_the_surface(can_target, hand):
    one, two, other = (optimise_grasps(can_target, hand, 4, seed, 40) for seed in (3, 3, 4))
    torch.testing.assert_close(one.mano, two.mano, atol=0, rtol=0)
    assert one.kind.tolist() == two.kind.tolist()
    assert not torch.equal(one.mano[0], other.mano[0])
    with torch.no_grad():
        nearest = can_target.field(hand(one.mano)[0])[:, hand.regions.anchors].amin(dim=1)
    assert nearest.abs().max() < 0.005


def test_what_fits_no_hand_is_refused(hand):
    crate = Target.from_mesh(trimesh.creation.box((0.15, 0.15, 0.15)), CPU)
    with pytest.raises(ValueError, match="no grasp type fits anywhere: accepted are .* 12 cm wide"):
        optimise_grasps(crate, hand, 4, 0)
