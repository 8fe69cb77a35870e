"""Grasps that were judged: hands as the pipeline refines them, and what became of each on the true
mesh.

The evaluator (`grasp_gen_core.ranking`) learns from them. Objects are of the families, with seeds
that nothing else uses; each is seen in one way. All of it is made once, on all cores, in one file.

    python -m grasp_gen_training.judged [--objects 1000] [--held-out 80]
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects import procedural
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.views import ObjectView, view_object
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_training.kept import keep
from grasp_gen_training.shapes import shape_mesh

VERSION = 1  # of the records: one more when other code here makes others
FIRST_SEED = 200_000
VIEWS = ("camera", "full", "camera", "mask50", "camera", "mask90")  # in turn
POINTS = 4096  # of a view, as in evaluation
HANDS = 24  # of each object: all that were refined, promising or not
PITCH = 0.001  # metres between the lines of the volume
RECORD = np.dtype(
    [("mano", "<f4", 61), ("score", "<f4"), ("volume_cm3", "<f4"), ("displacement_cm", "<f4")]
)


def judged_names(count: int, held_out: bool = False) -> list[str]:
    """Names "family:seed/view" of `count` objects, of the families held out of training or others.

    What is at a place doesn't depend on how many there are.
    """
    families = [f for f in procedural.FAMILIES if (f in procedural.HELD_OUT) == held_out]
    turns = (divmod(i, len(families)) for i in range(count))
    return [
        f"{families[f]}:{FIRST_SEED + turn}/{VIEWS[(turn + f) % len(VIEWS)]}" for turn, f in turns
    ]


def seen(name: str) -> tuple[ObjectView, int]:
    """What a name's view shows, and the seed of all that happens to it."""
    name, _, view = name.partition("/")
    seed = crc32(name.encode()) % 2**20
    return view_object(shape_mesh(name), view, POINTS, seed), seed


@lru_cache(maxsize=1)
def pipeline() -> GraspPipeline:
    return GraspPipeline(device="cpu")


def judge(name: str) -> np.ndarray:
    """(HANDS,) RECORDs, hands in the view's frame; all NaN where nothing is seen."""
    rows = np.zeros(HANDS, RECORD)
    try:
        view, seed = seen(name)
        grasps = propose(view.points, seed)
    except InputError:
        rows[:] = (np.full(61, np.nan), *[np.nan] * 3)
        return rows
    mesh = shape_mesh(name.partition("/")[0]).apply_transform(np.linalg.inv(view.pose))
    # Metrics are asked about the object: far from the origin float32 is coarse.
    middle = mesh.bounds.mean(axis=0)
    mesh.apply_translation(-middle)
    vertices, faces = grasps.vertices - middle, pipeline().hand.closed_faces.cpu().numpy()
    rows["mano"], rows["score"] = grasps.mano, grasps.score
    rows["volume_cm3"] = penetration_volume_cm3(vertices, faces, mesh, PITCH)
    rows["displacement_cm"] = SimTest(mesh, drift=False)(vertices, faces).displacement_cm
    return rows


def propose(points: np.ndarray, seed: int):
    """Every hand that the pipeline refines, not the best half alone."""
    import torch

    pipe = pipeline()
    scene = pipe.look_at(points, seed, None)
    mano = pipe.propose(scene, HANDS // 2, torch.Generator().manual_seed(seed), None)
    return pipe.finish(pipe.promising(mano, scene.grid, HANDS), scene, seed, None, HANDS)


def judged_file(names: list[str], quiet: bool = False) -> Path:
    """The judged hands of objects, made on all cores unless they are there."""
    key = crc32(repr((VERSION, HANDS, names)).encode())
    path = cache_folder() / "judged" / f"{key:08x}.npy"
    tasks = list(enumerate(names))
    return keep(path, (len(names), HANDS), RECORD, judge, tasks, "judged hands", quiet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--held-out", type=int, default=80)
    arguments = parser.parse_args()
    for count, held_out in ((arguments.held_out, True), (arguments.objects, False)):
        print(judged_file(judged_names(count, held_out)))


if __name__ == "__main__":
    main()
