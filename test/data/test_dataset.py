"""The grasp table: written, read with pandas alone, and refused where it lacks something."""

import json

import numpy as np
import pandas as pd
import pytest
import trimesh

from grasp_gen_core.data.dataset import (
    CLOSING,
    COLUMNS,
    GraspDataset,
    object_mesh,
    split_of,
    write_table,
)
from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT, make_object

OBJECTS = ["mug:7", "kettle:3", "thing.ply", "can:12"]
SPLIT = {"mug:7": "train", "kettle:3": "validation", "thing.ply": "train", "can:12": "train"}


@pytest.fixture
def table() -> pd.DataFrame:
    """Twelve rows, objects mixed, of values that tell them apart."""
    rng = np.random.default_rng(0)
    names = rng.permutation(np.repeat(OBJECTS, 3))
    columns = {name: np.arange(12, dtype=np.float32) for name in COLUMNS}
    columns |= {"object": names, "split": [SPLIT[name] for name in names]}
    columns |= {"kind": [f"kind{i}" for i in range(12)], "contacts": ["thumb index"] * 12}
    columns["mano"] = list(rng.normal(size=(12, 61)).astype(np.float32))
    return pd.DataFrame(columns)


@pytest.fixture
def folder(tmp_path, table):
    """The table, written in two parts."""
    parts = []
    for number, rows in enumerate((table[:5], table[5:])):
        parts.append(tmp_path / f"part{number}.parquet")
        rows.to_parquet(parts[-1], index=False)
    written = write_table(tmp_path, parts)
    pd.testing.assert_frame_equal(written, table)
    return tmp_path


def test_a_table_comes_back_as_it_was(folder, table):
    data = GraspDataset.load(folder)
    assert len(data) == 12 and data.objects == sorted(OBJECTS)
    assert [data.objects[i] for i in data.object_index] == list(table["object"])
    np.testing.assert_array_equal(data.mano, np.stack(table["mano"]))
    assert data.mano.dtype == np.float32 and data.kind.tolist() == list(table["kind"])
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "grasps.parquet"), table)
    assert json.loads((folder / "schema.json").read_text()).keys() == COLUMNS.keys()
    assert not list(folder.glob(".*"))


def test_what_is_known_to_hold_comes_beside_the_table(folder):
    assert GraspDataset.load(folder).holds is None
    tested = pd.DataFrame({"grasp": [1, 4, 11], "holds": [True, False, True]})
    tested.to_parquet(folder / CLOSING, index=False)
    assert np.flatnonzero(GraspDataset.load(folder).holds).tolist() == [1, 11]


@pytest.mark.parametrize(
    "columns", [{"grasp": [row], "holds": [True]} for row in (12, -1)] + [{"holds": [True]}]
)
def test_what_holds_in_another_table_is_refused(folder, columns):
    pd.DataFrame(columns).to_parquet(folder / CLOSING, index=False)
    with pytest.raises(InputError, match="not of this table's 12 grasps"):
        GraspDataset.load(folder)


def test_split_is_per_object(folder):
    data = GraspDataset.load(folder)
    assert dict(zip(data.objects, data.split, strict=True)) == SPLIT


def test_whole_families_are_held_out():
    for family in FAMILIES:
        assert split_of(f"{family}:5") == ("validation" if family in HELD_OUT else "train")
    assert split_of("kettle.ply") == split_of("my kettle") == "train"


def test_objects_are_rebuilt_from_seed_or_file(folder):
    thing = trimesh.creation.icosphere(2, 0.04)
    (folder / "objects").mkdir()
    thing.export(folder / "objects" / "thing.ply")
    data = GraspDataset.load(folder)
    found = data.mesh(data.objects.index("thing.ply"))
    np.testing.assert_allclose(found.extents, thing.extents, atol=1e-6)
    found = data.mesh(data.objects.index("kettle:3"))
    np.testing.assert_array_equal(found.vertices, make_object("kettle", 3).vertices)


def test_a_missing_mesh_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.ply"):
        object_mesh("absent.ply", tmp_path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_refused(folder, table, column):
    table.drop(columns=column).to_parquet(folder / "grasps.parquet")
    with pytest.raises(ValueError, match=rf"grasps\.parquet: lacks the columns {column}$"):
        GraspDataset.load(folder)


def test_other_broken_tables_are_refused(folder, table, tmp_path):
    with pytest.raises(ValueError, match=r"no grasps\.parquet there"):
        GraspDataset.load(tmp_path / "nowhere")
    table[:0].to_parquet(folder / "grasps.parquet")
    with pytest.raises(ValueError, match="holds no grasps"):
        GraspDataset.load(folder)
    table["mano"] = [row[:60] for row in table["mano"]]
    table.to_parquet(folder / "grasps.parquet")
    with pytest.raises(ValueError, match="61"):
        GraspDataset.load(folder)
