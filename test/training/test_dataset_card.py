"""The dataset card against pandas, on hands made up at two objects."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import grasp_gen_training.dataset_card
from grasp_gen_core.data.dataset import CLOSING, COLUMNS, TABLE, object_mesh, split_of
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.synthesis import RUN
from grasp_gen_core.synthesis import filter as kept
from grasp_gen_training.dataset_card import HISTOGRAMS, NUMBERS, SHEET, choose_grasps, main

OBJECTS = ["can:5", "kettle:1"]
RECORD = {"objects": "procedural", "count": 24, "seed": 7}
COMMAND = "grasp-gen synthesize --objects procedural --count 24 --seed 7 --out"


@pytest.fixture(scope="module", autouse=True)
def one_row():
    """Eight tiles suffice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grasp_gen_training.dataset_card, "DOWN", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dataset with its card: 24 flat hands, palms at two objects, and numbers made up."""
    rng, folder, hand = np.random.default_rng(0), tmp_path_factory.mktemp("dataset"), ManoHand()
    table = pd.DataFrame({"object": rng.permutation(OBJECTS * 12)})
    table["split"] = table["object"].map(split_of)
    table["kind"] = rng.choice(["power_wrap", "disk"], 24)
    mano = np.zeros((24, 61), np.float32)
    mano[:, 13:58] = rng.normal(0, 0.05, (24, 45))
    palm = hand(torch.from_numpy(mano))[0][:, hand.regions.zones == 5].mean(dim=1).numpy()
    radius = table["object"].map(lambda name: object_mesh(name, folder).bounds[1, 1])
    mano[:, 58:] = -palm - radius.to_numpy()[:, None] * hand.regions.palm_axis.numpy()
    table["mano"] = list(mano)
    table["contacts"] = rng.choice(["thumb index", "thumb palm"], 24)
    for name in NUMBERS:
        table[name] = np.maximum(0, rng.normal(0.5, 0.4, 24)).astype(np.float32)
    assert set(table) == set(COLUMNS)
    table.to_parquet(folder / TABLE)
    (folder / "notes.md").write_text("Hands are flat.\n")
    (folder / RUN).write_text(json.dumps(RECORD))
    held = pd.DataFrame({"grasp": np.arange(20), "holds": np.arange(20) % 4 > 0})
    held.to_parquet(folder / CLOSING)
    main([str(folder), "--notes", str(folder / "notes.md"), "--sample", "6"])
    return folder


def rows(folder: Path) -> dict[str, list[str]]:
    """Cells of all tables of the card by their first one."""
    lines = (folder / "README.md").read_text().splitlines()
    cells = [re.findall(r"[^|]+", line) for line in lines if line.startswith("|")]
    # The first table is told, where a later one has a row of the same name.
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in reversed(cells)}


def test_numbers_are_those_of_the_table(folder):
    table, card = pd.read_parquet(folder / TABLE), rows(folder)
    for kind, count in table["kind"].value_counts().items():
        assert card[kind] == [str(count), f"{count / len(table):.1%}"]
    for name in NUMBERS:
        column = table[name]
        wanted = [column.mean(), column.median(), column.quantile(0.9), column.max()]
        np.testing.assert_allclose([float(x) for x in card[name]], wanted, atol=6e-4)
    assert card["can"] == ["train", "1", "12"]
    assert card["kettle"] == ["validation", "1", "12"]
    assert card["thumb"] == ["100.0%"]
    palm = table["contacts"].str.contains("palm").mean()
    assert card["palm"] == [f"{palm:.1%}"]


def test_what_is_measured_anew_and_told(folder):
    card = rows(folder)
    assert float(card["contact_ratio_pct"][0]) == 100
    assert float(card["sim_displacement_cm"][0]) > 0.1  # a flat hand holds nothing
    assert 0 < float(card["entropy"][0]) <= np.log(20)
    text = (folder / "README.md").read_text()
    assert f"{kept.MAX_DEPTH_CM} cm deep" in text and COMMAND in text
    assert text.endswith("## Weak points\n\nHands are flat.\n")


def test_the_share_that_holds_is_told_where_it_is_known(folder):
    text = (folder / "README.md").read_text()
    assert f"`{CLOSING}` says of 20 grasps" in text and "`grasps.parquet`): 75% do." in text


def test_pictures_are_linked_and_show_something(folder):
    links = re.findall(r"!\[.*\]\((.*)\)", (folder / "README.md").read_text())
    assert [Path(link).name for link in links] == [SHEET, HISTOGRAMS]
    for link in links:
        pixels = np.asarray(Image.open(folder / link).convert("L"))
        assert min(pixels.shape) > 200 and (pixels < 250).mean() > 0.02


def test_same_seed_same_card(folder, tmp_path):
    for name in (TABLE, RUN, CLOSING):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    main([str(tmp_path), "--notes", str(folder / "notes.md"), "--sample", "6"])
    cards = [(place / "README.md").read_text() for place in (tmp_path, folder)]
    assert cards[0].replace(tmp_path.name, folder.name) == cards[1]
    assert (tmp_path / SHEET).read_bytes() == (folder / SHEET).read_bytes()


def test_grasps_are_spread_over_types_and_families():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"kind": ["wrap"] * 90 + ["pinch"] * 10, "family": rng.choice(["can", "box", "pen"], 100)}
    )
    chosen = choose_grasps(table, 12, seed=0)
    assert not chosen.index.duplicated().any()
    assert set(chosen["kind"].value_counts()) == {6}
    assert set(chosen["family"].value_counts()) == {4}
    assert len(choose_grasps(table[:5], 12, seed=0)) == 5


def test_meshes_of_ones_own_have_a_card(folder, tmp_path):
    """Each mesh is a family of its own, and comes from the dataset's `objects`."""
    object_mesh("can:5", folder).export(tmp_path / "thing.ply")
    (tmp_path / "objects").mkdir()
    (tmp_path / "thing.ply").rename(tmp_path / "objects" / "thing.ply")
    table = pd.read_parquet(folder / TABLE).assign(object="thing.ply", split="train")
    table.to_parquet(tmp_path / TABLE)
    main([str(tmp_path), "--command", "made by hand", "--sample", "2"])
    assert rows(tmp_path)["thing.ply"][1:] == ["1", "24"]
    assert CLOSING not in (tmp_path / "README.md").read_text()
    text = (tmp_path / "README.md").read_text()
    assert "made by hand" in text and "Licence: that of the meshes" in text


@pytest.mark.parametrize("lacks", ["run.json", "objects/thing.ply"])
def test_what_is_missing_is_one_line(folder, tmp_path, lacks, capsys):
    pd.read_parquet(folder / TABLE).assign(object="thing.ply").to_parquet(tmp_path / TABLE)
    command = ["--command", "by hand"] if lacks != "run.json" else []
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *command])
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and len(lines) == 1 and lacks in lines[0]
