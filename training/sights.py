"""What cameras see of objects, and how thick these are there: what exit depth learns from.

Objects are procedural, with seeds that nothing else uses. Rays through each are cast once, on all
cores, and kept in one file; the sensor's noise and losses are drawn anew for each batch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
import trimesh
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.utils.data import Dataset

from grasp_gen_core.objects import procedural
from grasp_gen_core.objects.camera import DISPARITY_NOISE, GRAZING_COSINES, DepthCamera, random_view
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import build_scene
from grasp_gen_core.objects.sight import SIZE, Sight
from grasp_gen_training.data import open_material
from grasp_gen_training.kept import keep
from grasp_gen_training.module import RecordData

VERSION = 1  # of the records: one more when other code here makes others
FIRST_SEED = 400_000
VIEWS = 4  # of each object
TURNED = 0.3  # share of the views in which the object lies in any way
MISSED = -(2**15)
STEP = 2.0**-11  # of an image's radius, that depths are rounded to
CAMERA = DepthCamera()
EDGE_LOSS = 0.5  # share of the mask's edge that is lost, at most
WIDER = 0.3  # share of the images whose mask is too wide by a pixel, as points fill pixels
BLOBS, BLOB = 3, (2, 9)  # lost patches at most, pixels
RECORD = np.dtype(
    [
        ("first", "<i2", (SIZE, SIZE)),  # depth of the first and the last crossing, in STEPs from
        ("last", "<i2", (SIZE, SIZE)),  # the image's middle; MISSED where a ray misses
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
    return np.stack([look(mesh, VIEWS * seed + view) for view in range(VIEWS)])


def look(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """The record of one view of a mesh, metres, by seed."""
    rng = np.random.default_rng(seed)
    if rng.random() < TURNED:
        turned = np.eye(4)
        turned[:3, :3] = Rotation.random(rng=rng).as_matrix()
        mesh = mesh.copy().apply_transform(turned)
    eye, scene = random_view(mesh, seed)[:3, 3], build_scene(mesh.vertices, mesh.faces)
    corners = trimesh.bounds.corners(mesh.bounds)
    wide = Sight.at(corners, eye)
    rays = wide.rays().reshape(-1, 3)
    hits = scene.cast_rays(_rays(eye, rays))["t_hit"].numpy()
    seen = np.isfinite(hits)
    points = eye + hits[seen, None] * rays[seen]
    sight = Sight.at(points if seen.sum() > 8 else corners, eye)

    found = scene.list_intersections(_rays(eye, sight.rays().reshape(-1, 3)))
    owner, depth = found["ray_ids"].numpy(), found["t_hit"].numpy()
    first, last = np.full(SIZE**2, np.inf), np.full(SIZE**2, -np.inf)
    np.minimum.at(first, owner, depth)
    np.maximum.at(last, owner, depth)
    hit = np.isfinite(first)
    between = np.where(hit, (first + np.where(hit, last, 0)) / 2, 0)
    crossed = np.bincount(owner, depth < between[owner], SIZE**2)
    record = np.zeros((), RECORD)
    for name, values in (("first", first), ("last", last)):
        scaled = np.where(hit, (np.where(hit, values, 0) - sight.middle) / sight.radius, 0)
        scaled = np.clip(np.rint(scaled / STEP), MISSED + 1, -MISSED - 1)
        record[name] = np.where(hit, scaled, MISSED).reshape(SIZE, SIZE)
    record["filled"] = (crossed % 2 == 1).reshape(SIZE, SIZE)
    record["radius"], record["middle"] = sight.radius, sight.middle
    return record


def _rays(eye: np.ndarray, directions: np.ndarray) -> np.ndarray:
    starts = np.broadcast_to(eye, directions.shape)
    return np.concatenate([starts, directions], axis=1, dtype=np.float32)


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
        views = [spoil(turn(table[row], rng), rng) for row in rows]
        return {
            name: torch.from_numpy(np.stack([view[name] for view in views])) for name in views[0]
        }


def turn(record: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A record's arrays, the images turned by right angles and mirrored."""
    turns, mirrored = rng.integers(4), rng.random() < 0.5
    images = {}
    for name in ("first", "last", "filled"):
        image = np.rot90(record[name], turns)
        images[name] = image[:, ::-1] if mirrored else image
    return images | {"radius": record["radius"], "middle": record["middle"]}


def spoil(view: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A view as a sensor has it: noise, grazing surfaces, edges and patches lost.

    Returns:
        depth: (S, S) float32 in radii from the middle, NaN where nothing is measured; radius,
        middle: metres; hit, filled: (S, S) float32; first, last: (S, S) float32 as depth.
    """
    hit = view["first"] != MISSED
    first, last = (np.where(hit, view[n] * STEP, 0).astype(np.float32) for n in ("first", "last"))
    # Of neighbouring depths: how steeply the rays meet the surface.
    pixel = 2 / SIZE
    down, right = np.gradient(first, pixel)
    cosine = 1 / np.sqrt(1 + down**2 + right**2)
    low, high = GRAZING_COSINES
    lost = rng.random(hit.shape) > (cosine - low) / (high - low)
    depth = view["middle"] + first * view["radius"]
    noise = DISPARITY_NOISE * depth**2 / (CAMERA.fx * CAMERA.baseline) / view["radius"]
    measured = first + noise * rng.standard_normal(hit.shape, np.float32)

    inner = ndimage.binary_erosion(hit)
    lost = (lost & inner) | (hit & ~inner & (rng.random(hit.shape) < EDGE_LOSS * rng.random()))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for _ in range(rng.integers(BLOBS + 1)):
        row, column = rng.integers(SIZE, size=2)
        wide, high = rng.uniform(*BLOB, 2)
        lost |= ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1
    seen = hit & ~lost
    if rng.random() < WIDER and seen.any():
        wider = ndimage.binary_dilation(seen)
        index = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
        measured = np.where(wider & ~hit, measured[tuple(index)], measured)
        seen = wider & (seen | ~hit)
    return {
        "depth": np.where(seen, measured, np.nan).astype(np.float32),
        "radius": np.float32(view["radius"]),
        "middle": np.float32(view["middle"]),
        "hit": hit.astype(np.float32),
        "filled": view["filled"].astype(np.float32),
        "first": first,
        "last": last,
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
