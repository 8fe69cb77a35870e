"""HandPose and GraspSet: the two things that travel between all rooms."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag

from grasp_gen_core.errors import InputError

if TYPE_CHECKING:
    import trimesh

MANO_SIZE = 61
BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL = slice(0, 10), slice(10, 13), slice(13, 58), slice(58, 61)
# Largest absolute values: beyond them no tracker means what it says, and hands grow to metres.
MANO_LIMITS = (
    (BETAS, "betas", 10.0, "standard deviations"),
    (GLOBAL_ORIENT, "global_orient", 6.3, "radians"),
    (HAND_POSE, "hand_pose", 6.3, "radians"),
    (TRANSL, "transl", 1e9, "metres"),
)
OPTIONAL = ("metrics", "info", "shapes", "object")  # what not every GraspSet has
NUM_VERTICES, NUM_FACES = 778, 1538
LATER = ("squeeze", "retreat")  # what files of older versions lack
LIFT = 0.1  # metres of a retreat
SIDES = ("right", "left")
LARGEST_ARRAY = 2**31  # bytes of an array in an .npz: a few packed bytes can stand for any number
FAR = 64.0  # metres from the origin, from where on float32 is off by more than 4 um
# All that numpy and zipfile raise over foreign, truncated or hostile files.
NOT_NPZ = (OSError, ValueError, EOFError, AttributeError, MemoryError)
NOT_NPZ += (RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Observation:
    """What is known of an object, in one frame, in metres.

    Args:
        points: (N, 3), as exact as they came.
        normals: (N, 3) the points' outward unit normals, None where they aren't known.
        viewpoint: (3,) where the camera stood, None where that isn't known.
        mesh: the surface that the points were taken from, where there is one.
        notes: what was dropped of the input, and what is odd about it.
    """

    points: np.ndarray
    normals: np.ndarray | None = None
    viewpoint: np.ndarray | None = None
    mesh: trimesh.Trimesh | None = None
    notes: tuple[str, ...] = ()

    def moved(self, pose: np.ndarray) -> Observation:
        """The same, without the mesh, in another frame, in which this one's has the pose (4, 4)."""
        turn, shift = pose[:3, :3], pose[:3, 3]
        normals, viewpoint = self.normals, self.viewpoint
        return Observation(
            self.points @ turn.T + shift,
            None if normals is None else normals @ turn.T,
            None if viewpoint is None else turn @ viewpoint + shift,
            notes=self.notes,
        )


@dataclass
class HandPose:
    """One MANO hand.

    Args:
        mano: (61,) float32 = betas[10], global_orient[3], hand_pose[45], transl[3]; axis-angle in
            radians, flat hand mean, no PCA; translation in metres.
        side: "right" or "left".

    Raises:
        InputError: if the vector has another size, isn't finite, or the side is unknown.
    """

    mano: np.ndarray
    side: str = "right"

    def __post_init__(self) -> None:
        self.mano = check_mano(np.asarray(self.mano)[None])[0]
        check_side(self.side)

    betas = property(lambda self: self.mano[BETAS])
    global_orient = property(lambda self: self.mano[GLOBAL_ORIENT])
    hand_pose = property(lambda self: self.mano[HAND_POSE])
    transl = property(lambda self: self.mano[TRANSL])


