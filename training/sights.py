"""What cameras see of objects, and how thick these are there: what exit depth learns from.

Objects are procedural, with seeds that nothing else uses. Each is seen by virtual depth cameras and
made an image as the pipeline does it, and rays through its pixels are cast; all that is kept in one
file, made on all cores.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation
from torch.utils.data import Dataset

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects import procedural
from grasp_gen_core.objects.camera import KINECT, DepthCamera, random_view
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.clouds import evenly
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import build_scene
from grasp_gen_core.objects.sight import SIZE, Sight
from grasp_gen_training.data import open_material
from grasp_gen_training.kept import keep
from grasp_gen_training.module import RecordData

VERSION = 3  # of the records: one more when other code here makes others
FIRST_SEED = 400_000
VIEWS = 4  # of each object
TRIES = 8  # of each view: places from which enough is seen
TURNED = 0.3  # share of the views in which the object lies in any way
# Families vary little about the sizes that shops sell: lest thicknesses be learned by heart, half
# of the views are of objects stretched along each axis, by logarithms of that standard deviation.
STRETCH, STRETCHED = 0.3, 1  # and what sets that stream of random numbers apart
CAMERAS, NOISE = (DepthCamera(), KINECT), (0.3, 1.5)  # and what their noise is scaled by
POINTS, FEWER = 2048, 300  # of a cloud, as the pipeline takes them; half of the clouds have fewer
MISSED = -(2**15)
STEP = 2.0**-11  # of an image's radius, that depths are rounded to
BLOBS, BLOB = 3, (2, 9)  # lost patches at most, pixels
RECORD = np.dtype(
    [
        ("seen", "<i2", (SIZE, SIZE)),  # depth as it was measured, of the first and of the last
        ("first", "<i2", (SIZE, SIZE)),  # crossing, in STEPs from the image's middle; MISSED where
        ("last", "<i2", (SIZE, SIZE)),  # there is none
        ("filled", "u1", (SIZE, SIZE)),  # whether the object is at the middle between them
        ("radius", "<f4"),  # metres
        ("middle", "<f4"),
    ]
)


def sight_names(count: int, held_out: bool = False) -> list[str]:
    """Names "family:seed" of `count` objects of families held out of training, or of the others."""
    families = [f for f in procedural.FAMILIES if (f in procedural.HELD_OUT) == held_out]
    turns = (divmod(i, len(families)) for i in range(count))
    return [f"{families[family]}:{FIRST_SEED + turn}" for turn, family in turns]


def make_record(name: str) -> np.ndarray:
    """(VIEWS,) records of one object; same name, same records."""
    family, _, number = name.partition(":")
    mesh, seed = procedural.make_object(family, int(number)), crc32(name.encode())
    seeds = range(VIEWS * seed, VIEWS * (seed + 1))
    return np.stack([look(stretched(mesh, seed), seed) for seed in seeds])


def stretched(mesh: trimesh.Trimesh, seed: int) -> trimesh.Trimesh:
    """A mesh, half the time with other proportions, by seed."""
    rng = np.random.default_rng([seed, STRETCHED])
    if rng.random() < 0.5:
        return mesh
    return mesh.copy().apply_scale(np.exp(STRETCH * rng.normal(size=3).clip(-2, 2)))


def look(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """The record of one view of a mesh, metres, by seed."""
    rng = np.random.default_rng(seed)
    if rng.random() < TURNED:
        turned = np.eye(4)
        turned[:3, :3] = Rotation.random(rng=rng).as_matrix()
        mesh = mesh.copy().apply_transform(turned)
    mesh, points = photograph(mesh, rng)
    sight = Sight.of(points, np.zeros(3))
    rays = sight.rays().reshape(-1, 3)
    rays = np.concatenate([np.zeros_like(rays), rays], axis=1, dtype=np.float32)
    found = build_scene(mesh.vertices, mesh.faces).list_intersections(rays)
    owner, depth = found["ray_ids"].numpy(), found["t_hit"].numpy()
    first, last = np.full(SIZE**2, np.inf), np.full(SIZE**2, -np.inf)
    np.minimum.at(first, owner, depth)
    np.maximum.at(last, owner, depth)
    hit = np.isfinite(first)
    between = np.where(hit, (first + np.where(hit, last, 0)) / 2, 0)
    crossed = np.bincount(owner, depth < between[owner], SIZE**2)
    record = np.zeros((), RECORD)
    for name, values in (("seen", sight.depth.ravel()), ("first", first), ("last", last)):
        known = np.isfinite(values)
        scaled = (np.where(known, values, sight.middle) - sight.middle) / sight.radius
        scaled = np.clip(np.rint(scaled / STEP), MISSED + 1, -MISSED - 1)
        record[name] = np.where(known, scaled, MISSED).reshape(SIZE, SIZE)
    record["filled"] = (crossed % 2 == 1).reshape(SIZE, SIZE)
    record["radius"], record["middle"] = sight.radius, sight.middle
    return record


def photograph(
    mesh: trimesh.Trimesh, rng: np.random.Generator
) -> tuple[trimesh.Trimesh, np.ndarray]:
    """A mesh in the frame of a camera that sees it, and the points (N, 3) that it sees, metres."""
    camera = replace(CAMERAS[rng.integers(len(CAMERAS))], noise=rng.uniform(*NOISE))
    count = POINTS if rng.random() < 0.5 else int(np.exp(rng.uniform(*np.log([FEWER, POINTS]))))
    for _ in range(TRIES):
        seed = int(rng.integers(2**31))
        pose = random_view(mesh, seed)
        points = camera.capture(mesh, pose, seed)
        try:
            points, _ = clean_points(points)
        except InputError:  # too little is seen
            continue
        there = mesh.copy().apply_transform(np.linalg.inv(pose))
        return there, points[evenly(points, count, seed)].astype(np.float64)
    raise InputError(f"mesh: too little is seen of it from {TRIES} places")


def record_file(names: list[str], quiet: bool = False) -> Path:
    """The file that holds the records of objects, (N, VIEWS), made first if there is none."""
    digest = hashlib.sha256(repr((VERSION, RECORD, VIEWS, names)).encode())
    path = cache_folder() / "sights" / f"{digest.hexdigest()[:16]}.npy"
    shape = (len(names), VIEWS)
    return keep(path, shape, RECORD, make_record, enumerate(names), "views", quiet)


class Sights(Dataset):
    """Depth images as cameras have them, and what is behind.

    Args:
        records: the file of `record_file`.
    """

    def __init__(self, records: Path) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(open_material(self.records)) * VIEWS

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """What `ExitDepth.loss` takes, of the views with the numbers `batch[0]`."""
        rows, seed = batch
        rng, table = np.random.default_rng(seed), open_material(self.records).reshape(-1)
        views = [lose(turn(table[row], rng), rng) for row in rows]
        return {
            name: torch.from_numpy(np.stack([view[name] for view in views])) for name in views[0]
        }


def turn(record: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A record's arrays, the images turned by right angles and mirrored."""
    turns, mirrored = rng.integers(4), rng.random() < 0.5
    images = {}
    for name in ("seen", "first", "last", "filled"):
        image = np.rot90(record[name], turns)
        images[name] = image[:, ::-1] if mirrored else image
    return images | {"radius": record["radius"], "middle": record["middle"]}


