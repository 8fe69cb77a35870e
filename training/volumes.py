"""Parts of objects, and how far the space about them is from the whole: what `volume` learns from.

Objects are those of `shapes.py`. Of each a surface, which of its points some cameras see, and a
grid of signed distances are made once, on all cores, and kept in one file; what is given of it is
drawn anew for each batch.
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

from grasp_gen_core.completion.volume import EDGES, SIDE, Cube
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import near_surface, raycasting_scene, signed_distance
from grasp_gen_core.objects.sampling import OPEN, sample_surface
from grasp_gen_training.data import open_material
from grasp_gen_training.kept import keep
from grasp_gen_training.module import RecordData
from grasp_gen_training.shapes import shape_mesh, shape_names

VERSION = 1  # of the records: one more when other code here makes others
PROCEDURAL = 1500  # objects of the project's own families
SURFACE, NODES = 4096, 32
CAMERAS = 8  # that each object is seen by
CAMERA_AWAY = 0.6  # metres
GRAZING = 0.2  # cosine below which a camera sees nothing
MARGIN = 0.03  # metres that the grid reaches beyond the object
LONGEST = 0.04  # metres that a distance is at most
FEWEST, MOST = 64, 1536  # points that are given
# Of what is given: cut off by a plane, seen by one camera, seen by two.
KINDS = (0.6, 0.25, 0.15)
KEPT = (0.05, 0.8)  # share that a plane leaves
SCALES = 0.8, 1.2
NOISE = 0.001  # metres that points are off, at most
BENT = 0.1  # that normals are off, at most
KNOWN, FAR = 0.1, 0.3  # weights of what is next to a seen point, and of what is far from all
RECORD = np.dtype(
    [
        ("points", "<i2", (SURFACE, 3)),  # in shares of `reach`
        ("normals", "i1", (SURFACE, 3)),
        ("seen", "u1", SURFACE),  # a bit for each camera
        ("grid", "i1", (NODES, NODES, NODES)),  # in shares of LONGEST
        ("lower", "<f4", 3),
        ("upper", "<f4", 3),
        ("reach", "<f4"),
    ]
)


def make_record(name: str) -> np.ndarray:
    """The record of one object; same name, same record."""
    return record_of(shape_mesh(name), crc32(name.encode()))


def record_of(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """The record of a mesh, metres, by seed."""
    rng, record = np.random.default_rng(seed), np.zeros((), RECORD)
    points, normals = sample_surface(mesh, SURFACE, seed)
    record["reach"] = reach = np.abs(points).max()
    record["points"] = np.rint(points / reach * 32767)
    record["normals"] = np.rint(normals * 127)
    for camera in range(CAMERAS):
        toward = rng.normal(size=3)
        eye = points.mean(axis=0) + CAMERA_AWAY * toward / np.linalg.norm(toward)
        away = eye - points
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        rays = np.concatenate([points + 1e-4 * away, away], axis=1, dtype=np.float32)
        free = np.isinf(raycasting_scene(mesh).cast_rays(rays)["t_hit"].numpy())
        facing = np.einsum("nd,nd->n", away, normals) > GRAZING
        record["seen"] |= np.where(free & facing, 1 << camera, 0).astype(np.uint8)
    lower, upper = mesh.bounds + [[-MARGIN], [MARGIN]]
    record["lower"], record["upper"] = lower, upper
    axes = (np.linspace(*ends, NODES) for ends in zip(lower, upper, strict=True))
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = signed_distance(mesh, nodes).clip(-LONGEST, LONGEST)
    record["grid"] = np.rint(distance / LONGEST * 127)
    return record


def record_file(names: list[str], quiet: bool = False) -> Path:
    """The file that holds the records of objects, made first if there is none."""
    digest = hashlib.sha256(repr((VERSION, RECORD, names)).encode())
    path = cache_folder() / "volumes" / f"{digest.hexdigest()[:16]}.npy"
    return keep(path, (len(names),), RECORD, make_record, enumerate(names), "volumes", quiet)


class Parts(Dataset):
    """Parts of objects, each time others.

    Args:
        records: the file of `record_file`.
    """

    def __init__(self, records: Path) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(open_material(self.records))

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """What `Volume.loss` takes, of the objects with the numbers `batch[0]`."""
        rows, seed = batch
        rng, table = np.random.default_rng(seed), open_material(self.records)
        parts = [part(table[row], rng) for row in rows]
        return {
            name: torch.from_numpy(np.stack([part[name] for part in parts])) for name in parts[0]
        }


def part(record: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A part of an object as a cube's `channels`, the distance to all of it, in the cube's `steps`,
    and the `weight` of each."""
    scale = rng.uniform(*SCALES)
    turn = Rotation.random(rng=rng).as_matrix()
    whole = record["points"] * (scale * record["reach"] / 32767) @ turn.T
    facing = record["normals"] @ turn.T / 127
    given = _given(record, whole, facing, rng)
    points = whole[given] + rng.normal(size=(len(given), 3)) * rng.uniform(0, NOISE)
    normals = facing[given] + rng.normal(size=(len(given), 3)) * rng.uniform(0, BENT)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cube = Cube.about(points, normals)
    channels = cube.channels(points, normals)

    places = cube.places().reshape(-1, 3) @ cube.turn
    distance = _distance(record, places @ turn / scale) * scale
    near = near_surface(whole, facing, places, distance < 0)
    distance = np.where(np.isfinite(near), near, distance) / cube.step
    # What is far off, or next to a seen point, is easy, and there is much of it.
    weight = np.where(np.abs(distance) < EDGES[1] - 1, 1.0, FAR)
    weight = np.where(channels[1].ravel() * 4 < 1, KNOWN, weight)
    arrays = {"channels": channels}
    arrays |= {"steps": distance.reshape(3 * [SIDE]), "weight": weight.reshape(3 * [SIDE])}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _given(
    record: np.ndarray, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(N,) numbers of the points that are given; open, so that there is something to guess."""
    while True:
        kind = rng.choice(len(KINDS), p=KINDS)
        if kind == 0:
            keep = int(len(points) * np.exp(rng.uniform(*np.log(KEPT))))
            order = np.argpartition(points @ rng.normal(size=3), keep - 1)
            given = order[:keep]
        else:
            bits = rng.permutation(CAMERAS)[:kind]
            given = np.flatnonzero(record["seen"] & np.sum(1 << bits).astype(np.uint8))
        if len(given) > MOST:
            given = rng.choice(given, MOST, replace=False)
        if len(given) >= FEWEST and np.linalg.norm(normals[given].mean(axis=0)) > OPEN:
            return given


def _distance(record: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) distance by a record's grid at places (N, 3), metres."""
    lower, upper = record["lower"], record["upper"]
    inside = places.clip(lower, upper)
    rows = (inside - lower) / (upper - lower) * (NODES - 1)
    values = ndimage.map_coordinates(record["grid"].astype(np.float32), rows.T, order=1)
    return values * (LONGEST / 127) + np.linalg.norm(places - inside, axis=1)


class VolumeData(RecordData):
    """Training and validation parts; whole families are held out.

    Args:
        batch: parts in a batch.
        objects, held_out: numbers of objects, at most, the project's own before pybullet's.
        workers: processes that make batches.
        quiet: no progress bars.
    """

    def __init__(
        self, batch: int, objects: int, held_out: int, workers: int = 0, quiet: bool = False
    ) -> None:
        training, validation = shape_names(PROCEDURAL)
        few = training[:objects], validation[:held_out]
        samples = (Parts(record_file(names, quiet)) for names in few)
        super().__init__(*samples, batch, workers)