@dataclass
class GraspSet:
    """Ranked hands on one object, best first, all in the object's own frame, in metres.

    Args:
        mano: (B, 61) hand parameters, see HandPose.
        vertices: (B, 778, 3) hand surfaces.
        faces: (1538, 3) triangles, outward counter-clockwise.
        joints: (B, 21, 3) MANO's 16 joints, then tips thumb, index, middle, ring, little.
        points: (N, 3) object points the grasps were made for.
        contact: (B, N) contact of each object point, in [0, 1].
        score: (B,) in [0, 1], descending.
        side: "right" or "left".
        wrist_pose: (B, 4, 4) wrist in the object frame, MANO's axes (right hand: fingers -x,
            palm -y, thumb +z).
        approach: (B, 3) unit direction in which the palm moves towards the object.
        pregrasp: (B, 61) hand parameters with fingers opened, backed off against `approach`.
        squeeze: (B, 61) hands whose fingers are to be driven towards after the grasp, with forces
            that balance.
        retreat: (B, 3) way of hand and object after the grasp, metres: 0.1 up, or where what is up
            isn't known, back against `approach`.
        metrics: what the score was made of, each (B,), the unit in the name.
        info: where the grasps come from (generator, refiner, version, seed, device, seconds by
            stage), and `notes` on the input; what JSON can hold.
        shapes: objects that may have been seen, where some were drawn, likeliest first.
        object: (B,) label of the object that each grasp is of, None where there is but one; then
            `points` are those of all objects, and scores descend on each.
    """

    mano: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    points: np.ndarray
    contact: np.ndarray
    score: np.ndarray
    side: str
    wrist_pose: np.ndarray
    approach: np.ndarray
    pregrasp: np.ndarray
    squeeze: np.ndarray
    retreat: np.ndarray
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict = field(default_factory=dict)
    shapes: tuple[trimesh.Trimesh, ...] = ()
    object: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.mano)

    def __getitem__(self, index: int) -> HandPose:
        return HandPose(self.mano[index], self.side)

    def save(self, path: str | Path) -> None:
        """Write a compressed .npz; metrics are stored as `metric_<name>`, shapes beside it."""
        arrays = {name: getattr(self, name) for name in self.arrays()}
        if self.object is not None:
            arrays["object"] = self.object
        # Without the seconds: the same grasps are the same file.
        arrays |= {"info": json.dumps({k: v for k, v in self.info.items() if k != "seconds"})}
        arrays |= {f"metric_{name}": value for name, value in self.metrics.items()}
        # An open file keeps numpy from appending .npz to the name the user chose.
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)
        write_shapes(self.shapes, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> GraspSet:
        """Read what `save` wrote.

        Raises:
            InputError: if the file is no .npz, holds objects (pickle), or lacks an array.
        """
        return cls.from_arrays(read_npz(path), str(path))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], source: str) -> GraspSet:
        """What `save` writes, by name; `source` names it in the error.

        Raises:
            InputError: if an array lacks.
        """
        names = cls.arrays()
        if "squeeze" not in arrays and "mano" in arrays:  # as files were before there was one
            arrays = {**arrays, "squeeze": arrays["mano"]}
        if "retreat" not in arrays and "approach" in arrays:
            arrays = {**arrays, "retreat": retreat(arrays["approach"])}
        if missing := [name for name in names if name not in arrays]:
            raise InputError(f"{source}: not a grasp file: lacks {', '.join(missing)}")
        metrics = {k.removeprefix("metric_"): arrays[k] for k in arrays if k[:7] == "metric_"}
        values = {name: arrays[name] for name in names} | {"side": str(arrays["side"])}
        try:
            info = json.loads(str(arrays["info"]))
        except (KeyError, InputError, json.JSONDecodeError):
            info = {}  # somebody else's
        object = arrays["object"] if "object" in arrays else None
        return cls(**values, metrics=metrics, info=info, object=object)

    @classmethod
    def of_scene(cls, sets: Mapping[int, GraspSet]) -> GraspSet:
        """The grasps on several objects, one after the other.

        Args:
            sets: one or more by the objects' labels, of one side, in one frame.
        """
        every = list(sets.values())
        joined = {
            name: np.concatenate([getattr(one, name) for one in every])
            for name in cls.arrays()
            if name not in ("contact", "faces", "side")
        }
        names = every[0].metrics
        notes = [f"object {k}: {note}" for k, one in sets.items() for note in one.info["notes"]]
        return cls(
            **joined,
            contact=block_diag(*(one.contact for one in every)).astype(np.float32),
            faces=every[0].faces,
            side=every[0].side,
            metrics={name: np.concatenate([one.metrics[name] for one in every]) for name in names},
            info=every[0].info | {"notes": notes},
            shapes=tuple(shape for one in every for shape in one.shapes),
            object=np.repeat(np.array(list(sets), np.int32), [len(one) for one in every]),
        )

    def best_of_each(self) -> np.ndarray:
        """(O,) indices of the best grasp on each object."""
        return (
            np.array([0]) if self.object is None else np.unique(self.object, return_index=True)[1]
        )

    def chosen(self, indices: np.ndarray) -> GraspSet:
        """The grasps (K,) of these indices, in their order, without drawn shapes."""
        rows = {
            name: getattr(self, name)[indices]
            for name in self.arrays()
            if name not in ("points", "faces", "side")
        }
        metrics = {name: value[indices] for name, value in self.metrics.items()}
        object = None if self.object is None else self.object[indices]
        return replace(self, **rows, metrics=metrics, shapes=(), object=object)

    @classmethod
    def arrays(cls) -> list[str]:
        """Names of the arrays that every set has."""
        return [one.name for one in fields(cls) if one.name not in OPTIONAL]


