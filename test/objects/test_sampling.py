"""Surface samples, even subsets and normals against known shapes."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.objects.camera import DepthCamera, look_at
from grasp_gen_core.objects.clouds import thin
from grasp_gen_core.objects.meshes import load_mesh
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import farthest_point, outward_normals, sample_surface


def agreement(normals, truth):
    return np.mean(np.einsum("nd,nd->n", normals, truth) > 0)


def test_surface_samples_are_spread_by_area():
    mesh = trimesh.creation.box([0.02, 0.05, 0.1]).subdivide()
    points, normals = sample_surface(mesh, 50000, seed=1)
    share = np.abs(normals).sum(axis=0) / len(normals)  # by the axis the face looks along
    areas = np.array([0.05 * 0.1, 0.02 * 0.1, 0.02 * 0.05])
    np.testing.assert_allclose(share, areas / areas.sum(), atol=0.01)
    beyond = np.abs(points) - np.array([0.01, 0.025, 0.05])
    np.testing.assert_allclose(beyond.max(axis=1), 0, atol=1e-7)
    assert points.dtype == normals.dtype == np.float32


def test_samples_follow_the_seed():
    mesh = trimesh.creation.icosphere(2, 0.05)
    same, again, other = (sample_surface(mesh, 100, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - other).max() > 0.01
    np.testing.assert_array_equal(farthest_point(same, 20, 5), farthest_point(same, 20, 5))


def test_farthest_point_is_the_greedy_choice():
    points = np.random.default_rng(0).random((500, 3))
    chosen = farthest_point(points, 40, seed=2)
    for i in range(1, 40):
        distance = cKDTree(points[chosen[:i]]).query(points)[0]
        assert distance[chosen[i]] == pytest.approx(distance.max(), abs=1e-6)
    with pytest.raises(ValueError, match="only 500"):
        farthest_point(points, 501)


def test_thin_evens_out_density():
    rng = np.random.default_rng(0)
    dense, sparse = rng.random((50000, 3)), rng.random((5000, 3)) + [1, 0, 0]
    kept = thin(np.concatenate([dense, sparse]), 1000)
    assert len(kept) == 1000
    assert 0.3 < np.mean(kept[:, 0] > 1) < 0.55
    assert len(thin(dense[:900], 1000)) == 900


@pytest.mark.parametrize(
    ("family", "least"),
    [("box", 0.99), ("bottle", 0.99), ("scissors", 0.98), ("mug", 0.97), ("bowl", 0.97)],
)
def test_normals_of_whole_objects_point_out(family, least, even_cloud):
    points, truth = even_cloud(make_object(family, 1))
    normals = outward_normals(points)
    assert agreement(normals, truth) > least
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("family", ["box", "scissors", "mug"])
@pytest.mark.parametrize("away", [[0, 0, 0.7], [5, 0, 1], [-12, 9, 13], [4e5, 5e6, 30]])
def test_a_whole_object_far_away_is_no_camera_view(family, away, even_cloud):
    points, truth = even_cloud(make_object(family, 1))
    assert agreement(outward_normals(points + np.array(away, float)), truth) > 0.97
    # A viewpoint that can't have seen the far side isn't believed.
    assert agreement(outward_normals(points, viewpoint=-np.array(away, float)), truth) > 0.97


def test_normals_of_a_sphere_are_its_directions(even_cloud):
    points, _ = even_cloud(trimesh.creation.icosphere(5, 0.05))
    cosine = np.einsum("nd,nd->n", outward_normals(points), points) / 0.05
    assert cosine.min() > 0.97


@pytest.mark.parametrize("family", ["box", "mug", "bowl", "hammer"])
@pytest.mark.parametrize("distance", [0.3, 0.6, 2.0])
def test_normals_of_a_camera_view_face_the_camera(family, distance):
    mesh = make_object(family, 1)
    middle = mesh.bounds.mean(axis=0)
    eye = middle + max(distance, 1.5 * mesh.scale) * np.array([0.6, 0.3, 0.74])
    pose = look_at(eye, middle)
    points = thin(DepthCamera().capture(mesh, pose), 2048)
    assert agreement(outward_normals(points), -points) == 1
    in_object = points @ pose[:3, :3].T + pose[:3, 3]
    turned = outward_normals(in_object, viewpoint=pose[:3, 3])
    assert agreement(turned, pose[:3, 3] - in_object) == 1


PARTS = [("box", 0.5), ("bottle", 0.5), ("slab", 0.5), ("bottle", 0.1), ("fruit", 0.1)]


@pytest.mark.parametrize(("family", "share"), PARTS)
def test_a_part_of_an_object_is_not_seen_from_within_it(family, share, even_cloud):
    """In the object's own frame the origin is inside it, where no camera stands."""
    points, truth = even_cloud(make_object(family, 1))
    for direction in np.random.default_rng(0).normal(size=(4, 3)):
        kept = np.argsort(points @ direction)[: int(share * len(points))]
        found = outward_normals(points[kept])
        assert agreement(found, truth[kept]) > 0.9


def test_normals_of_scans_point_out(shared_data, even_cloud):
    shares = {
        path.stem: agreement(outward_normals(points), truth)
        for path in sorted((shared_data / "objects" / "ycb").glob("*.ply"))
        for points, truth in [even_cloud(load_mesh(path))]
    }
    # The scanned mug's walls are partly 1 mm thin, a quarter of the point spacing.
    assert shares.pop("025_mug") > 0.7
    assert min(shares.values()) > 0.94, shares
