"""Whether grasps that hold when the hand closes are other grasps: the shipped ones, closed.

    python benchmarks/closing.py [--objects 40] [--data training/data]

By grasp type how many there are and the share that holds; and of what the data's filter measured,
the means of grasps that hold and of those that let go.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import closing
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_gen_core.data.dataset import TABLE, object_mesh
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.parallel import run_in_order
from grasp_gen_core.report import table as markdown

COLUMNS = (
    "contact_fingers",
    "penetration_depth_cm",
    "penetration_volume_cm3",
    "hold_cm",
    "displacement_cm",
    "force_closure_n",
)


def close(item: tuple[str, np.ndarray]) -> np.ndarray:
    """(B,) bool, which of an object's hands (B, 61) hold it; runs in a process of its own."""
    torch.set_num_threads(1)
    name, mano = item
    return ClosingTest(object_mesh(name, Path()), ManoHand())(mano).outcome == HELD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--data", type=Path, default=Path("training/data"))
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.data / TABLE)
    names = pd.Series(table["object"].unique()).sample(arguments.objects, random_state=0)
    rows = {name: part for name, part in table.groupby("object") if name in set(names)}
    items = [(name, np.stack(part["mano"])) for name, part in rows.items()]
    with closing(run_in_order(close, items, os.cpu_count() or 1)) as results:
        table = pd.concat(rows.values()).assign(holds=np.concatenate(list(results)))
    print(f"cpu, {os.cpu_count()} cores {platform.machine()}, {date.today()}\n")
    kinds = table.groupby("kind")["holds"].agg(["count", "mean"]).sort_values("mean")
    kinds.loc["all"] = len(table), table["holds"].mean()
    rows = [
        {"grasp type": kind, "grasps": f"{count:.0f}", "hold %": f"{100 * share:.0f}"}
        for kind, count, share in kinds.itertuples()
    ]
    print(markdown(rows), "\n")
    means = table.groupby("holds")[list(COLUMNS)].mean()
    ends = {"hold": True, "let go": False}
    rows = [
        {"mean": name} | {head: f"{means[name][held]:.2f}" for head, held in ends.items()}
        for name in COLUMNS
    ]
    print(markdown(rows))


if __name__ == "__main__":
    main()
