"""Whether grasps that hold when the hand closes are other grasps than those that let go.

    python benchmarks/closing.py [--data training/data]

By grasp type how many there are and the share that holds; and of what the data's filter measured,
the means of grasps that hold and of those that let go. `python -m grasp_gen_training.closing` tests
them first, where the data doesn't say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from grasp_gen_core.data.dataset import CLOSING, TABLE
from grasp_gen_core.report import table as markdown

COLUMNS = (
    "contact_fingers",
    "penetration_depth_cm",
    "penetration_volume_cm3",
    "hold_cm",
    "displacement_cm",
    "force_closure_n",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("training/data"))
    folder = parser.parse_args().data
    table = pd.read_parquet(folder / TABLE)
    table = table.join(pd.read_parquet(folder / CLOSING).set_index("grasp"), how="inner")
    kinds = table.groupby("kind")["holds"].agg(["count", "mean"]).sort_values("mean")
    kinds.loc["all"] = len(table), table["holds"].mean()
    rows = [
        {"grasp type": kind, "grasps": f"{count:,.0f}", "hold %": f"{100 * share:.0f}"}
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
