"""Hands on invented objects, measured: JHOD's unconditional row.

python benchmarks/imagined.py [--num 32] [--refiner none] [--generator FOLDER]
"""

from __future__ import annotations

import argparse
import platform
from datetime import date

import numpy as np
import pandas as pd

from grasp_gen_core.imagination import imagine
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.protocols import measure_exact
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.runtime import tune_allocator

SHOWN = ("penetration_depth_cm", "penetration_volume_cm3", "sim_displacement_cm")
SHOWN += ("contact_ratio_pct", "contact_fingers", "quality_index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--refiner", default="none")
    parser.add_argument("--generator", default="jhod", help="jhod, or a folder of its weights")
    arguments = parser.parse_args()
    tune_allocator()
    pipeline, rows = GraspPipeline(arguments.generator, arguments.refiner, "cpu"), []
    for one in imagine(pipeline, arguments.num, arguments.seed):
        arrays = {name: getattr(one, name) for name in ("vertices", "joints", "faces")}
        values = measure_exact(HandMeshes.from_arrays(arrays, pipeline.hand), one.shapes[0])
        extents = 100 * one.shapes[0].extents.max()
        rows.append({name: values[name][0] for name in SHOWN} | {"longest_side_cm": extents})
    table = pd.DataFrame(rows)
    means = {name: np.nanmean(table[name]) for name in table}
    print(pd.DataFrame([means]).round(2).to_string(index=False))
    print(f"\n{len(table)} pairs; {platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
