"""JointDiffusion as it ships: noisy hands of an object that training never saw become grasps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.generators.joint_diffusion import JointDiffusion, JointDiffusionConfig
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners import get_refiner

DATA = Path(__file__).parents[2] / "training" / "data"


@pytest.fixture(scope="module")
def refined(hand):
    """Joints (8, 21, 3) of grasps, of them with noise, and refined; and the refined ones' depth."""
    data = GraspDataset.load(DATA)
    names = np.array(data.objects)
    held_out = np.flatnonzero(data.split == "validation")
    number = next(i for i in held_out if names[i].startswith("flashlight"))
    mesh = data.mesh(int(number))
    mano = torch.from_numpy(data.mano[data.object_index == number][:8])
    noisy = perturb(mano, torch.Generator().manual_seed(0))
    points = torch.from_numpy(sample_surface(mesh, 2048, 0)[0]).float()
    grid = DistanceGrid.from_mesh(mesh)
    found = get_refiner("choir", hand)(noisy, points, grid)
    with torch.no_grad():
        vertices, joints = hand(found)
        return hand(mano)[1], hand(noisy)[1], joints, -grid(vertices).amin(dim=1)


def test_noisy_hands_come_back_to_their_grasps(refined):
    true, noisy, found, _ = refined
    off, left = ((joints - true).norm(dim=2).mean() for joints in (noisy, found))
    assert off > 0.06
    assert left < 0.7 * off


def test_they_are_in_the_object_no_deeper_than_skin_gives_way(refined):
    assert refined[3].median() < 0.005


@pytest.mark.parametrize("share, task", [(0.0, "refinement"), (1.0, "synthesis")])
def test_one_task_alone_is_trained(hand, batch, share, task):
    losses = JointDiffusion(hand, JointDiffusionConfig(synthesis=share)).loss(batch)
    assert all(torch.isfinite(value) for value in losses.values())
    assert [name for name in losses if name.startswith("field_")] == [f"field_{task}"]
    torch.testing.assert_close(losses[f"field_{task}"], losses["field"])
