"""Energies and contact maps in closed form."""

import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from grasp_gen_core.contact import energies
from grasp_gen_core.contact.maps import contact_map, contact_value, distances, nearest
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.rotations import to_matrix
from grasp_gen_core.objects.distance import signed_distance


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def sphere(points: torch.Tensor) -> torch.Tensor:
    return points.norm(dim=-1) - 0.05


def test_contact_value_is_the_papers_function_of_centimetres():
    for centimetres in (0.0, 0.5, 1.0, 3.0):
        expected = 1 - 2 * (1 / (1 + math.exp(-2 * centimetres)) - 0.5)
        value = contact_value(torch.tensor(centimetres / 100))
        assert float(value) == pytest.approx(expected, abs=1e-6)


def test_contact_map_takes_the_nearest_vertex():
    vertices = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0]]])
    points = torch.tensor([[0.0, 0, 0], [0.09, 0, 0]])
    expected = contact_value(torch.tensor([0.0, 0.01]))
    torch.testing.assert_close(contact_map(points, vertices)[0], expected, atol=1e-4, rtol=0)


def test_surface_normal_of_a_sphere():
    points = torch.nn.functional.normalize(torch.randn(2, 7, 3), dim=-1) * 0.05
    normals = energies.surface_normal(sphere, points)
    torch.testing.assert_close(normals, points / 0.05, atol=1e-3, rtol=0)


def test_hands_far_from_a_surface_and_hands_in_it_fit_worse_than_those_on_it(hand):
    vertices, _ = hand(torch.zeros(1, 61))
    axis = hand.regions.palm_axis
    front = (vertices[0] @ axis).max()  # the flat hand on a wall that its palm faces

    def misfit(away: float) -> float:
        wall = lambda points: front + away - points @ axis  # noqa: E731
        return float(energies.misfit(vertices, wall, hand.regions))

    assert misfit(0.0) < misfit(0.1) and misfit(0.0) < misfit(-0.1)


def test_misfit_is_squared_depth_and_what_tips_lack(hand):
    """All of a hand 1 cm deep or 2 cm off, in cm: all lengths of a finger's three anchors alike."""
    vertices, _ = hand(torch.zeros(2, 61))
    at = torch.tensor([[-0.01], [0.02]]).expand(2, 778)
    off = [1.15 * ((d**2 + 0.01) ** 0.5 - 0.1) for d in (1, 2)]
    found = energies.misfit(vertices, lambda _: at, hand.regions).tolist()
    assert found == pytest.approx([1 + off[0], off[1]])


def test_opposing_contacts_close_and_one_sided_ones_do_not():
    points = torch.tensor([[[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]]])
    strength = torch.ones(1, 2)
    centre = torch.zeros(3)
    assert energies.force_closure(points, points / 0.05, strength, centre) < 1e-10
    same_side = points.abs()
    pushed = energies.force_closure(same_side, same_side / 0.05, strength, centre)
    assert float(pushed) == pytest.approx(4.0)  # |1 + 1|^2


def test_force_closure_counts_torque():
    """Two opposite forces 10 cm apart: a couple of 2 x 1 x 5 cm, in units of 5 cm."""
    points = torch.tensor([[[0.0, 0.05, 0.0], [0.0, -0.05, 0.0]]])
    normals = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]]])
    wrench = energies.force_closure(points, normals, torch.ones(1, 2), torch.zeros(3))
    assert float(wrench) == pytest.approx(4.0)


def test_penetration_of_known_depth():
    distance = torch.tensor([[-0.01, 0.02, -0.02]])  # 1 and 2 cm deep
    spheres = torch.full((1, 5, 2), 1.0)
    value = energies.penetration(distance, spheres, torch.full((5, 2), 0.008))
    assert float(value) == pytest.approx(1 + 4)


