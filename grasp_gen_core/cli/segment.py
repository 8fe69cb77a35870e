"""`grasp-gen segment`: what is table, and what are objects in a scene."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from grasp_gen_core.cli.options import (
    Outputs,
    Parser,
    add_quiet_option,
    add_scene_options,
    load_segmented,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from grasp_gen_core.perception import Segmentation

SCENE_HELP = (
    "cloud of a scene (.pcd .ply .npy .npz .xyz) in metres, or depth image in millimetres: .npz "
    "with depth_mm and K, or 16-bit .png with --intrinsics"
)


def add(parser: Parser) -> None:
    parser.add_argument("scene", metavar="SCENE", help=SCENE_HELP)
    help = "folder for labels.npy, plane.json and object_K.npy of each label K"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help)
    help = "picture of the scene, each object in its colour"
    parser.add_argument("--render", type=Path, metavar="PNG", help=help)
    add_scene_options(parser)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Load, segment, write and list."""
    outputs = Outputs(arguments.quiet, (arguments.out, ""), (arguments.render, ".png"))
    if arguments.render:
        import PIL  # noqa: F401  what is missing is told before the work

    started = time.perf_counter()
    seen = load_segmented(arguments.scene, arguments)
    if not arguments.quiet:
        words = f"{len(seen.numbers)} objects in {time.perf_counter() - started:.1f} s"
        tell(f"{arguments.scene}: {words}")
    write(seen, arguments.out)
    if arguments.render:
        from grasp_gen_core.perception.picture import render_segmentation

        render_segmentation(seen, arguments.render)
    outputs.tell()
    print_objects(seen)
    return 0


def write(seen: Segmentation, folder: Path) -> None:
    """labels.npy, plane.json and the objects' points; an older scene's objects go."""
    import numpy as np

    folder.mkdir(exist_ok=True)
    for old in folder.glob("object_*.npy"):
        old.unlink()
    np.save(folder / "labels.npy", seen.labels)
    plane = seen.plane and {"normal": seen.plane.normal.tolist(), "offset": seen.plane.offset}
    (folder / "plane.json").write_text(json.dumps(plane) + "\n")
    for number in seen.numbers:
        np.save(folder / f"object_{number}.npy", seen.object(number))


def print_objects(seen: Segmentation) -> None:
    """Label, points, middle and size of each object."""
    if seen.plane is None:
        print("no supporting plane")
    else:
        x, y, z = seen.plane.normal
        print(f"plane {x:.3f} x {y:+.3f} y {z:+.3f} z = {seen.plane.offset:.4f} m")
    rows = []
    for number in seen.numbers:
        points = seen.object(number).astype(float)
        middle, size = points.mean(axis=0), points.max(axis=0) - points.min(axis=0)
        metres = (" ".join(f"{x:.3f}" for x in part) for part in (middle, size))
        rows.append((str(number), str(len(points)), *metres))
    print_table(("object", "points", "middle [m]", "extent [m]"), rows)
