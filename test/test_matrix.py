"""Every generator with every refiner, view and side: sound hands, each time the same."""

import numpy as np
import pytest
import torch

from grasp_gen_core import GraspPipeline, generators, refiners
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.views import view_object

ANGLES = 0.35  # radians beyond the hand's limits, which networks and refiners hold softly
NEAR = 0.02  # metres from the nearest vertex to the object at most, refined or not


def pairs() -> list[tuple[str, str]]:
    """All that go together: adaptation at test time has a decoder to adapt in GraspCVAE alone."""
    every = [(g, r) for g in generators.NAMES for r in ("none", *refiners.NAMES)]
    # The optimiser's hands are refined as they are made.
    every = [(g, r) for g, r in every if g != "optimise" or r in ("none", "quick")]
    return [(g, r) for g, r in every if r != "grasp_tta" or g == "grasp_cvae"]


@pytest.fixture(scope="module")
def clouds() -> dict[str, np.ndarray]:
    mesh = make_object("can", 5)
    return {view: view_object(mesh, view, 1500, 3).points for view in ("full", "mask50", "camera")}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("generator", "refiner"), pairs())
def test_sound_hands(generator, refiner, side, clouds):
    pipeline = GraspPipeline(generator, refiner, device="cpu", side=side)
    hand, right = ManoHand(side=side), ManoHand()
    for view in clouds if side == "right" else ("camera",):
        points = clouds[view]
        grasps = pipeline(points, num=1, seed=4)
        if view == "camera":
            again = pipeline(points, num=1, seed=4)
            np.testing.assert_array_equal(again.vertices, grasps.vertices)
        mano = torch.from_numpy(grasps.mano)
        assert torch.isfinite(mano).all() and grasps.side == side
        vertices, _ = hand(mano)
        np.testing.assert_allclose(grasps.vertices, vertices, atol=1e-5)
        apart = np.linalg.norm(grasps.vertices[:, :, None] - points[::4], axis=3)
        assert apart.min(axis=(1, 2)).max() < NEAR, view
        pose = mano[:, 13:58]
        if side == "left":  # limits are the right hand's
            pose = pose * torch.tensor([1.0, -1.0, -1.0]).repeat(15)
        angles = right.regions.to_angles(pose)
        lower, upper = right.regions.limits.unbind(-1)
        beyond = torch.maximum(lower - angles, angles - upper).clamp(min=0)
        assert beyond.max() < ANGLES, view
        assert np.abs(grasps.mano[:, :10]).max() < 5
