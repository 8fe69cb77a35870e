"""The `grasp-gen` command: everything the project does, without ROS."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from grasp_gen_core import defaults

# Only what `--help` needs is imported here; torch and the rest load inside the commands.
if TYPE_CHECKING:
    from grasp_gen_core.evaluation import Evaluation
    from grasp_gen_core.pipeline import GraspPipeline
    from grasp_gen_core.types import GraspSet

BAD_INPUT = 2
OBJECT_HELP = (
    "mesh (.ply .obj .stl .glb .off) or cloud (.pcd .ply .npy .npz .xyz), in metres; an .npz "
    "cloud holds points or object_points, an .npy is (N, 3)"
)
VIEWS_HELP = "what is seen of each object: full, mask50, mask90, camera or mesh"
RAY_HELP = "spread the objects over an existing Ray cluster"
DEFAULT = "default: %(default)s"
NUM_POINTS = 4096  # sampled from a mesh; the pipeline thins them evenly
ROWS_SHOWN = 10


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, like every other wrong input."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"grasp-gen: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 2 bad input, told in one line on stderr. A bug raises, which Python
        turns into a traceback and 1.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] == ["train"]:  # its options are its own
            return train(argv[1:])
        arguments = build_parser().parse_args(argv)
        return arguments.run(arguments)
    except ValueError as error:
        print("grasp-gen: error:", " ".join(str(error).split()), file=sys.stderr)
        return BAD_INPUT


def build_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="grasp-gen", description="Human (MANO) hand grasps for any object.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, help: str) -> Parser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(run=run)
        return added

    one = command("generate", generate, "generate ranked grasps for an object")
    one.add_argument("object", metavar="OBJECT", help=OBJECT_HELP)
    add_model_options(one)
    one.add_argument("--out", type=Path, default=Path("grasps.npz"), metavar="NPZ", help=DEFAULT)
    one.add_argument("--render", type=Path, metavar="PNG", help="picture of the best grasps")
    one.add_argument("--glb", type=Path, metavar="GLB", help="3D scene of the best grasps")

    one = command("evaluate", evaluate, "generate grasps for a folder of objects and measure them")
    help = "folder of meshes, in metres; to refine, a dataset with grasps"
    one.add_argument("--objects", required=True, metavar="DIR", help=help)
    help = "generate grasps, or refine a dataset's after noise was put on them, " + DEFAULT
    one.add_argument("--task", default="generate", metavar="generate|refine", help=help)
    help = "grasps that training did not see: by their objects, or by their hands, " + DEFAULT
    one.add_argument("--split", default="objects", metavar="objects|hands", help=help)
    one.add_argument("--view", default="full", metavar="VIEW", help=VIEWS_HELP + ", " + DEFAULT)
    add_model_options(one, num=20, of="grasps for each object")
    add_metric_options(one)
    help = "dataset folder; adds fid, against pictures of its grasps"
    one.add_argument("--reference", metavar="DATASET", help=help)
    help = "torchvision Inception-v3 weights for fid, default: the built-in extractor"
    one.add_argument("--inception", metavar="FILE", help=help)
    help = "plots by object and a picture of the grasps"
    one.add_argument("--figures", type=Path, metavar="DIR", help=help)
    one.add_argument("--ray", metavar="ADDRESS", help=RAY_HELP)

    one = command("score", score, "measure the grasps of a file, ours or anybody's")
    help = ".npz with vertices (B, V, 3), faces (F, 3) and joints (B, 21, 3), in metres"
    one.add_argument("grasps", type=Path, metavar="GRASPS.npz", help=help)
    one.add_argument("--object", required=True, metavar="MESH", help="in the frame of the grasps")
    help = "the same number of hands that they should equal; adds joint errors and contact accuracy"
    one.add_argument("--reference", metavar="GRASPS.npz", help=help)
    add_metric_options(one)
    add_common_options(one, device=False)

    one = command("view", view, "look at the grasps of a file, in a window or as a picture")
    one.add_argument("grasps", type=Path, metavar="GRASPS.npz", help="written by generate")
    one.add_argument("--render", type=Path, metavar="PNG", help="write a picture, open no window")
    one.add_argument("--count", type=positive, default=4, metavar="N", help="grasps, " + DEFAULT)

    one = command("synthesize", synthesize, "make a training dataset by optimisation and physics")
    one.add_argument("--objects", required=True, metavar="DIR|procedural", help="folder of meshes")
    one.add_argument("--count", type=positive, required=True, metavar="N", help="grasps wanted")
    one.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder to write")
    one.add_argument("--ray", metavar="ADDRESS", help=RAY_HELP)
    add_common_options(one)

    command("train", train, "train a system on a dataset: grasp-gen train CONFIG.yaml")

    one = command("bench", bench, "time the pipeline stage by stage")
    help = OBJECT_HELP + "; without it a procedural bottle"
    one.add_argument("object", metavar="OBJECT", nargs="?", help=help)
    add_model_options(one)
    one.add_argument("--repeat", type=positive, default=5, metavar="N", help="calls, " + DEFAULT)
    return parser


def add_model_options(parser: argparse.ArgumentParser, num: int = 32, of: str = "grasps") -> None:
    """What generates the grasps."""
    help = f"{of}, " + DEFAULT
    parser.add_argument("--num", type=positive, default=num, metavar="N", help=help)
    help = "a system, or a folder of weights that train wrote, " + DEFAULT
    parser.add_argument("--generator", default=defaults.GENERATOR, metavar="NAME|DIR", help=help)
    parser.add_argument("--refiner", default=defaults.REFINER, metavar="NAME|DIR|none", help=help)
    parser.add_argument("--side", choices=("right", "left"), default="right", help=DEFAULT)
    help = "generator that puts the proposed hands in new places: dvqvae"
    parser.add_argument("--reposition", metavar="NAME|DIR", help=help)
    help = "options of the generator's sampling, for dvqvae temperature=1,top_k=0, for grasp_cvae "
    help += "steps=25 of the refiner grasp_tta"
    parser.add_argument("--sampling", type=options, default=(), metavar="A=1,B=2", help=help)
    help = "contact maps by distance, or by CHOIR's gaussians, " + DEFAULT
    parser.add_argument("--contact", default="distance", metavar="distance|gaussians", help=help)
    add_common_options(parser)


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """How grasps are measured, and where the numbers go."""
    help = "exact, dvqvae, grasptta or fastgrasp (as those papers' scripts measure), " + DEFAULT
    parser.add_argument("--protocol", default="exact", metavar="NAME", help=help)
    parser.add_argument("--json", type=Path, metavar="JSON", help="all numbers")
    parser.add_argument(
        "--markdown", type=Path, metavar="MD", help="tables as the papers have them"
    )


def add_common_options(parser: argparse.ArgumentParser, device: bool = True) -> None:
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help=DEFAULT)
    if device:
        help = "auto, cpu, cuda or cuda:N, " + DEFAULT
        parser.add_argument("--device", default="auto", help=help)
    parser.add_argument(
        "--hand", metavar="PATH", help="MANO .pkl or .npz, default: $GRASP_GEN_HAND or the shipped"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def options(text: str) -> tuple[tuple[str, float], ...]:
    """Names and their numbers."""
    from grasp_gen_core.generators import read_options

    try:
        return read_options(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    number = natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError("0, accepted is 1 or more")
    return number


def natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r}, accepted are whole numbers from 0 to 2^31 - 1")
    return int(text)


def generate(arguments: argparse.Namespace) -> int:
    """Load, generate, write and list."""
    check_writable(arguments.out, ".npz")
    check_writable(arguments.render, ".png")
    check_writable(arguments.glb, ".glb")
    say = (lambda *words: None) if arguments.quiet else tell

    points, mesh = load(arguments.object, arguments.seed)
    pipeline = build_pipeline(arguments)
    # Nothing is said before all input is known to be good: errors stand alone.
    say(
        f"{arguments.object}: {len(points)} points, {arguments.num} grasps on {pipeline.device} ..."
    )
    started = time.perf_counter()
    grasps = pipeline(points, num=arguments.num, seed=arguments.seed)
    say(f"{len(grasps)} grasps in {time.perf_counter() - started:.1f} s")

    grasps.save(arguments.out)
    if arguments.render or arguments.glb:
        from grasp_gen_core.render import export_glb, render_grasps

        if arguments.render:
            render_grasps(grasps, arguments.render, mesh)
        if arguments.glb:
            export_glb(grasps, arguments.glb, mesh)
    written = [arguments.out, arguments.render, arguments.glb]
    say("wrote", ", ".join(str(path) for path in written if path))
    print_grasps(grasps)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Generate for every object of a folder, measure, and report."""
    for path, suffix in ((arguments.json, ".json"), (arguments.markdown, ".md")):
        check_writable(path, suffix)
    check_writable(arguments.figures)
    prepare()
    from dataclasses import fields

    from grasp_gen_core.evaluation import Settings
    from grasp_gen_core.evaluation import evaluate as run

    settings = Settings(**{one.name: getattr(arguments, one.name) for one in fields(Settings)})
    result = run(arguments.objects, settings, arguments.ray, arguments.quiet)
    write_report(result, arguments)
    if arguments.figures:
        from grasp_gen_core.figures import contact_sheet, plot_results

        arguments.figures.mkdir(exist_ok=True)
        plot_results(result.results, arguments.figures)
        contact_sheet(result.objects, arguments.figures / "grasps.png")
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Measure a file's grasps, and report."""
    for path, suffix in ((arguments.json, ".json"), (arguments.markdown, ".md")):
        check_writable(path, suffix)
    prepare()
    from grasp_gen_core.evaluation import score as run

    names = ("protocol", "reference", "hand", "seed", "quiet")
    options = {name: getattr(arguments, name) for name in names}
    write_report(run(arguments.grasps, arguments.object, **options), arguments)
    return 0


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


