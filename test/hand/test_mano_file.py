"""Hand files as Python 2 and chumpy wrote them, and files that must not be trusted."""

import io
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.hand.mano_file import SHAPES, read_hand_file


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's byte strings, under Python 2's module names."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + struct.pack("<I", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string

    @classmethod
    def dumps(cls, value):
        stream = io.BytesIO()
        cls(stream, protocol=2).dump(value)
        return stream.getvalue().replace(b"numpy._core", b"numpy.core").replace(b"._csc", b".csc")


@pytest.fixture
def chumpy(monkeypatch):
    """Classes that pickle under chumpy's names with chumpy's state; gone again when reading."""
    homes = {"Ch": "chumpy.ch", "add": "chumpy.ch_ops", "Select": "chumpy.reordering"}
    made = {name: type(name, (), {"__module__": home}) for name, home in homes.items()}
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    for name, home in homes.items():
        module = types.ModuleType(home)
        setattr(module, name, made[name])
        monkeypatch.setitem(sys.modules, home, module)

    def node(name, **state):
        value = object.__new__(made[name])
        value.__dict__ = {"_dirty_vars": set(), "_itr": None, "_depends_on_deps": {}} | state
        return value

    return node


@pytest.fixture
def hand():
    return dict(np.load(GENERIC_HAND))


@pytest.fixture
def official(hand, chumpy):
    """The shipped hand in the make-up of MANO_RIGHT.pkl."""
    shapes = np.concatenate([hand["shapedirs"], np.ones((778, 3, 10))], axis=2)
    chosen = np.arange(shapes.size).reshape(shapes.shape)[..., :10]
    return hand | {
        "shapedirs": chumpy(
            "Select",
            a=chumpy("Ch", x=shapes),
            idxs=chosen.ravel(),
            preferred_shape=(778, 3, np.int64(10)),
        ),
        "posedirs": np.asfortranarray(hand["posedirs"]),
        "hands_mean": chumpy("Ch", x=hand["hands_mean"].astype(">f8")),
        "J_regressor": scipy.sparse.csc_matrix(hand["J_regressor"]),
        "kintree_table": hand["kintree_table"].astype(np.uint32),
        "bs_type": "lrotmin",
        "hands_coeffs": np.zeros((1554, 45)),
    }


def write(tmp_path, data):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", ["python 2", *range(pickle.HIGHEST_PROTOCOL + 1)])
def test_pickles_give_the_same_arrays_as_npz(tmp_path, official, protocol, monkeypatch):
    dumps = Python2Pickler.dumps if protocol == "python 2" else pickle.dumps
    options = {} if protocol == "python 2" else {"protocol": protocol}
    path = write(tmp_path, dumps(official, **options))
    for module in ("chumpy", "chumpy.ch", "chumpy.ch_ops", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, module)

    arrays, expected = read_hand_file(path), read_hand_file(GENERIC_HAND)
    assert set(arrays) == set(SHAPES)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == (np.int64 if name in ("f", "kintree_table") else np.float64)