def retreat(approach: np.ndarray, up: np.ndarray | None = None) -> np.ndarray:
    """(B, 3) ways after grasps whose approach is (B, 3): up (3,), or back where that is None."""
    return LIFT * (-approach if up is None else np.broadcast_to(up, approach.shape))


def write_shapes(shapes: Iterable[trimesh.Trimesh], path: Path) -> None:
    """Meshes as 0000.ply, 0001.ply, ... in a folder beside a file, NAME_shapes; an older one goes.

    Args:
        shapes: metres.
        path: NAME.npz.
    """
    folder, shapes = path.with_name(f"{path.stem}_shapes"), tuple(shapes)
    for old in folder.glob("[0-9][0-9][0-9][0-9].ply"):
        old.unlink()
    if shapes:
        folder.mkdir(exist_ok=True)
    for i, shape in enumerate(shapes):
        (folder / f"{i:04d}.ply").write_bytes(shape.export(file_type="ply"))


def read_npz(path: str | Path) -> Mapping[str, np.ndarray]:
    """The arrays of an .npz file, each read when asked for, never executing pickle.

    Raises:
        InputError: if the file is missing, truncated or no .npz; on access, if that array is
            damaged, too large, or holds pickled objects, whatever the others hold.
    """
    return _Arrays(path)


class _Arrays(Mapping):
    """What `read_npz` gives."""

    def __init__(self, path: str | Path) -> None:
        self.path, self._read = path, {}
        try:
            with zipfile.ZipFile(path) as file:
                sizes = {one.filename: one.file_size for one in file.infolist()}
        except NOT_NPZ as error:
            raise InputError(f"{path}: not a readable .npz file: {error}") from error
        self._sizes = {name.removesuffix(".npy"): size for name, size in sizes.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        if self._sizes[name] > LARGEST_ARRAY:
            raise InputError(
                f"{self.path}: {name} has {self._sizes[name]} bytes, accepted are {LARGEST_ARRAY}"
            )
        if name not in self._read:
            try:
                with np.load(self.path, allow_pickle=False) as file:
                    self._read[name] = np.asarray(file[name])
            except NOT_NPZ as error:
                raise InputError(f"{self.path}: {name} can't be read: {error}") from error
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sizes  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


def check_mano(mano: np.ndarray, source: str = "mano") -> np.ndarray:
    """(B, 61) of `lean` numbers, or InputError; `source` names them in it."""
    mano = np.asarray(mano)
    if mano.dtype.kind not in "fiu":
        raise InputError(f"{source}: of type {mano.dtype}, accepted are real numbers")
    if mano.ndim != 2 or mano.shape[1] != MANO_SIZE:
        raise InputError(f"{source}: shape {mano.shape}, accepted is (B, {MANO_SIZE})")
    for part, name, largest, unit in MANO_LIMITS:
        values = mano[:, part]
        wrong = np.argwhere(~(np.abs(values) <= largest))  # NaN, too
        if len(wrong):
            hand, index = wrong[0]
            raise InputError(
                f"{source}[{hand}]: {name}[{index}] is {values[hand, index]:g}, accepted are "
                f"finite numbers from {-largest:g} to {largest:g} {unit}"
            )
    return lean(mano)


def lean(lengths: np.ndarray) -> np.ndarray:
    """Lengths in metres as float32, or as float64 where float32 can't hold them to 4 um."""
    far = (np.abs(lengths) >= FAR).any()  # NaN isn't
    return lengths.astype(np.float64 if far else np.float32)


def check_side(side: str) -> str:
    """The side itself, or InputError."""
    if side not in SIDES:
        raise InputError(f"side: {side!r}, accepted are {' and '.join(map(repr, SIDES))}")
    return side
