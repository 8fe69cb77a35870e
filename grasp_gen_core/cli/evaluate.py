"""`grasp-gen evaluate`: grasps for a folder of objects, measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from grasp_gen_core.cli.options import (
    DEFAULT,
    RAY_HELP,
    Outputs,
    Parser,
    add_metric_options,
    add_model_options,
    prepare,
    write_report,
)

VIEWS_HELP = "what is seen of each object: full, mask50, mask90, camera or mesh"


def add(parser: Parser) -> None:
    help = "folder of meshes, in metres; to refine, a dataset with grasps"
    parser.add_argument("--objects", required=True, metavar="DIR", help=help)
    help = "generate grasps, or refine a dataset's after noise was put on them, " + DEFAULT
    parser.add_argument("--task", default="generate", metavar="generate|refine", help=help)
    help = "grasps that training did not see: by their objects, or by their hands, " + DEFAULT
    parser.add_argument("--split", default="objects", metavar="objects|hands", help=help)
    parser.add_argument("--view", default="full", metavar="VIEW", help=VIEWS_HELP + ", " + DEFAULT)
    add_model_options(parser, num=20, of="grasps for each object")
    add_metric_options(parser)
    help = "dataset folder; adds fid, against pictures of its grasps"
    parser.add_argument("--reference", metavar="DATASET", help=help)
    help = "torchvision Inception-v3 weights for fid, default: the built-in extractor"
    parser.add_argument("--inception", metavar="FILE", help=help)
    help = "plots by object and a picture of the grasps"
    parser.add_argument("--figures", type=Path, metavar="DIR", help=help)
    parser.add_argument("--ray", metavar="ADDRESS", help=RAY_HELP)


def run(arguments: argparse.Namespace) -> int:
    """Generate for every object of a folder, measure, and report."""
    outputs = Outputs(
        arguments.quiet,
        (arguments.json, ".json"),
        (arguments.markdown, ".md"),
        (arguments.figures, ""),
    )
    prepare()
    from dataclasses import fields

    from grasp_gen_core.evaluation import Settings, evaluate

    if arguments.figures:
        # Before the work: what is missing is told at once.
        from grasp_gen_core.figures import contact_sheet, plot_results

    settings = Settings(**{one.name: getattr(arguments, one.name) for one in fields(Settings)})
    result = evaluate(arguments.objects, settings, arguments.ray, arguments.quiet)
    write_report(result, arguments)
    if arguments.figures:
        arguments.figures.mkdir(exist_ok=True)
        plot_results(result.results, arguments.figures)
        contact_sheet(result.objects, arguments.figures / "grasps.png")
    outputs.tell()
    return 0
