"""`grasp-gen generate`: ranked grasps for one object."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from grasp_gen_core.cli.options import (
    DEFAULT,
    OBJECT_HELP,
    Outputs,
    Parser,
    add_model_options,
    add_viewpoint_option,
    build_pipeline,
    load,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from grasp_gen_core.types import GraspSet

ROWS_SHOWN = 10


def add(parser: Parser) -> None:
    parser.add_argument("object", metavar="OBJECT", help=OBJECT_HELP)
    add_model_options(parser)
    add_viewpoint_option(parser, "OBJECT")
    parser.add_argument("--out", type=Path, default=Path("grasps.npz"), metavar="NPZ", help=DEFAULT)
    parser.add_argument("--render", type=Path, metavar="PNG", help="picture of the best grasps")
    parser.add_argument("--glb", type=Path, metavar="GLB", help="3D scene of the best grasps")


def run(arguments: argparse.Namespace) -> int:
    """Load, generate, write and list."""
    out, picture, scene = arguments.out, arguments.render, arguments.glb
    outputs = Outputs(arguments.quiet, (out, ".npz"), (picture, ".png"), (scene, ".glb"))
    import numpy as np

    if picture:
        import PIL  # noqa: F401  what is missing is told before the work

    seen = load(arguments.object, arguments.seed)
    if arguments.viewpoint:
        seen = replace(seen, viewpoint=np.array(arguments.viewpoint))
    pipeline = build_pipeline(arguments)
    # Nothing is said before all input is known to be good: errors stand alone.
    say = (lambda *words: None) if arguments.quiet else tell
    words = f"{len(seen.points)} points, {arguments.num} grasps on {pipeline.device} ..."
    say(f"{arguments.object}: {words}")
    started = time.perf_counter()
    grasps = pipeline(seen, num=arguments.num, seed=arguments.seed)
    say(f"{len(grasps)} grasps in {time.perf_counter() - started:.1f} s")

    grasps.save(out)
    if picture or scene:
        from grasp_gen_core.render import export_glb, render_grasps

        if picture:
            render_grasps(grasps, picture, seen.mesh)
        if scene:
            export_glb(grasps, scene, seen.mesh)
    outputs.tell()
    print_grasps(grasps)
    for note in grasps.info["notes"]:
        print(f"note: {note}")
    return 0


def print_grasps(grasps: GraspSet) -> None:
    """The best grasps and what their score was made of."""
    shown = range(min(ROWS_SHOWN, len(grasps)))
    columns = {"score": grasps.score, **grasps.metrics}
    rows = [(str(i + 1), *(f"{values[i]:.3g}" for values in columns.values())) for i in shown]
    print_table(("rank", *columns), rows)
    if len(grasps) > ROWS_SHOWN:
        print(f"... and {len(grasps) - ROWS_SHOWN} more")