def test_flat_hand_does_not_touch_itself_and_crossed_fingers_do(hand):
    flat = torch.zeros(1, 61)
    angles = torch.zeros(1, 15, 3)
    angles[0, 0, 1], angles[0, 3, 1] = 0.3, -0.3  # index and middle finger deviate across
    crossed = flat.clone()
    crossed[:, 13:58] = hand.regions.to_pose(angles)
    overlap = [
        float(energies.self_penetration(*energies.bone_spheres(hand(mano)[1], hand.regions)))
        for mano in (flat, crossed)
    ]
    assert overlap[0] < 0.02 < overlap[1]


def test_bent_hands_carry_the_spheres_of_their_bones(hand):
    mano = 0.3 * torch.randn(3, 61, generator=torch.Generator().manual_seed(0))
    betas, turned = mano[:, :10], to_matrix(mano[:, 10:13])
    flat = hand.flat(betas, hand.regions.anchors)
    carrying, radii = energies.with_spheres(flat, betas, hand)
    points, _ = hand.bend(carrying, turned, mano[:, 13:58], mano[:, 58:])
    centres, wanted = energies.bone_spheres(hand(mano)[1], hand.regions)
    torch.testing.assert_close(points[:, 32:], centres.flatten(1, 2), atol=1e-6, rtol=0)
    assert radii.equal(wanted)


def test_overlap_of_four_fifths_of_a_sphere():
    radii = torch.full((2, 3), 0.01)
    distance = torch.tensor([[[0.05, 0.008, 0.003], [0.009, 0.0, -0.002]]])  # 5, 8 and 10 mm deep
    value = float(energies.sphere_penetration(distance, radii))
    assert value == pytest.approx(0.5**2 + 0.8**2 + 1.0**2, abs=1e-6)


def test_spheres_fill_the_palm_between_wrist_and_knuckles(hand):
    vertices, joints = hand(torch.zeros(1, 61))
    centres, radii = energies.palm_spheres(joints, hand.regions)
    assert centres.shape == (1, 4, 4, 3) and radii.shape == (4, 4)
    # Four fifths of each, what counts, are flesh: nothing is met before the skin.
    skin = trimesh.Trimesh(vertices[0].numpy(), hand.closed_faces.numpy())
    below = -signed_distance(skin, centres[0].numpy())
    assert (below > 0.8 * radii.numpy()).all() and (below < 2 * radii.numpy()).all()
    # A thin wall across the palm is met where no vertex lies inside it.
    middle = centres[0].mean(dim=(0, 1))

    def wall(points):
        return (points - middle)[..., 0].abs() - 0.0005

    assert float(energies.sphere_penetration(wall(centres), radii)) > 0.3
    away = wall(centres + torch.tensor([0.3, 0.0, 0.0]))
    assert float(energies.sphere_penetration(away, radii)) == 0


def test_pressed_pads_rest_below_the_surface(hand):
    """Where all pads lie at the same depth, the pull vanishes at the squeeze and nowhere else."""
    vertices = hand(torch.zeros(1, 61))[0]

    def pull(depth: float, squeeze: float) -> list[float]:
        distance = torch.full(vertices.shape[:2], -depth)
        found = energies.pad_contact(vertices, distance, hand.regions, squeeze=squeeze)
        return [float(x.abs().max()) for x in (found.tip, found.middle, found.proximal, found.palm)]

    assert pull(0.002, 0.002) == pytest.approx([0] * 4, abs=1e-6)
    assert pull(0.0, 0.0) == pytest.approx([0] * 4, abs=1e-6)
    assert min(pull(0.0, 0.002)) > 0.1 and min(pull(0.002, 0.0)) > 0.1
    assert pull(0.005, 0.002) == pytest.approx(pull(0.003, 0.0))


def test_coupled_fingers_cost_nothing(hand):
    angles = torch.zeros(1, 15, 3)
    angles[0, [1, 4, 7, 10], 0] = 0.6
    angles[0, [2, 5, 8, 11], 0] = 0.67 * 0.6
    assert float(energies.coupling(angles)) < 1e-9
    angles[0, 2, 0] = 0
    assert float(energies.coupling(angles)) > 0.1


