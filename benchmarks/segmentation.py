"""How well objects are told apart: on virtual tables, and on real labelled scenes where they are.

    python benchmarks/segmentation.py [--virtual 40] [--scenes DIR]

An object counts as found if intersection over union with one segment is 0.75 or more; else as
merged if the segment that has most of it has as much as 15 % of others, as split if another segment
has 10 % of it, else as missed. Objects of which fewer than 200 pixels are seen don't count. A
segment that is of no object by half is a false one. The rival takes what is above the same plane
apart by open3d's DBSCAN at 1 cm. The real scenes are PCL's mOSD: labels 1-9 the table, then ten for
each object.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open3d as o3d
import pandas as pd
from tqdm import tqdm

from grasp_gen_core.objects.procedural.scenes import make_scene
from grasp_gen_core.perception import FIRST_OBJECT, PLANE, Segmentation, segment
from grasp_gen_core.perception.files import back_project
from grasp_gen_core.perception.plane import Plane

FIRST_SEED = 1000  # settings were chosen on scenes 0 to 79
IOU, SEEN = 0.75, 200
SHARED, PIECE = 0.15, 0.10
NEIGHBOURHOOD, CORE = 0.01, 10  # metres, points of DBSCAN
CELL = 0.004  # metres, to which DBSCAN's cloud is thinned


class Case(NamedTuple):
    """A scene (H, W, 3); what is what (H, W): -1 unknown, 1 table, 2, ... objects; the plane."""

    name: str
    points: np.ndarray
    truth: np.ndarray
    plane: Plane


def virtual(count: int) -> Iterator[Case]:
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        scene = make_scene(seed)
        depth, owner = scene.photograph(seed)
        truth = np.where((depth > 0) & (owner >= 0), owner + 1, -1)
        points = back_project(depth, scene.camera.matrix)
        yield Case(f"virtual {seed}", points, truth, Plane(*scene.plane()))


def real(folder: Path) -> Iterator[Case]:
    for file in sorted(folder.glob("*.pcd")):
        cloud = o3d.t.io.read_point_cloud(str(file))
        points = cloud.point.positions.numpy().astype(float).reshape(480, 640, 3)
        label = cloud.point["label"].numpy().reshape(480, 640).astype(int)
        truth = np.where(label >= 20, label // 10, np.where(label > 0, 1, -1))
        table = points[truth == PLANE]
        middle = table.mean(axis=0)
        normal = np.linalg.eigh((table - middle).T @ (table - middle))[1][:, 0]
        normal *= -np.sign(normal @ middle)  # the camera is at the origin
        yield Case(file.stem, points, truth, Plane(normal, float(normal @ middle)))


def clusters(seen: Segmentation) -> np.ndarray:
    """(H, W) labels of the rival: what is above the same plane, by DBSCAN."""
    flat = seen.points.reshape(-1, 3)
    above = np.flatnonzero(seen.labels.reshape(-1) >= FIRST_OBJECT)
    cells = np.floor(flat[above] / CELL).astype(int)
    _, first, place = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(flat[above][first]))
    found = np.array(cloud.cluster_dbscan(NEIGHBOURHOOD, CORE))
    labels = np.zeros(len(flat), int)
    labels[above] = np.where(found < 0, 0, found + FIRST_OBJECT)[place.reshape(-1)]
    return labels.reshape(seen.labels.shape)


def tally(labels: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """How many objects were found, and what became of the others."""
    counts = {"objects": 0, "found": 0, "split": 0, "merged": 0, "missed": 0, "false": 0}
    known = truth >= 0
    numbers, sizes = np.unique(truth[known & (truth >= FIRST_OBJECT)], return_counts=True)
    numbers = numbers[sizes >= SEEN]
    segments = np.unique(labels[known & (labels >= FIRST_OBJECT)])
    shared = np.array([[((truth == n) & (labels == s)).sum() for s in segments] for n in numbers])
    shared = shared.reshape(len(numbers), len(segments))
    own = np.array([(truth == n).sum() for n in numbers])
    theirs = np.array([(known & (labels == s)).sum() for s in segments])
    counts["objects"] = len(numbers)
    counts["false"] = int((shared.sum(axis=0) < theirs / 2).sum())
    for i, row in enumerate(shared):
        if not len(segments) or not row.any():
            counts["missed"] += 1
            continue
        best = row.argmax()
        others = np.delete(shared[:, best], i).sum()
        if (row / (own[i] + theirs - row)).max() >= IOU:
            counts["found"] += 1
        elif others > SHARED * theirs[best]:
            counts["merged"] += 1
        elif np.delete(row, best).max(initial=0) > PIECE * own[i]:
            counts["split"] += 1
        else:
            counts["missed"] += 1
    return counts


def measure(case: Case) -> list[dict]:
    """A row for this package and one for the rival."""
    started, cpu = time.perf_counter(), time.process_time()
    seen = segment(case.points)
    times = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    row = {
        "kind": case.name.split()[0].rstrip("0123456789"),
        "method": "segment",
        "scene": case.name,
    }
    row |= tally(seen.labels, case.truth) | times | {"plane_mm": np.nan, "plane_deg": np.nan}
    if seen.plane is not None:
        # How far apart both planes are at the table's seen corners, at most.
        table = case.points[case.truth == PLANE]
        there = table - case.plane.height(table)[:, None] * case.plane.normal
        row["plane_mm"] = 1000 * np.abs(seen.plane.height(there)).max()
        cosine = np.clip(seen.plane.normal @ case.plane.normal, -1, 1)
        row["plane_deg"] = np.degrees(np.arccos(cosine))
    rival = {"kind": row["kind"], "method": "DBSCAN", "scene": case.name}
    return [row, rival | tally(clusters(seen), case.truth)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--virtual", type=int, default=40, help="scenes")
    beside = Path(__file__).parents[2] / "shared"
    default = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "scenes"
    parser.add_argument("--scenes", type=Path, default=default, metavar="DIR")
    arguments = parser.parse_args()
    files = len(list(arguments.scenes.glob("*.pcd")))
    if not files:
        print(f"skipped: no .pcd in {arguments.scenes}; name a folder or set GRASP_GEN_DATA")
    rows = []
    for cases, count in (
        (real(arguments.scenes), files),
        (virtual(arguments.virtual), arguments.virtual),
    ):
        for case in tqdm(cases, total=count, leave=False):
            rows += measure(case)
    table = pd.DataFrame(rows)
    print(
        table[table["method"] == "segment"]
        .drop(columns=["kind", "method"])
        .round(2)
        .to_string(index=False)
    )
    by = table.groupby(["kind", "method"], sort=False)
    counts = ["objects", "found", "split", "merged", "missed", "false"]
    summary = by[counts].sum()
    summary[["seconds", "cpu_s"]] = by[["seconds", "cpu_s"]].mean().round(2)
    summary[["plane_mm", "plane_deg"]] = by[["plane_mm", "plane_deg"]].max().round(2)
    print(f"\n{summary.to_string()}\n(seconds: mean; plane: worst)")
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
