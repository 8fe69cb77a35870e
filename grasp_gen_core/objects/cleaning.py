"""Clouds made fit for use: what sensors put into them beside the object is dropped and counted."""

from __future__ import annotations

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.meshes import check_size

FEWEST_POINTS = 64


def clean_points(points: np.ndarray, source: str = "points") -> tuple[np.ndarray, list[str]]:
    """The points without rows that hold NaN or infinity.

    Args:
        points: (N, 3) metres.
        source: names the points in error messages.

    Returns:
        (M, 3) as exact as they came; notes on what was dropped.

    Raises:
        InputError: if they aren't numbers, have another shape, leave fewer than 64 finite points,
            or extend over more than 2 m or less than 5 mm.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "fiu":
        raise InputError(f"{source}: of type {points.dtype}, accepted are real numbers")
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{source}: shape {points.shape}, accepted is (N, 3)")
    points = points.astype(np.promote_types(points.dtype, np.float32), copy=False)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < FEWEST_POINTS:
        raise InputError(
            f"{source}: {len(points)} finite points, accepted are at least {FEWEST_POINTS}"
        )
    check_size(np.ptp(points, axis=0), source)
    return points, []
