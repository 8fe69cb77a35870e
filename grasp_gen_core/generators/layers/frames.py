"""The object-centred frame in which networks work: centroid and principal axes of the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from grasp_gen_core.hand import ManoHand

# The four proper turns that keep principal axes on themselves: an axis has no sign of its own.
FLIPS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
SEEN = 512  # points that encoders see of a larger cloud


def in_four_frames(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One cloud in each of its four principal frames.

    Args:
        points: (N, 3) metres.

    Returns:
        rotation (4, 3, 3), centre (4, 3) as of `principal_frame`, and the points in them (4, N, 3).
    """
    points = points.expand(4, -1, -1)
    rotation, centre = principal_frame(points, torch.arange(4, device=points.device))
    return rotation, centre, (points - centre[:, None]) @ rotation


def in_principal_frame(batch: dict[str, Tensor], hand: ManoHand) -> tuple[Tensor, Tensor, Tensor]:
    """The clouds and hands of a training batch in the principal frame of what is seen.

    Args:
        batch: `view` (B, N, 3), `surface` (B, M, 3), metres, `mano` (B, 61), `flip` (B,) 0..3.
        hand: of the `mano`.

    Returns:
        view (B, N, 3), surface (B, M, 3) and mano (B, 61).
    """
    rotation, centre = principal_frame(batch["view"], batch["flip"])
    view, surface = ((batch[name] - centre[:, None]) @ rotation for name in ("view", "surface"))
    return view, surface, hands_in_frame(batch["mano"], rotation, centre, hand)


def in_view_frame(
    batch: dict[str, Tensor], hand: ManoHand
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch in its views' principal frames.

    Returns:
        view (B, N, 3), surface (B, M, 3), `others` (B, G, 61), and the direction to the camera
        (B, 3): where there was none, that in which the view's middle is off the object's.
    """
    rotation, centre = principal_frame(batch["view"], batch["flip"])
    view, surface = ((batch[name] - centre[:, None]) @ rotation for name in ("view", "surface"))
    eye = ((batch["eye"] - centre)[:, None] @ rotation)[:, 0]
    eye = torch.where(eye.isnan(), -surface.mean(dim=1), eye)
    hands, count = batch["others"], batch["others"].shape[1]
    frames = (x.repeat_interleave(count, dim=0) for x in (rotation, centre))
    hands = hands_in_frame(hands.flatten(0, 1), *frames, hand).unflatten(0, (-1, count))
    return view, surface, hands, functional.normalize(eye, dim=1)


def hands_in_frame(mano: Tensor, rotation: Tensor, centre: Tensor, hand: ManoHand) -> Tensor:
    """Hands (B, 61) in the frames that `principal_frame` gives, (B, 3, 3) and (B, 3)."""
    back = rotation.mT
    return hand.move(mano, back, -(back @ centre[..., None])[..., 0])


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


def few_of(points: Tensor, rng: torch.Generator, count: int = SEEN) -> Tensor:
    """At most `count` of the points (N, 3)."""
    if len(points) <= count:
        return points
    return points[torch.randperm(len(points), generator=rng)[:count].to(points.device)]


def random_spots(points: Tensor, rng: torch.Generator) -> Tensor:
    """(B, 3) one of each cloud's points (B, N, 3), the same one in whatever order they come."""
    count, size = points.shape[:2]
    direction = torch.randn(count, 3, 1, generator=rng).to(points)
    rank = torch.randint(size, (count, 1), generator=rng).to(points.device)
    along = (points @ direction)[..., 0].argsort(dim=1)
    return points.take_along_dim(along.gather(1, rank)[..., None], dim=1)[:, 0]
