"""Training grasps for any watertight mesh: optimisation, then filters by geometry and physics."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

MAX_DEPTH_CM = 0.35
MAX_HOLD_CM = 2.0  # the object settles by up to a centimetre; what falls moves further
HOLD_SECONDS = 0.5
PER_OBJECT = 96  # hands optimised at once on one object


@dataclass
class Report:
    """What became of one object's hands.

    Args:
        object: its name.
        kept: rows of the grasps that were kept.
        failed: why there are none, when it's the object's fault.
    """

    object: str
    kept: pd.DataFrame
    failed: str = ""


def synthesize(
    objects: str,
    count: int,
    out: str | Path,
    seed: int = 0,
    device: str = "auto",
    hand: str | None = None,
    quiet: bool = False,
    ray_address: str | None = None,
) -> pd.DataFrame:
    """Make about `count` filtered grasps and write them as a dataset.

    Procedural objects are taken in turn until there are enough grasps; of a folder's each gives its
    share. What an interrupted run of the same seed and count has done in `out` is not done again.

    Args:
        objects: "procedural" or a folder of mesh files, metres.
        count: grasps wanted.
        out: dataset folder, made when missing.
        seed: same seed, same grasps.
        device: "auto", "cpu" or "cuda"; CPU runs one process a core.
        hand: MANO file, None for the shipped hand.
        quiet: no progress bar.
        ray_address: of a Ray cluster to spread the objects over instead; the package must be
            installed there, and a folder of meshes be reachable under the same path.

    Returns:
        The dataset's table.

    Raises:
        ValueError: if there are no objects, `count` isn't positive, or nothing was kept.
    """
    from tqdm import tqdm

    from grasp_gen_core.data.dataset import MESHES, write_table
    from grasp_gen_core.parallel import run_in_order
    from grasp_gen_core.runtime import select_device

    if count < 1:
        raise ValueError(f"count: {count}, accepted are positive numbers")
    device = str(select_device(device))
    names, folder = list_objects(objects, count, seed)
    out = Path(out)
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    workers = 1 if device != "cpu" else os.cpu_count() or 1
    share = -(-count // len(names))
    rounds = -(-2 * share // PER_OBJECT)  # half of the hands are expected to pass
    sort = f"{seed}_{rounds}" if objects == "procedural" else f"{seed}_{rounds}_{share}"

    def part(name: str) -> Path:
        """Where an object's grasps are kept: another run of the same sort finds them there."""
        return parts / f"{name.replace(':', '_')}_{sort}.parquet"

    items = ((number, name, part(name).exists()) for number, name in enumerate(names))
    task = partial(
        _one_object,
        folder=folder,
        seed=seed,
        rounds=rounds,
        most=None if objects == "procedural" else share,
        device=device,
        hand=hand,
    )
    done: list[Path] = []
    failed: dict[str, str] = {}
    total = 0
    with (
        closing(run_in_order(task, items, workers, ray_address=ray_address)) as results,
        tqdm(total=count, unit="grasp", disable=quiet) as bar,
    ):
        # Taken in order of submission: the same seed keeps the same objects.
        for report in results:
            path = part(report.object)
            kept = len(report.kept)
            if kept:
                # Written aside and renamed: a killed run leaves no half-written part.
                report.kept.to_parquet(path.with_suffix(".tmp"), index=False)
                path.with_suffix(".tmp").replace(path)
            elif path.exists():
                kept = len(pd.read_parquet(path, columns=["object"]))
            else:
                failed[report.object] = report.failed or "none passed"
                continue
            done.append(path)
            total += kept
            bar.update(kept)
            if total >= count:
                break

    if not done:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:5])
        raise ValueError(f"{objects}: no grasp was kept ({reasons})")
    table = write_table(out, done)
    for name in table["object"].unique():
        if (folder / name).is_file():  # a dataset holds the user's meshes it was made of
            (out / MESHES).mkdir(exist_ok=True)
            shutil.copyfile(folder / name, out / MESHES / name)
    if not quiet:
        print(f"{len(table)} grasps on {table['object'].nunique()} objects in {out}")
        for name, why in failed.items():
            print(f"  {name}: {why}")
    return table


