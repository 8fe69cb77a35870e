"""Every generator with every refiner, view and side: sound hands, each time the same."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from trimesh import transform_points

from grasp_gen_core import GraspPipeline, generators, refiners
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.objects.views import view_object

ANGLES = 0.36  # radians beyond the hand's limits, which networks and refiners hold softly
NEAR = 0.02  # metres from the nearest vertex to the object at most, refined or not


def pairs() -> list[tuple[str, str]]:
    """All that go together: adaptation at test time has a decoder to adapt in GraspCVAE alone."""
    every = [(g, r) for g in generators.NAMES for r in ("none", *refiners.NAMES)]
    # The optimiser's hands are refined as they are made.
    every = [(g, r) for g, r in every if g != "optimise" or r in ("none", "quick")]
    return [(g, r) for g, r in every if r != "grasp_tta" or g == "grasp_cvae"]


@pytest.fixture(scope="module")
def views() -> dict[str, tuple[np.ndarray, cKDTree]]:
    """What is seen of a can, and its surface all around, in each view's frame."""
    mesh = make_object("can", 5)
    seen = {view: view_object(mesh, view, 1500, 3) for view in ("full", "mask50", "camera")}
    surface = sample_surface(mesh, 4000, 0)[0]
    return {
        name: (view.points, cKDTree(transform_points(surface, np.linalg.inv(view.pose))))
        for name, view in seen.items()
    }


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("generator", "refiner"), pairs())
def test_sound_hands(generator, refiner, side, views):
    pipeline = GraspPipeline(generator, refiner, device="cpu", side=side)
    hand, right = ManoHand(side=side), ManoHand()
    for view in views if side == "right" else ("camera",):
        points, surface = views[view]
        grasps = pipeline(points, num=1, seed=4)
        if view == "camera":
            again = pipeline(points, num=1, seed=4)
            np.testing.assert_array_equal(again.vertices, grasps.vertices)
        mano = torch.from_numpy(grasps.mano)
        assert torch.isfinite(mano).all() and grasps.side == side
        vertices, _ = hand(mano)
        np.testing.assert_allclose(grasps.vertices, vertices, atol=1e-5)
        assert surface.query(grasps.vertices)[0].min(axis=1).max() < NEAR, view
        pose = mano[:, 13:58]
        if side == "left":  # limits are the right hand's
            pose = pose * torch.tensor([1.0, -1.0, -1.0]).repeat(15)
        angles = right.regions.to_angles(pose)
        lower, upper = right.regions.limits.unbind(-1)
        beyond = torch.maximum(lower - angles, angles - upper).clamp(min=0)
        assert beyond.max() < ANGLES, view
        assert np.abs(grasps.mano[:, :10]).max() < 5
