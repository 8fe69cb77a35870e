"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import torch

# Where tests run two at a time each has a core, and what it starts, too.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)
torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the benchmark objects (objects/ycb) and real clouds (clouds)."""
    root = Path(os.environ.get("GRASP_GEN_DATA", Path(__file__).parents[2] / "shared"))
    if not (root / "objects" / "ycb").is_dir():
        pytest.skip(f"no benchmark data at {root}: set GRASP_GEN_DATA to its folder")
    return root
