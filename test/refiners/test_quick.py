"""The quick refiner against the exact distance of the object it only knows as a cloud."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.objects.distance import DistanceGrid, signed_distance
from grasp_gen_core.objects.frame import Frame
from grasp_gen_core.objects.sampling import outward_normals, sample_surface
from grasp_gen_core.perception.plane import Plane
from grasp_gen_core.ranking.collision import FREE, Obstacles, Surroundings
from grasp_gen_core.refiners import get_refiner
from grasp_gen_core.synthesis.optimise import Target, optimise_grasps

HERE = Frame(np.eye(3), np.zeros(3), False)


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def measure(hand, mano, mesh) -> tuple[float, float]:
    vertices = hand(mano)[0].detach()
    distance = torch.from_numpy(signed_distance(mesh, vertices.numpy()))
    depth = penetration_depth_cm(distance).mean()
    return float(depth), float(contact_fingers(distance, hand.parts).mean())


def test_disturbed_grasps_recover_contact_without_penetration(hand):
    can = trimesh.creation.cylinder(0.03, 0.14)
    target = Target.from_mesh(can, torch.device("cpu"))
    # Each four times: what the last digits make of a few hands is no matter.
    good = optimise_grasps(target, hand, 12, seed=0, steps=60).mano.repeat(4, 1)
    noise = torch.randn(good.shape, generator=torch.Generator().manual_seed(0))
    noise[:, :10] = 0
    scale = torch.tensor([0.0] * 10 + [0.2] * 3 + [0.12] * 45 + [0.015] * 3)
    disturbed = good + scale * noise
    points, _ = sample_surface(can, 1500, 0)
    grid = DistanceGrid.from_cloud(points, outward_normals(points), 0.004)
    refined = get_refiner("quick", hand)(disturbed, torch.from_numpy(points), grid)

    depth_before, fingers_before = measure(hand, disturbed, can)
    depth, fingers = measure(hand, refined, can)
    assert depth_before > 0.8 and depth < 0.25
    assert fingers > fingers_before and fingers >= 4
    torch.testing.assert_close(refined[:, :10], disturbed[:, :10])
    angles = hand.regions.to_angles(refined[:, 13:58])
    low, high = hand.regions.limits.unbind(-1)
    assert (angles >= low - 1e-4).all() and (angles <= high + 1e-4).all()


def test_hands_get_out_of_what_stands_around(hand):
    """A table under a can, which the best of its hands reach below."""
    can = trimesh.creation.cylinder(0.03, 0.07)
    target = Target.from_mesh(can, torch.device("cpu"))
    good = optimise_grasps(replace(target, bottom=None), hand, 24, seed=0, steps=60).mano
    points, _ = sample_surface(can, 1500, 0)
    points, grid = torch.from_numpy(points), DistanceGrid.from_mesh(can)
    table = Obstacles(Surroundings(Plane(np.array([0, 0, 1.0]), -0.035), np.zeros((0, 3))), HERE)
    refine = get_refiner("quick", hand)
    without, told = refine(good, points, grid), refine(good, points, grid, table.inside)
    before, after = (table.depth(hand(mano)[0].detach()) for mano in (without, told))
    shallow = (before > FREE) & (before < 3 * FREE)
    assert shallow.sum() >= 3
    assert (after[shallow] < FREE).float().mean() > 0.7
    assert (after <= before + 1e-3).all()
    # Who isn't in the table stays as it is, and who is a little doesn't let go of the can.
    free = before == 0
    torch.testing.assert_close(told[free], without[free], atol=1e-3, rtol=0)
    assert measure(hand, told[shallow], can)[1] > 4


def test_unknown_names_are_refused(hand):
    with pytest.raises(ValueError, match="accepted are none, quick"):
        get_refiner("slow", hand)
