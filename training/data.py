"""Training samples: a grasp with what a full, masked or camera cloud shows of its object.

What is shown is drawn from each object's material: points all around it, and points that cameras
saw of it. Making that takes some hundredths of a second for each object; it is done once for a
dataset, on all cores, and kept in one file, which the loader's processes share by memory map.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import lightning
import numpy as np
import torch
import trimesh
from torch.utils.data import DataLoader, Dataset, Sampler

from grasp_gen_core.contact import choir
from grasp_gen_core.data.dataset import MESHES, GraspDataset, object_mesh
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.objects import camera, procedural
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import raycasting_scene
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.objects.views import one_side, view_object
from grasp_gen_core.types import GLOBAL_ORIENT
from grasp_gen_training.kept import keep

VERSION = 1  # of the material: one more when other code here makes other points
CONTACT_VERSION = 2  # of the contacts: one more when contact.choir makes others
POOL = 4096  # surface points kept for each object
TOUCHABLE = 2e-6  # square metres of surface for each point that hands may touch
SEEN = 1024  # points kept of what a camera saw
RAYS, MOST_RAYS = 4096, 32768  # cast at a time for a camera, and in all
FEWEST = 64  # points, below which nothing is seen or kept
FACING = 0.3  # most cosine between approach and the direction to the camera
MEASURED = 8  # held-out objects on which grasps are measured
KINDS = ("full", "masked", "camera")
SIDES = ("left", "right")  # of equal numbers, for searchsorted
CAMERA = camera.DepthCamera()


class HeldOut(NamedTuple):
    """An object on which validation measures grasps: its solid and (N, 3) points, metres."""

    mesh: trimesh.Trimesh
    points: np.ndarray


def material_type(cameras: int) -> np.dtype:
    """One object's record: points are origin + step * integers, metres, in the object's frame.

    origin (3,) is the middle of its box; surface (POOL, 3) points all around; and for each camera
    its place `eye` (3,), the direction `forward` (3,) that it looks in, and `seen` (SEEN, 3).
    """
    fields = [("origin", "<f4", 3), ("step", "<f4"), ("surface", "<i2", (POOL, 3))]
    fields += [("eye", "<f4", (cameras, 3)), ("forward", "<f4", (cameras, 3))]
    return np.dtype([*fields, ("seen", "<i2", (cameras, SEEN, 3))])


def make_material(name: str, folder: Path, cameras: int) -> np.ndarray:
    """The record of one object, see `material_type`; same name, same record.

    Args:
        name: as in a dataset, see `object_mesh`.
        folder: of mesh files.
        cameras: views of it.

    Raises:
        InputError: if no camera sees it.
    """
    mesh, seed = object_mesh(name, folder), crc32(name.encode())
    record = np.zeros((), material_type(cameras))
    origin = mesh.bounds.mean(axis=0)
    step = mesh.extents.max() / 65534
    record["origin"], record["step"] = origin, step
    record["surface"] = np.rint((sample_surface(mesh, POOL, seed)[0] - origin) / step)
    rng, found = np.random.default_rng(seed), 0
    for chance in range(4 * cameras):
        if found == cameras:
            break
        pose = camera.random_view(mesh, seed + chance)
        points = seen_points(mesh, pose, rng)
        if len(points) < FEWEST:
            continue
        record["eye"][found], record["forward"][found] = pose[:3, 3], pose[:3, 2]
        record["seen"][found] = np.rint((np.resize(points, (SEEN, 3)) - origin) / step)
        found += 1
    if found < cameras:
        raise InputError(f"{name}: only {found} of {4 * cameras} cameras see it")
    return record


def seen_points(mesh: trimesh.Trimesh, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to SEEN points (N, 3) that a depth camera sees of a mesh, object frame, exact.

    Rays through random places of the image, with the losses at grazing angles and depth edges:
    some points of `DepthCamera.capture`, at a tenth of the time. Flying pixels are left out, one
    point in some hundreds; noise is added by `measured` whenever a view is drawn.

    Args:
        mesh: metres.
        pose: (4, 4) camera to object, see `camera.look_at`.
        rng: draws the rays.
    """
    corners = (trimesh.bounds.corners(mesh.bounds) - pose[:3, 3]) @ pose[:3, :3]
    focal, middle = np.array([CAMERA.fx, CAMERA.fy]), np.array([CAMERA.cx, CAMERA.cy])
    pixels = corners[:, :2] / corners[:, 2:] * focal + middle
    low, high = np.clip([pixels.min(0), pixels.max(0)], 0, [CAMERA.width, CAMERA.height])
    scene = raycasting_scene(mesh)

    def cast(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rays (N, 3) of unit depth, depth (N,), inf beside the object, and normals (N, 3)."""
        across = (pixels - middle) / focal
        rays = np.concatenate([across, np.ones((len(across), 1))], axis=1) @ pose[:3, :3].T
        starts = np.broadcast_to(pose[:3, 3], rays.shape)
        hits = scene.cast_rays(np.concatenate([starts, rays], 1, dtype=np.float32), nthreads=1)
        return rays, hits["t_hit"].numpy(), hits["primitive_normals"].numpy()

    points, (lost_below, kept_above) = np.empty((0, 3)), camera.GRAZING_COSINES
    for _ in range(0, MOST_RAYS, RAYS):
        pixels = rng.uniform(low, high, (RAYS, 2))
        rays, depth, normals = cast(pixels)
        cosine = np.abs((normals * rays).sum(1)) / np.linalg.norm(rays, axis=1)
        kept = np.isfinite(depth)
        kept &= rng.random(RAYS) < (cosine - lost_below) / (kept_above - lost_below)
        kept = np.flatnonzero(kept)[: 5 * SEEN // 4]  # a few more, for what edges cost
        around = (pixels[kept, None] + [[-1, -1], [-1, 1], [1, -1], [1, 1]]).reshape(-1, 2)
        around = cast(around)[1].reshape(-1, 4)
        edge = ~(around.max(1) - np.minimum(around.min(1), depth[kept]) < camera.EDGE_JUMP)
        kept = kept[~(edge & (rng.random(len(kept)) < camera.EDGE_LOSS))]
        points = np.concatenate([points, pose[:3, 3] + depth[kept, None] * rays[kept]])
        if len(points) >= SEEN:
            break
    return points[:SEEN]


def measured(
    points: np.ndarray, eye: np.ndarray, forward: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Points (N, 3) with a stereo camera's noise: of depth along their rays, of pixels across."""
    rays = points - eye
    depth = rays @ forward
    jitter = rng.normal(0, camera.PIXEL_JITTER / CAMERA.fx, rays.shape) * depth[:, None]
    rays = rays + jitter - (jitter @ forward)[:, None] * forward
    disparity = CAMERA.fx * camera.BASELINE / depth
    noisy = disparity + rng.normal(0, camera.DISPARITY_NOISE, len(points))
    noisy = np.rint(noisy / camera.DISPARITY_STEP) * camera.DISPARITY_STEP
    return eye + rays * (disparity / noisy)[:, None]


def material_file(data: GraspDataset, cameras: int, quiet: bool = False) -> Path:
    """The file that holds the material of a dataset's objects, made first if there is none."""
    folder = data.folder / MESHES
    digest = hashlib.sha256(repr((VERSION, POOL, SEEN, cameras)).encode())
    for source in sorted(Path(procedural.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for name in data.objects:
        digest.update(f"\n{name}".encode())
        if (folder / name).is_file():
            state = (folder / name).stat()
            digest.update(f" {folder.resolve()} {state.st_size} {state.st_mtime_ns}".encode())
    path = cache_folder() / "views" / f"{digest.hexdigest()}.npy"
    make = partial(make_material, folder=folder, cameras=cameras)
    rows = ((i, name) for i, name in enumerate(data.objects))
    row, count = material_type(cameras), len(data.objects)
    return keep(path, (count,), row, make, rows, "views of objects", quiet)


def contact_file(data: GraspDataset, material: Path, quiet: bool = False) -> Path:
    """The file that holds the contact Gaussians (G, 32, 9) of a dataset's grasps, object's frame.

    Args:
        data: the dataset.
        material: its `material_file`, whose name tells its objects.
    """
    digest = hashlib.sha256(f"{CONTACT_VERSION} {TOUCHABLE} {material.stem}".encode())
    digest.update(data.mano.tobytes())
    for table in right_hand().state_dict().values():
        digest.update(table.numpy().tobytes())
    path = cache_folder() / "contacts" / f"{digest.hexdigest()}.npy"
    grasps = [np.flatnonzero(data.object_index == i) for i in range(len(data.objects))]
    rows = ((index, (data.objects[i], data.mano[index])) for i, index in enumerate(grasps))
    make = partial(make_contacts, data.folder / MESHES)
    return keep(path, (len(data), 32, 9), "<f4", make, rows, "contacts", quiet)


def make_contacts(folder: Path, task: tuple[str, np.ndarray]) -> np.ndarray:
    """(B, 32, 9) Gaussians of an object's name and its grasps (B, 61); `folder` is of mesh files.

    Points lie as close on large objects as on small ones, so that none slips through the cones:
    fewer than 2 % of the anchors that touch are missed.
    """
    name, mano = task
    hand, mesh = right_hand(), object_mesh(name, folder)
    points, _ = sample_surface(mesh, round(mesh.area / TOUCHABLE), crc32(name.encode()))
    vertices, _ = hand(torch.from_numpy(mano))
    every = torch.from_numpy(points).expand(len(mano), -1, -1)
    weights = choir.contact_weights(every, vertices, hand.faces)
    return choir.fit_gaussians(vertices, weights, hand.regions).numpy()


@lru_cache(maxsize=1)
def right_hand() -> ManoHand:
    return ManoHand()


@lru_cache(maxsize=4)
def open_material(path: Path) -> np.ndarray:
    """(O,) records of a material file, memory-mapped; each process opens it for itself."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


class GraspSamples(Dataset):
    """Grasps of some objects, each time with another view of the object.

    Args:
        data: the dataset.
        objects: numbers of the objects to use.
        material: the file of `material_file` for this dataset.
        views: share of full, masked and camera clouds.
        points: points in a view.
        palm_axis: (3,) direction out of the palm at rest.
        surface: points all around the object, by default half as many as in a view.
        contacts: the file of `contact_file`, for samples that have their grasps' contacts.
        unusual: whether hands of unusual shape are used, too.
        others: grasps of the same object that come with each, itself the first.
        holding: whether only grasps are used that are known to hold when the hand closes.

    Raises:
        InputError: if a kind of view is unknown, or which grasps hold.
    """

    def __init__(
        self,
        data: GraspDataset,
        objects: np.ndarray,
        material: Path,
        views: dict[str, float],
        points: int,
        palm_axis: np.ndarray,
        surface: int | None = None,
        contacts: Path | None = None,
        unusual: bool = True,
        others: int = 0,
        holding: bool = False,
    ) -> None:
        if unknown := set(views) - set(KINDS):
            raise InputError(f"views: {', '.join(unknown)}, accepted are {', '.join(KINDS)}")
        used = np.isin(data.object_index, objects) & (unusual | ~data.unusual)
        if holding:
            if data.holds is None:
                way = "`python -m grasp_gen_training.closing` tells"
                raise InputError(f"holding: unknown in {data.folder} which grasps hold; {way}")
            used &= data.holds
        self.mano = torch.from_numpy(data.mano[used])
        self.contacts = None
        if contacts is not None:
            self.contacts = torch.from_numpy(np.load(contacts, allow_pickle=False)[used])
        self.object_index, self.others = data.object_index[used], others
        self.by_object = np.argsort(self.object_index, kind="stable")
        self.sorted_index = self.object_index[self.by_object]
        self.material, self.points, self.surface = material, points, surface or points // 2
        self.kinds, share = list(views), np.array(list(views.values()), float)
        self.share = share / share.sum()
        orient = rotations.to_matrix(self.mano[:, GLOBAL_ORIENT])
        self.approach = (orient @ torch.from_numpy(palm_axis).float()).numpy()

    def __len__(self) -> int:
        return len(self.mano)

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """A whole batch: view (B, points, 3), surface (B, surface, 3), mano (B, 61), flip (B,), the
        camera's place eye (B, 3), NaN without one, and where they are wanted contacts (B, 32, 9)
        and others (B, others, 61).

        Args:
            batch: (B,) numbers of grasps, and the seed of what is drawn for them.
        """
        rows, seed = batch
        rng, table = np.random.default_rng(seed), open_material(self.material)
        kinds = rng.choice(self.kinds, len(rows), p=self.share)
        view = np.empty((len(rows), self.points, 3), np.float32)
        surface = np.empty((len(rows), self.surface, 3), np.float32)
        eye = np.full((len(rows), 3), np.nan, np.float32)
        pools, origins, steps = table["surface"], table["origin"], table["step"]
        for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
            number = self.object_index[row]
            origin, step, pool = origins[number], steps[number], pools[number]
            surface[i] = origin + step * draw(pool, self.surface, rng)
            if kind == "camera":
                view[i], eye[i] = self._seen(table[number], self.approach[row], rng)
            else:
                shown = mask(pool, rng) if kind == "masked" else pool
                view[i] = origin + step * draw(shown, self.points, rng)
        noise = rng.standard_normal(view.shape, np.float32)
        view += noise * rng.choice(np.float32([0, 0.001]), (len(rows), 1, 1))
        more = {} if self.contacts is None else {"contacts": self.contacts[rows]}
        if self.others:
            more["others"] = self.mano[self._others(rows, rng)]
        return more | {
            "view": torch.from_numpy(view),
            "eye": torch.from_numpy(eye),
            "surface": torch.from_numpy(surface),
            "mano": self.mano[rows],
            "flip": torch.from_numpy(rng.integers(4, size=len(rows))),
        }

    def _others(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, others) numbers of grasps, each row's own and others of its object."""
        numbers = self.object_index[rows]
        first, end = (np.searchsorted(self.sorted_index, numbers, side) for side in SIDES)
        drawn = rng.integers(first[:, None], end[:, None], (len(rows), self.others))
        drawn = self.by_object[drawn]
        drawn[:, 0] = rows
        return drawn

    def _seen(
        self, known: np.void, approach: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        # People, and robots, grasp what they see: no camera behind the palm's far side.
        toward = known["eye"] - known["origin"]
        facing = np.flatnonzero(toward @ approach < FACING * np.linalg.norm(toward, axis=1))
        which = rng.choice(facing if len(facing) else len(toward))
        points = known["origin"] + known["step"] * draw(known["seen"][which], self.points, rng)
        eye = known["eye"][which]
        return measured(points, eye, known["forward"][which], rng), eye


def draw(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) of the points, none twice where there are enough."""
    return points[rng.choice(len(points), count, replace=len(points) < count)]


def mask(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lose 0-90 % of the points: those on one side, or random ones."""
    keep = max(FEWEST, int(len(points) * rng.uniform(0.1, 1.0)))
    if rng.random() < 0.3:
        return points[rng.choice(len(points), keep, replace=False)]
    return one_side(points, keep, rng)


class Batches(Sampler):
    """Numbers of the samples in each batch, and a seed for what is drawn for them.

    Drawn here, in the training process: batches don't depend on how many processes make them.

    Args:
        count: samples there are.
        size: of a batch.
        shuffled: anew in each epoch, after torch's seed; what doesn't fill a batch is left out.
            Otherwise all come in order, and every epoch draws the same.
    """

    def __init__(self, count: int, size: int, shuffled: bool) -> None:
        self.count, self.size, self.shuffled = count, size, shuffled
        self.seed, self.epoch = torch.initial_seed() if shuffled else 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this, so that a resumed training goes on with other batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.size if self.shuffled else -(-self.count // self.size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        rng = np.random.default_rng([self.seed, self.epoch if self.shuffled else 0])
        order = rng.permutation(self.count) if self.shuffled else np.arange(self.count)
        self.epoch += 1
        for i in range(len(self)):
            yield order[i * self.size : (i + 1) * self.size], int(rng.integers(2**62))


def divide(data: GraspDataset, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the objects for training and for validation, in random order.

    Args:
        data: its `split` says which objects are which.
        held_out: share of the objects to hold out if the split names none for validation.
        seed: of the order.

    Raises:
        InputError: if nothing is left for training.
    """
    order = np.random.default_rng(seed).permutation(len(data.objects))
    split = data.split[order]
    training, validation = order[split == "train"], order[split == "validation"]
    if not len(validation):
        count = max(1, round(held_out * len(order)))
        training, validation = order[count:], order[:count]
    if not len(training):
        raise InputError(
            f"{data.folder}: no objects for training beside {len(validation)} for validation, "
            "accepted are two objects or more"
        )
    return training, validation


class GraspData(lightning.LightningDataModule):
    """Training and validation samples; whole objects are held out.

    Args:
        folder: the dataset's.
        batch: grasps in a batch.
        views, palm_axis, points, surface: see `GraspSamples`.
        cameras: virtual cameras for each object.
        held_out: share of the objects for validation, where the dataset names none.
        seed: of what is held out.
        contacts: whether samples have their grasps' contact Gaussians.
        others: see `GraspSamples`.
        holding: see `GraspSamples`; validation is by all grasps in any case.
        workers: processes that make batches; by default half of the cores, at most 8, and none
            beside the training process on a machine with two cores or one.

    Raises:
        InputError: if there are no objects to hold out, or fewer grasps than fill a batch.
    """

    def __init__(
        self,
        folder: str,
        batch: int,
        views: dict[str, float],
        palm_axis: np.ndarray,
        points: int = 1024,
        cameras: int = 16,
        held_out: float = 0.05,
        seed: int = 0,
        contacts: bool = False,
        surface: int | None = None,
        others: int = 0,
        holding: bool = False,
        workers: int | None = None,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        cores = os.cpu_count() or 1
        self.workers = (min(cores // 2, 8) if cores > 2 else 0) if workers is None else workers
        self.batch = batch
        data = GraspDataset.load(folder)
        training, validation = divide(data, held_out, seed)
        material = material_file(data, cameras, quiet)
        touching = contact_file(data, material, quiet) if contacts else None
        shared = (material, views, points, palm_axis, surface, touching)
        self.validation = GraspSamples(data, validation, *shared, others=others)
        learnt = {"unusual": False, "others": others, "holding": holding}
        self.training = GraspSamples(data, training, *shared, **learnt)
        if len(self.training) < batch:
            raise InputError(
                f"batch: {batch}, accepted are at most {len(self.training)}, the grasps to train on"
            )
        self.measured = []
        for number in validation[:MEASURED]:
            mesh, _ = solid(data.mesh(int(number)), data.objects[number])
            self.measured.append(HeldOut(mesh, view_object(mesh, "full", points).points))

    def train_dataloader(self) -> DataLoader:
        return load(self.training, Batches(len(self.training), self.batch, True), self.workers)

    def val_dataloader(self) -> DataLoader:
        return load(self.validation, Batches(len(self.validation), self.batch, False), self.workers)


def load(samples: Dataset, batches: Batches, workers: int) -> DataLoader:
    """Batches of samples, made by so many processes."""
    return DataLoader(
        samples,
        sampler=batches,
        batch_size=None,  # the sampler's items are batches
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
