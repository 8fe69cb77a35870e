"""`grasp-gen evaluate` and `score` as a user runs them: numbers, files, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh

from grasp_gen_core.cli import main
from grasp_gen_core.data.dataset import UNUSUAL_SHAPE
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.published import PUBLISHED
from grasp_gen_core.objects.meshes import load_mesh
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.views import view_object

PER_GRASP = {
    "penetration_volume_cm3",
    "penetration_depth_cm",
    "contact_ratio_pct",
    "contact_fingers",
    "sim_displacement_cm",
    "hold_worst_axis_cm",
    "grasp_success",
    "quality_index",
}
ROOT = Path(__file__).parents[1]
SPLITS = ("train", "validation")
SPREAD = {"entropy", "cluster_size", "cluster_size_cm"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    for family in ("can", "banana"):
        make_object(family, 1).export(folder / f"{family}.ply")
    return folder


def evaluate(folder, out, *more) -> dict:
    options = ["--num", "10", "--seed", "3", "--device", "cpu", "--quiet", "--json", str(out)]
    assert main(["evaluate", "--objects", str(folder), *options, *more]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def results(objects, tmp_path_factory):
    """An evaluation with all that it can leave behind, and its folder."""
    folder = tmp_path_factory.mktemp("results")
    extra = ["--markdown", str(folder / "table.md"), "--figures", str(folder / "figures")]
    return evaluate(objects, folder / "results.json", *extra), folder


def test_results_have_every_metric(results):
    numbers, _ = results
    assert set(numbers) == {"per_grasp", "per_object", "summary", "config"}
    assert [(g["object"], g["index"]) for g in numbers["per_grasp"]] == [
        (name, index) for name in ("banana", "can") for index in range(10)
    ]
    assert all(set(grasp) >= PER_GRASP for grasp in numbers["per_grasp"])
    assert set(numbers["summary"]) >= PER_GRASP | SPREAD
    for name in PER_GRASP:
        values = [grasp[name] for grasp in numbers["per_grasp"]]
        assert numbers["summary"][name] == pytest.approx(np.mean(values))
        can = [g[name] for g in numbers["per_grasp"] if g["object"] == "can"]
        assert numbers["per_object"]["can"][name] == pytest.approx(np.mean(can))
    assert 0 < numbers["summary"]["entropy"] <= np.log(20)
    scores = [grasp["score"] for grasp in numbers["per_grasp"]]
    assert scores[:10] == sorted(scores[:10], reverse=True)  # best first
    first = [g["quality_index"] for g in numbers["per_grasp"] if g["index"] < 5]
    assert numbers["summary"]["best5"]["quality_index"] == pytest.approx(np.mean(first))
    assert -1 <= numbers["summary"]["score_spearman"] <= 1
    assert numbers["config"]["seed"] == 3 and numbers["config"]["protocol"] == "exact"


def test_the_same_seed_gives_the_same_file(objects, results, tmp_path):
    _, folder = results
    evaluate(objects, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (folder / "results.json").read_bytes()


@pytest.fixture
def one_thread():
    """As the processes of an evaluation have: more threads round differently in the refiner."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_score_agrees_with_evaluate(objects, results, tmp_path, one_thread):
    """The grasps that generate writes are those that evaluate measured."""
    grasps, scores = tmp_path / "can.npz", tmp_path / "scores.json"
    mesh = str(objects / "can.ply")
    # A view is points alone, which have no normals of a mesh.
    cloud = tmp_path / "can.npy"
    np.save(cloud, view_object(load_mesh(mesh), "full", 4096, 3).points)
    made = ["generate", str(cloud), "--num", "10", "--seed", "3", "--device", "cpu", "--quiet"]
    assert main([*made, "--out", str(grasps)]) == 0
    more = ["--reference", str(grasps), "--json", str(scores)]
    assert main(["score", str(grasps), "--object", mesh, *more]) == 0
    scored = json.loads(scores.read_text())
    evaluated = [g for g in results[0]["per_grasp"] if g["object"] == "can"]
    for name in evaluated[0].keys() - {"object", "index"}:
        ours = [grasp[name] for grasp in scored["per_grasp"]]
        assert ours == pytest.approx([grasp[name] for grasp in evaluated], rel=1e-3, abs=1e-4), name
    assert scored["summary"]["mpjpe_mm"] == 0
    assert scored["summary"]["contact_f1_pct"] == 100
    assert scored["summary"]["entropy"] is None  # ten grasps don't fill twenty clusters


def test_files_for_people(results):
    numbers, folder = results
    table = (folder / "table.md").read_text()
    assert "| dvqvae + quick |" in table
    assert f"{numbers['summary']['penetration_volume_cm3']:.2f}" in table
    papers = {row.method for rows in PUBLISHED.values() for row in rows}
    assert not any(f"| {method} |" in table for method in papers)
    pictures = sorted((folder / "figures").glob("*.png"))
    assert "grasps.png" in {path.name for path in pictures} and len(pictures) > 3


