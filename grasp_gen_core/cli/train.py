"""`grasp-gen train`: hands over to the training package, which core doesn't depend on."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from grasp_gen_core.cli.options import Parser, add_quiet_option, positive


def add(parser: Parser) -> None:
    help = "a file as those in training/configs, or the name of one of them, such as dvqvae"
    parser.add_argument("config", metavar="CONFIG.yaml|NAME", help=help)
    help = "other values than the config's, such as data.batch=16 optimiser.lr=5e-4"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help)
    parser.add_argument("--data", metavar="DATASET", help="dataset folder, default: the config's")
    help = "folder for weights, checkpoints and logs, default: runs/<the config's name>"
    parser.add_argument("--out", type=Path, metavar="DIR", help=help)
    help = "go on from --out's last checkpoint"
    parser.add_argument("--resume", action="store_true", help=help)
    parser.add_argument("--steps", type=positive, metavar="N", help="default: the config's")
    help = "auto, cpu, cuda or cuda:N, default: %(default)s"
    parser.add_argument("--device", default="auto", help=help)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, or resume, the system that a config names."""
    entry = import_module("grasp_gen_training.train")
    config = entry.read_config(arguments.config, arguments.overrides)
    out = arguments.out or Path("runs") / Path(arguments.config).stem
    entry.train(
        config,
        out,
        arguments.data,
        arguments.steps,
        arguments.device,
        arguments.resume,
        arguments.quiet,
    )
    return 0
