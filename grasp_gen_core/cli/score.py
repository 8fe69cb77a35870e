"""`grasp-gen score`: the metrics of a file's grasps."""

from __future__ import annotations

import argparse
from pathlib import Path

from grasp_gen_core.cli.options import (
    Outputs,
    Parser,
    add_common_options,
    add_metric_options,
    prepare,
    write_report,
)

GRASPS_HELP = (
    ".npz with vertices (B, V, 3), faces (F, 3) and joints (B, 21, 3), in metres. Joints are "
    "MANO's 16 in MANO's order (wrist, then three each of index, middle, little and ring finger "
    "and of the thumb, from the knuckle on), then the tips of thumb, index, middle, ring, little; "
    "or OpenPose's (wrist, then thumb to little finger, each from the palm to the tip), which is "
    "recognised"
)


def add(parser: Parser) -> None:
    parser.add_argument("grasps", type=Path, metavar="GRASPS.npz", help=GRASPS_HELP)
    parser.add_argument(
        "--object", required=True, metavar="MESH", help="in the frame of the grasps"
    )
    help = "the same number of hands that they should equal; adds joint errors and contact accuracy"
    parser.add_argument("--reference", metavar="GRASPS.npz", help=help)
    add_metric_options(parser)
    add_common_options(parser, device=False)


def run(arguments: argparse.Namespace) -> int:
    """Measure a file's grasps, and report."""
    outputs = Outputs(arguments.quiet, (arguments.json, ".json"), (arguments.markdown, ".md"))
    prepare()
    from grasp_gen_core.evaluation import score

    names = ("protocol", "reference", "hand", "seed", "quiet")
    options = {name: getattr(arguments, name) for name in names}
    write_report(score(arguments.grasps, arguments.object, **options), arguments)
    outputs.tell()
    return 0
