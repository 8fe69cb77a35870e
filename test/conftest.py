"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the benchmark objects (objects/ycb) and real clouds (clouds)."""
    root = Path(os.environ.get("GRASP_GEN_DATA", Path(__file__).parents[2] / "shared"))
    if not (root / "objects" / "ycb").is_dir():
        pytest.skip(f"no benchmark data at {root}: set GRASP_GEN_DATA to its folder")
    return root
