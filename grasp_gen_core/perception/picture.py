"""Pictures of scenes: each object in its colour, with the best hand on it where there are any."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.objects.clouds import thin
from grasp_gen_core.perception import NOTHING, PLANE, Segmentation
from grasp_gen_core.render import Cell, View, hand_mesh, write_sheet
from grasp_gen_core.types import GraspSet

SIZE = 720  # pixels
SHOWN = {NOTHING: 3000, PLANE: 8000}  # points drawn of what is no object
OF_OBJECT = 3000
COLOURS = {NOTHING: (0.88, 0.88, 0.88), PLANE: (0.72, 0.72, 0.70)}
TURN = 0.618034  # of the colour circle, from one object to the next: none are alike
FURTHER = 0.3  # metres beyond the objects that are still drawn
SLANT = (0.3, -0.8, 0.6)  # where one looks from at a scene whose camera isn't known


def render_segmentation(
    seen: Segmentation, path: str | Path, grasps: GraspSet | None = None
) -> None:
    """Write what `segment` found as PNG, from where the camera stood.

    Args:
        seen: what is what.
        path: PNG file to write.
        grasps: of which the best on each object is drawn.

    Raises:
        InputError: if path can't be written.
    """
    things = seen.points[seen.labels > (PLANE if len(seen.numbers) else NOTHING)]
    if not len(things):
        things = seen.points.reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        things = things[np.isfinite(things).all(axis=1)].astype(np.float64)
    middle = things.mean(axis=0)
    reach = np.linalg.norm(things - middle, axis=1).max() + FURTHER
    parts = []
    for number in (NOTHING, PLANE, *seen.numbers):
        points = seen.object(number).astype(np.float64) - middle
        with np.errstate(invalid="ignore"):
            points = points[np.linalg.norm(points, axis=1) < reach]
        if len(points):
            cloud = trimesh.PointCloud(thin(points, SHOWN.get(number, OF_OBJECT)))
            cloud.visual.vertex_colors = np.round(255 * np.array(colour(number))).astype(np.uint8)
            parts.append(cloud)
    if grasps is not None:
        for index in grasps.best_of_each():
            parts.append(hand_mesh(grasps.vertices[index] - middle, grasps.faces))
    label = f"{len(seen.numbers)} objects, " + ("no plane" if seen.plane is None else "on a plane")
    write_sheet([[Cell(label, parts, [_view(seen, middle)])]], path, SIZE)


def colour(number: int) -> tuple[float, float, float]:
    """Red, green, blue in [0, 1] of a label."""
    return COLOURS.get(number) or colorsys.hsv_to_rgb(number * TURN % 1, 0.75, 0.9)


def _view(seen: Segmentation, middle: np.ndarray) -> View:
    """From the camera; upright where the plane tells what that is."""
    up = (0, -1, 0) if seen.plane is None else seen.plane.normal
    if seen.viewpoint is None:
        return View(SLANT, (0, 0, 1) if seen.plane is None else up)
    return View(seen.viewpoint - middle, up)