def test_contact_maps_of_many_hands_are_those_of_each():
    vertices, points = torch.rand(70, 20, 3), torch.rand(30, 3)
    one_by_one = torch.cat([contact_map(points, hand[None]) for hand in vertices])
    torch.testing.assert_close(contact_map(points, vertices), one_by_one)


@pytest.mark.parametrize(("away", "dtype"), [(20.0, torch.float32), (1e6, torch.float64)])
def test_contact_does_not_depend_on_where_the_scene_is(hand, away, dtype):
    """Against scipy's trees near the origin, up to what the coordinates themselves can hold."""
    vertices = hand(torch.zeros(1, 61))[0][0].double()
    rng = np.random.default_rng(0)
    points = torch.from_numpy(vertices.numpy()[::2] + rng.normal(0, 0.005, (389, 3)))
    shift = away * torch.tensor([1.0, -0.5, 0.7], dtype=torch.float64)
    distance, index = cKDTree(vertices.numpy()).query(points.numpy())
    truth = 1 - 2 * (1 / (1 + np.exp(-200 * distance)) - 0.5)
    moved = [(x + shift).to(dtype)[None] for x in (points, vertices)]
    step = 4 * torch.finfo(dtype).eps * away
    found = contact_map(*moved)[0].double().numpy()
    np.testing.assert_allclose(found, truth, atol=max(100 * step, 1e-6))
    apart, which = nearest(*moved)
    np.testing.assert_allclose(apart[0], distance, atol=step)
    assert (which[0].numpy() == index).mean() > 0.99
    every = distances(*moved)[0].double().numpy()
    np.testing.assert_allclose(every, cdist(points, vertices), atol=step)


def test_fingers_cross_as_far_anywhere(hand):
    """Overlapping fingers 20 m away overlap as at the origin."""
    joints = hand(torch.zeros(1, 61))[1].double()
    joints[:, 4:7] = joints[:, 1:4] + 0.004  # the middle finger in the index finger
    joints[:, 18] = joints[:, 17] + 0.004
    far = (joints + 20).float()
    near, away = (
        energies.self_penetration(*energies.bone_spheres(x, hand.regions))
        for x in (joints.float(), far)
    )
    assert near > 0.5
    torch.testing.assert_close(away, near, rtol=1e-3, atol=0)


def test_spheres_in_the_object_count_three_times():
    vertices, spheres = torch.full((1, 4), -0.01), torch.zeros(1, 5, 2)  # 1 cm; 8 mm of 1 cm
    value = float(energies.penetration(vertices, spheres, torch.full((5, 2), 0.01)))
    assert value == pytest.approx(4 * 1.0 + 3 * 10 * 0.8**2)


def test_uncoupled_angles_cost_what_their_squares_say():
    angles = torch.zeros(1, 15, 3)
    angles[0, :3, 0] = torch.tensor([0.3, 0.4, 0.1])  # the index finger flexes alone
    alone = (0.1 - 0.67 * 0.4) ** 2 + 0.5 * (0.3**2 + 0.4**2)
    assert float(energies.coupling(angles)) == pytest.approx(alone, rel=1e-5)
    angles[0, 13, 1:] = torch.tensor([0.2, -0.1])  # the thumb deviates and twists
    assert float(energies.coupling(angles)) == pytest.approx(alone + 0.5 * 0.05, rel=1e-5)


@pytest.mark.parametrize("reach", [float("inf"), 1.5])
def test_pads_are_pulled_by_their_rounded_lengths(hand, reach):
    """Again in numpy: thumb to little finger, of the three anchors of a tip mostly the nearest."""
    vertices = hand(torch.zeros(1, 61))[0]
    distance = 0.02 * torch.randn(1, 778, generator=torch.Generator().manual_seed(0))
    found = energies.pad_contact(vertices, distance, hand.regions, reach, squeeze=0.001)
    anchors = hand.regions.anchors.numpy()
    length = np.sqrt((100 * (distance[0, anchors].numpy() + 0.001)) ** 2 + 0.01) - 0.1
    length = length if reach == float("inf") else reach * np.tanh(length / reach)
    fingers = length[:25].reshape(5, 5)
    share = np.exp(-4 * fingers[:, 2:])
    share /= share.sum(axis=1, keepdims=True)
    tip = (share * fingers[:, 2:]).sum(axis=1) + 0.15 * fingers[:, 2:].mean(axis=1)
    places = vertices[0, anchors[:25]].numpy().reshape(5, 5, 3)[:, 2:]
    expected = (tip, fingers[:, 1], fingers[:, 0], length[25:].mean())
    for value, wanted in zip(
        (found.tip, found.middle, found.proximal, found.palm), expected, strict=True
    ):
        np.testing.assert_allclose(value[0], wanted, rtol=1e-4)
    np.testing.assert_allclose(found.points[0], (share[..., None] * places).sum(axis=1), atol=1e-6)


