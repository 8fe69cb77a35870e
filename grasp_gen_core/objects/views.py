"""What is given of an object to grasp it: all of its surface, a part, or a camera's view."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.cleaning import FEWEST_POINTS
from grasp_gen_core.objects.clouds import even_surface, thin

VIEWS = ("full", "mask50", "mask90", "camera", "mesh")
KEPT = {"mesh": 1.0, "full": 1.0, "mask50": 0.5, "mask90": 0.1}  # share of the points
CAMERA_TRIES = 20


class ObjectView(NamedTuple):
    """Points of an object in a frame of their own.

    Args:
        points: (N, 3) float32, metres.
        pose: (4, 4) their frame to the mesh's; the identity except for the camera.
    """

    points: np.ndarray
    pose: np.ndarray


def view_object(
    mesh: trimesh.Trimesh, view: str, num_points: int = 4096, seed: int = 0
) -> ObjectView:
    """What one of the views shows of a mesh.

    - full: points spread evenly over the surface.
    - mask50, mask90: of these points half, or nine tenths, are missing: all beyond a plane of
      random direction, as in unfinished scans. (DVQ-VAE, Table 3, masks "part of the object point
      cloud" and doesn't say which. Points missing at random would only make the cloud thinner.)
    - mesh: the full view's points; the signed distance to the exact mesh is known, too.
    - camera: what a virtual depth camera in a random place sees, in its own frame.

    Args:
        mesh: metres, z up.
        view: one of VIEWS.
        num_points: of the full view; the most of the camera's.
        seed: same seed, same view.

    Raises:
        InputError: if the view is unknown, or shows fewer than 64 points.
    """
    if view not in VIEWS:
        raise InputError(f"view: {view!r}, accepted are {', '.join(VIEWS)}")
    if view == "camera":
        return _camera_view(mesh, num_points, seed)
    keep = int(KEPT[view] * num_points)
    if keep < FEWEST_POINTS:
        raise InputError(
            f"num_points: {num_points} leave {keep} under {view}, accepted are {FEWEST_POINTS}"
        )
    points, _ = even_surface(mesh, num_points, seed)
    if keep < num_points:
        points = one_side(points, keep, np.random.default_rng(seed))
    return ObjectView(points, np.eye(4))


def one_side(points: np.ndarray, keep: int, rng: np.random.Generator) -> np.ndarray:
    """The `keep` points on one side of a plane of random direction."""
    order = np.argpartition(points @ rng.normal(size=3), keep - 1)
    return points[order[:keep]]


def _camera_view(mesh: trimesh.Trimesh, num_points: int, seed: int) -> ObjectView:
    for chance in range(CAMERA_TRIES):
        number = CAMERA_TRIES * seed + chance
        pose = random_view(mesh, number)
        points = DepthCamera().capture(mesh, pose, number)
        if len(points) >= FEWEST_POINTS:
            return ObjectView(thin(points, num_points, seed), pose)
    raise InputError(
        f"camera: fewer than {FEWEST_POINTS} points seen from {CAMERA_TRIES} places, accepted are "
        "larger objects"
    )
