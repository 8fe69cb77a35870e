"""FID: Frechet distance between features of rendered views of two sets of grasps.

Heusel et al. 2017; on three rendered views of each grasp as JHOD (Sec. 4.1) measures it. JHOD says
neither which views nor how they're drawn, so that its numbers don't compare with anybody's. Here
the cameras stand fixed to the hand. Numbers compare only for the same extractor and the same sizes
of both sets: the distance of two sets from one distribution falls as one over their size. What is
held is in the pictures, too: sets of grasps of other objects are apart, however good the grasps.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import trimesh
from torch import Tensor, nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.render import HAND_VIEWS, OBJECT, SKIN, hand_axes, smooth
from grasp_gen_core.shading import shade

SIZE, SAMPLES = 128, 2  # pixels across a view; rays across a pixel
VIEWS = HAND_VIEWS[1:]  # thumb side, palm, fingertips; the hand's back hides what it holds
REACH = 0.12  # metres from a view's middle to its border: a hand fits in any pose
BEFORE_PALM = 0.03  # metres from the middle knuckle to the middle of the views
DISTANCE = 1.0  # metres from there to where rays start; larger than any object one hand holds
FEATURES = 64
BATCH = 64  # pictures at once


class Extractor(Protocol):
    """Features of pictures.

    Attributes:
        name: what it's called in results.
    """

    name: str

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 -> (N, D) float."""


