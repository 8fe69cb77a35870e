"""Views of objects: what they show lies on the object, and what they hide is hidden."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.clouds import load_object
from grasp_gen_core.objects.distance import raycasting_scene
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.views import VIEWS, view_object


@pytest.fixture(scope="module")
def mug() -> trimesh.Trimesh:
    return make_object("mug", 3)


def in_mesh_frame(view) -> np.ndarray:
    return (view.points @ view.pose[:3, :3].T + view.pose[:3, 3]).astype(np.float32)


@pytest.mark.parametrize("name", VIEWS)
def test_points_lie_on_the_object_and_come_back_the_same(mug, name):
    view = view_object(mug, name, 1000, seed=5)
    assert view.points.dtype == np.float32 and view.pose.shape == (4, 4)
    distance = raycasting_scene(mug).compute_distance(in_mesh_frame(view)).numpy()
    limit = 0.01 if name == "camera" else 1e-6  # a camera has noise and flying pixels
    assert np.quantile(distance, 0.95) < limit
    np.testing.assert_array_equal(view.points, view_object(mug, name, 1000, seed=5).points)
    assert not np.array_equal(view.points, view_object(mug, name, 1000, seed=6).points)


def test_the_full_view_is_what_a_file_gives(mug, tmp_path):
    mug.export(tmp_path / "mug.ply")
    seen = load_object(tmp_path / "mug.ply", num_points=500, seed=2)
    view = view_object(seen.mesh, "full", 500, seed=2)
    np.testing.assert_allclose(view.points, seen.points, atol=1e-7)


@pytest.mark.parametrize(("name", "kept"), [("mask50", 500), ("mask90", 100)])
def test_a_masked_view_ends_at_a_plane(mug, name, kept):
    full, part = (view_object(mug, view, 1000, seed=4).points for view in ("full", name))
    seen = (full[:, None] == part).all(axis=2).any(axis=1)
    assert seen.sum() == len(part) == kept
    # A plane apart: a linear programme finds one between what is seen and what isn't.
    from scipy.optimize import linprog

    side = np.where(seen, 1, -1)[:, None]
    rows = side * np.hstack([1000 * (full - full.mean(axis=0)), np.ones((len(full), 1))])
    assert linprog(
        np.zeros(4), A_ub=rows, b_ub=-1e-3 * np.ones(len(full)), bounds=(None, None)
    ).success


def test_masks_come_from_all_sides(mug):
    centre = mug.bounds.mean(axis=0)
    views = [view_object(mug, "mask90", 1000, seed).points.mean(axis=0) for seed in range(20)]
    assert ((np.array(views) > centre).mean(axis=0) > 0.15).all()
    assert ((np.array(views) < centre).mean(axis=0) > 0.15).all()


def test_the_camera_sees_the_side_that_faces_it(mug):
    view = view_object(mug, "camera", 1000, seed=1)
    assert 64 <= len(view.points) <= 1000 and (view.points[:, 2] > 0.2).all()
    np.testing.assert_allclose(view.pose[:3, :3] @ view.pose[:3, :3].T, np.eye(3), atol=1e-12)
    towards = view.pose[:3, 3] - in_mesh_frame(view)
    _, _, faces = trimesh.proximity.closest_point(mug, in_mesh_frame(view))
    assert (np.einsum("nd,nd->n", towards, mug.face_normals[faces]) > 0).mean() > 0.95


def test_a_place_that_sees_too_little_is_given_up_for_another():
    """A thin rod: from some places it has fewer than 64 pixels."""
    rod = trimesh.creation.cylinder(0.0015, 0.08)
    counts = [len(view_object(rod, "camera", 1000, seed).points) for seed in range(12)]
    assert min(counts) >= 64


@pytest.mark.parametrize(
    ("name", "points", "says"),
    [
        ("half", 1000, "view: 'half', accepted are full, mask50, mask90, camera"),
        ("mask90", 600, "num_points: 600 leave 60 under mask90"),
        ("full", 0, "num_points: 0"),
    ],
)
def test_bad_requests(mug, name, points, says):
    with pytest.raises(ValueError, match=says):
        view_object(mug, name, points)


def test_what_no_camera_can_see_is_refused():
    with pytest.raises(ValueError, match="camera: fewer than 64 points"):
        view_object(trimesh.creation.box((0.002, 0.002, 0.006)), "camera")
