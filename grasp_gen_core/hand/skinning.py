"""Linear blend skinning of some of MANO's vertices, laid out for speed; smplx does all at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class BentHand(NamedTuple):
    """Hands in their file's own frame, before transl; lengths in metres.

    Attributes:
        rest: (3, B, K) the points after the blend shapes, before joints turn them.
        rotation: (B, 16, 3, 3) how the joints are turned.
        points, joints: (B, K, 3) and (B, 16, 3).
    """

    rest: Tensor
    rotation: Tensor
    points: Tensor
    joints: Tensor


class FlatHand(NamedTuple):
    """K points of flat hands in their file's own frame, metres.

    Attributes:
        points: (3, B, K), coordinate by coordinate, as points lie in memory all the way to grids.
        joints, bones: (B, 16, 3), and from what each joint hangs on to it.
        poses: (135, 3 K) how bent joints make the skin bulge, None where they don't.
        weights: (16, K) how much each joint carries each point.
    """

    points: Tensor
    joints: Tensor
    bones: Tensor
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
        wrist, fingers = joints[:, :1], joints[:, 1:].unflatten(1, (5, 3))
        bones = torch.diff(fingers, dim=2, prepend=wrist[:, None].expand(-1, 5, -1, -1))
        bones = torch.cat([wrist, bones.flatten(1, 2)], dim=1)
        points, weights = points.permute(2, 0, 1).contiguous(), model.lbs_weights[vertices].mT
        return cls(points, joints, bones, poses, weights)

    def beside(self, points: Tensor, weights: Tensor) -> FlatHand:
        """With more points (B, S, 3) at rest, carried by joints as (16, S) says, after its own."""
        poses = self.poses
        if poses is not None:
            still = poses.new_zeros(len(poses), 3, points.shape[1])
            poses = torch.cat([poses.unflatten(1, (3, -1)), still], dim=2).flatten(1)
        return self._replace(
            points=torch.cat([self.points, points.permute(2, 0, 1)], dim=2),
            poses=poses,
            weights=torch.cat([self.weights, weights], dim=1),
        )

    def bend(self, turns: Tensor, transl: Tensor) -> BentHand:
        """Turned about the joints (B, 16, 3, 3), then moved by (B, 3) metres."""
        rest = self.points
        if self.poses is not None:
            unit = torch.eye(3, dtype=turns.dtype, device=turns.device)
            bulges = (turns[:, 1:] - unit).flatten(1) @ self.poses
            rest = rest + bulges.unflatten(1, (3, -1)).transpose(0, 1)
        first = self.bones[:, 0] + transl
        bones = torch.cat([first[:, None], self.bones[:, 1:]], dim=1)
        links = torch.cat([turns, bones[..., None]], dim=3)
        # Where all around is computed in half precision, hands aren't: their slope is their own.
        whole = [one.to(self.weights.dtype) for one in (links, self.joints, rest)]
        with torch.autocast(links.device.type, enabled=False):
            frames, points = Skinning.apply(*whole, self.weights)
        return BentHand(rest, frames[..., :3], points.permute(1, 2, 0), frames[..., 3])


class Skinning(torch.autograd.Function):
    """Forward kinematics and linear blend skinning. Their slope in closed form takes a part of the
    operations that autograd makes of them."""

    @staticmethod
    def forward(
        ctx, links: Tensor, home: Tensor, rest: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Bent hands; five fingers of three joints hang on the wrist.

        Args:
            links: (B, 16, 3, 4) rotations about the joints, and the bones that lead to them.
            home: (B, 16, 3) joints at rest, metres.
            rest: (3, B, K) points at rest, metres.
            weights: (16, K) how much each joint carries each point.

        Returns:
            frames (B, 16, 3, 4), how joints are turned and where they are, and points (3, B, K).
        """
        frames = links.clone()
        holder = frames[:, None, 0]
        for joint in frames[:, 1:].unflatten(1, (5, 3)).unbind(2):
            joint.copy_(holder[..., :3] @ joint)
            joint[..., 3] += holder[..., 3]
            holder = joint
        moves = frames.clone()  # x -> rotation x + shift, of points at rest
        moves[..., 3] -= (frames[..., :3] @ home[..., None])[..., 0]
        # Coordinate by coordinate: a product of all would leave a CPU's cache.
        *axes, points = (one @ weights for one in moves.permute(3, 2, 0, 1).contiguous())
        for axis, place in zip(axes, rest, strict=True):
            points.addcmul_(axis, place)
        ctx.save_for_backward(links, home, rest, weights, frames, *axes)
        return frames, points

    @staticmethod
    @once_differentiable
    def backward(ctx, pull: Tensor, force: Tensor) -> tuple[Tensor | None, ...]:
        links, home, rest, weights, frames, *axes = ctx.saved_tensors
        by_home = by_rest = None
        force = force.contiguous()
        felt = [(force * place) @ weights.mT for place in rest] + [force @ weights.mT]
        felt = torch.stack(felt, dim=3).permute(1, 2, 0, 3)  # (B, 16, 3, 4) of the moves
        whole = pull + felt
        whole[..., :3] -= felt[..., 3:] * home[:, :, None]
        # From the tips down, what a joint does to all that hangs on it.
        fingers, held = whole[:, 1:].unflatten(1, (5, 3)), links[:, 1:].unflatten(1, (5, 3))
        for joint in (2, 1, 0):
            last = fingers[:, :, joint]
            passed = torch.cat([last @ held[:, :, joint].mT, last[..., 3:]], dim=3)
            if joint:
                fingers[:, :, joint - 1] += passed
            else:
                whole[:, 0] += passed.sum(dim=1)
        turned = frames[..., :3]
        holders = turned[:, 1:].unflatten(1, (5, 3)).roll(1, dims=2)
        holders[:, :, 0] = turned[:, None, 0]
        by_links = torch.cat([whole[:, :1], holders.flatten(1, 2).mT @ whole[:, 1:]], dim=1)
        if ctx.needs_input_grad[1]:
            by_home = -(turned.mT @ felt[..., 3:])[..., 0]
        if ctx.needs_input_grad[2]:
            by_rest = torch.stack([(axis * force).sum(dim=0) for axis in axes])
        return by_links, by_home, by_rest, None
