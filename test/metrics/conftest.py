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
    data = GraspDataset.load(DATA)
    fruits = np.char.startswith(data.objects, "fruit:")
    number = int(np.flatnonzero(fruits & (np.bincount(data.object_index) >= 6))[0])
    chosen = np.flatnonzero(data.object_index == number)[:6]
    return data.mesh(number), torch.tensor(data.mano[chosen])
