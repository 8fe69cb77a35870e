"""Guessing the unseen back: shapes whose back is known."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.completion.symmetry import complete_by_symmetry, prolonged
from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.sampling import sample_surface


def seen_from(mesh: trimesh.Trimesh, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of a convex mesh that face an eye far away in `direction`."""
    points, normals = sample_surface(mesh, 4000, 0)
    front = normals @ direction > 0.05
    return points[front], normals[front]


@pytest.mark.parametrize("direction", [[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [-0.3, 0.9, 0.3]])
def test_a_ball_gets_its_back(direction):
    direction = np.array(direction) / np.linalg.norm(direction)
    points, normals = seen_from(trimesh.creation.icosphere(4, 0.04), direction)
    whole, whole_normals = complete_by_symmetry(points, normals)
    guessed = whole[len(points) :]
    assert len(guessed) > 0.85 * len(points)
    assert (guessed @ direction < 0.008).all()
    assert np.abs(np.linalg.norm(guessed, axis=1) - 0.04).max() < 0.008
    assert (np.einsum("nd,nd->n", whole_normals, whole) > 0.03).all()  # they point outwards
    np.testing.assert_array_equal(whole[: len(points)], points)


def test_an_upright_can_seen_from_its_side_gets_about_as_thick_as_it_is_wide():
    can = trimesh.creation.cylinder(0.035, 0.12, sections=128)
    points, normals = seen_from(can, np.array([1.0, 0.0, 0.0]))
    whole, _ = complete_by_symmetry(points, normals)
    assert whole[:, 0].min() == pytest.approx(-0.035, abs=0.01)
    radius = np.linalg.norm(whole[:, :2], axis=1)
    assert np.abs(radius - 0.035).max() < 0.01


@pytest.mark.parametrize("shape", ["box", "can"])
@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_half_of_an_object_cut_off_in_a_plane_becomes_the_whole(shape, tilt):
    if shape == "box":
        mesh = trimesh.creation.box((0.06, 0.09, 0.20))
    else:
        mesh = trimesh.creation.cylinder(0.035, 0.16, sections=128)
    points, normals = even_surface(mesh, 2000)
    kept = points @ [np.sin(tilt), 0.0, np.cos(tilt)] > 0
    whole, whole_normals = complete_by_symmetry(points[kept], normals[kept])
    guessed, outward = whole[kept.sum() :], whole_normals[kept.sum() :]
    assert len(guessed) == pytest.approx(kept.sum(), rel=0.1)
    nearest, _, faces = trimesh.proximity.closest_point(mesh, guessed)
    apart = np.linalg.norm(nearest - guessed, axis=1)
    # Points are 6 mm apart: the plane is known to about that.
    assert np.median(apart) < 0.004 and apart.max() < 0.015
    # All of the missing half is covered, and its normals point out of it.
    missing = cKDTree(guessed).query(points[~kept])[0]
    assert np.median(missing) < 0.005 and missing.max() < 0.015
    assert np.median(np.einsum("nd,nd->n", outward, mesh.face_normals[faces])) > 0.99


def test_a_cloud_from_all_around_stays_as_it_is():
    points, normals = sample_surface(trimesh.creation.box((0.05, 0.08, 0.12)), 2000, 0)
    whole, whole_normals = complete_by_symmetry(points, normals)
    assert whole is points and whole_normals is normals


def test_a_flat_face_has_no_guess():
    points, normals = seen_from(trimesh.creation.box((0.1, 0.1, 0.1)), np.array([0.0, 0.0, 1.0]))
    whole, _ = complete_by_symmetry(points, normals)
    assert len(whole) == len(points)


@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_a_cut_bar_goes_on_as_the_bar_it_is(tilt):
    mesh = trimesh.creation.box((0.05, 0.04, 0.36))
    points, normals = even_surface(mesh, 6000)
    along = np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    kept = points @ along > 0.14  # 4 cm of it
    (short, _), (long, outward) = prolonged(points[kept], normals[kept], (1.0, 9.0))
    walls, facing = long[kept.sum() :], outward[kept.sum() :]
    assert kept.sum() < len(short) < len(long)
    # On the bar's own sides.
    nearest, apart, faces = trimesh.proximity.closest_point(mesh, walls)
    assert np.median(apart) < 0.002 and np.quantile(apart, 0.9) < 0.015
    assert np.median(np.einsum("nd,nd->n", facing, mesh.face_normals[faces])) > 0.95
    assert np.abs(facing[:, 2]).max() < 0.1
    # As far as was asked, or 20 cm.
    there = np.ptp(points[kept] @ along)
    for whole, times in ((short, 1.0), (long, 9.0)):
        reach = points[kept, 2].min() - whole[:, 2].min()
        assert reach == pytest.approx(min(times * there, 0.2), abs=0.012)


def test_what_is_whole_or_has_no_flat_rim_does_not_go_on():
    points, normals = sample_surface(trimesh.creation.box((0.05, 0.08, 0.12)), 2000, 0)
    assert prolonged(points, normals, (1.0,)) == []
    ball = trimesh.creation.icosphere(4, 0.04)
    points, normals = sample_surface(ball, 4000, 0)
    wavy = points[:, 2] > 0.012 * np.sin(3 * np.arctan2(points[:, 1], points[:, 0]))
    assert prolonged(points[wavy], normals[wavy], (1.0,)) == []
