"""Force-closure margin against closed forms, linear programmes and what symmetry demands."""

import numpy as np
import pytest
import trimesh
from scipy.optimize import linprog

from grasp_gen_core.contact.force_closure import contact_wrenches, force_closure_margin

CENTRE = np.array([0.01, -0.02, 0.03])
AXES = np.vstack([np.eye(3), -np.eye(3)])


def ball_contacts(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Contacts on a ball of 4 cm about CENTRE."""
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return CENTRE + 0.04 * normals, normals


def reach(wrenches: np.ndarray, direction: np.ndarray) -> tuple[float, np.ndarray]:
    """How far the wrenches' convex hull goes along a direction, and the normal where it ends."""
    count = len(wrenches)
    equal = np.vstack([np.hstack([-direction[:, None], wrenches.T]), np.r_[0.0, np.ones(count)]])
    found = linprog(np.r_[-1.0, np.zeros(count)], A_eq=equal, b_eq=np.r_[np.zeros(6), 1.0])
    normal = found.eqlin.marginals[:6]
    normal = normal * np.sign(normal @ direction)
    return -found.fun, normal / np.linalg.norm(normal)


def margin_by_programmes(wrenches: np.ndarray, rng: np.random.Generator) -> float:
    """Least reach over all directions: from each start on to the normal until it's no nearer."""
    least = np.inf
    for _ in range(80):
        direction = rng.normal(size=6)
        far, direction = reach(wrenches, direction / np.linalg.norm(direction))
        nearer, following = reach(wrenches, direction)
        while nearer < far - 1e-9:
            far, direction = nearer, following
            nearer, following = reach(wrenches, direction)
        least = min(least, nearer)
    return least


@pytest.mark.parametrize("count", [5, 9])
def test_margin_is_the_least_reach_of_the_hull(count):
    points, normals = ball_contacts(count, seed=3)
    margin = force_closure_margin(points, normals, CENTRE, friction=0.7)
    wrenches = contact_wrenches(points, normals, CENTRE, 0.7)
    assert margin > 0.01
    found = margin_by_programmes(wrenches, np.random.default_rng(0))
    assert found == pytest.approx(margin, rel=1e-6)


def test_wrenches_lie_on_the_friction_cones():
    points, normals = ball_contacts(4, seed=0)
    wrenches = contact_wrenches(points, normals, CENTRE, 0.6).reshape(-1, 4, 6)
    pressed = -(wrenches[..., :3] * normals).sum(-1)
    sideways = wrenches[..., :3] + pressed[..., None] * normals
    np.testing.assert_allclose(pressed, 1)
    np.testing.assert_allclose(np.linalg.norm(sideways, axis=-1), 0.6)
    lever = np.cross(points - CENTRE, wrenches[..., :3]) / 0.05
    np.testing.assert_allclose(wrenches[..., 3:], lever)


def test_two_points_do_not_resist_turning_about_their_line():
    points, normals = CENTRE + 0.03 * AXES[[0, 3]], AXES[[0, 3]]
    assert force_closure_margin(points, normals, CENTRE) == 0
    assert force_closure_margin(points[:1], normals[:1], CENTRE) == 0
    assert force_closure_margin(points[:0], normals[:0], CENTRE) == 0


def test_three_points_on_one_side_close_nothing():
    points, normals = ball_contacts(40, seed=1)
    above = normals[:, 2] > 0.5
    assert above.sum() >= 3
    assert force_closure_margin(points[above], normals[above], CENTRE, friction=0.3) == 0


def test_without_friction_a_ball_turns_and_a_box_does_not():
    points, normals = ball_contacts(40, seed=1)
    assert force_closure_margin(points, normals, CENTRE, friction=0) == pytest.approx(0, abs=1e-9)
    assert force_closure_margin(points, normals, CENTRE, friction=0.5) > 0.1
    box = trimesh.creation.box((0.04, 0.06, 0.08))
    middles, faces = trimesh.sample.sample_surface(box, 40, seed=0)
    assert force_closure_margin(middles, box.face_normals[faces], np.zeros(3), friction=0) > 0.01


def test_a_cube_held_at_its_faces():
    """Faces' middles at 5 cm: a torque's unit. No force along x is larger than 1 N."""
    points = CENTRE + 0.05 * AXES
    margins = [force_closure_margin(points, AXES, CENTRE, mu) for mu in (0, 0.2, 0.5, 1.0)]
    assert margins[0] == pytest.approx(0, abs=1e-9)
    assert 0 < margins[1] < margins[2] < margins[3] < 1
    # The most that six contacts turn about one axis is friction at 5 cm.
    assert margins[1] <= 0.2
    # Twice as long levers double the torques at most, and don't weaken a force.
    longer = force_closure_margin(CENTRE + 0.1 * AXES, AXES, CENTRE, 0.5)
    assert margins[2] <= longer <= 2 * margins[2]


def test_margin_has_no_frame_and_no_order():
    points, normals = ball_contacts(8, seed=5)
    margin = force_closure_margin(points, normals, CENTRE)
    order = np.random.default_rng(0).permutation(8)
    shift = np.array([0.3, -0.2, 0.1])
    same = [
        force_closure_margin(points[order], normals[order], CENTRE),
        force_closure_margin(points + shift, normals, CENTRE + shift),
        *(
            force_closure_margin(points[:, turn], normals[:, turn], CENTRE[turn])
            for turn in ([1, 2, 0], [2, 0, 1])
        ),
    ]
    np.testing.assert_allclose(same, margin, rtol=1e-9)
    # A cone's eight edges turn with the normal, not with the world: 8 % of friction at most.
    for seed in range(5):
        turn = trimesh.transformations.random_rotation_matrix(
            np.random.default_rng(seed).random(3)
        )[:3, :3]
        turned = force_closure_margin(points @ turn.T, normals @ turn.T, turn @ CENTRE)
        assert turned == pytest.approx(margin, rel=0.15)


def test_losing_a_contact_never_helps():
    points, normals = ball_contacts(8, seed=2)
    margin = force_closure_margin(points, normals, CENTRE)
    fewer = [
        force_closure_margin(np.delete(points, i, 0), np.delete(normals, i, 0), CENTRE)
        for i in range(8)
    ]
    assert max(fewer) <= margin + 1e-12
    assert min(fewer) < margin
