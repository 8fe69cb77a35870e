"""Shapes without grasps: surface points of objects, and how far other points are from them.

Objects are procedural ones, with seeds that no dataset of grasps has, and the thousand random ones
that pybullet ships. What is kept of each is made once, on all cores, in one file.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import lightning
import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation
from torch.utils.data import DataLoader, Dataset

from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.shape_autoencoder import REACH, ShapeAutoencoder
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.reconstruction import reconstruction_errors
from grasp_gen_core.objects import procedural
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.readers import read_obj
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_training.data import Batches, GraspData, GraspSamples, draw, load, open_material
from grasp_gen_training.kept import keep
from grasp_gen_training.module import NetworkTraining

VERSION = 1  # of the records: one more when other code here makes others
FIRST_SEED = 100_000  # datasets of grasps count from 0
SURFACE, QUERIES = 4096, 8192  # points kept of each object
SIGMAS = (0.002, 0.006, 0.02)  # metres from the surface: a quarter of the queries each
MARGIN = 0.03  # metres around the box in which others lie
FAR = 0.25  # share of those that lie anywhere within REACH
STEP, LONGEST = 1e-5, 0.3  # metres that a distance is rounded to, and that it is at most
SIZES = 0.04, 0.2  # metres, longest sides of pybullet's objects here
SCALES = 0.8, 1.2
FEWER = 0.25  # share of the surface's points that there may be
NOISES = 0.0, 0.0005, 0.001  # metres that surface points are off
SHIFT = 0.005  # metres, standard deviation of the centre along each axis
PER_FAMILY = 32  # held-out objects of each family, for the loss
MEASURED = 4  # held-out objects that are reconstructed in validation
RECORD = np.dtype(
    [
        ("step", "<f4"),
        ("surface", "<i2", (SURFACE, 3)),
        ("points", "<i2", (QUERIES, 3)),
        ("distance", "<i2", QUERIES),
    ]
)


def shape_names(procedural_count: int) -> tuple[list[str], list[str]]:
    """Names of the objects for training and for validation, see `shape_mesh`.

    Args:
        procedural_count: objects of the families that aren't held out, all alike often.
    """
    families = [name for name in procedural.FAMILIES if name not in procedural.HELD_OUT]
    turns = (divmod(i, len(families)) for i in range(procedural_count))
    training = [f"{families[family]}:{FIRST_SEED + turn}" for turn, family in turns]
    if (folder := urdf_folder()) is None:
        print("pybullet_data isn't installed: training without its shapes", file=sys.stderr)
    else:
        files = sorted(folder.glob("*/*.obj"))
        # One of the thousand holds numbers that are none.
        training += [f"urdf:{file.stem}" for file in files if b"nan" not in file.read_bytes()]
    held_out = procedural.HELD_OUT
    return training, [f"{f}:{FIRST_SEED + i}" for i in range(PER_FAMILY) for f in held_out]


def urdf_folder() -> Path | None:
    """Where pybullet's random objects lie, None without them."""
    spec = find_spec("pybullet_data")
    folder = Path(spec.origin).parent / "random_urdfs" if spec else None
    return folder if folder and folder.is_dir() else None


def shape_mesh(name: str) -> trimesh.Trimesh:
    """A solid, metres, about its box's middle: "family:seed", or "urdf:number" scaled to a hand.

    Raises:
        InputError: if it is none, or there is no such family.
    """
    family, _, number = name.partition(":")
    if family != "urdf":
        return procedural.make_object(family, int(number))
    path = urdf_folder() / number / f"{number}.obj"
    mesh, _ = solid(trimesh.Trimesh(*read_obj(path.read_bytes()), process=False), str(path))
    longest = np.random.default_rng(crc32(name.encode())).uniform(*SIZES)
    mesh = mesh.copy().apply_translation(-mesh.bounds.mean(axis=0))
    return mesh.apply_scale(longest / mesh.extents.max())


def make_record(name: str) -> np.ndarray:
    """The record of one object; same name, same record."""
    return record_of(shape_mesh(name), crc32(name.encode()))


