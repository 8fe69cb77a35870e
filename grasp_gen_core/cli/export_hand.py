"""`grasp-gen export-hand`: a hand with joints and motors, for simulators."""

from __future__ import annotations

import argparse
from pathlib import Path

from grasp_gen_core.cli.options import (
    DEFAULT,
    Outputs,
    Parser,
    add_hand_option,
    add_quiet_option,
    prepare,
)
from grasp_gen_core.errors import InputError

SHAPE = 10  # coefficients


def add(parser: Parser) -> None:
    help = "shape coefficients, up to ten; those left out, and without the option all, are 0"
    parser.add_argument("--betas", type=float, nargs="+", default=[], metavar="B", help=help)
    help = "MJCF; its meshes beside it, HAND_meshes/*.stl, " + DEFAULT
    parser.add_argument("--out", type=Path, default=Path("hand.xml"), metavar="XML", help=help)
    parser.add_argument("--side", choices=("right", "left"), default="right", help=DEFAULT)
    add_hand_option(parser)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make the model and write it."""
    outputs, given = Outputs(arguments.quiet, (arguments.out, ".xml")), arguments.betas
    if len(given) > SHAPE:
        raise InputError(f"betas: {len(given)} numbers, accepted are up to {SHAPE}")
    prepare()
    import numpy as np

    from grasp_gen_core.hand import ManoHand
    from grasp_gen_core.hand.mechanism import Mechanism
    from grasp_gen_core.types import MANO_SIZE, HandPose

    shape = HandPose(np.array([*given, *[0.0] * (MANO_SIZE - len(given))]), arguments.side).betas
    Mechanism(ManoHand(arguments.hand, arguments.side)).write(shape, arguments.out)
    outputs.tell()
    return 0
