"""Reconstruction: how far a mesh is from the object that it is meant to be."""

from __future__ import annotations

import numpy as np
import trimesh

from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.sampling import sample_surface

SAMPLES = 8192  # points on either surface, and in the hull
OPEN = 0.004  # metres from the object, from which points in its hull are its cavities'
SHALLOW = 0.03  # of the hull: less is no cavity


def reconstruction_errors(found: trimesh.Trimesh, true: trimesh.Trimesh) -> dict[str, float]:
    """Errors of a reconstructed solid.

    Args:
        found, true: solids, metres, one frame.

    Returns:
        `surface_error_mm`, the mean distance of points of either surface to the other, both ways'
        mean; `volume_error_pct`, of the true volume, unsigned; `cavity_open_pct`, the share of what
        is empty in the true object's convex hull, 4 mm and more from the object, that is empty in
        the reconstruction too; NaN without such cavities.
    """
    ways = ((found, true), (true, found))
    apart = [np.abs(signed_distance(b, sample_surface(a, SAMPLES)[0])).mean() for a, b in ways]
    hull = true.convex_hull
    within = np.random.default_rng(0).uniform(*hull.bounds, (SAMPLES, 3)).astype(np.float32)
    within = within[signed_distance(hull, within) < 0]
    cavity = within[signed_distance(true, within) > OPEN]
    hollow = len(cavity) > SHALLOW * len(within)
    return {
        "surface_error_mm": 1000 * float(np.mean(apart)),
        "volume_error_pct": 100 * abs(found.volume / true.volume - 1),
        "cavity_open_pct": 100 * float(np.mean(signed_distance(found, cavity) > 0))
        if hollow
        else float("nan"),
    }