def record_of(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """Points of a mesh's surface, points near and far, and these points' signed distances.

    Raises:
        InputError: if it reaches farther than REACH from the origin.
    """
    if np.abs(mesh.bounds).max() > REACH:
        raise InputError(f"mesh: reaches {np.abs(mesh.bounds).max():.3g} m, accepted is {REACH}")
    rng, record = np.random.default_rng(seed), np.zeros((), RECORD)
    record["step"] = step = REACH / 32767
    record["surface"] = np.rint(sample_surface(mesh, SURFACE, seed)[0] / step)
    each = QUERIES // (len(SIGMAS) + 1)
    near, _ = sample_surface(mesh, each * len(SIGMAS), seed + 1)
    near = near + rng.normal(size=near.shape) * np.repeat(SIGMAS, each)[:, None]
    far = round(FAR * each)
    boxed = rng.uniform(*(mesh.bounds + [[-MARGIN], [MARGIN]]), (each - far, 3))
    points = np.concatenate([near, boxed, rng.uniform(-REACH, REACH, (far, 3))])
    points = np.rint(points.clip(-REACH, REACH) / step)
    record["points"] = points
    distance = signed_distance(mesh, points * step)
    record["distance"] = np.rint(distance.clip(-LONGEST, LONGEST) / STEP)
    return record


def record_file(names: list[str], quiet: bool = False) -> Path:
    """The file that holds the records of objects, made first if there is none."""
    digest = hashlib.sha256(repr((VERSION, RECORD, names)).encode())
    for source in sorted(Path(procedural.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    path = cache_folder() / "shapes" / f"{digest.hexdigest()}.npy"
    return keep(path, (len(names),), RECORD, make_record, enumerate(names), "shapes", quiet)


class ShapeSamples(Dataset):
    """Objects, each time turned, scaled and moved in another way.

    Args:
        records: the file of `record_file`.
        surface, points: how many of them there are in a sample.
    """

    def __init__(self, records: Path, surface: int, points: int) -> None:
        self.records, self.surface, self.points = records, surface, points

    def __len__(self) -> int:
        return len(open_material(self.records))

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """A whole batch: surface (B, N or fewer, 3), points (B, M, 3) and their distance (B, M).

        Args:
            batch: (B,) numbers, modulo that of the objects, and the seed of what is drawn for them.
        """
        rows, seed = batch
        rng, table = np.random.default_rng(seed), open_material(self.records)
        count = round(self.surface * FEWER ** rng.random())
        surface = np.empty((len(rows), count, 3), np.float32)
        points = np.empty((len(rows), self.points, 3), np.float32)
        distance = np.empty((len(rows), self.points), np.float32)
        for i, row in enumerate(rows):
            record = table[row % len(table)]
            # Distances are right after equal scaling along all axes alone.
            scale = rng.uniform(*SCALES)
            turn = scale * record["step"] * Rotation.random(rng=rng).as_matrix().T
            shift = rng.normal(0, SHIFT, 3)
            surface[i] = draw(record["surface"], count, rng) @ turn + shift
            asked = rng.choice(QUERIES, self.points, replace=False)
            points[i] = record["points"][asked] @ turn + shift
            distance[i] = scale * STEP * record["distance"][asked]
        noise = rng.standard_normal(surface.shape, np.float32)
        surface += noise * rng.choice(NOISES, (len(rows), 1, 1)).astype(np.float32)
        arrays = {"surface": surface, "points": points, "distance": distance}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class ShapeData(lightning.LightningDataModule):
    """Training and validation samples; whole families are held out.

    Args:
        batch: objects in a batch.
        procedural: objects of the project's own families.
        surface, points: see `ShapeSamples`.
        repeats: times that each object comes in an epoch, after which validation measures.
        workers: processes that make batches.
    """

    def __init__(
        self,
        batch: int,
        procedural: int = 3000,
        surface: int = 1024,
        points: int = 1024,
        repeats: int = 2,
        workers: int = 0,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        self.batch, self.repeats, self.workers = batch, repeats, workers
        training, validation = shape_names(procedural)
        self.training = ShapeSamples(record_file(training, quiet), surface, points)
        self.validation = ShapeSamples(record_file(validation, quiet), surface, points)
        if len(self.training) < batch:
            raise InputError(f"batch: {batch}, accepted are at most {len(self.training)} shapes")
        self.measured = [shape_mesh(name) for name in validation[:MEASURED]]

    def train_dataloader(self) -> DataLoader:
        batches = Batches(self.repeats * len(self.training), self.batch, shuffled=True)
        return load(self.training, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        return load(self.validation, Batches(len(self.validation), self.batch, False), self.workers)


class JointSamples(Dataset):
    """Grasps, and in each batch some objects that have none.

    Args:
        grasps: of the dataset.
        records: of the objects, see `record_file`.
        alone: how many of them are in a batch.
    """

    def __init__(self, grasps: GraspSamples, records: Path, alone: int) -> None:
        self.grasps, self.records, self.alone = grasps, records, alone

    def __len__(self) -> int:
        return len(self.grasps)

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """A batch of grasps, and under `shapes` points (S, M, 3) all around objects, metres."""
        rng, table = np.random.default_rng(batch[1]), open_material(self.records)
        shapes = np.empty((self.alone, self.grasps.surface, 3), np.float32)
        for i, row in enumerate(rng.integers(len(table), size=self.alone)):
            scale = rng.uniform(*SCALES) * table[row]["step"]
            shapes[i] = scale * draw(table[row]["surface"], self.grasps.surface, rng)
        return self.grasps[batch] | {"shapes": torch.from_numpy(shapes)}


class JointData(GraspData):
    """Grasps, and objects without any.

    Args:
        alone: objects without grasps in a batch.
        procedural: see `ShapeData`.
        quiet: no progress bars.
        grasps: see `GraspData`.
    """

    def __init__(
        self, *, alone: int, procedural: int = 3000, quiet: bool = False, **grasps
    ) -> None:
        super().__init__(quiet=quiet, **grasps)
        training, validation = shape_names(procedural)
        self.training = JointSamples(self.training, record_file(training, quiet), alone)
        self.validation = JointSamples(self.validation, record_file(validation, quiet), alone)


class ShapeTraining(NetworkTraining):
    """The autoencoder's training; validation reconstructs objects of held-out families.

    Args:
        generator: the autoencoder.
        hand: not used.
        lr, steps: of the optimiser.
        measured: (N,) meshes, metres.
    """

    def __init__(
        self,
        generator: ShapeAutoencoder,
        hand: ManoHand,
        lr: float,
        steps: int,
        measured: list[trimesh.Trimesh],
    ) -> None:
        super().__init__(generator, lr, steps)
        self.measured = measured

    def measure(self) -> dict[str, float]:
        """Means of the errors of the meshes; what decodes to no object has none."""
        found = []
        for mesh in self.measured:
            points = torch.from_numpy(sample_surface(mesh, SURFACE)[0]).to(self.device)
            try:
                with torch.no_grad():
                    made = self.generator.mesh(self.generator.encode(points[None])[0])
            except InputError:
                continue
            found.append(reconstruction_errors(made, mesh))
        return {name: float(np.mean([row[name] for row in found])) for name in (found or [{}])[0]}
