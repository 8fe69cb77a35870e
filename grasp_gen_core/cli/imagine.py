"""`grasp-gen imagine`: objects that nobody has seen, with hands on them."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from grasp_gen_core.cli.options import (
    DEFAULT,
    Outputs,
    Parser,
    add_common_options,
    positive,
    prepare,
    sampling,
    tell,
)


def add(parser: Parser) -> None:
    parser.add_argument("--num", type=positive, default=16, metavar="N", help="pairs, " + DEFAULT)
    help = "jhod, or a folder of its weights, " + DEFAULT
    parser.add_argument("--generator", default="jhod", metavar="NAME|DIR", help=help)
    help = "clean-up of the hands: quick, choir or none, " + DEFAULT
    parser.add_argument("--refiner", default="none", metavar="NAME|none", help=help)
    help = "options of the sampling, such as steps=50"
    parser.add_argument("--sampling", type=sampling, default=(), metavar="A=1,B=2", help=help)
    help = "hands; objects beside it, INVENTED_shapes/0000.ply ..., " + DEFAULT
    parser.add_argument("--out", type=Path, default=Path("invented.npz"), metavar="NPZ", help=help)
    parser.add_argument("--render", type=Path, metavar="PNG", help="picture of all pairs")
    parser.add_argument("--glb", type=Path, metavar="DIR", help="3D scenes, one for each pair")
    add_common_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw, write and count."""
    out, picture, scenes = arguments.out, arguments.render, arguments.glb
    outputs = Outputs(arguments.quiet, (out, ".npz"), (picture, ".png"), (scenes, ""))
    prepare()
    from grasp_gen_core import imagination
    from grasp_gen_core.pipeline import GraspPipeline

    pipeline = GraspPipeline(
        arguments.generator,
        arguments.refiner,
        arguments.device,
        arguments.hand,
        sampling=arguments.sampling,
    )
    started = time.perf_counter()
    grasps = imagination.imagine(pipeline, arguments.num, arguments.seed)
    if not arguments.quiet:
        tell(f"{len(grasps)} objects with hands in {time.perf_counter() - started:.1f} s")
    imagination.save(grasps, out)
    if picture:
        imagination.render(grasps, picture)
    if scenes:
        imagination.export(grasps, scenes)
    outputs.tell()
    return 0
