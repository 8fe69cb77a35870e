"""A virtual depth camera: what a RealSense-like stereo sensor sees of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy import ndimage

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.distance import raycasting_scene

# What a RealSense D435 does, after Intel's tuning guide and its data sheet.
BASELINE = 0.05  # metres between its two cameras
DISPARITY_NOISE = 0.08  # pixels, standard deviation
DISPARITY_GRAIN = 2.0  # pixels over which that noise hangs together, as matching windows overlap
DISPARITY_STEP = 1 / 32  # pixels
PIXEL_JITTER = 0.3  # pixels, standard deviation of where a pixel really looks
GRAZING_COSINES = (0.1, 0.35)  # of ray to normal: nothing comes back below, everything above
EDGE_JUMP = 0.015  # metres between neighbouring pixels that make a depth edge
EDGE_LOSS = 0.5  # share of pixels lost there
OWN_SURFACE = 0.002  # of its distance, what lies so near before a surface doesn't shadow it
FLYING_SHARE, FLYING_DEPTH = 0.05, 0.008  # of the edge pixels, metres (mean) they fall behind


@dataclass(frozen=True)
class DepthCamera:
    """A pinhole depth camera, by default a RealSense at 640 x 480.

    Args:
        width, height: of the image, pixels.
        fx, fy, cx, cy: focal lengths and principal point, pixels.
        noise: scales all that is wrong with a real sensor; 0 is an ideal camera.
        baseline: from the imager to the second one, or to the projector, along x, metres.
        disparity_step: to which disparities are rounded, pixels.
        shadows: whether what the second one doesn't see is lost.
    """

    width: int = 640
    height: int = 480
    fx: float = 615.0
    fy: float = 615.0
    cx: float = 319.5
    cy: float = 239.5
    noise: float = 1.0
    baseline: float = BASELINE
    disparity_step: float = DISPARITY_STEP
    shadows: bool = False

    def capture(self, mesh: trimesh.Trimesh, camera_pose: np.ndarray, seed: int = 0) -> np.ndarray:
        """Points on the visible side of an object as the camera measures them.

        Args:
            mesh: metres.
            camera_pose: (4, 4) camera to object; camera axes are x right, y down, z forward.
            seed: of the noise; same seed, same points.

        Returns:
            (N, 3) float32 in the camera's frame, metres; N is 0 if the object is out of sight.
        """
        u, v = self._window(mesh, camera_pose)
        depth, _ = self._measure(mesh, camera_pose, u, v, seed)
        seen = np.isfinite(depth)
        return (depth[..., None] * self._rays(u, v))[seen].astype(np.float32)

    def photograph(
        self, mesh: trimesh.Trimesh, camera_pose: np.ndarray, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The whole depth image, and what is seen in it.

        Args:
            mesh, camera_pose, seed: as of `capture`.

        Returns:
            (height, width) float32 metres along the optical axis, 0 where nothing was measured;
            (height, width) int64 the mesh's face that each pixel looks at, -1 for none.
        """
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        depth, faces = self._measure(mesh, camera_pose, u, v, seed)
        return np.where(np.isfinite(depth), depth, 0).astype(np.float32), faces

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) intrinsics, pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def _measure(
        self, mesh: trimesh.Trimesh, pose: np.ndarray, u: np.ndarray, v: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depth (inf where nothing came back) and the face at pixels u, v, all (H, W)."""
        rng = np.random.default_rng(seed)
        jitter = rng.normal(0, PIXEL_JITTER * self.noise, (2, *u.shape))
        depth, cosine, faces = self._cast(mesh, pose, self._rays(u + jitter[0], v + jitter[1]))
        if self.noise:
            depth = self._degrade(depth, cosine, rng)
        return depth, faces

    def _window(self, mesh: trimesh.Trimesh, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u, v (H, W) of the pixels that can see the object: casting the rest is wasted."""
        corners = (trimesh.bounds.corners(mesh.bounds) - pose[:3, 3]) @ pose[:3, :3]
        low, high = np.zeros(2, int), np.array([self.width, self.height])
        if corners[:, 2].min() > 0:
            pixels = corners[:, :2] / corners[:, 2:] * [self.fx, self.fy] + [self.cx, self.cy]
            low = np.clip(np.floor(pixels.min(0)).astype(int) - 2, 0, high)
            high = np.clip(np.ceil(pixels.max(0)).astype(int) + 3, 0, high)
        return np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))

    def _rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(..., 3) directions in the camera frame, of unit depth."""
        return np.stack([(u - self.cx) / self.fx, (v - self.cy) / self.fy, np.ones(u.shape)], -1)

    def _cast(
        self, mesh: trimesh.Trimesh, pose: np.ndarray, rays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth (inf where nothing is hit), cosine between ray and surface, and face, (H, W)."""
        directions = rays @ pose[:3, :3].T
        starts = np.broadcast_to(pose[:3, 3], directions.shape)
        scene = raycasting_scene(mesh)
        hits = scene.cast_rays(np.concatenate([starts, directions], axis=-1, dtype=np.float32))
        depth, faces = hits["t_hit"].numpy(), hits["primitive_ids"].numpy().astype(np.int64)
        seen = np.isfinite(depth)
        facing = np.abs((hits["primitive_normals"].numpy() * directions).sum(-1))
        if self.shadows:
            second = pose[:3, :3] @ [self.baseline, 0, 0] + pose[:3, 3]
            ways = directions[seen] * depth[seen, None] + pose[:3, 3] - second
            rays_there = np.concatenate(
                [np.broadcast_to(second, ways.shape), ways], axis=1, dtype=np.float32
            )
            hidden = scene.test_occlusions(rays_there, tfar=1 - OWN_SURFACE).numpy()
            depth[seen] = np.where(hidden, np.inf, depth[seen])
        return depth, facing / np.linalg.norm(rays, axis=-1), np.where(seen, faces, -1)

    def _degrade(
        self, depth: np.ndarray, cosine: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Depth with stereo noise, quantisation, dropouts and flying pixels."""
        seen = np.isfinite(depth)
        near, far = ndimage.minimum_filter(depth, 3), ndimage.maximum_filter(depth, 3)
        edge = seen & ~(far - np.where(np.isfinite(near), near, 0) < EDGE_JUMP)
        chance = rng.random((3, *depth.shape))
        low, high = GRAZING_COSINES
        lost = chance[0] > (cosine - low * self.noise) / (high - low)
        lost |= edge & (chance[1] < EDGE_LOSS * self.noise)

        # Averaging over the grain shrinks white noise by 2 sqrt(pi) grain.
        grain = ndimage.gaussian_filter(rng.normal(size=depth.shape), DISPARITY_GRAIN)
        grain *= 2 * np.sqrt(np.pi) * DISPARITY_GRAIN * DISPARITY_NOISE * self.noise
        step = self.disparity_step * self.noise
        disparity = self.fx * self.baseline / depth[seen] + grain[seen]
        measured = np.full(depth.shape, np.inf)
        measured[seen] = self.fx * self.baseline / (np.round(disparity / step) * step)
        flying = edge & (chance[2] < FLYING_SHARE * self.noise)
        measured[flying] += rng.exponential(FLYING_DEPTH, flying.sum())
        measured[lost] = np.inf
        return measured


# Structured light of 2010: coarser disparities, and the projector's shadows (Khoshelham, 2012).
KINECT = DepthCamera(fx=525.0, fy=525.0, baseline=0.075, disparity_step=1 / 8, shadows=True)


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pose of a camera that looks from eye to target, upright with regard to z.

    Args:
        eye, target: (3,) metres.

    Returns:
        (4, 4) camera to object; camera axes are x right, y down, z forward.

    Raises:
        InputError: if eye and target coincide.
    """
    forward = np.asarray(target, dtype=float) - eye
    if not np.linalg.norm(forward) > 0:
        raise InputError("look_at: eye and target coincide, accepted are two different points")
    forward /= np.linalg.norm(forward)
    up = [0, 0, 1] if abs(forward[2]) < 0.999 else [0, 1, 0]  # straight down: y is up
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    return pose


def random_view(mesh: trimesh.Trimesh, seed: int = 0) -> np.ndarray:
    """A camera pose as robots have them: the object fills the middle, mostly seen from above.

    Args:
        mesh: metres, z up.
        seed: same seed, same pose.

    Returns:
        (4, 4) camera to object, see `look_at`.
    """
    rng = np.random.default_rng(seed)
    height, angle = rng.uniform(-0.3, 0.98), rng.uniform(0, 2 * np.pi)
    across = np.sqrt(1 - height**2)
    direction = np.array([across * np.cos(angle), across * np.sin(angle), height])
    size = np.linalg.norm(mesh.extents)
    distance = max(0.3, 1.5 * size) + rng.uniform(0, 0.5)
    target = mesh.bounds.mean(axis=0) + rng.normal(0, 0.05, 3) * size
    return look_at(target + distance * direction, target)