def view(arguments: argparse.Namespace) -> int:
    """A window, or with --render a picture."""
    from grasp_gen_core.render import render_grasps, show_grasps
    from grasp_gen_core.types import GraspSet

    check_writable(arguments.render, ".png")
    grasps = GraspSet.load(arguments.grasps)
    if arguments.render:
        render_grasps(grasps, arguments.render, count=arguments.count)
    else:
        show_grasps(grasps, count=arguments.count)
    return 0


def synthesize(arguments: argparse.Namespace) -> int:
    """Make a dataset."""
    prepare()
    from grasp_gen_core import synthesis

    check_writable(arguments.out)
    synthesis.synthesize(
        arguments.objects,
        arguments.count,
        arguments.out,
        arguments.seed,
        arguments.device,
        arguments.hand,
        arguments.quiet,
        arguments.ray,
    )
    return 0


def train(argv: list[str]) -> int:
    """Hand over to the training package, which core doesn't depend on."""
    try:
        entry = import_module("training.train")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"train: the module {error.name} is not installed; training is part of the repository "
            "and needs its extra packages: pip install -e '.[train]'"
        ) from error
    entry.main(argv)
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Time whole calls, the model loaded before and one call made to warm up."""
    import numpy as np
    import torch

    from grasp_gen_core.metrics.time_s import time_s

    say = (lambda *words: None) if arguments.quiet else tell
    if arguments.object:
        points, _ = load(arguments.object, arguments.seed)
    else:
        from grasp_gen_core.objects.procedural import make_object
        from grasp_gen_core.objects.sampling import sample_surface

        bottle = make_object("bottle", seed=arguments.seed)
        points, _ = sample_surface(bottle, NUM_POINTS, arguments.seed)
    started = time.perf_counter()
    pipeline = build_pipeline(arguments)
    loading = time.perf_counter() - started
    calls = []
    for number in range(arguments.repeat + 1):
        _, total = time_s(
            lambda: pipeline(points, num=arguments.num, seed=arguments.seed), pipeline.device
        )
        calls.append({**pipeline.timings, "total": total, "per grasp": total / arguments.num})
        say(f"call {number} of {arguments.repeat}: {total:.2f} s" + " (warm-up)" * (number == 0))

    stages = {name: np.array([call[name] for call in calls[1:]]) for name in calls[0]}
    print(
        f"{arguments.num} grasps, {arguments.generator} + {arguments.refiner}, "
        f"{arguments.repeat} calls on {device_name(pipeline.device)}, "
        f"{torch.get_num_threads()} CPU threads; loading took {loading:.2f} s"
    )
    rows = [(name, f"{t.min():.3f}", f"{np.median(t):.3f}") for name, t in stages.items()]
    print_table(("stage", "min [s]", "median [s]"), rows)
    return 0


def load(path: str, seed: int):
    """Points (N, 3), and the mesh when the file holds one."""
    prepare()
    from grasp_gen_core.objects.clouds import load_object

    return load_object(path, NUM_POINTS, seed)


def prepare() -> None:
    """What must happen before the first large array."""
    from grasp_gen_core.runtime import tune_allocator

    tune_allocator()


def build_pipeline(arguments: argparse.Namespace) -> GraspPipeline:
    from grasp_gen_core.pipeline import OPTIONS, GraspPipeline

    return GraspPipeline(**{name: getattr(arguments, name) for name in OPTIONS})


def check_writable(path: Path | None, suffix: str = "") -> None:
    """Complain about an output before the work: a file with this suffix, without one a folder."""
    if path is None:
        return
    if suffix and path.suffix.lower() != suffix:
        raise ValueError(f"{path}: accepted is a name that ends in {suffix}")
    if path.exists() and path.is_dir() == bool(suffix):
        kind = "a file" if suffix else "a folder"
        raise ValueError(f"{path}: already there, but not {kind}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{path}: the folder {folder} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{path}: cannot be written, permission denied")


def device_name(device) -> str:
    """The device as people know it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def tell(*words: str) -> None:
    """Progress, kept off stdout."""
    print(*words, file=sys.stderr, flush=True)


def print_grasps(grasps: GraspSet) -> None:
    """The best grasps and what their score was made of."""
    shown = range(min(ROWS_SHOWN, len(grasps)))
    columns = {"score": grasps.score, **grasps.metrics}
    rows = [(str(i + 1), *(f"{values[i]:.3g}" for values in columns.values())) for i in shown]
    print_table(("rank", *columns), rows)
    if len(grasps) > ROWS_SHOWN:
        print(f"... and {len(grasps) - ROWS_SHOWN} more")


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need; the first to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for first, *others in lines:
        cells = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)))


if __name__ == "__main__":
    sys.exit(main())
