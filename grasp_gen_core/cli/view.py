"""`grasp-gen view`: the grasps of a file in a window, or as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from grasp_gen_core.cli.options import (
    DEFAULT,
    Outputs,
    Parser,
    add_hand_option,
    add_quiet_option,
    positive,
)


def add(parser: Parser) -> None:
    help = "written by generate, or any that score takes"
    parser.add_argument("grasps", type=Path, metavar="GRASPS.npz", help=help)
    help = "in the frame of the grasps; default: the object points of the file, where it has any"
    parser.add_argument("--object", metavar="MESH", help=help)
    help = "write a picture, open no window"
    parser.add_argument("--render", type=Path, metavar="PNG", help=help)
    parser.add_argument("--count", type=positive, default=4, metavar="N", help="grasps, " + DEFAULT)
    add_hand_option(parser)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """A window, or with --render a picture."""
    outputs = Outputs(arguments.quiet, (arguments.render, ".png"))
    from grasp_gen_core.hand import ManoHand
    from grasp_gen_core.metrics.hands import HandMeshes
    from grasp_gen_core.objects.meshes import load_mesh
    from grasp_gen_core.render import grasp_cells, hand_cells, write_sheet
    from grasp_gen_core.types import LATER, GraspSet, read_npz
    from grasp_gen_core.window import show

    arrays, source = read_npz(arguments.grasps), str(arguments.grasps)
    mesh = load_mesh(arguments.object) if arguments.object else None
    if arrays.keys() >= set(GraspSet.arrays()) - set(LATER):
        grasps = GraspSet.from_arrays(arrays, source)
        cells = grasp_cells(grasps, mesh, arguments.count)
    else:
        hands = HandMeshes.from_arrays(arrays, ManoHand(arguments.hand), source)
        cells = hand_cells(hands.vertices, hands.faces, hands.joints, mesh, arguments.count)
    if arguments.render:
        write_sheet([[cell] for cell in cells], arguments.render)
    else:
        show(cells)
    outputs.tell()
    return 0
