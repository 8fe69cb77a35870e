"""Scenes from files: clouds, organised or not, and depth images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.cloud_readers import organised
from grasp_gen_core.objects.clouds import CLOUD_FORMATS, read_cloud
from grasp_gen_core.objects.meshes import check_format
from grasp_gen_core.types import read_npz

SCENE_FORMATS = (*CLOUD_FORMATS, ".png")
MILLIMETRES = 1000  # a metre


class SceneFile(NamedTuple):
    """What a file tells of a scene.

    Attributes:
        points: (N, 3), or (H, W, 3) of an image; metres, NaN where nothing was measured.
        viewpoint: (3,) where the camera stood, None where that isn't told.
    """

    points: np.ndarray
    viewpoint: np.ndarray | None


def load_scene(path: str | Path, intrinsics: Sequence[float] | None = None) -> SceneFile:
    """A scene as it stands in a file: nothing is dropped, points keep their order.

    Args:
        path: a cloud (.pcd .ply .npy .npz .xyz) in metres, .npy and .npz also (H, W, 3); or a depth
            image in millimetres, 0 where nothing came back: an .npz with `depth_mm` (H, W) and `K`
            (3, 3), pixels, or a 16-bit .png.
        intrinsics: fx, fy, cx, cy in pixels, of a .png.

    Raises:
        InputError: if the file is missing, of another format, truncated, unreadable, or what it
            holds has another shape or type; if a .png comes without intrinsics, or others with.
    """
    path = check_format(path, SCENE_FORMATS)
    is_image = path.suffix.lower() == ".png"
    if is_image != (intrinsics is not None):
        wanted = "needs intrinsics fx fy cx cy" if is_image else "takes no intrinsics"
        raise InputError(f"{path}: {wanted}, which go with a depth image in a .png")
    if is_image:
        fx, fy, cx, cy = intrinsics
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return of_depth(_read_png(path), matrix, str(path))
    if path.suffix.lower() == ".npz" and "depth_mm" in (arrays := read_npz(path)):
        if "K" not in arrays:
            raise InputError(f"{path}: holds depth_mm without K, accepted are both")
        return of_depth(arrays["depth_mm"], arrays["K"], str(path))
    points, viewpoint = read_cloud(path)
    if path.suffix.lower() == ".pcd" and (shape := organised(path)) is not None:
        points = points.reshape(*shape, 3)
    return SceneFile(points, viewpoint)


def back_project(depth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points of a depth image.

    Args:
        depth: (H, W) along the optical axis, metres, 0 where nothing was measured.
        matrix: (3, 3) intrinsics, pixels.

    Returns:
        (H, W, 3) float64, x right, y down, z forward, metres; NaN where nothing was measured.
    """
    depth = np.where(depth > 0, depth, np.nan).astype(np.float64)
    v, u = np.indices(depth.shape)
    pixels = np.stack([u, v, np.ones(depth.shape)], axis=-1)
    return depth[..., None] * (pixels @ np.linalg.inv(matrix).T)


def of_depth(depth: np.ndarray, matrix: np.ndarray, source: str) -> SceneFile:
    """A depth image's scene, the camera at its origin.

    Args:
        depth: (H, W) millimetres, 0 or NaN where nothing was measured.
        matrix: (3, 3) intrinsics, pixels.
        source: named in errors.

    Raises:
        InputError: if a shape or type isn't accepted, or the matrix is no pinhole camera's.
    """
    if depth.ndim != 2 or depth.dtype.kind not in "fiu":
        raise InputError(f"{source}: depth of shape {depth.shape}, type {depth.dtype}, accepted is "
                         "(H, W), millimetres")  # fmt: skip
    matrix = np.asarray(matrix)
    fits = matrix.shape == (3, 3) and matrix.dtype.kind in "fiu" and np.isfinite(matrix).all()
    if not fits or matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or tuple(matrix[2]) != (0, 0, 1):
        raise InputError(f"{source}: intrinsics {matrix.tolist()!r:.80}, accepted is a (3, 3) "
                         "pinhole matrix in pixels, or its fx fy cx cy")  # fmt: skip
    return SceneFile(back_project(depth / MILLIMETRES, matrix), np.zeros(3))


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode, depth = image.mode, np.array(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: not a readable .png: {error}") from error
    if mode not in ("I;16", "I;16B", "I"):
        raise InputError(f"{path}: an image of mode {mode}, accepted are depths in 16-bit grey")
    return depth
