"""Which grasps of a dataset hold when the hand closes: `data/closing.parquet` beside the table.

    python -m grasp_gen_training.closing [--data training/data] [--objects 600]

Objects come in random order, some three seconds of one core each; a run that was interrupted, or
was to test fewer, is resumed.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_gen_core.data.dataset import CLOSING, MESHES, GraspDataset, object_mesh
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_training.kept import keep

VERSION = 1  # of what is kept: one more when the closing test changes
PORTION = 300  # objects that are tested, and kept, at a time


def close(task: tuple[str, Path, np.ndarray]) -> np.ndarray:
    """(B,) whether an object's hands (B, 61) hold it, of its name and its dataset's mesh folder."""
    torch.set_num_threads(1)
    name, folder, mano = task
    return ClosingTest(object_mesh(name, folder), ManoHand())(mano).outcome == HELD


def closing_table(data: GraspDataset, objects: int, quiet: bool = False) -> pd.DataFrame:
    """Rows `grasp` (number in the dataset's table) and `holds` of all grasps of some objects.

    Args:
        data: the dataset.
        objects: how many, the same and more where more are wanted.
        quiet: no progress bar.
    """
    order = np.random.default_rng(0).permutation(len(data.objects))[:objects]
    grasps, holds = [], []
    for portion in np.split(order, range(PORTION, len(order), PORTION)):
        rows = [np.flatnonzero(data.object_index == i) for i in portion]
        ends = np.cumsum([len(row) for row in rows])
        row = np.concatenate(rows)
        digest = hashlib.sha256(f"{VERSION} {[data.objects[i] for i in portion]}".encode())
        digest.update(data.mano[row].tobytes())
        path = cache_folder() / "closing" / f"{digest.hexdigest()}.npy"
        tasks = [
            (slice(end - len(row), end), (data.objects[i], data.folder / MESHES, data.mano[row]))
            for i, row, end in zip(portion, rows, ends, strict=True)
        ]
        kept = keep(path, (len(row),), "?", close, tasks, "closing hands", quiet)
        grasps.append(row)
        holds.append(np.load(kept, allow_pickle=False))
    table = pd.DataFrame({"grasp": np.concatenate(grasps), "holds": np.concatenate(holds)})
    return table.sort_values("grasp", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=600)
    parser.add_argument("--data", type=Path, default=Path(__file__).with_name("data"))
    arguments = parser.parse_args()
    table = closing_table(GraspDataset.load(arguments.data), arguments.objects)
    table.to_parquet(arguments.data / CLOSING, index=False, compression="zstd")
    held = table["holds"].sum()
    print(f"{arguments.data / CLOSING}: {held:,} of {len(table):,} grasps hold")


if __name__ == "__main__":
    main()
