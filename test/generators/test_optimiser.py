"""The optimiser as a generator: on clouds and on meshes, for both hands."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core import GraspPipeline
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface

NUM = 4


@pytest.fixture(scope="module")
def can() -> trimesh.Trimesh:
    return trimesh.creation.cylinder(0.03, 0.12)


@pytest.fixture(scope="module")
def points(can) -> np.ndarray:
    return sample_surface(can, 1500, 0)[0]


@pytest.fixture(scope="module")
def pipeline() -> GraspPipeline:
    return GraspPipeline(generator="optimise", refiner="none", device="cpu")


@pytest.fixture(scope="module")
def grasps(pipeline, points):
    return pipeline(points, num=NUM, seed=0)


def test_it_grasps_what_it_knows_as_a_cloud(grasps, can, pipeline):
    assert grasps.mano.shape == (NUM, 61)
    faces = pipeline.hand.closed_faces.numpy()
    assert (penetration_volume_cm3(grasps.vertices, faces, can, 0.001) < 1).all()
    assert (grasps.metrics["contact_fingers"] >= 4).all()


def test_the_seed_decides(grasps, pipeline, points):
    np.testing.assert_array_equal(pipeline(points, num=NUM, seed=0).mano, grasps.mano)
    assert np.abs(pipeline(points, num=NUM, seed=1).mano - grasps.mano).max() > 0.01


def test_a_left_hand_grasps_the_mirrored_object(grasps, points):
    left = GraspPipeline(generator="optimise", refiner="none", device="cpu", side="left")
    mirror = np.array([-1, 1, 1], np.float32)
    mirrored = left(points * mirror, num=NUM, seed=0)
    np.testing.assert_allclose(mirrored.vertices, grasps.vertices * mirror, atol=1e-4)


def test_a_known_distance_is_used(pipeline, points):
    """Given the distance to a thicker can than was seen, hands stay off what was seen."""
    thick = trimesh.creation.cylinder(0.036, 0.126)
    field = DistanceGrid.from_mesh(thick, 0.0025, 0.03)
    vertices = pipeline(points, num=NUM, seed=0, field=field).vertices
    radius = np.linalg.norm(vertices[..., :2], axis=-1)
    beside = np.abs(vertices[..., 2]) < 0.05
    assert radius[beside].min() > 0.033


def test_what_no_hand_spans_is_refused(pipeline):
    crate = sample_surface(trimesh.creation.box((0.3, 0.3, 0.3)), 2000, 0)[0]
    with pytest.raises(ValueError, match="no grasp type fits anywhere"):
        pipeline(crate, num=1)
