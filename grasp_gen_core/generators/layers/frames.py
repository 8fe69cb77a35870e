"""The object-centred frame in which networks work: centroid and principal axes of the cloud."""

from __future__ import annotations

import torch
from torch import Tensor

# The four proper turns that keep principal axes on themselves: an axis has no sign of its own.
FLIPS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def principal_frame(points: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and origin of each cloud's principal frame, longest axis first.

    Args:
        points: (B, N, 3) metres.
        flip: (B,) long in 0..3, which of the four equivalent frames.

    Returns:
        rotation (B, 3, 3), its columns the axes in the cloud's frame, and centre (B, 3):
        points = local @ rotation.T + centre.
    """
    centre = points.mean(dim=1)
    spread = points - centre[:, None]
    _, axes = torch.linalg.eigh(spread.mT @ spread)
    axes = axes.flip(-1)
    handed = torch.linalg.det(axes).sign()
    axes = torch.cat([axes[..., :2], axes[..., 2:] * handed[:, None, None]], dim=-1)
    # Fix the sign first, so that a flip means the same for the same cloud.
    skew = torch.einsum("bni,bij->bnj", spread, axes).pow(3).sum(dim=1).sign()
    skew = torch.where(skew == 0, 1.0, skew)
    skew[:, 2] = skew[:, 0] * skew[:, 1]
    return axes * (skew * FLIPS.to(points)[flip])[:, None], centre
