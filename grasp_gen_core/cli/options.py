"""What several commands share: options, checks of files, words and tables on the terminal."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from grasp_gen_core import defaults
from grasp_gen_core.errors import InputError

if TYPE_CHECKING:
    from grasp_gen_core.evaluation import Evaluation
    from grasp_gen_core.perception import Segmentation
    from grasp_gen_core.pipeline import GraspPipeline
    from grasp_gen_core.types import Observation

BAD_INPUT = 2
OBJECT_HELP = (
    "mesh (.ply .obj .stl .glb .off) or cloud (.pcd .ply .npy .npz .xyz), in metres; an .npz "
    "cloud holds points or object_points, an .npy is (N, 3)"
)
RAY_HELP = "spread the objects over an existing Ray cluster"
DEFAULT = "default: %(default)s"
NUM_POINTS = 4096  # sampled from a mesh; the pipeline thins them evenly


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, like every other wrong input."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"grasp-gen: error: {message} (see {self.prog} --help)\n")


def add_model_options(parser: Parser, num: int = 32, of: str = "grasps") -> None:
    """What generates the grasps."""
    help = f"{of}, " + DEFAULT
    parser.add_argument("--num", type=positive, default=num, metavar="N", help=help)
    help = "a system, or a folder of weights that train wrote, " + DEFAULT
    parser.add_argument("--generator", default=defaults.GENERATOR, metavar="NAME|DIR", help=help)
    parser.add_argument("--refiner", default=defaults.REFINER, metavar="NAME|DIR|none", help=help)
    parser.add_argument("--side", choices=("right", "left"), default="right", help=DEFAULT)
    help = "generator that puts the proposed hands in new places: dvqvae"
    parser.add_argument("--reposition", metavar="NAME|DIR", help=help)
    help = "options of the generator's sampling, such as steps=10, or temperature=0.8"
    parser.add_argument("--sampling", type=sampling, default=(), metavar="A=1,B=2", help=help)
    help = (
        "guess of what isn't seen: symmetry, exit_depth, volume, jhod (these draw objects) or "
        "none, " + DEFAULT
    )
    parser.add_argument("--completion", default=defaults.COMPLETION, metavar="NAME", help=help)
    help = "what scores: evaluator (chance of success), formula, or a folder of weights, " + DEFAULT
    parser.add_argument("--ranking", default=defaults.RANKING, metavar="NAME|DIR", help=help)
    help = "contact maps by distance, or by CHOIR's gaussians, " + DEFAULT
    parser.add_argument("--contact", default="distance", metavar="distance|gaussians", help=help)
    add_common_options(parser)


def add_metric_options(parser: Parser) -> None:
    """How grasps are measured, and where the numbers go."""
    help = "exact, dvqvae, grasptta or fastgrasp (as those papers' scripts measure), " + DEFAULT
    parser.add_argument("--protocol", default="exact", metavar="NAME", help=help)
    parser.add_argument("--json", type=Path, metavar="JSON", help="all numbers")
    parser.add_argument(
        "--markdown", type=Path, metavar="MD", help="tables as the papers have them"
    )


def add_common_options(parser: Parser, device: bool = True) -> None:
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help=DEFAULT)
    if device:
        help = "auto, cpu, cuda or cuda:N, " + DEFAULT
        parser.add_argument("--device", default="auto", help=help)
    add_hand_option(parser)
    add_quiet_option(parser)


def add_hand_option(parser: Parser) -> None:
    parser.add_argument(
        "--hand", metavar="PATH", help="MANO .pkl or .npz, default: $GRASP_GEN_HAND or the shipped"
    )


def add_scene_options(parser: Parser) -> None:
    """How a scene is read and looked at."""
    help = "of a depth image in a .png, pixels"
    names = ("FX", "FY", "CX", "CY")
    parser.add_argument("--intrinsics", type=coordinate, nargs=4, metavar=names, help=help)
    help = "where the camera stood, in the file's frame; default: what a .pcd says, or a guess"
    axes = ("X", "Y", "Z")
    parser.add_argument("--viewpoint", type=coordinate, nargs=3, metavar=axes, help=help)
    help = "what is up in the scene's frame; default: the plane's side that the camera is on"
    parser.add_argument("--up", type=coordinate, nargs=3, metavar=axes, help=help)
    help = "box to look at, in metres: lowest x y z, highest x y z; default: everywhere"
    parser.add_argument("--region", type=coordinate, nargs=6, metavar="M", help=help)


def add_quiet_option(parser: Parser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def sampling(text: str) -> tuple[tuple[str, float], ...]:
    """Names and their numbers."""
    from grasp_gen_core.generators import read_options

    try:
        return read_options(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def coordinate(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}, accepted are metres")
    return value


def positive(text: str) -> int:
    number = natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError("0, accepted is 1 or more")
    return number


def natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r}, accepted are whole numbers from 0 to 2^31 - 1")
    return int(text)


class Outputs:
    """The files and folders that a command was asked to write.

    Args:
        quiet: `tell` says nothing.
        paths: each with the suffix it must have, "" for a folder; None where none was asked for.

    Raises:
        InputError: if one can't be written: complained about before the work.
    """

    def __init__(self, quiet: bool, *paths: tuple[Path | None, str]) -> None:
        self.quiet = quiet
        self.paths = [path for path, _ in paths if path is not None]
        for path, suffix in paths:
            if path is not None:
                check_writable(path, suffix)
        self.replaced = [path for path in self.paths if path.is_file()]

    def tell(self) -> None:
        """Say what was written, and which files it replaced."""
        if not self.quiet and self.paths:
            replaced = f" ({', '.join(map(str, self.replaced))} replaced)" if self.replaced else ""
            tell("wrote", ", ".join(map(str, self.paths)) + replaced)


def check_writable(path: Path, suffix: str) -> None:
    """InputError unless a file with this suffix, or for "" a folder, can be written there."""
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"{path}: accepted is a name that ends in {suffix}")
    if path.exists() and path.is_dir() == bool(suffix):
        kind = "a file" if suffix else "a folder"
        raise InputError(f"{path}: already there, but not {kind}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path}: cannot be written, permission denied")


def load(path: str, seed: int) -> Observation:
    """The object of a file."""
    prepare()
    from grasp_gen_core.objects.clouds import load_object

    return load_object(path, NUM_POINTS, seed)


def load_segmented(path: str, arguments: argparse.Namespace) -> Segmentation:
    """The scene of a file, parted as the scene's options say."""
    prepare()
    from grasp_gen_core.perception import segment
    from grasp_gen_core.perception.files import load_scene

    points, viewpoint = load_scene(path, arguments.intrinsics)
    region = arguments.region and (arguments.region[:3], arguments.region[3:])
    try:
        return segment(points, arguments.viewpoint or viewpoint, arguments.up, region)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def prepare() -> None:
    """What must happen before the first large array."""
    from grasp_gen_core.runtime import tune_allocator

    tune_allocator()


def build_pipeline(arguments: argparse.Namespace) -> GraspPipeline:
    from grasp_gen_core.pipeline import OPTIONS, GraspPipeline

    return GraspPipeline(**{name: getattr(arguments, name) for name in OPTIONS})


def write_report(result: Evaluation, arguments: argparse.Namespace) -> None:
    """The files asked for, and the summary on stdout."""
    import json

    from grasp_gen_core.report import markdown

    if arguments.json:
        arguments.json.write_text(json.dumps(result.results, indent=2, allow_nan=False) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(result))
    numbers = {k: v for k, v in result.results["summary"].items() if not isinstance(v, dict)}
    rows = [(name, "-" if value is None else f"{value:.4g}") for name, value in numbers.items()]
    if result.seconds is not None:
        rows += [("time_s per call", f"{result.seconds:.3g}")]
        rows += [("time_s per grasp", f"{result.seconds / arguments.num:.3g}")]
    print_table(("metric", arguments.protocol), rows)
    for name, notes in result.results["config"]["notes"].items():
        print(f"{name}: {'; '.join(notes)}")


def tell(*words: str) -> None:
    """Progress, kept off stdout."""
    print(*words, file=sys.stderr, flush=True)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need; the first to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for first, *others in lines:
        cells = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)))
