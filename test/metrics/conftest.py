"""Fixtures of the metrics' tests."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand

DATA = Path(__file__).parents[2] / "training" / "data"


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(3, 0.03)


@pytest.fixture(scope="module")
def grasps(hand) -> tuple[trimesh.Trimesh, torch.Tensor]:
    """A fruit of the shipped dataset and six of its grasps."""
    return six_grasps("fruit")


@pytest.fixture(scope="module")
def can_grasps() -> tuple[trimesh.Trimesh, torch.Tensor]:
    """The same of a can, whose many parts a hand touches all at once."""
    return six_grasps("can")


def six_grasps(family: str) -> tuple[trimesh.Trimesh, torch.Tensor]:
    """The first object of a family that has six grasps, and these."""
    data = GraspDataset.load(DATA)
    members = np.char.startswith(data.objects, f"{family}:")
    number = int(np.flatnonzero(members & (np.bincount(data.object_index) >= 6))[0])
    chosen = np.flatnonzero(data.object_index == number)[:6]
    return data.mesh(number), torch.tensor(data.mano[chosen])
