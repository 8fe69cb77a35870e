"""The unseen part of an object of which a part is seen, guessed by symmetry."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError, cKDTree

from grasp_gen_core.objects.distance import point_areas
from grasp_gen_core.objects.sampling import OPEN

ONE_SIDED = 0.3  # mean normal's length from which a cloud shows one side only, whatever its rim
FLAT = 2.0  # spacings of points that a flat rim is thick
WHOLE = 0.85  # share of the opening that a flat rim surrounds at least
JOINT = 0.1  # of the rim's size, by which its image may miss it
DIRECTIONS = 48  # rim points looked for, one in each direction around the middle; even
EDGE = 0.004  # metres: how wide the rim is
SMALLEST = 0.002  # metres: points nearer to the opening are their own image


def complete_by_symmetry(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn what is seen about the middle of its opening.

    What people hold is mostly box-shaped or round: each point of its surface has another one
    opposite of the centre, and the centre of what is half seen is the middle of its rim. Where the
    rim is flat, as that of a cloud cut off in a plane, the object goes on behind it. Elsewhere
    guessed points count where the seen surface would have hidden them.

    Args:
        points: (N, 3) metres, evenly spaced.
        normals: (N, 3) outward unit normals.

    Returns:
        Points (N + M, 3) and normals of the seen and the guessed surface; a cloud from all around
        comes back as it is.
    """
    toward = normals.mean(axis=0)
    length = np.linalg.norm(toward)
    if length < OPEN:
        return points, normals
    # Coordinates: two across the opening, the third out of it towards the seen side.
    toward = toward / length
    first = np.cross(toward, np.eye(3)[np.abs(toward).argmin()])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(toward, first), toward])
    middle = points.mean(axis=0)
    local, facing = (points - middle) @ frame.T, normals @ frame.T

    rim = _flat_rim(local, length)
    if rim is not None:
        centre = _middle(rim)
        guessed = 2 * centre - local
        hidden = guessed[:, 2] < centre[2] - SMALLEST
    elif length < ONE_SIDED:
        return points, normals
    else:
        guessed = 2 * _middle(local) - local
        seen = cKDTree(local[:, :2])
        spacing = np.median(seen.query(local[:, :2], k=2)[0][:, 1])
        apart, over = seen.query(guessed[:, :2])
        hidden = (apart < 3 * spacing) & (guessed[:, 2] < local[over, 2] - SMALLEST)
    back = guessed[hidden] @ frame + middle
    return (
        np.concatenate([points, back]).astype(np.float32),
        np.concatenate([normals, -facing[hidden] @ frame]).astype(np.float32),
    )


def _flat_rim(local: np.ndarray, length: float) -> np.ndarray | None:
    """(R, 3) the hindmost points, if they surround all of the opening and join their image."""
    area = np.median(point_areas(cKDTree(local)))
    depth = local[:, 2] - np.percentile(local[:, 2], 0.5)
    rim = local[depth < FLAT * np.sqrt(area)]
    opening = length * len(local) * area
    try:
        if ConvexHull(rim[:, :2]).volume < WHOLE * opening:
            return None
    except QhullError:  # too few points, or all in a line
        return None
    apart = cKDTree(rim).query(2 * _middle(rim) - rim)[0]
    return rim if np.quantile(apart, 0.9) < JOINT * np.linalg.norm(np.ptp(rim, axis=0)) else None


def _middle(local: np.ndarray) -> np.ndarray:
    """(3,) middle of the outermost points of (N, 3) in opposite directions across the opening."""
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    reach = local[:, :2] @ directions
    # Of the points along an edge the hindmost lie on the rim, but for stray ones.
    edge = np.where(reach > reach.max(axis=0) - EDGE, local[:, 2:], np.nan)
    depth = np.nanpercentile(edge, 10, axis=0).mean()
    return np.append(2 * (directions * reach.max(axis=0)).mean(axis=1), depth)
