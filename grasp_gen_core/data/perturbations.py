"""Noise on grasps, as a hand tracker makes it: the perturbed-grasp benchmark's.

    python -m grasp_gen_core.data.perturbations training/data     # makes pose_components.npz

CHOIR (Morales et al. 2024, Sec. 4) prints N(0, 5) cm, N(0, 0.05) "in PCA space" and N(0, 15) "in
radians", which can't be what was run: of 15 radians nothing of a hand's orientation is left. The
numbers here are its published code's (noise level 2): 0.05 m, 0.15 rad, and 0.5 on the first 15
components of the pose.

MANO's components come with its files, the shipped hand's file has a stand-in (the identity). The
ones here are those of this project's own training grasps, which are what is perturbed, whatever
file the hand is from: the benchmark's noise is the same with each.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grasp_gen_core.hand import rotations
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL, read_npz

TRANSLATION = 0.05  # metres along each axis
ROTATION = 0.15  # radians about each axis
POSE = 0.5  # radians along each component
COMPONENTS = 15
FILE = Path(__file__).with_name("pose_components.npz")


def perturb(mano: Tensor, rng: torch.Generator) -> Tensor:
    """Hands off by Gaussian noise (ContactOpt, Grady et al. 2021; CHOIR, Sec. 4).

    Args:
        mano: (B, 61) hands; their shapes stay.
        rng: on the CPU.

    Returns:
        (B, 61).
    """

    def noise(size: int, scale: float) -> Tensor:
        return scale * torch.randn(len(mano), size, generator=rng).to(mano)

    turned = rotations.compose(noise(3, ROTATION), mano[:, GLOBAL_ORIENT])
    pose = mano[:, HAND_POSE] + noise(COMPONENTS, POSE) @ pose_components().to(mano)
    moved = mano[:, TRANSL] + noise(3, TRANSLATION)
    return torch.cat([mano[:, BETAS], turned, pose, moved], dim=1)


@lru_cache(maxsize=1)
def pose_components() -> Tensor:
    """(COMPONENTS, 45) orthonormal directions of FILE in which grasps' joint angles vary most."""
    return torch.from_numpy(read_npz(FILE)["components"])


def principal_components(pose: np.ndarray) -> np.ndarray:
    """The first COMPONENTS principal directions of hand poses, the widest first.

    Args:
        pose: (G, 45) joint angles, radians.

    Returns:
        (COMPONENTS, 45) orthonormal float32; the largest entry of each is positive.
    """
    _, directions = np.linalg.eigh(np.cov(pose.astype(np.float64).T))
    components = directions[:, ::-1].T[:COMPONENTS]
    largest = np.abs(components).argmax(axis=1)[:, None]
    return (components * np.sign(np.take_along_axis(components, largest, 1))).astype(np.float32)


def main() -> None:
    """Make FILE from a dataset's grasps for training."""
    import argparse

    from grasp_gen_core.data.dataset import GraspDataset

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dataset", type=Path)
    data = GraspDataset.load(parser.parse_args().dataset)
    training = (data.split[data.object_index] == "train") & ~data.unusual
    np.savez(FILE, components=principal_components(data.mano[training, HAND_POSE]))


if __name__ == "__main__":
    main()
