"""The one training entry, for every system; `grasp-gen train` is its command."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_model

from grasp_gen_core.errors import InputError
from grasp_gen_core.generators import build_generator, load_network, save_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.runtime import select_device, tune_allocator
from grasp_gen_training.data import GraspData
from grasp_gen_training.judged import EvaluatorTraining, JudgedData
from grasp_gen_training.module import GeneratorTraining, HelperTraining, NetworkTraining, Progress
from grasp_gen_training.shapes import JointData, ShapeData, ShapeTraining
from grasp_gen_training.sights import SightData
from grasp_gen_training.volumes import VolumeData

CONFIGS = Path(__file__).with_name("configs")
# What a section may hold, and what stands alone; `model` is checked by the system that it's for.
SECTIONS = {"data": None, "optimiser": {"lr", "steps", "precision"}, "model": None}
ALONE = ("generator", "seed", "start")
EPOCH = 1000  # steps at most, after which there is a validation, and a checkpoint
# What each learns from, and how, where that isn't a dataset of grasps in a folder alone.
OTHERS = {
    "shape_autoencoder": (ShapeData, ShapeTraining),
    "jhod": (JointData, GeneratorTraining),
    "evaluator": (JudgedData, EvaluatorTraining),
    "exit_depth": (SightData, HelperTraining),
    "volume": (VolumeData, HelperTraining),
}


def read_config(name: str | Path, overrides: Sequence[str] = ()) -> dict:
    """A training config; a relative `data.folder` is taken from where the config lies.

    `start` names weights to go on from: a shipped system's, or a folder's.

    Args:
        name: a YAML file, or the name of one in `configs`.
        overrides: "section.key=value", or "seed=value", in place of the config's.

    Raises:
        InputError: if the file is missing, no YAML mapping, or lacks a section, or a key isn't
            known.
    """
    path = Path(name)
    if not path.is_file() and (CONFIGS / f"{name}.yaml").is_file():
        path = CONFIGS / f"{name}.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        shipped = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        reason = f"not a readable YAML file: {error}; shipped configs are {shipped}"
        raise InputError(f"{path}: {reason}") from error
    missing = [k for k in ("generator", "data", "optimiser") if k not in (config or {})]
    if not isinstance(config, dict) or missing:
        raise InputError(f"{path}: lacks the sections {', '.join(missing)}")
    if folder := config["data"].get("folder"):
        config["data"]["folder"] = path.parent / folder
    for override in overrides:
        key, equals, value = override.partition("=")
        section, dot, key = key.rpartition(".")
        if not equals or not key:
            raise InputError(f"{override!r}: accepted is KEY=VALUE, such as data.batch=16")
        (config.setdefault(section, {}) if dot else config)[key] = _number(value)
    for section, values in config.items():
        if section not in (*SECTIONS, *ALONE):
            accepted = ", ".join((*SECTIONS, *ALONE))
            raise InputError(f"{path}: {section} unknown, accepted are {accepted}")
        known = data_keys(config["generator"]) if section == "data" else SECTIONS.get(section)
        if known and (unknown := set(values) - known):
            accepted = ", ".join(sorted(known))
            raise InputError(f"{path}: {section}.{min(unknown)} unknown, accepted are {accepted}")
    return config


def data_keys(generator: str) -> set[str]:
    """What the section `data` may hold for a system."""
    kind, _ = OTHERS.get(generator, (GraspData, None))
    keys = set(inspect.signature(kind).parameters)
    if issubclass(kind, GraspData):
        keys |= set(inspect.signature(GraspData).parameters)
    return keys - {"palm_axis", "quiet", "grasps"}


def _number(text: str):
    """A value as YAML reads it, and 1e-3, which YAML takes for a word, as a number."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def train(
    config: dict,
    out: Path,
    data: str | None = None,
    steps: int | None = None,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Run lightning on a config, stage by stage.

    Args:
        config: see `read_config`. What `optimiser` holds is one value, or a mapping with one for
            each of the system's stages.
        out: folder; leaves model.safetensors and config.json there, checkpoints and logs below.
        data: dataset folder, None for the config's.
        steps: of the optimiser, in each stage, None for the config's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        resume: go on from the last checkpoint in `out`.
        quiet: no progress bar.

    Raises:
        InputError: if the data, the device or a setting isn't accepted, there is nothing to resume
            or something that would be overwritten.
    """
    kept = sorted([*out.glob("**/last.ckpt"), *out.glob("model.safetensors")])
    if resume and not kept:
        raise InputError(f"{out}: no checkpoint to resume from")
    if kept and not resume:
        raise InputError(
            f"{kept[0]}: already there; --resume goes on with it, --out names another folder"
        )
    tune_allocator()
    _silence_adverts()
    where = select_device(device)
    lightning.seed_everything(config.get("seed", 0), verbose=False)
    hand = ManoHand()
    generator = build_generator(config["generator"], hand, config.get("model"))
    if start := config.get("start"):
        try:
            generator.load_state_dict(load_network(start, hand).state_dict())
        except RuntimeError as error:
            system = config["generator"]
            raise InputError(f"start: {start} doesn't fit {system}: {error}") from error
    settings = dict(config["data"])
    kind, training = OTHERS.get(config["generator"], (GraspData, GeneratorTraining))
    if not issubclass(kind, GraspData):
        samples = kind(quiet=quiet, **settings)
    else:
        configured = settings.pop("folder", None)
        if not (folder := data or configured):
            raise InputError("data: no folder; accepted are --data or `folder` in the config")
        palm_axis = hand.regions.palm_axis.numpy()
        samples = kind(folder=folder, palm_axis=palm_axis, quiet=quiet, **settings)

    for stage in generator.stages or ("",):
        if stage:
            generator.begin(stage)
        settings = config["optimiser"] | ({"steps": steps} if steps else {})
        optimiser = {k: v[stage] if isinstance(v, dict) else v for k, v in settings.items()}
        module = training(generator, hand, optimiser["lr"], optimiser["steps"], samples.measured)
        bar = Progress(f"{config['generator']} {stage}".strip(), quiet)
        fit(module, samples, out / stage, optimiser, where, resume, bar)
        module.finish()
        save_generator(generator, out / stage)
    save_generator(generator, out)
    print(f"weights in {out / 'model.safetensors'}, curves: tensorboard --logdir {out}")


def fit(
    module: NetworkTraining,
    samples: lightning.LightningDataModule,
    out: Path,
    optimiser: dict,
    device: torch.device,
    resume: bool,
    bar: Progress,
) -> None:
    """Train a system, or one stage of it; resumed, go on from `out`'s checkpoint if it has one."""
    steps, last = optimiser["steps"], out / "checkpoints" / "last.ckpt"
    resumed, kept = resume and last.exists(), out / "model.safetensors"
    if resumed and torch.load(last, weights_only=True)["global_step"] >= steps and kept.exists():
        load_model(module.generator, kept)
        return
    trainer = lightning.Trainer(
        max_steps=steps,
        limit_train_batches=EPOCH,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1 if device.index is None else [device.index],
        logger=TensorBoardLogger(out, name=None, version="logs"),
        callbacks=[
            ModelCheckpoint(out / "checkpoints", filename="newest", save_last="link"),
            LearningRateMonitor(),
            # A short training's average isn't to remember how it began.
            EMAWeightAveraging(
                decay=min(0.999, 1 - 5 / max(steps, 10)), update_starting_at_step=steps // 10
            ),
            bar,
        ],
        gradient_clip_val=1.0,
        precision=optimiser.get("precision", "32-true"),
        log_every_n_steps=20,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # Checkpoints are read as tensors alone: no pickle is executed.
    trainer.fit(module, samples, ckpt_path=last if resumed else None, weights_only=True)


def _silence_adverts() -> None:
    """What lightning says of itself, of other products and of its own libraries' age."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
