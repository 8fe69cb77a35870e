"""The depth camera against planes and spheres."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.camera import DepthCamera, look_at, random_view
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.procedural import make_object

IDEAL = DepthCamera(noise=0)


def frontal(distance):
    """A camera that far in front of the origin, looking along -x."""
    return look_at(np.array([distance, 0, 0]), np.zeros(3))


def test_look_at_axes():
    pose = frontal(0.5)
    right, down, forward = pose[:3, :3].T
    np.testing.assert_allclose([forward, down, right], [[-1, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert np.linalg.det(look_at(np.array([0, 0, 1.0]), np.zeros(3))) == pytest.approx(1)
    with pytest.raises(ValueError, match="coincide"):
        look_at(np.ones(3), np.ones(3))


def test_plane_comes_back_pixel_by_pixel():
    points = IDEAL.capture(trimesh.creation.box([0.1, 0.2, 0.12]), frontal(0.55))
    np.testing.assert_allclose(points[:, 2], 0.5, atol=1e-6)
    pixels = points[:, :2] / points[:, 2:] * 615 + [319.5, 239.5]
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-3)
    assert len(points) == pytest.approx(0.2 * 0.12 * (615 / 0.5) ** 2, rel=0.02)


def test_ideal_sphere_lies_on_the_sphere_one_side_only():
    radius, distance = 0.05, 0.4
    pose = frontal(distance)
    points = IDEAL.capture(trimesh.creation.icosphere(6, radius), pose)
    centre = np.array([0, 0, distance])
    np.testing.assert_allclose(np.linalg.norm(points - centre, axis=1), radius, atol=2e-5)
    # What a camera sees of a sphere ends where its rays are tangent to it.
    assert points[:, 2].max() < distance - radius**2 / distance + 1e-3
    assert points[:, 2].min() == pytest.approx(distance - radius, abs=1e-4)


def test_capture_is_in_the_camera_frame():
    mesh = make_object("mug", 0)
    pose = random_view(mesh, 4)
    points = IDEAL.capture(mesh, pose)
    in_object = points @ pose[:3, :3].T + pose[:3, 3]
    assert np.abs(signed_distance(mesh, in_object)).max() < 2e-4
    assert len(points) > 1000


@pytest.mark.parametrize("distance", [0.4, 0.8])
def test_depth_noise_grows_with_depth_squared(distance):
    """Stereo: sigma = z^2 / (focal length * baseline) * sigma of the disparity."""
    plane = trimesh.creation.box([0.002, 0.3, 0.3])
    depth = np.concatenate(
        [DepthCamera().capture(plane, frontal(distance), seed)[:, 2] for seed in range(4)]
    )
    expected = distance**2 / (615 * 0.05) * np.hypot(0.08, 1 / 32 / np.sqrt(12))
    middle = np.abs(depth - np.median(depth)) < 6 * expected  # without flying pixels
    assert np.std(depth[middle]) == pytest.approx(expected, rel=0.15)
    assert np.median(depth) == pytest.approx(distance, abs=0.002)


def test_edges_and_grazing_surfaces_drop_out():
    sphere = trimesh.creation.icosphere(5, 0.05)
    seen = DepthCamera().capture(sphere, frontal(0.5))
    whole = IDEAL.capture(sphere, frontal(0.5))
    assert 0.75 < len(seen) / len(whole) < 0.97

    def rim(points):
        return np.sum(np.linalg.norm(points[:, :2] / points[:, 2:], axis=1) > 0.095)

    assert rim(seen) < 0.6 * rim(whole)


def test_seed_and_sight():
    mesh = make_object("can", 1)
    camera, pose = DepthCamera(), random_view(mesh, 2)
    first, again, other = (camera.capture(mesh, pose, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or np.any(first != other)
    away = look_at(np.array([0.5, 0, 0]), np.array([1.0, 0, 0]))
    assert camera.capture(mesh, away).shape == (0, 3)
    np.testing.assert_array_equal(random_view(mesh, 3), random_view(mesh, 3))


@pytest.mark.parametrize("seed", range(6))
def test_random_views_have_the_object_in_the_picture(seed):
    mesh = make_object("pitcher", seed)
    pose = random_view(mesh, seed)
    corners = (trimesh.bounds.corners(mesh.bounds) - pose[:3, 3]) @ pose[:3, :3]
    pixels = corners[:, :2] / corners[:, 2:] * 615 + [319.5, 239.5]
    assert corners[:, 2].min() > 0.1
    assert np.all((pixels > -40) & (pixels < [680, 520]))
