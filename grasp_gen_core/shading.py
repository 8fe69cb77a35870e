"""Shaded pictures of coloured meshes and clouds, by casting rays.

open3d finds what each ray meets, numpy shades it: no display, GPU or OpenGL context is needed, so
the same picture comes out of a laptop, a robot and a bare container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree

# Camera frame: x right, y up, z towards the viewer.
KEY_LIGHT = np.array([-0.45, 0.60, 0.66], np.float32)
FILL_LIGHT = np.array([0.75, -0.05, 0.66], np.float32)

VEIL = 0.35  # of what is translucent

Part = trimesh.Trimesh | trimesh.PointCloud


class View(NamedTuple):
    """Where the camera stands: unit directions from the scene to it, and of the picture's top."""

    direction: Sequence[float]
    up: Sequence[float]

    def camera(self) -> np.ndarray:
        """Rotation (3, 3), columns right, up, towards the viewer."""
        back = trimesh.unitize(np.asarray(self.direction, float))
        right = trimesh.unitize(np.cross(self.up, back))
        return np.stack([right, np.cross(back, right), back], axis=1)


def is_veil(part: Part) -> bool:
    """Whether a part is translucent."""
    return part.visual.vertex_colors[0, 3] < 255


def _opaque(part: Part) -> Part:
    part = part.copy()
    part.visual.vertex_colors[:, 3] = 255
    return part


def solid_part(part: Part) -> trimesh.Trimesh:
    """A mesh unchanged; a cloud as small balls, as large as the points' spacing allows."""
    if isinstance(part, trimesh.Trimesh):
        return part
    points, count = part.vertices, len(part.vertices)
    spacing, _ = cKDTree(points).query(points, k=[min(5, count)])
    radius = np.clip(0.45 * np.median(spacing), 0.0007, 0.003)
    # Smooth normals make an icosahedron of a few pixels look round.
    ball = trimesh.creation.icosphere(subdivisions=0, radius=radius)
    corners = len(ball.vertices)
    return trimesh.Trimesh(
        (points[:, None] + ball.vertices).reshape(-1, 3),
        (np.arange(count)[:, None, None] * corners + ball.faces).reshape(-1, 3),
        vertex_normals=np.tile(ball.vertex_normals, (count, 1)),
        vertex_colors=np.repeat(part.visual.vertex_colors, corners, axis=0),
        process=False,
    )


