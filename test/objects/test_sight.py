"""What a camera knows, of shapes whose every ray is known in closed form."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.sight import SIZE, Sight, sees

EYE = np.array([0.1, -0.2, 0.45])
RADIUS = 0.04


def ball_seen_from(eye: np.ndarray, count: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of a ball about the origin that are in sight of an eye."""
    points, normals = even_surface(trimesh.creation.icosphere(5, RADIUS), count)
    front = np.einsum("nd,nd->n", eye - points, normals) > 0
    return points[front], normals[front]


def ball_depths(sight: Sight) -> tuple[np.ndarray, np.ndarray]:
    """First and last depth at which the rays meet the ball, NaN where they miss."""
    along = -sight.rays() @ sight.eye
    square = along**2 - (sight.eye @ sight.eye - RADIUS**2)
    half = np.sqrt(np.where(square > 0, square, np.nan))
    return along - half, along + half


def test_the_image_of_a_ball_is_as_deep_as_the_ball():
    points, _ = ball_seen_from(EYE)
    sight = Sight.of(points, EYE)
    first, _ = ball_depths(sight)
    both = ~np.isnan(first) & ~np.isnan(sight.depth)
    assert both.sum() > 0.97 * np.count_nonzero(~np.isnan(first))
    assert np.count_nonzero(~np.isnan(sight.depth)) < 1.1 * np.count_nonzero(~np.isnan(first))
    error = np.abs(sight.depth - first)[both]
    assert np.median(error) < 0.0005
    # At the silhouette a pixel's depth changes by millimetres.
    assert np.quantile(error, 0.95) < 0.003


def test_pixels_and_points_are_each_others_inverse():
    sight = Sight.at(ball_seen_from(EYE)[0], EYE)
    depth = np.random.default_rng(0).uniform(0.3, 0.6, (SIZE, SIZE))
    places, found = sight.project(EYE + depth[..., None] * sight.rays())
    rows, columns = np.mgrid[:SIZE, :SIZE]
    np.testing.assert_allclose(places, np.stack([columns, rows], axis=-1), atol=1e-9)
    np.testing.assert_allclose(found, depth, atol=1e-12)


def test_a_moved_cloud_has_the_same_image():
    points, _ = ball_seen_from(EYE)
    points = points[points[:, 0] > -0.01]  # a ball has no longer side
    turn = trimesh.transformations.rotation_matrix(1.0, [0.3, 0.6, 0.9])[:3, :3]
    shift = np.array([0.3, -1.0, 2.0])
    image = Sight.of(points, EYE).depth
    moved = Sight.of(points @ turn.T + shift, turn @ EYE + shift).depth
    np.testing.assert_array_equal(np.isnan(image), np.isnan(moved))
    np.testing.assert_allclose(image, moved, atol=1e-6)


def test_free_is_what_rays_went_through_and_nothing_of_the_object():
    points, _ = ball_seen_from(EYE)
    sight = Sight.of(points, EYE)
    asked = np.random.default_rng(1).uniform(-0.1, 0.1, (20000, 3))
    free = sight.free(asked)
    away = np.linalg.norm(asked, axis=1) - RADIUS
    assert not free[away < 0].any()
    # Before the ball: on this side of the plane through its rim, and not in it.
    assert free[(asked @ EYE > 0.02) & (away > 0.006)].all()
    # Behind it, in its shadow, nothing is known.
    toward = EYE / np.linalg.norm(EYE)
    flat = np.linalg.norm(asked - (asked @ toward)[:, None] * toward, axis=1)
    assert not free[(asked @ toward < -RADIUS) & (flat < RADIUS)].any()
    beside = np.linalg.norm(np.cross(asked - EYE, toward), axis=1) > 0.055
    assert free[beside].all()


def behind_a_bar() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of which a bar hides the middle: what is seen, what isn't, and the bar's points."""
    points, _ = ball_seen_from(EYE)
    toward = EYE / np.linalg.norm(EYE)
    right = np.cross(toward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    hidden = np.abs(points @ right) < 0.008
    up = np.cross(right, toward)
    at = np.stack(np.meshgrid(np.linspace(-0.007, 0.007, 9), np.linspace(-0.08, 0.08, 90)), axis=-1)
    bar = 1.3 * RADIUS * toward + at.reshape(-1, 2) @ np.stack([right, up])
    return points[~hidden], points[hidden], bar


def test_what_something_else_hides_is_not_free():
    seen, hidden, bar = behind_a_bar()
    sight, alone = Sight.of(seen, EYE, bar), Sight.of(seen, EYE)
    inner = 0.8 * hidden[np.linalg.norm(hidden - hidden.mean(axis=0), axis=1) < 0.02]
    assert alone.free(inner).mean() > 0.5 and not alone.covered.any()
    assert not sight.free(inner).any()
    assert sight.covered.any() and np.isnan(sight.depth[sight.covered]).all()
    # Beside the ball nothing of it can be, and what stands behind it covers nothing.
    beside = bar[np.abs(bar @ [0, 0, 1]) > 0.07]
    assert sight.free(beside).all()
    assert not Sight.of(seen, EYE, bar - 4 * RADIUS * EYE / np.linalg.norm(EYE)).covered.any()


def test_a_maps_origin_is_no_camera():
    eye = np.array([0.0, 0.0, 1e6])
    assert not sees(*ball_seen_from(eye), eye)


@pytest.mark.parametrize("away", [0.3, 2.0])
def test_only_what_faces_the_eye_is_its_view(away):
    eye = np.array([0.0, 0.0, away])
    points, normals = ball_seen_from(eye)
    assert sees(points, normals, eye)
    every, outward = even_surface(trimesh.creation.icosphere(4, RADIUS), 1024)
    assert not sees(every, outward, eye)