def test_smplx_takes_the_pickle(tmp_path, official):
    read, shipped = ManoHand(write(tmp_path, Python2Pickler.dumps(official))), ManoHand()
    mano = 0.3 * torch.randn(3, 61, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(read(mano), shipped(mano), strict=True):
        torch.testing.assert_close(ours, theirs)


def call(module, name, *args):
    """A pickle that calls module.name(*args) when it is loaded in earnest."""
    text = f"(dS'v_template'\nc{module}\n{name}\n(".encode()
    return text + b"".join(f"V{arg}\n".encode() for arg in args) + b"tRs."


MARK = "open('{mark}', 'w')"


@pytest.mark.parametrize(
    ("module", "name", "argument"),
    [
        ("os", "system", "touch {mark}"),
        ("posix", "system", "touch {mark}"),
        ("subprocess", "getoutput", "touch {mark}"),
        ("builtins", "eval", MARK),
        ("__builtin__", "eval", MARK),
        ("builtins", "getattr", MARK),
        ("numpy.testing", "runstring", MARK),
        ("numpy", "load", MARK),
        ("numpy.core.multiarray", "__dict__", MARK),
        ("scipy.sparse", "load_npz", MARK),
        ("collections", "namedtuple", MARK),
        ("torch.storage", "_load_from_bytes", MARK),
    ],
)
def test_nothing_is_executed(tmp_path, module, name, argument):
    mark = tmp_path / "executed"
    path = write(tmp_path, call(module, name, argument.format(mark=mark), "{}"))
    with pytest.raises(ValueError, match=f"{path.name}.*{module}.{name}.*accepted are"):
        read_hand_file(path)
    assert not mark.exists()


def test_the_hostile_pickle_would_work(tmp_path):
    """Guards the test above: its payload does run under pickle.loads."""
    mark = tmp_path / "executed"
    pickle.loads(call("os", "system", f"touch {mark}"))  # noqa: S301
    assert mark.exists()


def test_objects_hidden_in_npz_are_refused(tmp_path, hand):
    path = tmp_path / "MANO_RIGHT.npz"
    np.savez(path, **hand | {"weights": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match=r"MANO_RIGHT\.npz.*Object arrays"):
        read_hand_file(path)


def test_cut_and_foreign_files(tmp_path, hand):
    whole = pickle.dumps(hand, 2)
    for data in (b"", b"solid cube", whole[:20], whole[: len(whole) // 2], whole[:-1]):
        with pytest.raises(ValueError, match="MANO_RIGHT.pkl: not a MANO hand"):
            read_hand_file(write(tmp_path, data))
    with pytest.raises(ValueError, match="holds a list, accepted is a dictionary"):
        read_hand_file(write(tmp_path, pickle.dumps([1])))
    with pytest.raises(ValueError, match="no such file"):
        read_hand_file(tmp_path / "absent.pkl")
    shipped = GENERIC_HAND.read_bytes()
    with pytest.raises(ValueError, match="MANO_RIGHT.pkl: not a"):
        read_hand_file(write(tmp_path, shipped[: len(shipped) // 2]))


LONE = scipy.sparse.csc_matrix(np.eye(16, 778))
LONE.indices[0] = 16  # one beyond the last row


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("v_template", np.zeros((779, 3)), r"shape \(779, 3\), accepted is \(778, 3\)"),
        ("weights", np.full((778, 16), np.nan), "NaN or infinity"),
        ("hands_mean", np.array(["x"] * 45), "not an array: TypeError: holds numpy type 'U1'"),
        ("hands_mean", np.array([{}] * 45), "not an array: TypeError: holds numpy type 'O8'"),
        ("hands_mean", "zeros", "accepted are numbers"),
        ("f", np.zeros((1538, 3)), "type float64, accepted are integers"),
        ("f", np.full((1538, 3), 778), "accepted are vertex numbers 0 to 777"),
        ("kintree_table", np.full((2, 16), 3), "parents .* accepted is -1 for the root"),
        ("kintree_table", np.stack([np.arange(-1, 15), np.arange(16)]), "five chains of three"),
        ("J_regressor", LONE, "not an array: ValueError: indices must be < 16"),
    ],
)
def test_errors_name_file_field_and_what_is_accepted(tmp_path, hand, name, value, message):
    path = write(tmp_path, pickle.dumps(hand | {name: value}))
    with pytest.raises(ValueError, match=rf"MANO_RIGHT\.pkl: {name}: .*{message}"):
        read_hand_file(path)


def test_missing_arrays_are_named(tmp_path, hand):
    del hand["posedirs"], hand["hands_mean"]
    with pytest.raises(ValueError, match="lacks posedirs, hands_mean"):
        read_hand_file(write(tmp_path, pickle.dumps(hand)))


def test_other_chumpy_nodes_are_named(tmp_path, hand, chumpy):
    path = write(tmp_path, pickle.dumps(hand | {"shapedirs": chumpy("add")}))
    with pytest.raises(ValueError, match=r"shapedirs: .*chumpy\.ch_ops\.add, accepted are"):
        read_hand_file(path)


@pytest.mark.parametrize("inner", ["", "mano", "models"])
def test_a_folder_is_taken_for_the_hand_in_it(tmp_path, inner):
    """As smplx is told where MANO is."""
    with pytest.raises(ValueError, match="a folder without MANO_RIGHT.pkl, .* accepted is a MANO"):
        read_hand_file(tmp_path)
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner / "MANO_RIGHT.npz").write_bytes(GENERIC_HAND.read_bytes())
    (tmp_path / inner / "MANO_LEFT.npz").touch()
    arrays, expected = read_hand_file(tmp_path), read_hand_file(GENERIC_HAND)
    assert all(np.array_equal(arrays[name], expected[name]) for name in SHAPES)
    assert not ManoHand(tmp_path).is_generic
