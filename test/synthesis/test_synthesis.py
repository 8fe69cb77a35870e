"""Datasets made of a folder of meshes: shares, reasons, and runs that are broken off."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trimesh

from grasp_gen_core.data.dataset import COLUMNS, GraspDataset, split_of
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT
from grasp_gen_core.synthesis import list_objects, synthesize

COUNT = 9  # three of each object
MESHES = {
    "a_crate.ply": lambda: trimesh.creation.box((0.15, 0.15, 0.15)),
    "b_can.ply": lambda: trimesh.creation.cylinder(0.03, 0.12),
    "c_box.stl": lambda: trimesh.creation.box((0.05, 0.04, 0.11)),
}


@pytest.fixture(scope="module")
def meshes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    for name, make in MESHES.items():
        make().export(folder / name)
    return folder


@pytest.fixture(scope="module")
def dataset(meshes, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A folder that an unbroken run has filled, and what it gave back."""
    out = tmp_path_factory.mktemp("out") / "set"
    return out, synthesize(str(meshes), COUNT, out, device="cpu", quiet=True)


def test_each_object_gives_its_share(dataset, meshes):
    out, table = dataset
    assert table["object"].value_counts().to_dict() == {"b_can.ply": 3, "c_box.stl": 3}
    assert (table["split"] == "train").all()
    assert list(table.columns) == list(COLUMNS)
    assert json.loads((out / "schema.json").read_text()).keys() == COLUMNS.keys()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "grasps.parquet"), table)
    data = GraspDataset.load(out)
    assert data.objects == ["b_can.ply", "c_box.stl"] and len(data) == 6
    for number, name in enumerate(data.objects):
        np.testing.assert_allclose(data.mesh(number).extents, MESHES[name]().extents, atol=1e-6)
    assert sorted(path.name for path in (out / "objects").iterdir()) == data.objects


def test_the_report_tells_what_failed_and_why(dataset):
    out, _ = dataset
    report = json.loads((out / "report.json").read_text())
    assert list(report) == list(MESHES)
    crate = report["a_crate.ply"]
    assert crate["kept"] == crate["tried"] == 0
    assert crate["error"].startswith("no grasp type fits anywhere: accepted are")
    for name in ("b_can.ply", "c_box.stl"):
        found = report[name]
        assert found["kept"] == 3 and found["error"] == ""
        counts = list(found["failed"].values())
        assert counts == sorted(counts, reverse=True) and 0 not in counts
        assert sum(counts) + 3 == found["tried"]


def test_a_killed_run_goes_on_with_what_is_missing(dataset, meshes, tmp_path):
    """Of a whole run two parts are lost; kill -9 comes when one of them is there again."""
    out, parts = tmp_path / "set", tmp_path / "set" / "parts"
    shutil.copytree(dataset[0], out)
    (out / "grasps.parquet").unlink()
    can, crate, box = (next(parts.glob(f"{name}*.parquet")) for name in "bac")
    crate.unlink()
    box.unlink()
    code = "from grasp_gen_core.synthesis import synthesize\nif __name__ == '__main__':\n"
    code += f"    synthesize({str(meshes)!r}, {COUNT}, {str(out)!r}, device='cpu', quiet=True)\n"
    (tmp_path / "run.py").write_text(code)
    running = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not crate.exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert crate.exists() and not box.exists() and not (out / "grasps.parquet").exists()
    before = [path.stat().st_mtime_ns for path in (can, crate)]
    table = synthesize(str(meshes), COUNT, out, device="cpu", quiet=True)
    pd.testing.assert_frame_equal(table, dataset[1])
    assert [path.stat().st_mtime_ns for path in (can, crate)] == before
    assert box.exists() and not list(parts.glob("*.tmp"))
    reports = [(folder / "report.json").read_text() for folder in (out, dataset[0])]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    "other",
    [{"count": 3}, {"seed": 1}, {"count": 30}, {"objects": "procedural"}, {"closing_test": True}],
)
def test_a_table_is_not_replaced_by_another(dataset, meshes, other):
    """Fewer grasps, or others: refused before the work; what is there stays."""
    out, _ = dataset
    before = (out / "grasps.parquet").read_bytes()
    asked = {"objects": str(meshes), "count": COUNT, "seed": 0} | other
    with pytest.raises(
        ValueError, match=f"holds grasps already, made by .*count {COUNT}; accepted"
    ):
        synthesize(**asked, out=out, device="cpu", quiet=True)
    assert (out / "grasps.parquet").read_bytes() == before


def test_a_table_of_unknown_origin_is_not_replaced(dataset, meshes, tmp_path):
    shutil.copy(dataset[0] / "grasps.parquet", tmp_path)
    with pytest.raises(ValueError, match="holds grasps already, made by another way"):
        synthesize(str(meshes), COUNT, tmp_path, device="cpu", quiet=True)


def test_procedural_objects_come_in_turn_and_few_are_held_out():
    names, _ = list_objects("procedural", 20000, seed=1)
    families = [name.partition(":")[0] for name in names]
    assert families[: len(FAMILIES) - len(HELD_OUT)] == [f for f in FAMILIES if f not in HELD_OUT]
    assert set(families) == set(FAMILIES) and len(set(names)) == len(names)
    held_out = [name for name in names if split_of(name) == "validation"]
    assert {name.partition(":")[0] for name in held_out} == set(HELD_OUT)
    assert 0.04 < len(held_out) / len(names) < 0.06
    fewer, _ = list_objects("procedural", 1000, seed=1)
    assert fewer == names[: len(fewer)] != list_objects("procedural", 1000, seed=2)[0]


def test_meshes_that_give_nothing_are_named(tmp_path):
    sheet = trimesh.creation.box((0.05, 0.05, 0.05))
    sheet.update_faces(np.arange(len(sheet.faces)) > 1)
    sheet.export(tmp_path / "sheet.ply")
    MESHES["a_crate.ply"]().export(tmp_path / "crate.ply")
    says = r"no grasp was kept \(crate\.ply: no grasp type fits.*sheet\.ply: mesh: 1 open boundary"
    with pytest.raises(ValueError, match=says):
        synthesize(str(tmp_path), 5, tmp_path / "out", device="cpu", quiet=True)


@pytest.mark.parametrize(("objects", "count"), [("nowhere", 5), ("procedural", 0)])
def test_bad_requests(tmp_path, objects, count):
    with pytest.raises(ValueError, match="accepted"):
        synthesize(objects, count, tmp_path / "out", quiet=True)
