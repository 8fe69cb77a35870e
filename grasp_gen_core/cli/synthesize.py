"""`grasp-gen synthesize`: a training dataset by optimisation and physics."""

from __future__ import annotations

import argparse
from pathlib import Path

from grasp_gen_core.cli.options import (
    RAY_HELP,
    Parser,
    add_common_options,
    check_writable,
    positive,
    prepare,
)


def add(parser: Parser) -> None:
    parser.add_argument(
        "--objects", required=True, metavar="DIR|procedural", help="folder of meshes"
    )
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="grasps wanted")
    help = "folder to write; a run that was interrupted, or that made fewer, goes on there"
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help=help)
    help = "keep only grasps that hold the object when the hand closes, too"
    parser.add_argument("--closing-test", action="store_true", help=help)
    parser.add_argument("--ray", metavar="ADDRESS", help=RAY_HELP)
    add_common_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make a dataset."""
    check_writable(arguments.out, "")
    prepare()
    from grasp_gen_core import synthesis

    synthesis.synthesize(
        arguments.objects,
        arguments.count,
        arguments.out,
        arguments.seed,
        arguments.device,
        arguments.hand,
        arguments.quiet,
        arguments.ray,
        arguments.closing_test,
    )
    return 0