def fid(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Frechet distance between two sets of features, see `frechet_distance`.

    Args:
        features_a: (N, D) of one set's pictures.
        features_b: (M, D) of the other's, by the same extractor.

    Raises:
        InputError: if a set isn't (N >= 2, D), holds NaN or infinity, or they differ in D.
    """
    sets = {"features_a": np.asarray(features_a), "features_b": np.asarray(features_b)}
    for name, features in sets.items():
        if features.ndim != 2 or len(features) < 2:
            raise InputError(f"{name}: shape {features.shape}, accepted is (N, D), N at least 2")
        if not np.isfinite(features).all():
            raise InputError(f"{name}: contains NaN or infinity, accepted are finite numbers")
    a, b = sets.values()
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"features_b: {b.shape[1]} features, accepted are as many as features_a's {a.shape[1]}"
        )
    return frechet_distance(a, b)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of samples a (N, D) and b (M, D).

    Roots of the covariances come by QR from the samples themselves, C = R^T R, and the last trace
    is the sum of the singular values of R_a R_b^T: never negative or complex, singular covariances
    (fewer samples than features) included.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shift = a.mean(axis=0) - b.mean(axis=0)
    root_a, root_b = (
        np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r") for x in (a, b)
    )
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = shift @ shift + np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return max(0.0, float(distance))


@lru_cache(maxsize=2)
def get_extractor(weights: str | Path | None = None) -> Extractor:
    """The built-in extractor, or Inception-v3 when its weights are given.

    Raises:
        InputError: see Inception.
    """
    return RandomNetwork() if weights is None else Inception(weights)


class RandomNetwork:
    """64 features of a convolutional network with fixed random weights; nothing to download.

    Networks trained on photographs promise little for renders of hands, and their 2048 features
    need thousands of pictures. Random ones tell sets apart where ImageNet's don't fit (Naeem et
    al. 2020), and 64 leave the covariance of a few hundred pictures well conditioned. Two
    choices were measured on shipped grasps and the same grasps spoilt: filters that sum to zero,
    without which one feature, how much of the picture is covered, holds nearly all variance; and
    the features' root mean square over the picture, which told spoilt grasps apart more surely
    than the mean did.
    """

    name = "random-cnn-64"

    def __init__(self) -> None:
        # numpy's stream is the same for all versions and devices, torch's may change.
        rng = np.random.default_rng(0)
        self.filters = []
        channels = 3
        for width in (32, 64, 64, FEATURES):
            filters = rng.standard_normal((width, channels, 4, 4), np.float32)
            filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
            scale = float(np.sqrt(2 / filters[0].size))  # He et al. 2015
            self.filters.append(torch.from_numpy(scale * filters))
            channels = width

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 -> (N, 64) float64, in grey levels."""
        return _in_batches(self._features, pictures)

    def _features(self, pictures: Tensor) -> Tensor:
        x = pictures - 255  # the background is zero, as is the padding
        for filters in self.filters:
            x = torch.relu(nn.functional.conv2d(x, filters, stride=2, padding=1))
        return x.square().mean(dim=(2, 3)).sqrt()


class Inception:
    """The 2048 pooled features of torchvision's Inception-v3.

    Args:
        weights: a state dict of torchvision's `inception_v3`, .pth or .safetensors.

    Raises:
        InputError: if torchvision isn't there, or the file isn't such weights.
    """

    name = "inception-v3"
    PIXELS = 299

    def __init__(self, weights: str | Path) -> None:
        state = _read_state(Path(weights))
        # The auxiliary classifier is for training alone.
        state = {k: v for k, v in state.items() if not k.startswith("AuxLogits.")}
        try:
            from torchvision.models import inception_v3
        except (ImportError, RuntimeError) as error:  # RuntimeError: made for another torch
            raise InputError(
                f"{weights}: Inception needs a torchvision that fits torch {torch.__version__}, "
                f"here: {error}"
            ) from error
        self.network = inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{weights}: no weights of torchvision's inception_v3: {reason}"
            ) from error
        self.network.fc = nn.Identity()

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 -> (N, 2048) float64."""
        return _in_batches(self._features, pictures)

    def _features(self, pictures: Tensor) -> Tensor:
        x = nn.functional.interpolate(
            pictures, (self.PIXELS, self.PIXELS), mode="bilinear", antialias=True
        )
        # What the weights were trained on; torchvision gets there from ImageNet's mean and std by
        # `transform_input`, which is off here.
        return self.network(x / 127.5 - 1)


def _in_batches(features: Callable[[Tensor], Tensor], pictures: np.ndarray) -> np.ndarray:
    """(N, D) float64 of (N, H, W, 3) uint8 by a function of (n, 3, H, W) float32 in 0..255."""
    with torch.inference_mode():
        parts = [
            features(torch.from_numpy(pictures[i : i + BATCH]).permute(0, 3, 1, 2).float())
            for i in range(0, len(pictures), BATCH)
        ]
    return torch.cat(parts).double().numpy()


def _read_state(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise InputError(error) from error
        state = torch.load(path, map_location="cpu", weights_only=True)
    # All that torch.load raises over foreign, truncated or hostile files.
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: cannot be read: {reason}; accepted are state dicts, .pth or .safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no state dict, accepted are tensors by name")
    return state


def grasp_views(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, mesh: trimesh.Trimesh
) -> np.ndarray:
    """Three pictures of each grasp: from the thumb's side, the palm's, and before the fingertips.

    The cameras stand fixed to the hand: neither the object's frame nor its size changes how large
    and where the hand is seen. They mirror a left hand, which gives the right one's pictures.

    Args:
        vertices: (B, V, 3) hand surfaces in the object's frame, metres.
        faces: (F, 3) triangles.
        joints: (B, 21, 3) MANO's 16 joints, then the tips.
        mesh: the object.

    Returns:
        (3B, 128, 128, 3) uint8 on white, a grasp's three after one another.
    """
    body = smooth(mesh)
    thing = _Surface(body.vertices, body.faces, body.vertex_normals, OBJECT)
    steps = REACH * ((np.arange(SIZE * SAMPLES) + 0.5) * 2 / (SIZE * SAMPLES) - 1)
    plane = np.stack(np.meshgrid(steps, -steps), axis=-1).reshape(-1, 2)
    axes = hand_axes(joints)
    middle = joints[:, 4] - BEFORE_PALM * axes[:, :, 1]
    pictures = np.empty((len(vertices), len(VIEWS), SIZE, SIZE, 3), np.uint8)
    for i, surface in enumerate(vertices):
        normals = trimesh.Trimesh(surface, faces, process=False).vertex_normals
        hand = _Surface(surface, faces, normals, SKIN)
        for j, view in enumerate(VIEWS):
            camera = axes[i] @ view.camera()
            start = middle[i] + DISTANCE * camera[:, 2] + plane @ camera[:, :2].T
            rays = np.hstack([start, np.broadcast_to(-camera[:, 2], start.shape)])
            pictures[i, j] = _picture(thing, hand, rays.astype(np.float32), camera)
    return pictures.reshape(-1, SIZE, SIZE, 3)


class _Surface:
    """One smooth surface of one colour, for rays."""

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, colour: np.ndarray
    ) -> None:
        import open3d as o3d

        self.tensor, self.rays = o3d.core.Tensor, o3d.t.geometry.RaycastingScene()
        self.rays.add_triangles(
            self.tensor(np.array(vertices, np.float32)), self.tensor(np.array(faces, np.uint32))
        )
        self.corners = np.asarray(normals, np.float32)[np.asarray(faces)]
        self.albedo = colour.astype(np.float32) ** 2.2

    def cast(self, rays: np.ndarray):
        """Distances (R,), infinite where nothing is hit, and a function: chosen rays -> normals."""
        hits = self.rays.cast_rays(self.tensor(rays))

        def normals(chosen: np.ndarray) -> np.ndarray:
            u, v = hits["primitive_uvs"].numpy()[chosen].T[..., None]
            a, b, c = self.corners[hits["primitive_ids"].numpy()[chosen]].swapaxes(0, 1)
            return (1 - u - v) * a + u * b + v * c

        return hits["t_hit"].numpy(), normals


def _picture(thing: _Surface, hand: _Surface, rays: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: whichever of both is nearer."""
    (to_thing, thing_normals), (to_hand, hand_normals) = thing.cast(rays), hand.cast(rays)
    image = np.ones((len(rays), 3), np.float32)
    nearer = to_hand < to_thing
    for surface, normals, seen in (
        (hand, hand_normals, nearer),
        (thing, thing_normals, ~nearer & np.isfinite(to_thing)),
    ):
        facing = normals(seen) @ camera.astype(np.float32)
        ahead = np.array([[0, 0, -1]], np.float32)
        image[seen] = shade(facing, surface.albedo, np.ones((1, 1), np.float32), ahead)
    image = image.reshape(SIZE, SAMPLES, SIZE, SAMPLES, 3).mean(axis=(1, 3))
    return np.round(255 * image).astype(np.uint8)
