"""Hands against a table and neighbours, where it is known how deep they are in."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core import GraspPipeline
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.frame import Frame
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.perception.plane import Plane
from grasp_gen_core.ranking.collision import FREE, Obstacles, Surroundings
from grasp_gen_core.types import Observation

NOBODY = np.zeros((0, 3))
TABLE = Plane(np.array([0, 0, 1.0]), 0.0)


@pytest.fixture(scope="module")
def can() -> np.ndarray:
    """A low can on the table: many hands around it reach below z = 0."""
    can = trimesh.creation.cylinder(radius=0.035, height=0.06).apply_translation((0, 0, 0.03))
    return sample_surface(can, 3000, 0)[0].astype(float)


def turned(around: Surroundings, turn: np.ndarray, shift: np.ndarray) -> Surroundings:
    normal = turn @ around.plane.normal
    plane = Plane(normal, around.plane.offset + float(normal @ shift))
    return Surroundings(plane, around.neighbours @ turn.T + shift)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("distance", [0.0, 1e5])
def test_depth_in_a_plane_is_what_is_below_it(can, mirrored, distance):
    rng = np.random.default_rng(0)
    turn, shift = Rotation.random(random_state=1).as_matrix(), distance * np.array([0.6, 0, 0.8])
    frame = Frame.of(can @ turn.T + shift, mirrored)
    obstacles = Obstacles(turned(Surroundings(TABLE, NOBODY), turn, shift), frame)
    places = rng.uniform(-0.1, 0.1, (5, 40, 3))
    depth = obstacles.depth(torch.from_numpy(frame.into(places @ turn.T + shift)))
    expected = (-places[..., 2]).max(axis=1).clip(0)
    np.testing.assert_allclose(depth.numpy(), expected, atol=2e-4)


def test_depth_in_a_neighbour_is_the_distance_to_its_surface():
    ball = trimesh.creation.icosphere(4, 0.05)
    points = sample_surface(ball, 4000, 0)[0].astype(float)
    frame = Frame.of(points + (0.2, 0.1, 0))
    obstacles = Obstacles(Surroundings(None, points), frame)
    radii = np.array([0.02, 0.035, 0.045, 0.055, 0.08])
    way = np.array([0.48, 0.6, 0.64])
    places = torch.from_numpy(frame.into(radii[:, None, None] * way))
    expected = (0.05 - radii).clip(0)
    np.testing.assert_allclose(obstacles.depth(places).numpy(), expected, atol=1.5e-3)


def test_nothing_around_is_no_obstacle():
    frame = Frame.of(np.random.default_rng(0).normal(size=(100, 3)))
    obstacles = Obstacles(Surroundings(None, NOBODY), frame)
    assert not obstacles.depth(torch.zeros(3, 778, 3)).any()


@pytest.mark.parametrize("side", ["right", "left"])
def test_grasps_that_go_through_the_table_come_last(can, side):
    pipeline = GraspPipeline(device="cpu", side=side)
    around = Surroundings(TABLE, NOBODY)
    grasps = pipeline(Observation(can), num=12, seed=0, scene=around)
    free = grasps.metrics["collision_free"]
    assert free.dtype == bool and free.any()
    assert (np.diff(free.astype(int)) <= 0).all()
    assert (np.diff(grasps.score) <= 0).all()
    # By the surfaces themselves, both ends of the way.
    hand = ManoHand(side=side)
    opened = hand(torch.from_numpy(grasps.pregrasp))[0].numpy()
    lowest = np.minimum(grasps.vertices[..., 2].min(axis=1), opened[..., 2].min(axis=1))
    assert (lowest[free] > -FREE - 2e-4).all()
    np.testing.assert_array_less(-lowest - 2e-4, 0.01 * grasps.metrics["collision_cm"])
    alone = pipeline(Observation(can), num=12, seed=0)
    assert "collision_free" not in alone.metrics
    assert (grasps.vertices[:, :, 2].min(axis=1) > -FREE).sum() > (
        alone.vertices[:, :, 2].min(axis=1) > -FREE
    ).sum()


def test_grasps_keep_clear_of_a_neighbour(can):
    """A wall on one side of the can: hands from there aren't free."""
    rng = np.random.default_rng(0)
    wall = np.stack(
        [np.full(4000, 0.06), rng.uniform(-0.15, 0.15, 4000), rng.uniform(0, 0.3, 4000)], 1
    )
    around = Surroundings(TABLE, wall, viewpoint=np.array([-1.0, 0, 0.5]))
    pipeline = GraspPipeline(device="cpu")
    grasps = pipeline(Observation(can), num=12, seed=0, scene=around)
    free = grasps.metrics["collision_free"]
    inside = np.abs(grasps.vertices[..., 1]).max(axis=1) < 0.15
    assert free.any()
    assert (grasps.vertices[free & inside][..., 0] < 0.06 + 2 * FREE).all()
