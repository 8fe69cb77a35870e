"""Contact and penetration of generated grasps on the ten YCB objects of HO-3D, none of them seen in
training, measured on the exact meshes.

    python benchmarks/ycb_contact.py [--refiner quick] [--num 20] [--view full|camera]

Objects are read from $GRASP_GEN_DATA/objects/ycb (default: ../shared beside the repository).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

from grasp_gen_core import GraspPipeline
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.clouds import load_object
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.runtime import tune_allocator

POINTS = 4096


def measure(
    pipeline: GraspPipeline, path: Path, num: int, seed: int, view: str
) -> dict[str, float]:
    """Means over `num` grasps of one object, from all around or from one camera's view."""
    points, mesh = load_object(str(path), POINTS, seed)
    if view == "camera":
        pose = random_view(mesh, seed)
        points = DepthCamera().capture(mesh, pose, seed)
        mesh = mesh.copy().apply_transform(np.linalg.inv(pose))
    grasps = pipeline(points, num=num, seed=seed)
    distance = torch.from_numpy(signed_distance(mesh, grasps.vertices))
    return {
        "contact_ratio_pct": float(contact_ratio_pct(distance).mean()),
        "penetration_depth_cm": float(penetration_depth_cm(distance).mean()),
        "contact_fingers": float(contact_fingers(distance, pipeline.hand.parts.cpu()).mean()),
        "time_s": sum(pipeline.timings.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refiner", default="quick")
    parser.add_argument("--view", choices=("full", "camera"), default="full")
    parser.add_argument("--num", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "objects" / "ycb"
    paths = sorted(folder.glob("*.ply"))
    if not paths:
        print(f"skipped: no objects in {folder}; set GRASP_GEN_DATA")
        return 0

    tune_allocator()
    pipeline = GraspPipeline(refiner=arguments.refiner, device=arguments.device)
    rows = {
        p.stem: measure(pipeline, p, arguments.num, arguments.seed, arguments.view) for p in paths
    }
    names = list(next(iter(rows.values())))
    rows["mean"] = {name: float(np.mean([row[name] for row in rows.values()])) for name in names}
    print(
        f"{arguments.num} grasps an object, {arguments.view} clouds, "
        f"grasp_cvae + {arguments.refiner}, {pipeline.device}, "
        f"{os.cpu_count()} cores {platform.machine()}, {date.today()}"
    )
    print(f"{'object':24s}" + "".join(f"{name:>22s}" for name in names))
    for name, row in rows.items():
        print(f"{name:24s}" + "".join(f"{value:22.3f}" for value in row.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
