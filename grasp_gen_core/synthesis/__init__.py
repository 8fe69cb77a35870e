"""Training grasps for any watertight mesh: optimisation, then filters by geometry and physics."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from grasp_gen_core.errors import InputError

PER_ROUND = 40  # hands at most that are optimised at once on one object
PER_OBJECT = 20  # grasps kept of a procedural object
ROUNDS = 3  # as many on an object that gave less than half of what was wanted
HOPELESS = 0.1  # but none after a round that kept less than this share
MOST_ON_GPU = 8  # processes that share a GPU for the optimisation; each keeps a context there
REPORT = "report.json"
RUN = "run.json"  # what the table was made of: it is replaced by more of the same alone


@dataclass
class Report:
    """What became of one object's hands.

    Args:
        object: its name.
        kept: rows of the grasps that were kept.
        tried: hands that were tested.
        failed: how many of them failed at which test.
        error: why there are none, when it's the object's fault.
    """

    object: str
    kept: pd.DataFrame
    tried: int = 0
    failed: Counter = field(default_factory=Counter)
    error: str = ""

    def summary(self) -> dict:
        """What stands in report.json; the commonest failure comes first."""
        failed = {test: n for test, n in self.failed.most_common() if n}
        return {"kept": len(self.kept), "tried": self.tried, "failed": failed, "error": self.error}


def synthesize(
    objects: str,
    count: int,
    out: str | Path,
    seed: int = 0,
    device: str = "auto",
    hand: str | None = None,
    quiet: bool = False,
    ray_address: str | None = None,
    closing_test: bool = False,
) -> pd.DataFrame:
    """Make about `count` filtered grasps and write them as a dataset.

    Procedural objects are taken in turn until there are enough grasps; of a folder's each gives its
    share. What an interrupted run of the same seed has done in `out` is not done again.

    Args:
        objects: "procedural" or a folder of mesh files, metres, z up.
        count: grasps wanted.
        out: dataset folder, made when missing; report.json in it says what failed and why.
        seed: same seed, same grasps.
        device: "auto", "cpu" or "cuda", where hands are optimised; there is one process a core.
        hand: MANO file, None for the shipped hand.
        quiet: no progress bar.
        ray_address: of a Ray cluster to spread the objects over instead; the package must be
            installed there, and a folder of meshes be reachable under the same path.
        closing_test: keep only grasps that hold the object when the hand closes, too.

    Returns:
        The dataset's table.

    Raises:
        InputError: if there are no objects, `count` isn't positive, nothing was kept, Bullet isn't
            installed, or a table lies in `out` that this run wouldn't contain.
    """
    from tqdm import tqdm

    from grasp_gen_core.data.dataset import MESHES, write_table
    from grasp_gen_core.metrics.sim_displacement import import_bullet
    from grasp_gen_core.parallel import run_in_order
    from grasp_gen_core.runtime import select_device

    import_bullet()  # told before the work
    if count < 1:
        raise InputError(f"count: {count}, accepted are positive numbers")
    device = str(select_device(device))
    names, folder = list_objects(objects, count, seed)
    out = Path(out)
    parts = out / "parts"
    workers = os.cpu_count() or 1  # the physics runs on them in any case
    if device != "cpu":
        workers = min(workers, MOST_ON_GPU)
    share = PER_OBJECT if objects == "procedural" else -(-count // len(names))
    sort = f"{seed}_{share}_closing" if closing_test else f"{seed}_{share}"
    source = objects if objects == "procedural" else str(folder)
    run = {"objects": source, "seed": seed, "share": share, "hand": str(hand), "count": count}
    run |= {"closing_test": True} if closing_test else {}
    _check_run(out, run)
    parts.mkdir(parents=True, exist_ok=True)

    def part(name: str) -> Path:
        """Where an object's grasps are kept: another run of the same sort finds them there."""
        return parts / f"{name.replace(':', '_')}_{sort}.parquet"

    items = ((number, name, part(name).exists()) for number, name in enumerate(names))
    task = partial(
        _one_object,
        folder=folder,
        seed=seed,
        share=share,
        device=device,
        hand=hand,
        closing_test=closing_test,
    )
    done: list[Path] = []
    reports: dict[str, dict] = {}
    total = fresh = 0
    start = time.perf_counter()
    with (
        closing(run_in_order(task, items, workers, ray_address=ray_address)) as results,
        tqdm(total=count, unit="grasp", disable=quiet, smoothing=0.02) as bar,
    ):
        # Taken in order of submission: the same seed keeps the same objects.
        for report in results:
            path = part(report.object)
            if path.exists():
                reports[report.object] = json.loads(path.with_suffix(".json").read_text())
            else:
                reports[report.object] = report.summary()
                # Written aside and renamed last: a killed run leaves no half-written part.
                path.with_suffix(".json").write_text(json.dumps(report.summary()))
                report.kept.to_parquet(path.with_suffix(".tmp"), index=False)
                path.with_suffix(".tmp").replace(path)
                fresh += len(report.kept)
            kept = reports[report.object]["kept"]
            if kept:
                done.append(path)
            total += kept
            bar.update(kept)
            if total >= count:
                break

    if not done:
        reasons = "; ".join(
            f"{name}: {_reason(found)}" for name, found in list(reports.items())[:5]
        )
        raise InputError(f"{objects}: no grasp was kept ({reasons})")
    table = write_table(out, done)
    (out / RUN).write_text(json.dumps(run, indent=1) + "\n")
    (out / REPORT).write_text(json.dumps(reports, indent=1) + "\n")
    for name in table["object"].unique():
        if (folder / name).is_file():  # a dataset holds the user's meshes it was made of
            (out / MESHES).mkdir(exist_ok=True)
            shutil.copyfile(folder / name, out / MESHES / name)
    if not quiet:
        print(f"{len(table)} grasps on {table['object'].nunique()} objects in {out}")
        where = f"{workers} processes, {device}" if ray_address is None else f"Ray at {ray_address}"
        print(f"{fresh} new ones, {fresh / (time.perf_counter() - start):.2f} a second ({where})")
        _print_failures(reports, every=objects != "procedural")
    return table