def lose(view: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A view of which half the time patches are lost.

    Returns:
        depth: (S, S) float32 in radii from the middle, NaN where nothing is measured; radius,
        middle: metres; hit, filled: (S, S) float32; first, last: (S, S) float32 as depth.
    """
    depths = {
        name: np.where(view[name] == MISSED, np.nan, view[name] * STEP).astype(np.float32)
        for name in ("seen", "first", "last")
    }
    depth = depths["seen"]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for _ in range(rng.integers(-BLOBS, BLOBS + 1)):
        row, column = rng.integers(SIZE, size=2)
        wide, high = rng.uniform(*BLOB, 2)
        depth[((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1] = np.nan
    return {
        "depth": depth,
        "radius": np.float32(view["radius"]),
        "middle": np.float32(view["middle"]),
        "hit": np.isfinite(depths["first"]).astype(np.float32),
        "filled": view["filled"].astype(np.float32),
        "first": np.nan_to_num(depths["first"]),
        "last": np.nan_to_num(depths["last"]),
    }


class SightData(RecordData):
    """Training and validation views; whole families are held out.

    Args:
        batch: views in a batch.
        objects, held_out: numbers of objects.
        workers: processes that make batches.
        quiet: no progress bars.
    """

    def __init__(
        self, batch: int, objects: int, held_out: int, workers: int = 0, quiet: bool = False
    ) -> None:
        training, validation = sight_names(objects), sight_names(held_out, True)
        samples = (Sights(record_file(names, quiet)) for names in (training, validation))
        super().__init__(*samples, batch, workers)
