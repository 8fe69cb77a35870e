"""HandMeshes: posed hands of any origin, checked, as the metrics take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.joint_orders import CHAINS, mano_order
from grasp_gen_core.hand.layer import close_wrist
from grasp_gen_core.metrics.hold_worst_axis import HandCells, cells_of, hand_cells
from grasp_gen_core.types import check_mano, read_npz

NUM_JOINTS = 21
SMALLEST, LARGEST = 0.06, 0.40  # metres across a hand, from a child's fist to a spread hand
PARTS_FROM = 32  # grasps that tell the parts of an unknown hand
SAME_JOINT = 1e-3  # metres
OUTSIDE = 0.05  # metres from a joint to the nearest vertex of its hand, at most


@dataclass
class HandMeshes:
    """Posed hands of one topology in the object's frame, metres.

    Args:
        vertices: (B, V, 3) float64.
        faces: (F, 3) closed surface, outward.
        joints: (B, 21, 3) MANO's 16 joints, then the tips thumb, index, middle, ring, little.
        parts: (V,) 0..4 = thumb to little finger, 5 = palm.
        cells: convex cells of the hand, for physics.
        mano: (B, 61) parameters, or None where they aren't known.
        hand: the model that makes these hands of `mano`, or None where none is known to.
        score: (B,) by which they are ranked, or None where they aren't.
        notes: what was changed of what came.
    """

    vertices: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    parts: np.ndarray
    cells: HandCells
    mano: np.ndarray | None = None
    hand: ManoHand | None = None
    score: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, rows: slice) -> HandMeshes:
        """Some of the hands."""
        names = ("vertices", "joints", "mano", "score")
        every = {name: getattr(self, name) for name in names}
        return replace(self, **{n: None if all is None else all[rows] for n, all in every.items()})

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], hand: ManoHand, source: str = "grasps"
    ) -> HandMeshes:
        """Check hands that come from anywhere.

        Args:
            arrays: `vertices` (B, V, 3), `faces` (F, 3), open at the wrist or closed, `joints`
                (B, 21, 3) in MANO's or OpenPose's order, and perhaps `mano` (B, 61) and `score`
                (B,); metres.
            hand: tells the parts of hands of its topology; those of others follow the joints.
            source: names the arrays in error messages.

        Raises:
            InputError: if an array lacks, is empty, of another shape, not finite, not in metres,
                the joints are in no known order, or the surface can't be closed.
        """
        missing = [name for name in ("vertices", "faces", "joints") if name not in arrays]
        if missing:
            raise InputError(f"{source}: lacks {', '.join(missing)}")
        vertices = _finite(arrays["vertices"], source, "vertices", (None, None, 3))
        joints = _finite(arrays["joints"], source, "joints", (len(vertices), NUM_JOINTS, 3))
        mano, score = arrays.get("mano"), arrays.get("score")
        if mano is not None:
            _finite(mano, source, "mano", (len(vertices), 61))
            mano = check_mano(mano)
        if score is not None:
            score = _finite(score, source, "score", (len(vertices),))
        _check_scale(vertices, joints, source)
        note, makes = None, mano is not None and _are_joints_of(mano, joints, hand)
        if not makes:
            joints, note = mano_order(joints, hand, source)
        opened = _check_faces(arrays["faces"], vertices, source)
        faces = _closed(opened, vertices[0], source)
        if {opened.tobytes(), opened[:, ::-1].tobytes()} & {hand.faces.cpu().numpy().tobytes()}:
            parts, cells = hand.parts.cpu().numpy(), hand_cells(hand)
        else:
            parts = _parts(vertices[:PARTS_FROM], joints[:PARTS_FROM])
            cells = cells_of(vertices[0], faces)
        model, notes = hand if makes else None, (note,) if note else ()
        return cls(vertices, faces, joints, parts, cells, mano, model, score, notes)

    @classmethod
    def load(
        cls, path: str | Path, hand: ManoHand, origin: Sequence[float] = (0, 0, 0)
    ) -> HandMeshes:
        """Hands of a grasps.npz, ours or a peer's, about a new origin; see `from_arrays`.

        Raises:
            InputError: also if the file is no readable .npz.
        """
        given, origin = read_npz(path), np.asarray(origin, np.float64)
        shifts = {"vertices": origin, "joints": origin, "mano": np.append(np.zeros(58), origin)}
        known = (*shifts, "faces", "score")
        arrays = {name: given[name] for name in known if name in given}
        for name in shifts.keys() & arrays.keys():
            if arrays[name].dtype.kind in "fiu" and arrays[name].shape[-1:] == shifts[name].shape:
                arrays[name] = arrays[name].astype(np.float64) - shifts[name]
        return cls.from_arrays(arrays, hand, str(path))


def _are_joints_of(mano: np.ndarray, joints: np.ndarray, hand: ManoHand) -> bool:
    """Whether joints (B, 21, 3) are those of hands (B, 61): of any shape, then, in MANO's order."""
    with torch.no_grad():
        own = hand.skeleton(torch.from_numpy(mano).float().to(hand.faces.device)).cpu().numpy()
    return bool(np.abs(own - joints).max() < SAME_JOINT)