def test_published_rows_under_their_own_protocol_only(objects, tmp_path):
    table = tmp_path / "table.md"
    numbers = evaluate(
        objects, tmp_path / "r.json", "--protocol", "dvqvae", "--markdown", str(table)
    )
    text = table.read_text()
    for row in PUBLISHED["dvqvae", "full"]:
        assert f"| {row.method} | {row.metrics['contact_ratio_pct']:.1f} |" in text
        assert row.source in text
    assert "GrabNet" not in text  # FastGrasp's table
    assert set(numbers["summary"]) >= {"penetration_volume_cm3", "entropy", "quality_index"}
    assert "hold_worst_axis_cm" not in numbers["summary"]


def test_a_camera_view_is_measured_in_the_frame_of_the_object(objects, tmp_path):
    numbers = evaluate(objects, tmp_path / "r.json", "--view", "camera", "--protocol", "fastgrasp")
    assert numbers["config"]["view"] == "camera"
    assert numbers["summary"]["contact_ratio_pct"] > 80


@pytest.fixture
def without_bullet(tmp_path):
    """`grasp-gen` in a process, and processes of its own, that can't import pybullet."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "pybullet.py").write_text("raise ImportError('not here')\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "none"), str(ROOT)])}

    def run(*argv: str | Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "grasp_gen_core.cli", *map(str, argv)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    return run


NO_BULLET = "needs Bullet: pip install 'grasp-gen[evaluate]'"


def test_without_bullet_all_but_the_displacement_is_measured(
    objects, results, tmp_path, without_bullet
):
    made = ["--num", "10", "--seed", "3", "--device", "cpu", "--quiet"]
    out, table, figures = (tmp_path / name for name in ("r.json", "table.md", "figures"))
    files = ["--json", out, "--markdown", table, "--figures", figures]
    done = without_bullet("evaluate", "--objects", objects, *made, *files)
    assert done.returncode == 0 and done.stderr == ""
    assert NO_BULLET in done.stdout and NO_BULLET in table.read_text()
    engine = results[0]["config"]["versions"]["pybullet"]
    assert f"displacement by pybullet {engine}" in (results[1] / "table.md").read_text()
    assert "displacement by" not in table.read_text()
    numbers, empty = json.loads(out.read_text()), set()
    for part in (numbers["per_grasp"][0], numbers["per_object"]["can"], numbers["summary"]):
        empty |= {name for name, value in part.items() if value is None}
    built_on_it = {"quality_index", "high_quality_ratio", "score_spearman"}
    # Hands that all hold or all don't have no order: of these few that may be so with Bullet, too.
    built_on_it |= {name for name, value in results[0]["summary"].items() if value is None}
    assert {n for n in empty if not n.startswith("sim_")} == built_on_it
    assert "sim_displacement_cm" in empty
    for name in PER_GRASP - empty:
        assert numbers["summary"][name] == results[0]["summary"][name], name
    drawn, whole = ({f.name for f in (x / "figures").iterdir()} for x in (tmp_path, results[1]))
    assert whole - drawn == {"sim_displacement_cm.png", "high_quality_ratio.png"}


def test_without_bullet_a_file_is_scored_and_nothing_synthesized(objects, tmp_path, without_bullet):
    grasps, mesh = tmp_path / "can.npz", objects / "can.ply"
    made = ["generate", mesh, "--num", "2", "--device", "cpu", "--quiet", "--out", grasps]
    assert without_bullet(*made).returncode == 0
    done = without_bullet("score", grasps, "--object", mesh, "--protocol", "grasptta", "--quiet")
    assert done.returncode == 0 and done.stderr == "" and NO_BULLET in done.stdout
    more = ["--count", "2", "--out", tmp_path / "data"]
    refusal = without_bullet("synthesize", "--objects", objects, *more)
    assert refusal.returncode == 2 and refusal.stderr.count("\n") == 1
    assert NO_BULLET in refusal.stderr
    assert not (tmp_path / "data").exists()


def refused(capsys, *argv: str) -> str:
    assert main(list(argv)) == 2
    error = capsys.readouterr().err
    assert error.startswith("grasp-gen: error:") and error.count("\n") == 1
    return error


def test_bad_objects(tmp_path, capsys):
    assert "no mesh files" in refused(capsys, "evaluate", "--objects", str(tmp_path))
    bowl = trimesh.creation.icosphere(3, 0.05)
    bowl.update_faces(bowl.triangles_center[:, 2] < 0)
    bowl.export(tmp_path / "bowl.ply")
    assert "bowl.ply" in refused(capsys, "evaluate", "--objects", str(tmp_path), "--quiet")
    trimesh.creation.box((60, 40, 90)).export(tmp_path / "bowl.ply")
    assert "millimetres" in refused(capsys, "evaluate", "--objects", str(tmp_path), "--quiet")


def test_bad_names(objects, capsys):
    folder = ["evaluate", "--objects", str(objects), "--quiet"]
    assert "accepted are full" in refused(capsys, *folder, "--view", "half")
    assert "accepted are exact" in refused(capsys, *folder, "--protocol", "strict")
    assert "generator" in refused(capsys, *folder, "--generator", "nobody")
    assert "no-such-data" in refused(capsys, *folder, "--reference", "no-such-data")


def test_bad_grasps(objects, tmp_path, capsys):
    can, path = str(objects / "can.ply"), tmp_path / "grasps.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    assert "grasps.npz" in refused(capsys, "score", str(path), "--object", can)
    np.savez(
        path,
        vertices=np.zeros((0, 778, 3)),
        joints=np.zeros((0, 21, 3)),
        faces=np.eye(3, dtype=int),
    )
    assert "empty" in refused(capsys, "score", str(path), "--object", can)


def test_the_optimiser_knows_the_mesh(objects, tmp_path):
    """On the mesh itself it presses in by millimetres at most; --view full gives it a cloud."""
    options = ["--generator", "optimise", "--refiner", "none", "--num", "4"]
    numbers = evaluate(objects, tmp_path / "mesh.json", *options, "--view", "mesh")
    assert numbers["config"]["view"] == "mesh"
    assert numbers["summary"]["contact_ratio_pct"] == 100
    assert numbers["summary"]["penetration_volume_cm3"] < 0.3
    seen = evaluate(objects, tmp_path / "full.json", *options, "--view", "full")
    assert seen["per_grasp"] != numbers["per_grasp"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Shipped grasps of two objects, of which one is for validation."""
    folder = tmp_path_factory.mktemp("dataset")
    table = pd.read_parquet(ROOT / "training" / "data" / "grasps.parquet")
    chosen = [table.loc[table["split"] == split, "object"].mode()[0] for split in SPLITS]
    table[table["object"].isin(chosen)].to_parquet(folder / "grasps.parquet")
    return folder


