"""Linear blend skinning of some of MANO's vertices, laid out for speed; smplx does all at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BentHand(NamedTuple):
    """Hands in their file's own frame, before transl; lengths in metres.

    Attributes:
        rest: (B, 3, K) the points after the blend shapes, before joints turn them.
        rotation, shift: (B, 16, 3, 3) and (B, 16, 3) what the joints do to points at rest.
        points, joints: (B, K, 3) and (B, 16, 3).
    """

    rest: Tensor
    rotation: Tensor
    shift: Tensor
    points: Tensor
    joints: Tensor


class FlatHand(NamedTuple):
    """K vertices of flat hands in their file's own frame, metres, coordinates before vertices.

    Attributes:
        points: (B, 3, K).
        joints: (B, 16, 3).
        poses: (135, 3 K) how bent joints make the skin bulge, None where they don't.
        weights: (16, K) how much each joint carries each vertex.
    """

    points: Tensor
    joints: Tensor
    poses: Tensor | None
    weights: Tensor

    @classmethod
    def of(cls, model, vertices: Tensor, betas: Tensor, joints: Tensor, bulges: bool) -> FlatHand:
        """Of an smplx model's vertices, by their numbers (K,), shapes (B, 10), and the joints."""
        points = model.v_template[vertices] + torch.einsum(
            "bk,vxk->bvx", betas, model.shapedirs[vertices]
        )
        poses = None
        if bulges:
            poses = model.posedirs.view(len(model.posedirs), -1, 3)[:, vertices].mT.flatten(1)
        return cls(points.mT.contiguous(), joints, poses, model.lbs_weights[vertices].mT)

    def bend(self, turns: Tensor) -> BentHand:
        """Turned about the joints (B, 16, 3, 3)."""
        rest = self.points
        if self.poses is not None:
            unit = torch.eye(3, dtype=turns.dtype, device=turns.device)
            rest = rest + ((turns[:, 1:] - unit).flatten(1) @ self.poses).view_as(rest)
        joints, rotation, shift = chained(turns, self.joints)
        moves = torch.cat([rotation, shift[..., None]], dim=3).permute(3, 0, 2, 1)
        carried = moves.reshape(-1, moves.shape[3]) @ self.weights  # one large product
        # Axes first: where the slope is put together again, each is one piece of memory.
        *axes, points = carried.view(*moves.shape[:3], -1)
        for axis, place in zip(axes, rest.unbind(1), strict=True):
            points = torch.addcmul(points, axis, place[:, None])
        return BentHand(rest, rotation, shift, points.mT.contiguous(), joints)


def chained(turns: Tensor, skeleton: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where joints are and what they do to points at rest: five fingers of three hang on the wrist.

    Args:
        turns: (B, 16, 3, 3) rotations about the joints.
        skeleton: (B, 16, 3) joints at rest, metres.

    Returns:
        joints (B, 16, 3), rotations (B, 16, 3, 3) and shifts (B, 16, 3): x -> rotation x + shift.
    """
    fingers, places = turns[:, 1:].unflatten(1, (5, 3)), skeleton[:, 1:].unflatten(1, (5, 3))
    bones = torch.diff(places, dim=2, prepend=skeleton[:, None, :1].expand(-1, 5, -1, -1))
    rotations, joints = [turns[:, :1].expand(-1, 5, -1, -1)], [skeleton[:, :1].expand(-1, 5, -1)]
    for i in range(3):
        joints.append(joints[-1] + (rotations[-1] @ bones[:, :, i, :, None])[..., 0])
        rotations.append(rotations[-1] @ fingers[:, :, i])
    joint = torch.cat([skeleton[:, :1], torch.stack(joints[1:], dim=2).flatten(1, 2)], dim=1)
    rotation = torch.cat([turns[:, :1], torch.stack(rotations[1:], dim=2).flatten(1, 2)], dim=1)
    return joint, rotation, joint - (rotation * skeleton[:, :, None]).sum(dim=3)
