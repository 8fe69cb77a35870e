"""The perturbed-grasp benchmark's noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.decomposition import PCA

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb, pose_components, principal_components

DATA = Path(__file__).parents[2] / "training" / "data"


@pytest.fixture(scope="module")
def off() -> torch.Tensor:
    return perturb(torch.zeros(8000, 61), torch.Generator().manual_seed(0))


def test_places_and_turns_are_off_by_5_cm_and_015_rad_and_shapes_stay(off):
    assert (off[:, :10] == 0).all()
    assert off[:, 58:].std(dim=0).tolist() == pytest.approx([0.05] * 3, rel=0.03)
    assert off[:, 10:13].std(dim=0).tolist() == pytest.approx([0.15] * 3, rel=0.03)


def test_poses_are_off_by_a_half_on_each_of_15_components_and_not_elsewhere(off):
    components, pose = pose_components(), off[:, 13:58]
    along = pose @ components.T
    torch.testing.assert_close(along.T.cov(), 0.25 * torch.eye(15), atol=0.02, rtol=0)
    torch.testing.assert_close(along @ components, pose, atol=1e-5, rtol=0)


def test_turns_come_after_the_hands_own():
    hand = torch.zeros(1, 61)
    there = hand.clone()
    there[:, 12] = np.pi / 2
    first, second = (perturb(mano, torch.Generator().manual_seed(3)) for mano in (hand, there))
    noise, own, found = (Rotation.from_rotvec(m[0, 10:13].numpy()) for m in (first, there, second))
    assert (found * (noise * own).inv()).magnitude() < 1e-5


def test_components_are_those_of_the_shipped_grasps_for_training():
    data = GraspDataset.load(DATA)
    training = (data.split[data.object_index] == "train") & ~data.unusual
    pose = data.mano[training, 13:58]
    truth = PCA(15, svd_solver="full").fit(pose.astype(float)).components_
    shipped = pose_components().numpy()
    np.testing.assert_allclose(np.abs((truth * shipped).sum(axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(principal_components(pose), shipped, atol=1e-5)
    assert (np.take_along_axis(shipped, np.abs(shipped).argmax(axis=1)[:, None], 1) > 0).all()
