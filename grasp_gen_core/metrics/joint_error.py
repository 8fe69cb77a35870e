"""Joint error: how far a hand's joints are from a reference hand's."""

from __future__ import annotations

import numpy as np

from grasp_gen_core.errors import InputError


def mpjpe_mm(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean distance between joints and the reference's (CHOIR App. C.1, "MPJPE").

    Args:
        joints, reference: (B, 21, 3) metres, the wrist first.

    Returns:
        (B,) millimetres.

    Raises:
        InputError: if their shapes aren't (B, 21, 3), and the same.
    """
    joints, reference = np.asarray(joints, float), np.asarray(reference, float)
    if joints.shape != reference.shape or joints.ndim != 3 or joints.shape[1:] != (21, 3):
        raise InputError(
            f"joints: shapes {joints.shape} and {reference.shape}, accepted is (B, 21, 3) twice"
        )
    return 1000 * np.linalg.norm(joints - reference, axis=2).mean(axis=1)


def r_mpjpe_mm(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same with both wrists in one place ("R-MPJPE"): the grasp, wherever the hand is."""
    joints, reference = np.asarray(joints, float), np.asarray(reference, float)
    return mpjpe_mm(joints - joints[:, :1], reference - reference[:, :1])
