"""The `grasp-gen` command: everything the project does, without ROS; one file a verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from grasp_gen_core.cli import (
    bench,
    evaluate,
    export_hand,
    generate,
    imagine,
    score,
    synthesize,
    train,
    view,
)
from grasp_gen_core.cli.options import BAD_INPUT, Parser
from grasp_gen_core.errors import InputError

# In the order of `--help`. Each file has `add`, which declares its options, and `run`; only what
# `--help` needs is imported above, torch and the rest load when a command runs.
VERBS = {
    "generate": (generate, "generate ranked grasps for an object"),
    "imagine": (imagine, "invent objects with hands on them"),
    "evaluate": (evaluate, "generate grasps for a folder of objects and measure them"),
    "score": (score, "measure the grasps of a file, ours or anybody's"),
    "view": (view, "look at the grasps of a file, in a window or as a picture"),
    "export-hand": (export_hand, "write a hand with joints and motors, for simulators"),
    "synthesize": (synthesize, "make a training dataset by optimisation and physics"),
    "train": (train, "train a system on a dataset"),
    "bench": (bench, "time the pipeline stage by stage"),
}
# Verbs that need more than `pip install grasp-gen` brings, and the extra that brings it.
EXTRAS = {name: name for name in ("evaluate", "view", "synthesize", "train")}
EXTRAS |= {"generate": "view", "imagine": "view", "score": "evaluate", "export-hand": "evaluate"}
LIBRARIES = "libgl1 libegl1 libgomp1 libusb-1.0-0 libx11-6"  # open3d's, of Debian and Ubuntu


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 2 bad input, told in one line on stderr. A bug raises, which Python
        turns into a traceback and 1.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse takes what follows the config up to the next option alone.
    if rest and not (
        arguments.command == "train" and all("=" in word and word[0] != "-" for word in rest)
    ):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    try:
        return arguments.run(arguments)
    except InputError as error:
        reason = " ".join(str(error).split())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("grasp_gen_core"):
            raise
        extra = EXTRAS.get(arguments.command)
        name = f"'grasp-gen[{extra}]'" if extra else "grasp-gen"
        reason = f"{arguments.command} needs {error.name or error}: pip install {name}"
    except OSError as error:
        if "cannot open shared object file" not in str(error):
            raise
        reason = f"{error}; as root: apt-get install {LIBRARIES}"
    print("grasp-gen: error:", reason, file=sys.stderr)
    return BAD_INPUT


def build_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="grasp-gen", description="Human (MANO) hand grasps for any object.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (verb, help) in VERBS.items():
        one = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        verb.add(one)
        one.set_defaults(run=verb.run, command=name)
    return parser
