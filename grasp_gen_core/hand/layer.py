"""A differentiable MANO hand on smplx, right or left, from an official file or the shipped one."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import rotations
from grasp_gen_core.hand.mano_file import read_hand_file
from grasp_gen_core.hand.regions import HandRegions
from grasp_gen_core.hand.skinning import FlatHand
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, MANO_SIZE, TRANSL, check_side

GENERIC_HAND = Path(__file__).with_name("generic_hand_RIGHT.npz")


class ManoHand(nn.Module):
    """MANO forward kinematics (Romero et al. 2017) from one flat vector per hand.

    Args:
        path: MANO_RIGHT/LEFT.pkl or .npz; None takes $GRASP_GEN_HAND, else the shipped generic
            hand. A file of the other side is mirrored.
        side: "right" or "left".

    Attributes:
        faces: (1538, 3) long, outward counter-clockwise.
        closed_faces: (1552, 3) long, the wrist opening closed: a watertight surface.
        regions: HandRegions, the hand's parts, anchors, contact zones and joint limits.
        parts: (778,) long, 0..5 = thumb, index, middle, ring, little, palm.
        bulges: whether the skin bulges where joints are bent, as the shipped hand's doesn't.
        is_generic: whether the shipped hand is in use (shape components mean what ours mean).

    Raises:
        InputError: if the file is no MANO hand, or the side is unknown.
    """

    def __init__(self, path: str | Path | None = None, side: str = "right") -> None:
        super().__init__()
        import smplx
        from smplx.utils import Struct

        path = Path(path or os.environ.get("GRASP_GEN_HAND") or GENERIC_HAND)
        arrays = read_hand_file(path)
        # Right hands point their fingers towards -x (MANO's rest pose).
        file_side = "right" if fingers_point(arrays) < 0 else "left"
        self.mirrored = file_side != check_side(side)
        self.side, self.is_generic = side, path.resolve() == GENERIC_HAND.resolve()
        # smplx prints a warning that ten shape components are few: MANO has ten.
        with contextlib.redirect_stdout(io.StringIO()):
            self.model = smplx.MANO(
                str(path),
                is_rhand=file_side == "right",
                data_struct=Struct(**arrays),
                use_pca=False,
                flat_hand_mean=True,
                num_betas=10,
            ).requires_grad_(False)
        # Asked once: on a device the answer would be waited for.
        self.bulges = bool(self.model.posedirs.any())
        # smplx reads it joint by joint: on a device each would be waited for.
        self.model.parents = self.model._buffers.pop("parents")

        faces = arrays["f"].astype(np.int64)
        faces = faces[:, ::-1].copy() if self.mirrored else faces
        template, joints = arrays["v_template"], arrays["J_regressor"] @ arrays["v_template"]
        flip = np.array([-1.0, 1.0, 1.0]) if self.mirrored else 1.0
        self.regions = HandRegions(template * flip, faces, arrays["weights"], joints * flip, side)
        # In the file's own frame: (16, 3) metres, and (16, 3, 10) how shape moves them.
        regressor = self.model.J_regressor
        self.register_buffer("rest_joints", regressor @ self.model.v_template)
        directions = torch.einsum("jv,vxk->jxk", regressor, self.model.shapedirs)
        self.register_buffer("joint_directions", directions)
        self.register_buffer("holders", self.model.parents[1:])  # (15,) what joints 1-15 hang on
        hangs = torch.eye(16)
        for joint in range(1, 16):
            hangs[joint] += hangs[self.model.parents[joint]]
        self.register_buffer("hangs", hangs)  # [i, j]: whether joint i hangs on joint j, or is it
        self.register_buffer("faces", torch.from_numpy(faces))
        self.register_buffer("closed_faces", torch.from_numpy(close_wrist(faces)))

    @property
    def parts(self) -> Tensor:
        return self.regions.parts

    def forward(self, mano: Tensor) -> tuple[Tensor, Tensor]:
        """Surface and joints of a batch of hands.

        Args:
            mano: (B, 61) betas, global_orient, hand_pose, transl; radians, metres.

        Returns:
            vertices (B, 778, 3) and joints (B, 21, 3) in metres: MANO's 16, then the tips thumb,
            index, middle, ring, little.

        Raises:
            InputError: if mano isn't (B, 61).
        """
        if mano.ndim != 2 or mano.shape[1] != MANO_SIZE:
            raise InputError(f"mano: shape {tuple(mano.shape)}, accepted is (B, {MANO_SIZE})")
        if self.mirrored:
            mano = mirror_mano(mano)
        output = self.model(
            betas=mano[:, BETAS],
            global_orient=mano[:, GLOBAL_ORIENT],
            hand_pose=mano[:, HAND_POSE],
            transl=mano[:, TRANSL],
        )
        joints = torch.cat([output.joints, output.vertices[:, self.regions.tips]], dim=1)
        if self.mirrored:
            return mirror_points(output.vertices), mirror_points(joints)
        return output.vertices, joints

    def carry(self, mano: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Some vertices and MANO's joints, as `forward` has them but without the other vertices.

        Args:
            mano: (B, 61) as for `forward`.
            vertices: (K,) their numbers.

        Returns:
            points (B, K, 3) and joints (B, 16, 3), metres.
        """
        flat, wrist = self.flat(mano[:, BETAS], vertices), _turns(mano[:, GLOBAL_ORIENT])
        return self.bend(flat, wrist, mano[:, HAND_POSE], mano[:, TRANSL])

    def flat(self, betas: Tensor, vertices: Tensor) -> FlatHand:
        """Some vertices (K,) of flat hands of shapes (B, 10), to be bent again and again."""
        skeleton = self.rest_joints + torch.einsum("bk,jxk->bjx", betas, self.joint_directions)
        return FlatHand.of(self.model, vertices, betas, skeleton, self.bulges)

    def bend(
        self, flat: FlatHand, wrist: Tensor, hand_pose: Tensor, transl: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Bent hands.

        Args:
            flat: of `flat`.
            wrist: (B, 3, 3) rotations about the wrist.
            hand_pose: (B, 45) axis-angle, radians.
            transl: (B, 3) metres.

        Returns:
            points (B, K, 3) and MANO's joints (B, 16, 3), metres.
        """
        turns = torch.cat([wrist[:, None], _turns(hand_pose.unflatten(1, (15, 3)))], dim=1)
        if self.mirrored:
            turns, transl = mirror_points(mirror_points(turns).mT).mT, mirror_points(transl)
        bent = flat.bend(turns, transl)
        if self.mirrored:
            return mirror_points(bent.points), mirror_points(bent.joints)
        return bent.points, bent.joints

    def derivative(self, mano: Tensor, vertices: Tensor) -> Tensor:
        """How the points of `carry` move with the parameters, without automatic differentiation.

        Args:
            mano, vertices: as for `carry`.

        Returns:
            (B, K, 3, 61) for each change of a parameter; one of global_orient is a turn in space,
            about the wrist, that comes after the hand's own.
        """
        if self.mirrored:
            mano = mirror_mano(mano)
        turned, model, count = mano[:, 10:58].unflatten(1, (16, 3)), self.model, len(mano)
        unit = torch.eye(3, dtype=mano.dtype, device=mano.device)
        turns = _turns(turned)
        flat = self.flat(mano[:, BETAS], vertices)
        posed = flat.bend(turns, mano[:, TRANSL])
        rotation, weights = posed.rotation, model.lbs_weights[vertices]
        # Turns are about the joints' axes as what they hang on holds them; nothing holds the wrist.
        holder = torch.cat([rotation[:, :1], rotation[:, self.holders]], dim=1)
        ways = rotations.jacobian(turned)
        spins = rotations.cross_matrix(ways.mT)
        slopes = torch.einsum("bjpxz,bjzy->bjxyp", spins, turns)  # the parameter last
        axes = holder @ ways
        axes[:, 0] = unit
        # What hangs on a joint, as weights (K, 16) and as weighted places (B, K, 3, 16).
        places = torch.einsum("bjxy,ybk->bkxj", rotation, posed.rest)
        shift = posed.joints - torch.einsum("bjxy,bjy->bjx", rotation, flat.joints)
        places = (places + shift[:, None].mT) * weights[:, None]
        levers = places @ self.hangs - (weights @ self.hangs)[:, None] * posed.joints[:, None].mT
        by_turn = torch.linalg.cross(axes.permute(0, 2, 1, 3)[:, None], levers[..., None], dim=2)
        # The blend shapes move points at rest, which their rotations carry.
        blend = torch.einsum("kj,bjxy->bkxy", weights, rotation)
        bulges = model.posedirs.view(15, 9, -1, 3)[:, :, vertices]
        bulge = torch.einsum("bjep,jekx->bkxjp", slopes[:, 1:].reshape(count, 15, 9, 3), bulges)
        by_turn[:, :, :, 1:] += (blend @ bulge.flatten(3)).view_as(bulge)
        # Shape moves the joints, too, and what hangs on them.
        moves = self.joint_directions
        steps = torch.cat([moves[:1], moves[1:] - moves[self.holders]])
        steps = torch.cat([steps[None, :1].expand(count, -1, -1, -1), holder[:, 1:] @ steps[1:]], 1)
        shifts = torch.einsum("ij,bixs->bjxs", self.hangs.mT, steps) - rotation @ moves
        by_shape = blend @ model.shapedirs[vertices] + torch.einsum(
            "kj,bjxs->bkxs", weights, shifts
        )
        by_place = unit.expand(count, len(vertices), -1, -1)
        found = torch.cat([by_shape, by_turn.flatten(3), by_place], dim=3)
        if self.mirrored:
            return mirror_points(mirror_mano(found).mT).mT
        return found

    def skeleton(self, mano: Tensor) -> Tensor:
        """(B, 21, 3) the joints of `forward`, without the work of its surface."""
        tips, joints = self.carry(mano, self.regions.tips)
        return torch.cat([joints, tips], dim=1)

    def root(self, betas: Tensor) -> Tensor:
        """(B, 3) rest position in metres of the wrist joint, about which global_orient turns."""
        root = self.rest_joints[0] + torch.einsum("bk,xk->bx", betas, self.joint_directions[0])
        return mirror_points(root) if self.mirrored else root

    def move(self, mano: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """The same hands moved rigidly: x -> rotation x + translation.

        Args:
            mano: (B, 61) parameters.
            rotation: (3, 3) or (B, 3, 3).
            translation: (3,) or (B, 3) metres.

        Returns:
            (B, 61) parameters.
        """
        root = self.root(mano[:, BETAS])
        orient = rotations.to_rotvec(rotation @ rotations.to_matrix(mano[:, GLOBAL_ORIENT]))
        wrist = (rotation @ (root + mano[:, TRANSL])[..., None])[..., 0] + translation
        return torch.cat([mano[:, BETAS], orient, mano[:, HAND_POSE], wrist - root], dim=1)

    def reshape(self, mano: Tensor, betas: Tensor) -> Tensor:
        """(B, 61) hands of another shape (B, 10), their wrist and joint angles kept in place."""
        wrist = self.root(mano[:, BETAS]) + mano[:, TRANSL]
        return torch.cat([betas, mano[:, 10:58], wrist - self.root(betas)], dim=1)


def _turns(rotvec: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors, as smplx makes them."""
    from smplx.lbs import batch_rodrigues

    return batch_rodrigues(rotvec.reshape(-1, 3)).view(*rotvec.shape, 3)


def mirror_points(points: Tensor) -> Tensor:
    """(..., 3) points reflected in the plane x = 0."""
    x, others = points.split((1, 2), dim=-1)
    return torch.cat([-x, others], dim=-1)


def mirror_mano(mano: Tensor) -> Tensor:
    """(B, 61) parameters of the other side's hand that is this hand reflected in x = 0."""
    betas, turns, transl = mano.split((10, 48, 3), dim=-1)
    turns = -mirror_points(turns.unflatten(-1, (16, 3))).flatten(-2)
    return torch.cat([betas, turns, mirror_points(transl)], dim=-1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3) of surfaces (B, V, 3) with outward faces (F, 3), weighted by area."""
    first, second, third = (vertices[:, faces[:, corner]] for corner in range(3))
    face_normals = torch.linalg.cross(second - first, third - first)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals = normals.index_add(1, faces[:, corner], face_normals)
    return torch.nn.functional.normalize(normals, dim=2, eps=1e-12)


def fingers_point(arrays: dict[str, np.ndarray]) -> float:
    """Sign of x in which the fingers point from the wrist."""
    wrist = arrays["J_regressor"][0] @ arrays["v_template"]
    return float(np.sign((arrays["v_template"] - wrist).mean(axis=0)[0]))


def close_wrist(faces: np.ndarray) -> np.ndarray:
    """The faces with the one open loop closed by a fan: 1538 + 14 for MANO's 16-vertex wrist.

    A surface that is closed already comes back as it is.

    Raises:
        InputError: if the open edges are not one loop.
    """
    half_edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    present = {tuple(edge) for edge in half_edges.tolist()}
    following = {b: a for a, b in present if (b, a) not in present}
    if not following:
        return faces
    loop = [next(iter(following))]
    while len(loop) <= len(following) and (vertex := following.get(loop[-1])) != loop[0]:
        loop.append(vertex)
    if len(loop) != len(following):
        raise InputError("hand faces: open edges form several loops, accepted is the wrist alone")
    fan = [[loop[0], loop[i], loop[i + 1]] for i in range(1, len(loop) - 1)]
    return np.concatenate([faces, np.array(fan, dtype=faces.dtype)])
