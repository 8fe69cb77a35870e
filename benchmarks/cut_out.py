"""What grasps make of guesses of the unseen side: of objects that stand alone in real scenes.

    python benchmarks/cut_out.py [--scenes DIR] [--num 8] [--pictures DIR] [WAY ...]

What stands upright on a table, and shows its top, is a prism down to it: the solid that its hands
are judged by is the convex hull of what is seen of it, and of that moved down to the table. Deep is
a hand that is more than 5 mm in this solid where nothing was seen, that is, 1 cm or farther from
all seen points.
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import trimesh
from scene_grasps import found
from scipy.spatial import cKDTree
from segmentation import real
from tqdm import tqdm
from unseen import WAYS, judge, way_of

from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.perception import Segmentation, segment
from grasp_gen_core.ranking.collision import Surroundings
from grasp_gen_core.render import render_grasps
from grasp_gen_core.types import Observation

SCENES = ("learn3", "learn12")  # of boxes, none hidden by another
SHIPPED = "+ for the whole"  # the pipeline as it is
IN_SCENE = "in the scene"  # the same, told of what stands around
DEEP = 0.005  # metres
UNSEEN = 0.01  # metres from all that was seen


def prism(seen: Segmentation, points: np.ndarray) -> trimesh.Trimesh:
    """The solid between what is seen of an object and the table."""
    plane = seen.plane
    below = points - plane.height(points)[:, None] * plane.normal
    return trimesh.convex.convex_hull(np.concatenate([points, below]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join([*WAYS, IN_SCENE])}")
    beside = Path(__file__).parents[2] / "shared"
    default = Path(os.environ.get("GRASP_GEN_DATA", beside)) / "scenes"
    parser.add_argument("--scenes", type=Path, default=default, metavar="DIR")
    parser.add_argument("--num", type=int, default=8, help="grasps of an object")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="of each way's first grasps")
    arguments = parser.parse_args()
    rows = []
    cases = [case for case in real(arguments.scenes) if case.name in SCENES]
    for way in tqdm(arguments.ways or ["symmetry", SHIPPED, IN_SCENE]):
        made = way_of(SHIPPED if way == IN_SCENE else way)
        for case in cases:
            seen = segment(case.points)
            for number in found(seen, case.truth):
                points = seen.object(number)
                solid = prism(seen, points)
                one = Observation(points, viewpoint=seen.viewpoint)
                around = Surroundings.of(seen, number) if way == IN_SCENE else None
                grasps = made(one, arguments.num, scene=around)
                inside = signed_distance(solid, grasps.vertices) < -DEEP
                unseen = cKDTree(points).query(grasps.vertices)[0] > UNSEEN
                row = {"way": way, "object": f"{case.name} {number}", "grasps": len(grasps)}
                row |= {"deep": int((inside & unseen).any(axis=1).sum())}
                rows.append(row | judge(made, grasps, solid, np.eye(4)))
                if arguments.pictures:
                    name = f"{case.name}_{number}_{way.strip('+ ').replace(' ', '_')}.png"
                    render_grasps(grasps, arguments.pictures / name)
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    means = table.drop(columns="object").groupby("way", sort=False).mean()
    print(means.round(2).to_string())
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
