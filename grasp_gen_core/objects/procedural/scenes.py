"""Random tables with household objects on them: side by side, touching, on top of each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import trimesh
from numpy.random import Generator

from grasp_gen_core.objects.camera import KINECT, DepthCamera, look_at
from grasp_gen_core.objects.distance import raycasting_scene
from grasp_gen_core.objects.procedural import FAMILIES, make_object
from grasp_gen_core.objects.sampling import sample_surface

MOST_OBJECTS = 8
LOWEST = 0.015  # metres that an object is high: what lies flatter is lost in a depth camera's noise
AREA = (0.45, 0.35)  # metres of the table that objects stand on
APART = 0.012  # metres between objects that don't touch
TOUCH = 0.0005  # metres between those that do
MANNERS, CHANCES = ("free", "beside", "on top"), (0.4, 0.3, 0.3)
SAMPLES, TRIES, STEPS = 1500, 20, 60
UPRIGHT = 1.5  # times as likely to stand upright as to lie in any other way


class TableScene(NamedTuple):
    """A table in its own frame: z up, its top at 0.

    Attributes:
        objects: what stands on it, metres.
        room: table, floor and perhaps a wall.
        camera: that looks at it.
        pose: (4, 4) camera to table.
    """

    objects: tuple[trimesh.Trimesh, ...]
    room: trimesh.Trimesh
    camera: DepthCamera
    pose: np.ndarray

    def photograph(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """What the camera sees, and what it is.

        Args:
            seed: of the noise.

        Returns:
            (H, W) float32 depth, metres, 0 where nothing was measured; (H, W) int64 the object in
            sight, counted from 1, 0 for the room, -1 for nothing.
        """
        meshes = [self.room, *self.objects]
        depth, faces = self.camera.photograph(trimesh.util.concatenate(meshes), self.pose, seed)
        owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
        return depth, np.where(faces < 0, -1, owner[faces])

    def plane(self) -> tuple[np.ndarray, float]:
        """The table's top in the camera's frame: unit normal (3,), up, and offset, metres."""
        up = self.pose[2, :3]
        return up, -self.pose[2, 3]


def make_scene(seed: int) -> TableScene:
    """One random scene; same seed, same scene.

    One to eight objects stand or lie as they would by themselves; some touch a neighbour, some lie
    on top of one. Cameras are of two kinds, look down by 25 to 65 degrees, and lean to a side.
    """
    rng = np.random.default_rng([seed, *b"scene"])
    placed: list[trimesh.Trimesh] = []
    for _ in range(rng.integers(1, MOST_OBJECTS + 1)):
        manner = rng.choice(MANNERS, p=CHANCES) if placed else "free"
        for _ in range(TRIES):
            mesh = _resting(rng)
            neighbour = placed[rng.integers(len(placed))] if placed else None
            if _put(mesh, neighbour, placed, manner, rng):
                placed.append(mesh)
                break
    camera = KINECT if rng.random() < 0.5 else DepthCamera()
    return TableScene(tuple(placed), _room(rng), camera, _camera_pose(rng))


def _resting(rng: Generator) -> trimesh.Trimesh:
    """An object in a stable pose at the origin, its lowest point at z = 0."""
    while True:
        mesh = make_object(str(rng.choice(FAMILIES)), int(rng.integers(2**31)))
        poses, chances = trimesh.poses.compute_stable_poses(mesh.convex_hull, n_samples=1)
        chances = chances * np.where(poses[:, 2, 2] > 0.99, UPRIGHT / chances.max(), 1)
        mesh.apply_transform(poses[rng.choice(len(poses), p=chances / chances.sum())])
        turn = trimesh.transformations.rotation_matrix(rng.uniform(0, 2 * np.pi), (0, 0, 1))
        mesh.apply_transform(turn)
        low, high = mesh.bounds
        mesh.apply_translation((*-(low + high)[:2] / 2, -low[2]))
        if mesh.extents[2] > LOWEST:
            return mesh


def _put(
    mesh: trimesh.Trimesh,
    neighbour: trimesh.Trimesh | None,
    placed: list[trimesh.Trimesh],
    manner: str,
    rng: Generator,
) -> bool:
    """Move an object where it is to be; whether it can be there."""
    if manner == "free":
        mesh.apply_translation((*rng.uniform(-0.5, 0.5, 2) * AREA, 0))
        return all(_gap(mesh, other) > APART for other in placed)
    middle = neighbour.bounds.mean(axis=0)
    if manner == "on top":
        if neighbour.bounds[0, 2] > TOUCH:  # no towers: they would fall
            return False
        offset = rng.uniform(-0.3, 0.3, 2) * neighbour.extents[:2]
        mesh.apply_translation((*middle[:2] + offset, neighbour.bounds[1, 2] + APART))
        way = np.array([0, 0, -1.0])
    else:
        angle = rng.uniform(0, 2 * np.pi)
        way = -np.array([np.cos(angle), np.sin(angle), 0])
        mesh.apply_translation((*middle[:2], 0) - way * (APART + _reach(mesh) + _reach(neighbour)))
    if not _advance(mesh, neighbour, way):
        return False
    if manner == "on top" and not _lies_on(mesh, neighbour):
        return False
    if np.abs(mesh.bounds[:, :2]).max() > max(AREA):
        return False
    return all(_gap(mesh, other) > APART for other in placed if other is not neighbour)


def _reach(mesh: trimesh.Trimesh) -> float:
    return float(np.linalg.norm(mesh.extents[:2]) / 2)


def _gap(mesh: trimesh.Trimesh, other: trimesh.Trimesh) -> float:
    """Metres between two surfaces, negative if one is inside the other."""
    gaps = []
    for one, two in ((mesh, other), (other, mesh)):
        points = np.concatenate([sample_surface(one, SAMPLES, 0)[0], one.vertices[:SAMPLES]])
        scene = raycasting_scene(two)
        gaps.append(scene.compute_signed_distance(points.astype(np.float32)).numpy().min())
    return float(min(gaps))


def _advance(mesh: trimesh.Trimesh, other: trimesh.Trimesh, way: np.ndarray) -> bool:
    """Move one along a direction until it touches the other; false if it misses it."""
    for _ in range(STEPS):
        gap = _gap(mesh, other)
        if gap < TOUCH:
            return True
        mesh.apply_translation((gap - TOUCH / 2) * way)
        if way[2] and mesh.bounds[1, 2] < other.bounds[1, 2]:
            return False
    return False


def _lies_on(mesh: trimesh.Trimesh, other: trimesh.Trimesh) -> bool:
    """Whether a flat part of the other is under an object's middle, on all sides of it."""
    middle, radius = mesh.bounds.mean(axis=0)[:2], mesh.extents[:2].min() / 4
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    around = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    start = np.column_stack([around, np.full(8, mesh.bounds[0, 2] + TOUCH)])
    rays = np.concatenate([start, np.tile([0, 0, -1.0], (8, 1))], axis=1).astype(np.float32)
    return bool((raycasting_scene(other).cast_rays(rays)["t_hit"].numpy() < 4 * TOUCH).all())