def _check_run(out: Path, run: dict) -> None:
    """InputError if there is a table already that the run would replace by another one."""
    from grasp_gen_core.data.dataset import TABLE

    if not (out / TABLE).exists():
        return
    path, known = out / RUN, {}
    if path.exists():
        known = json.loads(path.read_text())
    if known | {"count": 0} == run | {"count": 0} and known["count"] <= run["count"]:
        return
    made = ", ".join(f"{name} {value}" for name, value in known.items()) or "another way"
    raise InputError(
        f"{out}: holds grasps already, made by {made}; accepted are the same with as large a "
        "count, or another folder"
    )


def _print_failures(reports: dict[str, dict], every: bool) -> None:
    """At which tests hands failed: in all, and where `every` also on which object."""
    for name, found in reports.items():
        if every or found["error"]:
            print(f"  {name}: {found['kept']} of {found['tried']} hands kept; {_reason(found)}")
    failed: Counter = Counter()
    for found in reports.values():
        failed.update(found["failed"])
    tried = sum(found["tried"] for found in reports.values())
    print(f"{tried} hands were tried ({REPORT} tells each object):")
    for test, number in failed.most_common():
        print(f"  {number} {test}")


def _reason(found: dict) -> str:
    if found["error"]:
        return found["error"]
    return ", ".join(f"{number} {test}" for test, number in found["failed"].items()) or "all good"


def list_objects(objects: str, count: int, seed: int) -> tuple[list[str], Path]:
    """Names of the objects in the order they are tried, and the folder of mesh files."""
    from grasp_gen_core.objects.meshes import mesh_files
    from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT

    if objects == "procedural":
        rng = np.random.default_rng(seed)
        rounds = count // (4 * len(FAMILIES)) + 1  # more than enough
        # Every fourth round lacks the families held out, which makes them 5 % of all objects.
        turns = [(f, n) for n in range(rounds) for f in FAMILIES if n % 4 or f not in HELD_OUT]
        return [f"{family}:{rng.integers(1 << 31)}" for family, _ in turns], Path()
    return [path.name for path in mesh_files(objects)], Path(objects).resolve()


def _one_object(
    item: tuple[int, str, bool],
    folder: Path,
    seed: int,
    share: int,
    device: str,
    hand: str | None,
    closing_test: bool,
) -> Report:
    """At most `share` grasps of one object, given by number, name and whether it is done."""
    import torch

    from grasp_gen_core.data.dataset import object_mesh, split_of
    from grasp_gen_core.hand import ManoHand
    from grasp_gen_core.objects.meshes import solid
    from grasp_gen_core.synthesis.filter import GraspMaker

    number, name, is_done = item
    report = Report(name, pd.DataFrame())
    if is_done:
        return report
    seed = seed * 1_000_003 + number
    tables: list[pd.DataFrame] = []
    try:
        mesh, _ = solid(object_mesh(name, folder), "mesh")
        model = ManoHand(hand).to(torch.device(device))
        make = GraspMaker(mesh, model, closing_test)
        hands = min(PER_ROUND, max(16, 2 * share))
        for turn in range(max(ROUNDS, -(-4 * share // hands))):
            missing = share - sum(map(len, tables))
            if missing <= (share // 2 if turn < ROUNDS else 0):
                break
            kept, failed = make(hands, seed + turn * 7919, missing)
            tables.append(kept)
            report.tried += len(kept) + sum(failed.values())
            report.failed.update(failed)
            if len(kept) < HOPELESS * hands:
                break
    except InputError as error:
        report.error = str(error)
    if tables:
        report.kept = pd.concat(tables, ignore_index=True)
        report.kept.insert(0, "object", name)
        report.kept.insert(1, "split", split_of(name))
    return report