def _finite(array: np.ndarray, source: str, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array as float64, of the shape asked for, not empty and finite, or InputError."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: {name} is of type {array.dtype}, accepted are real numbers")
    fits = len(shape) == array.ndim and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{source}: {name} has shape {array.shape}, accepted is ({wanted})")
    if not array.size:
        raise InputError(f"{source}: {name} is empty, at least one grasp is needed")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        raise InputError(f"{source}: {name} holds NaN or infinity, first in grasp {bad[0]}")
    return array.astype(np.float64)


def _check_scale(vertices: np.ndarray, joints: np.ndarray, source: str) -> None:
    """InputError unless the hands are as large as hands are, and the joints lie in them."""
    size = np.ptp(vertices, axis=1).max(axis=1)
    for index in np.flatnonzero((size < SMALLEST) | (size > LARGEST))[:1]:
        hint = "units look like millimetres; " if size[index] > 40 else ""
        raise InputError(
            f"{source}: the hand of grasp {index} is {size[index]:.4g} across; {hint}accepted is "
            f"metres, {SMALLEST:g} to {LARGEST:g}"
        )
    low, high = vertices.min(axis=1) - OUTSIDE, vertices.max(axis=1) + OUTSIDE
    apart = ((joints < low[:, None]) | (joints > high[:, None])).any(axis=(1, 2))
    apart |= np.ptp(joints, axis=1).max(axis=1) < SMALLEST / 2  # all in one place
    if apart.any():
        raise InputError(
            f"{source}: joints of grasp {np.argmax(apart)} don't lie in its hand; accepted are 21 "
            "joints in the frame and unit of the vertices, metres"
        )


def _check_faces(faces: np.ndarray, vertices: np.ndarray, source: str) -> np.ndarray:
    faces, count = np.asarray(faces), vertices.shape[1]
    if faces.dtype.kind not in "iu" or faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise InputError(
            f"{source}: faces has shape {faces.shape} and type {faces.dtype}, accepted is (F, 3) "
            "whole numbers"
        )
    if faces.min() < 0 or faces.max() >= count:
        raise InputError(f"{source}: faces name vertices that are not there, accepted is 0..V-1")
    return faces.astype(np.int64)


def _closed(faces: np.ndarray, vertices: np.ndarray, source: str) -> np.ndarray:
    """The faces, the wrist closed, outward; InputError if they don't enclose a volume then."""
    try:
        closed = close_wrist(faces)
    except InputError as error:
        raise InputError(f"{source}: the hand's surface can't be closed: {error}") from error
    mesh = trimesh.Trimesh(vertices, closed, process=False)
    if not (mesh.is_watertight and mesh.is_winding_consistent):
        raise InputError(
            f"{source}: the hand's surface isn't closed; accepted is one that is open at the wrist "
            "only"
        )
    return closed if mesh.volume > 0 else closed[:, ::-1].copy()


def _parts(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V,) finger of each vertex by its nearest bone over all grasps, 5 = palm."""
    gaps = []
    for first, *others in CHAINS:
        chain = [0, first, *others]
        gaps.append([_gap(vertices, joints[:, a], joints[:, b]) for a, b in pairwise(chain)])
    gaps = np.array(gaps)  # (5, 4, V)
    # Metacarpals lie in the palm.
    return np.vstack([gaps[:, 1:].min(axis=1), gaps[:, 0].min(axis=0)]).argmin(axis=0)


def _gap(vertices: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(V,) mean distance of each vertex to a bone, (B, 3) its ends."""
    along, offset = (end - start)[:, None], vertices - start[:, None]
    share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
    return np.linalg.norm(offset - share.clip(0, 1)[..., None] * along, axis=-1).mean(axis=0)
