"""Hands in the frame of an object, where all are right ones, and outside."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from grasp_gen_core.hand.layer import ManoHand, mirror_mano, mirror_points
from grasp_gen_core.objects.frame import MIRROR, Frame
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL


def bring_in(mano: np.ndarray, hand: ManoHand, frame: Frame) -> Tensor:
    """Hands brought into a frame.

    Args:
        mano: (B, 61) hands outside, left ones if the frame is mirrored.
        hand: the right hand's model.
        frame: of the object.

    Returns:
        (B, 61) right hands in the frame.
    """
    mano = mano.astype(np.float64)
    root = _roots(mano, hand)
    turn = Rotation.from_matrix(frame.rotation.T) * Rotation.from_rotvec(mano[:, GLOBAL_ORIENT])
    wrist = frame.into(mano[:, TRANSL] + (root * MIRROR if frame.mirrored else root))
    parts = [mano[:, BETAS], turn.as_rotvec(), mano[:, HAND_POSE], wrist]
    local = torch.from_numpy(np.concatenate(parts, axis=1)).float()
    if frame.mirrored:  # back, as the wrist is mirrored already
        local = mirror_mano(torch.cat([local[:, :58], mirror_points(local[:, TRANSL])], dim=1))
    local[:, TRANSL] -= torch.from_numpy(root).float()
    return local.to(hand.faces.device)


def bring_out(mano: Tensor, hand: ManoHand, frame: Frame) -> np.ndarray:
    """What `bring_in` does, undone: (B, 61) float64 hands outside."""
    right = mano.cpu().numpy().astype(np.float64)
    root = _roots(right, hand)
    wrist = frame.out(right[:, TRANSL] + root)
    turned = mirror_mano(mano).cpu().numpy().astype(np.float64) if frame.mirrored else right
    turn = Rotation.from_matrix(frame.rotation) * Rotation.from_rotvec(turned[:, GLOBAL_ORIENT])
    transl = wrist - (root * MIRROR if frame.mirrored else root)
    parts = [turned[:, BETAS], turn.as_rotvec(), turned[:, HAND_POSE], transl]
    return np.concatenate(parts, axis=1)


def _roots(mano: np.ndarray, hand: ManoHand) -> np.ndarray:
    """(B, 3) the right hand's wrist at rest, of hands (B, 61)."""
    betas = torch.from_numpy(mano[:, BETAS]).float().to(hand.faces.device)
    return hand.root(betas).cpu().numpy().astype(np.float64)