class Scene:
    """Parts in one ray-casting scene, with the light that reaches each vertex from around.

    What is translucent, by its first vertex, is a veil before the rest: its nearest surface alone
    is seen, and it casts no shadow.

    Args:
        parts: meshes with vertex colours and clouds, metres; one at least is opaque.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        import open3d as o3d

        veils = [part for part in parts if is_veil(part)]
        self.veil = Scene([_opaque(part) for part in veils]) if veils else None
        meshes = [solid_part(part) for part in parts if not is_veil(part)]
        starts = np.cumsum([0] + [len(m.vertices) for m in meshes])
        self.vertices = np.concatenate([m.vertices for m in meshes]).astype(np.float32)
        self.faces = np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=False)])
        self.rays = o3d.t.geometry.RaycastingScene()
        self.tensor = o3d.core.Tensor
        self.rays.add_triangles(
            self.tensor(self.vertices), self.tensor(self.faces.astype(np.uint32))
        )
        normals = np.concatenate([m.vertex_normals for m in meshes]).astype(np.float32)
        colours = np.concatenate([m.visual.vertex_colors[:, :3] for m in meshes]) / 255
        sky = self.open_sky(normals)
        linear = colours.astype(np.float32) ** 2.2
        self.attributes = np.concatenate([normals, linear, sky[:, None]], axis=1)

    def open_sky(self, normals: np.ndarray, directions: int = 48, reach: float = 0.06):
        """Ambient occlusion: cosine-weighted share of (V,) unblocked directions within reach."""
        # A Fibonacci sphere, the same for all vertices: even, and without noise.
        k = np.arange(directions) + 0.5
        z, turn = 1 - 2 * k / directions, np.pi * (1 + 5**0.5) * k
        ring = np.sqrt(1 - z * z)
        sky = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1).astype(np.float32)
        cosine = np.maximum(normals @ sky.T, 0)
        vertex, ray = np.nonzero(cosine > 0.05)
        origins = self.vertices[vertex] + 0.0004 * normals[vertex]
        blocked = self.rays.test_occlusions(
            self.tensor(np.concatenate([origins, sky[ray]], axis=1)), tfar=reach
        ).numpy()
        weight = cosine[vertex, ray]
        light = np.bincount(vertex, weight * ~blocked, len(normals))
        return (light / np.bincount(vertex, weight, len(normals)).clip(1e-6)).astype(np.float32)

    def picture(self, size: int, view: View) -> np.ndarray:
        """(size, size, 3) uint8, see `render.render_scene`."""
        samples = 2 * size  # 2 x 2 rays a pixel smooth the edges
        camera, eye = self.camera(view)
        local = (self.extent() - eye) @ camera
        plane = local[:, :2] / -local[:, 2:]
        low, high = plane.min(0), plane.max(0)
        half = 0.53 * (high - low).max()
        steps = half * ((np.arange(samples, dtype=np.float32) + 0.5) * 2 / samples - 1)
        middle = (low + high) / 2
        x, y = np.meshgrid(middle[0] + steps, middle[1] - steps)
        directions = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)

        origins = np.broadcast_to(eye, directions.shape)
        rays = np.concatenate([origins, directions @ camera.T], axis=1).astype(np.float32)
        away, image = self.seen(rays, camera)
        if self.veil is not None:
            before, veil = self.veil.seen(rays, camera)
            image = np.where((before < away)[:, None], (1 - VEIL) * image + VEIL * veil, image)
        image = image.reshape(size, 2, size, 2, 3).mean((1, 3))
        return np.round(255 * image).astype(np.uint8)

    def seen(self, rays: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far off rays (R, 6) meet something (R,), infinite if nothing; its colours (R, 3)."""
        hits = self.rays.cast_rays(self.tensor(rays))
        away = hits["t_hit"].numpy()
        hit = np.isfinite(away)
        u, v = hits["primitive_uvs"].numpy()[hit].T[..., None]
        a, b, c = self.attributes[self.faces[hits["primitive_ids"].numpy()[hit]].T]
        mixed = (1 - u - v) * a + u * b + v * c
        colours = np.ones((len(rays), 3), np.float32)
        directions = rays[hit, 3:] @ camera
        colours[hit] = shade(mixed[:, :3] @ camera, mixed[:, 3:6], mixed[:, 6:], directions)
        return away, colours

    def extent(self) -> np.ndarray:
        """(V, 3) all vertices, veils' too."""
        veils = [] if self.veil is None else [self.veil.vertices]
        return np.concatenate([self.vertices, *veils])

    def camera(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3), columns right, up, towards the viewer, and the eye (3,)."""
        camera = view.camera().astype(np.float32)
        low, high = self.extent().min(0), self.extent().max(0)
        # Far enough for a natural perspective.
        eye = (low + high) / 2 + camera[:, 2] * 2.5 * np.linalg.norm(high - low)
        return camera, eye


def shade(normals: np.ndarray, albedo: np.ndarray, sky: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Key, fill and sky light with a soft highlight; all in the camera frame, sRGB out."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-6)
    facing = -(normals * rays).sum(1, keepdims=True)
    normals = np.where(facing < 0, -normals, normals)
    key, fill = KEY_LIGHT, FILL_LIGHT
    light = 0.42 * sky * (1 + 0.35 * normals[:, 1:2])
    light += 0.62 * (normals @ key).clip(0)[:, None] * (0.35 + 0.65 * sky)
    light += 0.16 * (normals @ fill).clip(0)[:, None] * sky
    halfway = key - rays
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    gloss = 0.06 * (normals * halfway).sum(1, keepdims=True).clip(0) ** 24 * sky
    rim = 0.8 + 0.2 * np.abs(facing)
    return (albedo * light * rim + gloss).clip(0, 1) ** (1 / 2.2)