def list_objects(objects: str, count: int, seed: int) -> tuple[list[str], Path]:
    """Names of the objects in the order they are tried, and the folder of mesh files."""
    from grasp_gen_core.objects.meshes import mesh_files
    from grasp_gen_core.objects.procedural import FAMILIES

    if objects == "procedural":
        rng = np.random.default_rng(seed)
        rounds = max(1, count // (20 * len(FAMILIES)) + 1)
        names = [f"{f}:{rng.integers(1 << 31)}" for _ in range(rounds) for f in FAMILIES]
        return names, Path()
    return [path.name for path in mesh_files(objects)], Path(objects).resolve()


def _one_object(
    item: tuple[int, str, bool],
    folder: Path,
    seed: int,
    rounds: int,
    most: int | None,
    device: str,
    hand: str | None,
) -> Report:
    """Grasps of one object, given by number, name and whether it is done, `most` at most."""
    import torch

    from grasp_gen_core.data.dataset import object_mesh
    from grasp_gen_core.hand import ManoHand
    from grasp_gen_core.objects.meshes import solid

    number, name, is_done = item
    if is_done:
        return Report(name, pd.DataFrame())
    seed = seed * 1_000_003 + number
    try:
        mesh, _ = solid(object_mesh(name, folder), "mesh")
        model = ManoHand(hand).to(torch.device(device))
        tables = [make_grasps(mesh, model, PER_OBJECT, seed + i * 7919) for i in range(rounds)]
    except ValueError as error:
        return Report(name, pd.DataFrame(), str(error))
    kept = pd.concat(tables, ignore_index=True)[:most]
    kept.insert(0, "object", name)
    return Report(name, kept)


def make_grasps(mesh, hand, count: int, seed: int) -> pd.DataFrame:
    """Optimise `count` hands on a mesh and keep the good ones.

    Kept are hands at most 3.5 mm deep in the exact mesh, touching with the thumb and at least one
    other finger, that hold the object under gravity along all six axes.

    Args:
        mesh: watertight trimesh.Trimesh, metres.
        hand: ManoHand; its device is used.
        count: hands to try.
        seed: same seed, same grasps.

    Returns:
        Columns kind, mano, penetration_depth_cm, contact_fingers, hold_cm.
    """
    import torch

    from grasp_gen_core.metrics.contact_fingers import finger_touches
    from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
    from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
    from grasp_gen_core.objects.distance import signed_distance
    from grasp_gen_core.synthesis.optimise import optimise_grasps
    from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES

    found = optimise_grasps(mesh, hand, count, seed)
    with torch.no_grad():
        vertices = hand(found.mano)[0].cpu()
    distance = torch.from_numpy(signed_distance(mesh, vertices.numpy()))
    depth = penetration_depth_cm(distance)
    touches = finger_touches(distance, hand.parts.cpu())
    wanted = torch.tensor([sum(w > 0 for w in kind.fingers) for kind in GRASP_TYPES])
    enough = touches.sum(dim=1) >= (wanted[found.kind.cpu()] - 1).clamp(min=2)
    good = (depth <= MAX_DEPTH_CM) & touches[:, 0] & enough
    good = good.nonzero()[:, 0]
    test = HoldTest(mesh, hand_cells(hand), duration=HOLD_SECONDS)
    hold = test(vertices[good].numpy()).displacement_cm
    good, hold = good[hold <= MAX_HOLD_CM], hold[hold <= MAX_HOLD_CM]
    return pd.DataFrame(
        {
            "kind": [GRASP_TYPES[k].name for k in found.kind[good].tolist()],
            "mano": list(found.mano[good].cpu().numpy()),
            "penetration_depth_cm": depth[good].numpy(),
            "contact_fingers": touches[good].sum(dim=1).float().numpy(),
            "hold_cm": hold.astype(np.float32),
        }
    )