def test_perturbed_grasps_are_compared_with_what_they_were(dataset, tmp_path):
    """Unrefined ones are off by the noise, in any view's frame; refined ones are grasps again."""
    refine = ["--task", "refine", "--num", "4"]
    noisy = evaluate(dataset, tmp_path / "none.json", *refine, "--refiner", "none")
    table = pd.read_parquet(dataset / "grasps.parquet")
    held_out = table.loc[table["split"] == "validation", "object"].iloc[0]
    assert [(g["object"], g["index"]) for g in noisy["per_grasp"]] == [
        (held_out, index) for index in range(4)
    ]
    mine = np.stack(table.loc[table["object"] == held_out, "mano"]).astype(np.float32)
    rows = np.sort(np.random.default_rng(3).permutation(len(mine))[:4])
    truth = torch.from_numpy(mine[rows])
    hand = ManoHand()
    rng = torch.Generator().manual_seed(3 + crc32(held_out.encode()))
    off = perturb(truth, rng)
    error = 1000 * (hand(off)[1] - hand(truth)[1]).norm(dim=2).mean(dim=1)
    found = [grasp["mpjpe_mm"] for grasp in noisy["per_grasp"]]
    assert found == pytest.approx(error.tolist(), rel=1e-3)

    seen = evaluate(
        dataset, tmp_path / "camera.json", *refine, "--refiner", "none", "--view", "camera"
    )
    assert seen["summary"]["mpjpe_mm"] == pytest.approx(noisy["summary"]["mpjpe_mm"], rel=1e-3)

    path = tmp_path / "table.md"
    quick = evaluate(dataset, tmp_path / "quick.json", *refine, "--markdown", str(path))
    for better in ("contact_ratio_pct", "contact_f1_pct", "contact_fingers"):
        assert quick["summary"][better] > noisy["summary"][better]
    text = path.read_text()
    assert "perturbed grasps + quick" in text and "contact F1" in text


def test_hands_of_unusual_shape_are_a_split_of_their_own(dataset, tmp_path):
    refine = ["--task", "refine", "--refiner", "none", "--num", "2", "--split", "hands"]
    found = evaluate(dataset, tmp_path / "hands.json", *refine)
    table = pd.read_parquet(dataset / "grasps.parquet")
    train = table[table["split"] == "train"]
    unusual = np.linalg.norm(np.stack(train["mano"])[:, :10], axis=1) > UNUSUAL_SHAPE
    assert 0 < unusual.sum() < len(train)
    assert {grasp["object"] for grasp in found["per_grasp"]} == set(train["object"])
    assert len(found["per_grasp"]) == min(2, unusual.sum())


def test_a_dataset_without_unusual_hands_has_no_such_split(dataset, tmp_path, capsys):
    table = pd.read_parquet(dataset / "grasps.parquet")
    usual = np.linalg.norm(np.stack(table["mano"])[:, :10], axis=1) <= UNUSUAL_SHAPE
    table[usual].to_parquet(tmp_path / "grasps.parquet")
    command = ["evaluate", "--objects", str(tmp_path), "--task", "refine", "--split"]
    assert main([*command, "hands", "--quiet"]) == 2
    assert "no hands of unusual shape" in capsys.readouterr().err
    assert main([*command, "people", "--quiet"]) == 2
    assert "split: 'people', accepted are objects, hands" in capsys.readouterr().err


def test_a_left_hand_is_no_task_for_a_dataset(dataset, capsys):
    command = ["evaluate", "--objects", str(dataset), "--task", "refine", "--side", "left"]
    assert main([*command, "--quiet"]) == 2
    assert "accepted is right" in capsys.readouterr().err
