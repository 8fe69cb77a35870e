"""Reads MANO hand files without executing anything in them, and without chumpy.

Pickle is a program: loading one calls whatever it names. The reader below resolves a short list of
names only, and only to inert stand-ins that keep what they are given; numpy, scipy and chumpy
arrays are put together from that afterwards.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.types import NUM_FACES, NUM_VERTICES, read_npz

NUM_BONES, NUM_SHAPES = 16, 10
NUM_ANGLES = 3 * (NUM_BONES - 1)
SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "f": (NUM_FACES, 3),
    "weights": (NUM_VERTICES, NUM_BONES),
    "J_regressor": (NUM_BONES, NUM_VERTICES),
    "kintree_table": (2, NUM_BONES),
    "shapedirs": (NUM_VERTICES, 3, NUM_SHAPES),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_BONES - 1)),
    "hands_components": (NUM_ANGLES, NUM_ANGLES),
    "hands_mean": (NUM_ANGLES,),
}
INDICES = {"f", "kintree_table"}
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)  # of five fingers' three joints
NO_PARENT = 2**32 - 1  # how MANO's uint32 table spells -1


def read_hand_file(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a MANO hand, dense, as `smplx.MANO(data_struct=Struct(**arrays))` takes them.

    Args:
        path: MANO_RIGHT.pkl or MANO_LEFT.pkl as published, an .npz with the same names, or as
            smplx takes it the folder that holds one, or holds it in `mano` or `models`: the right
            hand if both are there.

    Returns:
        The arrays named in SHAPES: float64, but int64 for `f` and `kintree_table` (root parent -1);
        metres.

    Raises:
        InputError: if the file can't be read, holds anything but a hand's data, lacks an array, or
            an array has another shape, isn't numeric, or has values out of range.
    """
    path = _in_folder(Path(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file, accepted is a MANO hand (.pkl or .npz)")
    raw = read_npz(path) if zipfile.is_zipfile(path) else _read_pickle(path)
    missing = [name for name in SHAPES if name not in raw]
    if missing:
        raise InputError(f"{path}: not a MANO hand: lacks {', '.join(missing)}")
    arrays = {name: _array(raw[name], name, path) for name in SHAPES}

    if not ((arrays["f"] >= 0) & (arrays["f"] < NUM_VERTICES)).all():
        raise InputError(f"{path}: f: accepted are vertex numbers 0 to {NUM_VERTICES - 1}")
    parents = arrays["kintree_table"][0]
    parents[0] = -1 if parents[0] == NO_PARENT else parents[0]
    if tuple(parents) != PARENTS:
        raise InputError(
            f"{path}: kintree_table: parents {parents.tolist()}, "
            "accepted is -1 for the root, then five chains of three joints"
        )
    return arrays


def _in_folder(path: Path) -> Path:
    """The hand's file in a folder; a file itself."""
    if not path.is_dir():
        return path
    names = [f"MANO_{side}.{suffix}" for side in ("RIGHT", "LEFT") for suffix in ("pkl", "npz")]
    found = [path / inner / n for n in names for inner in ("", "mano", "models")]
    for file in found:
        if file.is_file():
            return file
    raise InputError(f"{path}: a folder without {', '.join(names)}, accepted is a MANO hand")


def _array(value: Any, name: str, path: Path) -> np.ndarray:
    """Dense numbers of the shape and type that `name` must have."""
    try:
        array = np.asarray(_dense(value))
    except Exception as error:  # a hostile file can put anything anywhere
        raise InputError(
            f"{path}: {name}: not an array: {type(error).__name__}: {error}"
        ) from error
    if array.dtype.kind not in ("iu" if name in INDICES else "iuf"):
        accepted = "integers" if name in INDICES else "numbers"
        raise InputError(f"{path}: {name}: type {array.dtype}, accepted are {accepted}")
    if array.shape != SHAPES[name]:
        raise InputError(f"{path}: {name}: shape {array.shape}, accepted is {SHAPES[name]}")
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name}: contains NaN or infinity, accepted are finite numbers")
    return array.astype(np.int64 if name in INDICES else np.float64)


class _StandIn:
    """An object that a pickle asked for: keeps what it was given, does nothing."""

    kind = ""
    args: tuple = ()
    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _dense(value: Any) -> Any:
    """The array, number or bytes that a stand-in stands for; anything else unchanged."""
    if not isinstance(value, _StandIn):
        return value
    kind, args, state = value.kind, value.args, value.state
    if kind.endswith("._reconstructor"):  # objects in protocols 0 and 1
        kind = args[0].kind
    match kind.rpartition(".")[2]:
        case "encode":  # how Python 3 spells bytes in protocols 0 to 2
            return args[0].encode("latin1")
        case "dtype":
            if args[0][0] not in "biuf":
                raise TypeError(f"holds numpy type {args[0]!r}, accepted are numbers")
            return np.dtype(args[0]).newbyteorder(state[1])
        case "_reconstruct":  # a numpy array
            shape, dtype, fortran, data = state[-4:]
            return _decode(data, dtype).reshape(shape, order="F" if fortran else "C")
        case "_frombuffer":  # a numpy array in protocol 5
            data, dtype, shape, order = args[:4]
            return _decode(data, dtype).reshape(shape, order=order)
        case "scalar":
            return _decode(args[1], args[0])[0]
        case "csc_matrix" | "csr_matrix" as layout:
            from scipy import sparse

            parts = [_dense(state[name]) for name in ("data", "indices", "indptr")]
            # Old versions of scipy spell the shape without the underscore.
            shape = state["_shape"] if "_shape" in state else state["shape"]
            matrix = getattr(sparse, layout)(tuple(parts), shape=[int(_dense(n)) for n in shape])
            matrix.check_format(full_check=True)  # bad indices would read foreign memory
            return matrix.toarray()
        case "Ch":
            return _dense(state["x"])
        case "Select":
            flat, shape = np.ravel(_dense(state["a"])), _dense(state["preferred_shape"])
            return flat[_dense(state["idxs"])].reshape([int(_dense(n)) for n in shape])
    raise TypeError(f"found {kind}, accepted are numpy, scipy.sparse and chumpy Ch and Select")


def _decode(data: Any, dtype: _StandIn) -> np.ndarray:
    """Raw bytes as a flat array; Python 2 strings arrive as latin1 text."""
    data = _dense(data)
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, _dense(dtype))


_NAMES = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "builtins": {"object", "set"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
}
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names


class _Unpickler(pickle.Unpickler):
    """Resolves every name to a stand-in, so that nothing the file says is called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        home = _RENAMED.get(module, module.replace("numpy._core", "numpy.core"))
        matrix = home.startswith("scipy.sparse.") and name in ("csc_matrix", "csr_matrix")
        if name in _NAMES.get(home, ()) or matrix or home.startswith("chumpy."):
            # A fresh class each time: what a pickle does to it ends with this file.
            return type("StandIn", (_StandIn,), {"kind": f"{home}.{name}"})
        raise pickle.UnpicklingError(
            f"found {module}.{name}, accepted are numpy, scipy.sparse and chumpy arrays"
        )


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            # latin1: Python 2 strings carry the arrays' raw bytes.
            content = _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a broken or hostile stream can raise anything
        raise InputError(f"{path}: not a MANO hand: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, accepted is a dictionary")
    return content