def test_torque_is_taken_about_the_centre():
    """1 N along -x at 10 cm of y, about a centre at 5 cm: force 1, torque 1 of 5 cm."""
    point, normal = torch.tensor([[[0.0, 0.1, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
    centre = torch.tensor([0.02, 0.05, 0.0])
    wrench = energies.force_closure(point, normal, torch.ones(1, 1), centre)
    assert float(wrench) == pytest.approx(2.0)


def test_gradients_of_energies_are_those_of_finite_differences():
    """Of an ellipsoid's field, in double precision: normals, closure, and the nearest vertex."""
    axes = torch.tensor([0.05, 0.03, 0.04], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(1, 5, 3, generator=rng, dtype=torch.float64) * axes
    strength, centre = torch.ones(1, 5).double(), torch.zeros(3).double()

    def ellipsoid(p):
        return 0.04 * ((p / axes).norm(dim=-1) - 1)

    def closure(p):
        return energies.force_closure(p, energies.surface_normal(ellipsoid, p), strength, centre)

    assert torch.autograd.gradcheck(closure, points.clone().requires_grad_())
    vertices = torch.randn(1, 7, 3, generator=rng, dtype=torch.float64)
    both = points.clone().requires_grad_(), vertices.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, v: nearest(p, v)[0], both)


def test_palm_spheres_go_from_a_fifth_to_nine_tenths_of_the_bone(hand):
    joints = hand(torch.zeros(1, 61))[1]
    centres = energies.palm_spheres(joints, hand.regions)[0][0]
    knuckles = joints[0, [1, 4, 10, 7]]  # index, middle, ring, little
    for place, share in ((0, 0.2), (3, 0.9)):
        expected = joints[0, 0] + share * (knuckles - joints[0, 0])
        torch.testing.assert_close(centres[:, place], expected, atol=1e-6, rtol=0)


def test_deviation_is_that_over_the_objects_and_none_of_one():
    surfaces = torch.tensor([[0.01, 0.004], [0.03, 0.004], [0.02, 0.004]])
    found = energies.deviation(surfaces)
    torch.testing.assert_close(found, torch.tensor([0.01 * (2 / 3) ** 0.5, 0.0]), atol=2e-6, rtol=0)
    one = torch.tensor([[0.01, -0.02]], requires_grad=True)
    energies.deviation(one).sum().backward()
    assert not one.grad.any()


def test_walls_that_cut_the_palm_or_a_finger_are_found_and_those_beside_are_not(hand):
    """A sheet of 2 mm across a flat hand: hardly a vertex is in it, and the depth is the bones'."""
    _, joints = hand(torch.zeros(1, 61))
    along = torch.nn.functional.normalize(joints[0, 9] - joints[0, 0], dim=0)
    places = {"palm": joints[0, [0, 9]].mean(dim=0), "finger": joints[0, [9, 10]].mean(dim=0)}

    def cut(place, off: float = 0.0) -> list[float]:
        sheet = lambda points: ((points - place) @ along - off).abs() - 0.001  # noqa: E731
        return [float(one) for one in energies.walls_within(joints, sheet, hand.regions)]

    fingers, palm = cut(places["palm"])
    assert palm > 0.5 > fingers
    fingers, palm = cut(places["finger"])
    assert fingers > 0.3 and palm == 0
    assert cut(places["palm"], off=0.5) == [0, 0]
