"""`grasp-gen bench`: seconds of the pipeline, stage by stage."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from grasp_gen_core.cli.options import (
    DEFAULT,
    NUM_POINTS,
    OBJECT_HELP,
    Parser,
    add_model_options,
    build_pipeline,
    load,
    positive,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from grasp_gen_core.pipeline import GraspPipeline


def add(parser: Parser) -> None:
    help = OBJECT_HELP + "; without it a procedural bottle"
    parser.add_argument("object", metavar="OBJECT", nargs="?", help=help)
    add_model_options(parser)
    parser.add_argument("--repeat", type=positive, default=5, metavar="N", help="calls, " + DEFAULT)


def run(arguments: argparse.Namespace) -> int:
    """Time whole calls, the model loaded before and one call made to warm up."""
    import numpy as np
    import torch

    from grasp_gen_core.metrics.time_s import time_s
    from grasp_gen_core.runtime import few_threads

    say = (lambda *words: None) if arguments.quiet else tell
    if arguments.object:
        seen = load(arguments.object, arguments.seed)
    else:
        from grasp_gen_core.objects.procedural import make_object
        from grasp_gen_core.objects.sampling import sample_surface
        from grasp_gen_core.types import Observation

        bottle = make_object("bottle", seed=arguments.seed)
        seen = Observation(*sample_surface(bottle, NUM_POINTS, arguments.seed))
    started = time.perf_counter()
    pipeline = build_pipeline(arguments)
    loading = time.perf_counter() - started
    calls = []
    for number in range(arguments.repeat + 1):
        _, total = time_s(
            lambda: pipeline(seen, num=arguments.num, seed=arguments.seed), pipeline.device
        )
        calls.append({**pipeline.timings, "total": total, "per grasp": total / arguments.num})
        say(f"call {number} of {arguments.repeat}: {total:.2f} s" + " (warm-up)" * (number == 0))

    with few_threads():
        threads = torch.get_num_threads()
    stages = {name: np.array([call[name] for call in calls[1:]]) for name in calls[0]}
    print(
        f"{arguments.num} grasps, {arguments.generator} + {arguments.refiner}, "
        f"{arguments.repeat} calls on {device_name(pipeline.device)}, "
        f"{threads} CPU threads; loading took {loading:.2f} s"
    )
    if arguments.refiner == "quick":
        floor = [floor_of_quick(pipeline, arguments.num) for _ in range(arguments.repeat + 1)]
        stages["of refine, hand layer alone"] = np.array(floor[1:])
    rows = [(name, f"{t.min():.3f}", f"{np.median(t):.3f}") for name, t in stages.items()]
    print_table(("stage", "min [s]", "median [s]"), rows)
    return 0


def floor_of_quick(pipeline: GraspPipeline, num: int) -> float:
    """Seconds that the hand layer alone takes, there and back, in all steps for `num` grasps.

    Of an object seen from all around: of one seen in part more hands are refined.
    """
    import torch

    from grasp_gen_core.hand.variables import HandVariables
    from grasp_gen_core.metrics.time_s import time_s
    from grasp_gen_core.pipeline import REFINED
    from grasp_gen_core.refiners.quick import STEPS
    from grasp_gen_core.runtime import few_threads
    from grasp_gen_core.types import MANO_SIZE

    hand, count = pipeline.hand, min(num, pipeline.portion) * REFINED
    variables = HandVariables(hand, torch.zeros(count, MANO_SIZE, device=pipeline.device))
    flat = hand.flat(variables.betas, hand.regions.sparse)

    def there_and_back() -> None:
        for _ in range(STEPS):
            points, _ = variables.bend(flat)
            torch.autograd.grad(points.sum(), variables.parameters())

    with few_threads():
        _, seconds = time_s(there_and_back, pipeline.device)
    return seconds * num * REFINED / count


def device_name(device) -> str:
    """The device as people know it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
