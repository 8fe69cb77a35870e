"""The training entry as a user runs it: train, resume, use the weights; and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
import trimesh
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grasp_gen_core.generators import load_generator, load_network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_training.data import GraspData
from grasp_gen_training.module import HANDS, GeneratorTraining
from grasp_gen_training.train import read_config

MEASURED = [
    "penetration_depth_cm",
    "penetration_volume_cm3",
    "contact_ratio_pct",
    "contact_fingers",
]
ROOT = Path(__file__).parents[2]
CONFIG = """
generator: grasp_cvae
model: {features: [16, 32], hidden: [64, 32], latent: 8}
data: {folder: nowhere, batch: 8, points: 64, cameras: 1, held_out: 0.5,
       views: {full: 0.3, masked: 0.3, camera: 0.4}}
optimiser: {lr: 1.0e-3, steps: 6}
"""


# What configs have less of here, so that making it takes seconds.
FEW = {
    "shape_autoencoder": ["data.procedural=32"],
    "jhod": ["data.procedural=32"],
    "evaluator": ["data.objects=2", "data.held_out=1", "data.batch=2"],
    "exit_depth": ["data.objects=32", "data.held_out=2"],
    "volume": ["data.objects=16", "data.held_out=2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A config, and a few of the shipped grasps on two objects."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "config.yaml").write_text(CONFIG)
    table = pd.read_parquet(ROOT / "training" / "data" / "grasps.parquet")
    two = table[table["object"].isin(table["object"].unique()[:2])]
    (folder / "data").mkdir()
    two.groupby("object").head(20).to_parquet(folder / "data" / "grasps.parquet")
    return folder


def train(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "grasp_gen_core.cli", "train", str(folder / "config.yaml")]
    command += ["--out", str(folder / "run"), "--device", "cpu", "--quiet", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240)


def test_train_resume_and_sample(folder):
    data = ["--data", str(folder / "data")]
    first = train(folder, *data)
    assert first.returncode == 0, first.stderr
    events = EventAccumulator(str(folder / "run" / "logs")).Reload()  # TensorBoard's
    assert {f"validation/{name}" for name in ["loss", *MEASURED]} <= set(events.Tags()["scalars"])
    # What was said is what the user needs: where the weights are, no library's adverts.
    assert not first.stderr and len(first.stdout.splitlines()) == 1, first.stdout + first.stderr
    weights = folder / "run" / "model.safetensors"
    assert f"weights in {weights}" in first.stdout
    umask = os.umask(0)
    os.umask(umask)
    assert weights.stat().st_mode & 0o777 == 0o666 & ~umask
    again = train(folder, *data)
    assert again.returncode == 2 and "last.ckpt: already there; --resume" in again.stderr
    resumed = train(folder, *data, "--resume", "--steps", "10")
    assert resumed.returncode == 0, resumed.stderr
    checkpoint = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 10
    generator = load_generator(folder / "run", ManoHand())
    mano = generator.sample(torch.rand(80, 3), 3, torch.Generator().manual_seed(0))
    assert mano.shape == (3, 61) and torch.isfinite(mano).all()


@pytest.mark.parametrize(
    "config", sorted(ROOT.glob("training/configs/*.yaml")), ids=lambda p: p.stem
)
def test_shipped_configs_train(config, tmp_path):
    table = pd.read_parquet(ROOT / "training" / "data" / "grasps.parquet")
    few = table[table["object"].isin(table["object"].unique()[:8])]
    few.to_parquet(tmp_path / "grasps.parquet")
    held = {"grasp": np.arange(len(few)), "holds": np.arange(len(few)) % 3 > 0}
    pd.DataFrame(held).to_parquet(tmp_path / "closing.parquet")
    (tmp_path / "config.yaml").write_text(config.read_text())
    few = FEW.get(config.stem, ())
    data = ["--data", str(tmp_path)] if "folder" in config.read_text() else []
    trained = train(tmp_path, *few, *data, "--steps", "1")
    assert trained.returncode == 0, trained.stderr
    network = load_network(tmp_path / "run", ManoHand())
    weights = [weight for weight in network.parameters() if weight.is_floating_point()]
    assert all(torch.isfinite(weight).all() for weight in weights)
    assert (tmp_path / "run" / "model.safetensors").stat().st_size < 40e6


def test_validation_measures_grasps_on_held_out_meshes(folder):
    """What is logged is what trimesh, and the metric at its full resolution, say of the hands."""
    hand = ManoHand()
    views = {"full": 1.0}
    data = GraspData(folder / "data", 8, views, hand.regions.palm_axis.numpy(), 64, 1, 0.5)
    generator = load_generator("grasp_cvae", hand)
    module = GeneratorTraining(generator, hand, 1e-3, 10, data.measured)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.validate(module, data, verbose=False)
    logged = {name: float(trainer.callback_metrics[f"validation/{name}"]) for name in MEASURED}
    assert {"validation/loss"} <= set(trainer.callback_metrics)

    ((mesh, points),) = data.measured
    apart = set(data.validation.object_index).isdisjoint(data.training.object_index)
    assert mesh.is_volume and apart
    with torch.no_grad():
        mano = generator.sample(torch.from_numpy(points), HANDS, torch.Generator().manual_seed(0))
        vertices = hand(mano)[0].numpy()
    distance = trimesh.proximity.signed_distance(mesh, vertices.reshape(-1, 3)) * -1
    distance = distance.reshape(HANDS, -1)
    fingers = [(distance[:, hand.parts == f] <= 0.005).any(axis=1) for f in range(5)]
    volume = penetration_volume_cm3(vertices, hand.closed_faces.numpy(), mesh).mean()
    assert logged["penetration_depth_cm"] == pytest.approx(
        -100 * distance.min(axis=1).clip(max=0).mean(), abs=0.001
    )
    assert logged["penetration_volume_cm3"] == pytest.approx(volume, rel=0.005)
    assert logged["contact_ratio_pct"] == 100 * (distance <= 0.005).any(axis=1).mean()
    assert logged["contact_fingers"] == pytest.approx(np.sum(fingers, axis=0).mean())


def test_training_goes_on_from_other_weights(folder, tmp_path):
    data = ["--data", str(folder / "data"), "optimiser.lr=1e-9", "--steps", "1"]
    first = train(folder, *data, "--out", str(tmp_path / "first"), "seed=1")
    assert first.returncode == 0, first.stderr
    then = train(folder, *data, "--out", str(tmp_path / "then"), f"start={tmp_path / 'first'}")
    assert then.returncode == 0, then.stderr
    networks = (load_network(tmp_path / name, ManoHand()) for name in ("first", "then"))
    for before, after in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    refused = train(folder, *data, "--out", str(tmp_path / "other"), "start=dvqvae")
    assert refused.returncode == 2 and "start: dvqvae doesn't fit grasp_cvae" in refused.stderr


def test_nothing_to_resume_and_no_data_are_one_line(folder):
    for options, says in (
        (["--data", str(folder / "data"), "--resume", "--out", str(folder / "empty")], "resume"),
        (["--out", str(folder / "empty")], "grasps.parquet"),
    ):
        refused = train(folder, *options)
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].startswith("grasp-gen: error:")
        assert says in refused.stderr and "Traceback" not in refused.stderr


def test_values_of_the_config_can_be_changed(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = [
        "data.batch=4",
        "optimiser.lr=1e-4",
        "seed=3",
        "model.latent=2",
        "data.views={full: 1}",
    ]
    config = read_config(tmp_path / "config.yaml", words)
    assert config["data"]["batch"] == 4 and config["optimiser"]["lr"] == 1e-4
    assert config["seed"] == 3 and config["model"]["latent"] == 2
    assert config["data"]["views"] == {"full": 1} and config["optimiser"]["steps"] == 6
    assert config["data"]["folder"] == tmp_path / "nowhere", "from where the config lies"


@pytest.mark.parametrize("config", [*ROOT.glob("training/configs/*.yaml")], ids=lambda p: p.stem)
def test_shipped_configs_go_by_name(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = read_config(config.stem)
    assert named == read_config(config)
    folder = named["data"].get("folder")  # none where there are no grasps
    assert folder is None or (folder / "grasps.parquet").is_file()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.bach=4", "data.bach unknown, accepted are batch, cameras"),
        ("optimizer.lr=1", "optimizer unknown, accepted are data, optimiser"),
        ("optimiser.momentum=1", "optimiser.momentum unknown, accepted are lr, precision, steps"),
        ("batch=4", "batch unknown"),
        ("batch", "unrecognized arguments: batch"),
        ("model.width=3", "width"),
    ],
)
def test_unknown_values_are_named(folder, override, says):
    refused = train(
        folder, override, "--data", str(folder / "data"), "--out", str(folder / "other")
    )
    assert refused.returncode == 2 and says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["- a list", "generator: grasp_cvae", "{", ""])
def test_broken_configs_are_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        read_config(path)
