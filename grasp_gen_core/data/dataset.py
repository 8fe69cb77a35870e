"""The grasp dataset: one Parquet table of grasps; objects are rebuilt from their seed or file.

Columns (schema.json beside the table says the same):
    object              "family:seed" of a procedural object, else a mesh file's name
    split               "train", or "validation" for the shape families held out
    kind                grasp type, see synthesis.taxonomy
    mano                61 float32, in the object's own frame
    contacts, contact_fingers, penetration_depth_cm, penetration_volume_cm3, hold_cm,
    displacement_cm, force_closure_n    what the grasp was kept for, see synthesis.filter
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.types import BETAS, check_mano

TABLE, SCHEMA, MESHES = "grasps.parquet", "schema.json", "objects"
CLOSING = "closing.parquet"  # which grasps hold when the hand closes, of those tested
COLUMNS = {
    "object": "string: family:seed of a procedural object, else the mesh file's name",
    "split": "string: train, or validation (whole shape families)",
    "kind": "string: grasp type",
    "mano": "list of 61 float32: betas, global_orient, hand_pose (rad), transl (m), object frame",
    "contacts": "string: thumb, index, middle, ring, little, palm where within 5 mm of the surface",
    "contact_fingers": "float32: fingers within 5 mm",
    "penetration_depth_cm": "float32: deepest hand vertex inside the exact mesh",
    "penetration_volume_cm3": "float32: shared by hand and exact mesh, lines 1 mm apart",
    "hold_cm": "float32: largest displacement under gravity along six axes in MuJoCo, 0.25 s each",
    "displacement_cm": "float32: displacement after 200 steps of 1/240 s in PyBullet",
    "force_closure_n": "float32: margin of the anchors in contact, see contact.force_closure",
}


# Length of the shape coefficients from which a hand is unusual: so are 3 % of the shipped ones.
UNUSUAL_SHAPE = 3.1


@dataclass
class GraspDataset:
    """Grasps by object.

    Args:
        objects: (O,) names.
        object_index: (G,) object of each grasp.
        mano: (G, 61) float32.
        kind: (G,) names of grasp types.
        split: (O,) "train" or "validation".
        folder: the dataset's; mesh files of objects that aren't procedural lie in its `objects`.
        holds: (G,) bool, those known to hold when the hand closes: of the tested ones, all others
            don't count; None where none were tested.
    """

    objects: list[str]
    object_index: np.ndarray
    mano: np.ndarray
    kind: np.ndarray
    split: np.ndarray
    folder: Path
    holds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.mano)

    @classmethod
    def load(cls, folder: str | Path) -> GraspDataset:
        """Read a dataset folder.

        Raises:
            InputError: if there's no such table or a column is missing or malformed.
        """
        path = Path(folder) / TABLE
        if not path.is_file():
            raise InputError(f"{folder}: no {TABLE} there; `grasp-gen synthesize` makes one")
        table = pd.read_parquet(path)
        missing = [name for name in COLUMNS if name not in table]
        if missing:
            raise InputError(f"{path}: lacks the columns {', '.join(missing)}")
        if table.empty:
            raise InputError(f"{path}: holds no grasps")
        names, first, index = np.unique(
            table["object"].to_numpy(str), return_index=True, return_inverse=True
        )
        split = table["split"].to_numpy(str)[first]
        mano = check_mano(np.stack(table["mano"].to_numpy()))
        kind, holds = table["kind"].to_numpy(str), known_to_hold(path.with_name(CLOSING), len(mano))
        return cls(names.tolist(), index, mano, kind, split, Path(folder), holds)

    @property
    def unusual(self) -> np.ndarray:
        """(G,) bool, grasps of hands of an unusual shape: held out of training, whatever object."""
        return np.linalg.norm(self.mano[:, BETAS], axis=1) > UNUSUAL_SHAPE

    def mesh(self, index: int) -> trimesh.Trimesh:
        """Object number `index`, metres."""
        return object_mesh(self.objects[index], self.folder / MESHES)


def known_to_hold(path: Path, count: int) -> np.ndarray | None:
    """(count,) bool of a CLOSING file: rows `grasp`, a number in the table, and `holds`.

    None where there is no such file.

    Raises:
        InputError: if it isn't one, or of another table.
    """
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path, columns=["grasp", "holds"])
        holds = np.zeros(count, bool)
        rows = table["grasp"].to_numpy(np.int64)
        if (rows < 0).any():
            raise IndexError(f"row {rows.min()}")
        holds[rows] = table["holds"].to_numpy(bool)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not of this table's {count} grasps: {error}") from error
    return holds


def object_mesh(name: str, folder: Path) -> trimesh.Trimesh:
    """The object a dataset names: procedural ("family:seed") or a mesh file in `folder`."""
    from grasp_gen_core.objects.meshes import load_mesh
    from grasp_gen_core.objects.procedural import FAMILIES, make_object

    family, _, seed = name.partition(":")
    if family in FAMILIES and seed.isdigit():
        return make_object(family, int(seed))
    return load_mesh(folder / name)


def split_of(name: str) -> str:
    """The split an object belongs to: whole shape families are held out for validation."""
    from grasp_gen_core.objects.procedural import HELD_OUT

    return "validation" if name.partition(":")[0] in HELD_OUT else "train"


def write_table(folder: Path, parts: list[Path]) -> pd.DataFrame:
    """Join part files into the dataset's table, schema beside it; parts are read, not removed."""
    table = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    unfinished = folder / f".{TABLE}"
    table.to_parquet(unfinished, index=False, compression="zstd")
    unfinished.replace(folder / TABLE)
    (folder / SCHEMA).write_text(json.dumps(COLUMNS, indent=2) + "\n")
    return table
