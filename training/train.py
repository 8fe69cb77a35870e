"""The one training entry, for every system: `grasp-gen train CONFIG.yaml`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from grasp_gen_core.generators import build_generator, save_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.runtime import tune_allocator

if TYPE_CHECKING:
    from training.data import GraspData
    from training.module import GeneratorTraining


def read_config(path: Path) -> dict:
    """A training config.

    Raises:
        ValueError: if the file is missing, no YAML mapping, or lacks a section.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not a readable YAML file: {error}") from error
    missing = [k for k in ("generator", "data", "optimiser") if k not in (config or {})]
    if not isinstance(config, dict) or missing:
        raise ValueError(f"{path}: lacks the sections {', '.join(missing)}")
    return config


def main(argv: list[str] | None = None) -> None:
    """Train, or resume, the system a config names; leaves weights under --out."""
    parser = argparse.ArgumentParser(prog="grasp-gen train", description=__doc__)
    parser.add_argument("config", type=Path, help="training/configs/*.yaml")
    parser.add_argument("--data", default=None, help="dataset folder (default: the config's)")
    parser.add_argument("--out", type=Path, default=None, help="default: runs/<config's name>")
    parser.add_argument("--resume", action="store_true", help="go on from --out's last checkpoint")
    parser.add_argument("--steps", type=int, default=None, help="default: the config's")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    arguments = parser.parse_args(argv)
    config = read_config(arguments.config)
    out = arguments.out or Path("runs") / arguments.config.stem
    train(config, arguments.data, out, arguments)


def train(config: dict, data: str | None, out: Path, arguments: argparse.Namespace) -> None:
    """Run lightning on the config, stage by stage; weights land in out/model.safetensors.

    What `optimiser` holds is one value, or a mapping with one for each of the system's stages.
    """
    import lightning

    from training.data import GraspData
    from training.module import GeneratorTraining

    tune_allocator()
    lightning.seed_everything(config.get("seed", 0), verbose=False)
    hand = ManoHand()
    generator = build_generator(config["generator"], hand, config.get("model"))
    settings = dict(config["data"])
    configured = settings.pop("folder", None)
    if not (folder := data or configured):
        raise ValueError("data: no folder; accepted are --data or `folder` in the config")
    samples = GraspData(folder, palm_axis=hand.regions.palm_axis.numpy(), **settings)

    if arguments.resume and not list(out.glob("**/last.ckpt")):
        raise ValueError(f"{out}: no checkpoint to resume from")
    for stage in generator.stages or ("",):
        if stage:
            generator.begin(stage)
        settings = config["optimiser"] | ({"steps": arguments.steps} if arguments.steps else {})
        optimiser = {k: v[stage] if isinstance(v, dict) else v for k, v in settings.items()}
        module = GeneratorTraining(
            generator, hand, optimiser["lr"], optimiser["steps"], samples.measured
        )
        fit(module, samples, out / stage, optimiser, arguments)
        save_generator(generator, out / stage)
    save_generator(generator, out)
    print(f"weights in {out / 'model.safetensors'}")


def fit(
    module: GeneratorTraining,
    samples: GraspData,
    out: Path,
    optimiser: dict,
    arguments: argparse.Namespace,
) -> None:
    """Train a system, or one stage of it; resumed, go on from `out`'s checkpoint if it has one."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger
    from safetensors.torch import load_model

    from grasp_gen_core.runtime import select_device

    steps, last = optimiser["steps"], out / "checkpoints" / "last.ckpt"
    resumed, kept = arguments.resume and last.exists(), out / "model.safetensors"
    if resumed and torch.load(last, weights_only=True)["global_step"] >= steps and kept.exists():
        load_model(module.generator, kept)
        return
    device = select_device(arguments.device)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        logger=TensorBoardLogger(out, name=None, version="logs"),
        callbacks=[
            ModelCheckpoint(out / "checkpoints", filename="newest", save_last="link"),
            LearningRateMonitor(),
            # A short training's average isn't to remember how it began.
            EMAWeightAveraging(
                decay=min(0.999, 1 - 5 / max(steps, 10)), update_starting_at_step=steps // 10
            ),
        ],
        gradient_clip_val=1.0,
        precision=optimiser.get("precision", "32-true"),
        log_every_n_steps=20,
        enable_progress_bar=not arguments.quiet,
        enable_model_summary=False,
    )
    # Checkpoints are read as tensors alone: no pickle is executed.
    trainer.fit(module, samples, ckpt_path=last if resumed else None, weights_only=True)


if __name__ == "__main__":
    main()
