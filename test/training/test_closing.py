"""Which grasps of a dataset hold: those that the closing test itself lets hold."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from grasp_gen_core.data.dataset import CLOSING, TABLE, GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest

ROOT = Path(__file__).parents[2]


def test_all_grasps_of_the_chosen_objects_are_told(tmp_path):
    table = pd.read_parquet(ROOT / "training" / "data" / TABLE)
    names = table["object"].unique()[:3]
    table = pd.concat([table[table["object"] == name].head(3) for name in names])
    table = table.sample(frac=1, random_state=0, ignore_index=True)
    # One hand of each is taken away from its object.
    away = table.index[~table["object"].duplicated()]
    for row in away:
        table.at[row, "mano"] = table.at[row, "mano"] + np.float32([0] * 58 + [1, 0, 0])
    table.to_parquet(tmp_path / TABLE)
    command = [sys.executable, "-m", "grasp_gen_training.closing", "--data", str(tmp_path)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([*command, "--objects", "2"], env=environment, text=True, stdout=-1)
    told = pd.read_parquet(tmp_path / CLOSING)
    assert f"{told['holds'].sum()} of 6 grasps hold" in done.stdout

    data, hand = GraspDataset.load(tmp_path), ManoHand()
    rows = told["grasp"].to_numpy()
    tested = np.unique(data.object_index[rows])
    assert len(tested) == 2
    assert np.array_equal(np.flatnonzero(np.isin(data.object_index, tested)), rows)
    for number in tested:
        mine = rows[data.object_index[rows] == number]
        held = ClosingTest(data.mesh(number), hand)(data.mano[mine]).outcome == HELD
        assert np.array_equal(data.holds[mine], held)
    assert told["holds"].any() and not data.holds[away].any()