def _room(rng: Generator) -> trimesh.Trimesh:
    """A table, a floor, and behind the table perhaps a wall."""
    length, width = rng.uniform(0.8, 1.4), rng.uniform(0.7, 1.0)
    table = trimesh.creation.box((width, length, 0.03)).apply_translation((0, 0, -0.015))
    floor = trimesh.creation.box((6, 6, 0.01)).apply_translation((0, 0, -0.75))
    parts = [table, floor]
    if rng.random() < 0.5:
        wall = trimesh.creation.box((0.1, 6, 3))
        parts.append(wall.apply_translation((-width / 2 - 0.05 - rng.uniform(0, 0.4), 0, 0.5)))
    return trimesh.util.concatenate(parts)


def _camera_pose(rng: Generator) -> np.ndarray:
    """From the front, x, towards the middle of the table."""
    down, aside = np.radians(rng.uniform(25, 65)), np.radians(rng.uniform(-40, 40))
    away = np.array([np.cos(aside) * np.cos(down), np.sin(aside) * np.cos(down), np.sin(down)])
    target = np.array([*rng.normal(0, 0.04, 2), 0.05])
    pose = look_at(target + rng.uniform(0.7, 1.2) * away, target)
    lean = np.radians(rng.normal(0, 10))
    return pose @ trimesh.transformations.rotation_matrix(lean, (0, 0, 1))
