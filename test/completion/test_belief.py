"""What an object is taken for: points of the side that nobody saw."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.completion import Belief, Seen, as_seen, get_completion
from grasp_gen_core.completion.belief import PITCH, unseen
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import outward_normals
from grasp_gen_core.objects.views import view_object

RADIUS = 0.04
BALL = trimesh.creation.icosphere(5, RADIUS)


@pytest.fixture(scope="module")
def half_ball() -> Seen:
    points, normals = even_surface(BALL, 3000)
    front = points[:, 2] > 0
    return Seen(points[front], normals[front])


def test_of_a_ball_half_of_which_is_seen_the_other_half_is_unseen(half_ball):
    guessed = unseen(BALL, half_ball.points, 0)
    assert -RADIUS < guessed[:, 2].min() < -0.98 * RADIUS and guessed[:, 2].max() < 0
    assert cKDTree(half_ball.points).query(guessed)[0].min() > PITCH
    np.testing.assert_allclose(np.linalg.norm(guessed, axis=1), RADIUS, rtol=2e-3)


def test_the_whole_is_as_dense_where_it_is_guessed(half_ball):
    belief = Belief(as_seen(half_ball, 0).field, (BALL,))
    whole = belief.whole(half_ball.points, 1000, 0).numpy()
    assert 800 < len(whole) <= 1000
    behind = (whole[:, 2] < -PITCH).mean()
    assert behind == pytest.approx((1 - PITCH / RADIUS) / 2, abs=0.03)  # by Archimedes


@pytest.mark.parametrize("name", ["exit_depth", "volume", "jhod"])
def test_what_is_guessed_is_near_what_nobody_saw(name):
    mesh = make_object("bottle", 5)
    view = view_object(mesh, "camera", 1024, 5)
    middle = view.points.mean(axis=0)
    points = (view.points - middle).astype(np.float32)
    given = Seen(points, outward_normals(view.points, np.zeros(3)), -middle)
    belief = get_completion(name, ManoHand())(given, 0)
    surface, _ = even_surface(mesh.apply_transform(np.linalg.inv(view.pose)), 2000)
    away = cKDTree(points).query(surface - middle)[0]
    hidden = (surface - middle)[away > 0.01]
    whole = belief.whole(points, 2048, 0)
    assert cKDTree(whole).query(hidden)[0].mean() < 0.6 * away[away > 0.01].mean()
