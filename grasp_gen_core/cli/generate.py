"""`grasp-gen generate`: ranked grasps for one object, or for each object of a scene."""

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
    add_scene_options,
    build_pipeline,
    load,
    load_segmented,
    print_table,
    tell,
)
from grasp_gen_core.errors import InputError

if TYPE_CHECKING:
    from grasp_gen_core.perception import Segmentation
    from grasp_gen_core.pipeline import GraspPipeline
    from grasp_gen_core.types import GraspSet, Observation

ROWS_SHOWN = 10


def add(parser: Parser) -> None:
    parser.add_argument("object", metavar="OBJECT", help=OBJECT_HELP)
    add_model_options(parser)
    help = "OBJECT is a scene, such as segment takes: grasps for each object on its table"
    parser.add_argument("--scene", action="store_true", help=help)
    add_scene_options(parser)
    parser.add_argument("--out", type=Path, default=Path("grasps.npz"), metavar="NPZ", help=DEFAULT)
    parser.add_argument("--render", type=Path, metavar="PNG", help="picture of the best grasps")
    parser.add_argument("--glb", type=Path, metavar="GLB", help="3D scene of the best grasps")


def run(arguments: argparse.Namespace) -> int:
    """Load, generate, write and list."""
    out, picture, scene = arguments.out, arguments.render, arguments.glb
    outputs = Outputs(arguments.quiet, (out, ".npz"), (picture, ".png"), (scene, ".glb"))
    if picture:
        import PIL  # noqa: F401  what is missing is told before the work

    seen = load_given(arguments)
    pipeline = build_pipeline(arguments)
    # Nothing is said before all input is known to be good: errors stand alone.
    say = (lambda *words: None) if arguments.quiet else tell
    started = time.perf_counter()
    if arguments.scene:
        words = f"{len(seen.numbers)} objects, {arguments.num} grasps of each"
        say(f"{arguments.object}: {words} on {pipeline.device} ...")
        grasps = grasp_scene(pipeline, seen, arguments)
    else:
        words = f"{len(seen.points)} points, {arguments.num} grasps on {pipeline.device} ..."
        say(f"{arguments.object}: {words}")
        grasps = pipeline(seen, num=arguments.num, seed=arguments.seed)
    say(f"{len(grasps)} grasps in {time.perf_counter() - started:.1f} s")

    grasps.save(out)
    mesh = None if arguments.scene else seen.mesh
    if picture and arguments.scene:
        from grasp_gen_core.perception.picture import render_segmentation

        render_segmentation(seen, picture, grasps)
    elif picture:
        from grasp_gen_core.render import render_grasps

        render_grasps(grasps, picture, mesh)
    if scene:
        from grasp_gen_core.render import export_glb

        shown = grasps.chosen(grasps.best_of_each()) if arguments.scene else grasps
        export_glb(shown, scene, mesh)
    outputs.tell()
    print_grasps(grasps)
    for note in grasps.info["notes"]:
        print(f"note: {note}")
    return 0


def load_given(arguments: argparse.Namespace) -> Observation | Segmentation:
    """The object, or with --scene the objects, of the file."""
    if arguments.scene:
        return load_segmented(arguments.object, arguments)
    for name in ("intrinsics", "up", "region"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name}: goes with --scene")
    seen = load(arguments.object, arguments.seed)
    if arguments.viewpoint:
        import numpy as np

        seen = replace(seen, viewpoint=np.array(arguments.viewpoint))
    return seen


def grasp_scene(
    pipeline: GraspPipeline, seen: Segmentation, arguments: argparse.Namespace
) -> GraspSet:
    """Grasps of each object; what isn't one, for the pipeline, is told in the notes.

    Raises:
        InputError: if there is no object.
    """
    from grasp_gen_core.ranking.collision import Surroundings
    from grasp_gen_core.types import GraspSet, Observation

    sets, refused = {}, []
    for number in seen.numbers:
        one = Observation(seen.object(number), viewpoint=seen.viewpoint)
        try:
            around = Surroundings.of(seen, number)
            options = {"num": arguments.num, "seed": arguments.seed, "up": arguments.up}
            sets[number] = pipeline(one, scene=around, **options)
        except InputError as error:
            refused.append(f"object {number}: {error}")
    if not sets:
        raise InputError("; ".join([f"{arguments.object}: no object found", *refused]))
    grasps = GraspSet.of_scene(sets)
    grasps.info["notes"] += refused
    return grasps


def print_grasps(grasps: GraspSet) -> None:
    """The best grasps, or the best on each object, and what their score was made of."""
    shown = range(min(ROWS_SHOWN, len(grasps)))
    names = [str(i + 1) for i in shown]
    if grasps.object is not None:
        shown = grasps.best_of_each()
        names = [str(grasps.object[i]) for i in shown]
    columns = {"score": grasps.score, **grasps.metrics}
    rows = [
        (name, *(f"{float(values[i]):.3g}" for values in columns.values()))
        for name, i in zip(names, shown, strict=True)
    ]
    print_table(("rank" if grasps.object is None else "object", *columns), rows)
    if len(grasps) > len(shown):
        print(f"... and {len(grasps) - len(shown)} more")
