"""Training samples: a grasp with what a full, masked or camera cloud shows of its object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import lightning
import numpy as np
import torch
import trimesh
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.objects.views import one_side, view_object
from grasp_gen_core.types import GLOBAL_ORIENT

POOL = 4096  # surface points kept for each object
MEASURED = 8  # held-out objects on which grasps are measured


@dataclass
class Views:
    """What is known of one object.

    Args:
        surface: (POOL, 3) points all around, metres.
        seen: for each camera the points it saw, object frame.
        toward: (C, 3) unit vectors from the object to each camera.
    """

    surface: np.ndarray
    seen: list[np.ndarray]
    toward: np.ndarray


class HeldOut(NamedTuple):
    """An object on which validation measures grasps: its solid and (N, 3) points, metres."""

    mesh: trimesh.Trimesh
    points: np.ndarray


def make_views(mesh, cameras: int, seed: int) -> Views:
    """Surface points and virtual camera captures of a mesh."""
    surface, _ = sample_surface(mesh, POOL, seed)
    camera, seen, toward = DepthCamera(), [], []
    for i in range(cameras):
        pose = random_view(mesh, seed * cameras + i)
        points = camera.capture(mesh, pose, seed * cameras + i)
        if len(points) < 64:
            continue
        seen.append((points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32))
        direction = pose[:3, 3] - mesh.bounds.mean(axis=0)
        toward.append(direction / np.linalg.norm(direction))
    return Views(surface, seen, np.array(toward).reshape(-1, 3))


class GraspSamples(Dataset):
    """Grasps of some objects, each time with another view of the object.

    Args:
        data: the dataset.
        objects: numbers of the objects to use.
        views: share of full, masked and camera clouds.
        points: points in a view, and in the surface sample half as many.
        cameras: virtual cameras for each object.
        palm_axis: (3,) direction out of the palm at rest.
    """

    def __init__(
        self,
        data: GraspDataset,
        objects: np.ndarray,
        views: dict[str, float],
        points: int,
        cameras: int,
        palm_axis: np.ndarray,
    ) -> None:
        import roma

        used = np.isin(data.object_index, objects)
        self.mano = torch.from_numpy(data.mano[used])
        self.object_index = data.object_index[used]
        bar = tqdm(objects, desc="objects and views", unit="object")
        self.views = {i: make_views(data.mesh(i), cameras, int(i)) for i in bar}
        self.kinds, self.share = list(views), np.array(list(views.values()))
        self.points = points
        orient = roma.rotvec_to_rotmat(self.mano[:, GLOBAL_ORIENT])
        self.approach = (orient @ torch.from_numpy(palm_axis).float()).numpy()

    def __len__(self) -> int:
        return len(self.mano)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        known = self.views[self.object_index[index]]
        kind = rng.choice(self.kinds, p=self.share / self.share.sum())
        seen = known.surface
        if kind == "masked":
            seen = mask(seen, rng)
        elif kind == "camera" and known.seen:
            # People, and robots, grasp what they see: no camera behind the palm's far side.
            facing = np.flatnonzero(known.toward @ self.approach[index] < 0.3)
            choice = facing if len(facing) else np.arange(len(known.seen))
            seen = known.seen[rng.choice(choice)]
        view = seen[rng.choice(len(seen), self.points, replace=len(seen) < self.points)]
        view = view + rng.normal(0, rng.choice([0, 0.001]), view.shape).astype(np.float32)
        surface = known.surface[rng.choice(POOL, self.points // 2, replace=False)]
        return {
            "view": torch.from_numpy(view.astype(np.float32)),
            "surface": torch.from_numpy(surface),
            "mano": self.mano[index],
            "flip": torch.tensor(rng.integers(4)),
        }


def mask(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lose 0-90 % of the points: those on one side, or random ones."""
    keep = max(64, int(len(points) * rng.uniform(0.1, 1.0)))
    if rng.random() < 0.3:
        return points[rng.choice(len(points), keep, replace=False)]
    return one_side(points, keep, rng)


class GraspData(lightning.LightningDataModule):
    """Training and validation samples; whole objects are held out."""

    def __init__(
        self,
        folder: str,
        batch: int,
        views: dict[str, float],
        palm_axis: np.ndarray,
        points: int = 1024,
        cameras: int = 8,
        held_out: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch = batch
        data = GraspDataset.load(folder)
        order = np.random.default_rng(seed).permutation(len(data.objects))
        split = max(1, round(held_out * len(order)))
        shared = (views, points, cameras, palm_axis)
        self.validation = GraspSamples(data, order[:split], *shared)
        self.training = GraspSamples(data, order[split:], *shared)
        self.measured = []
        for number in order[: min(split, MEASURED)]:
            mesh, _ = solid(data.mesh(number), data.objects[number])
            self.measured.append(HeldOut(mesh, view_object(mesh, "full", points).points))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.training, self.batch, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation, self.batch)
