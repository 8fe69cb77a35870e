"""The unseen part of an object of which a part is seen, guessed by symmetry."""

from __future__ import annotations

from collections.abc import Sequence

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
OUTWARD = 0.1  # squared cosine that counts as much as a wall's slant
STEEP = 0.3  # sine of a rim's normal to the opening's, from which on it is that of a wall
LONGEST = 0.2  # metres that an object goes on at most
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
    length = np.linalg.norm(normals.mean(axis=0))
    if length < OPEN:
        return points, normals
    frame, middle = _frame(points, normals)
    local, facing = (points - middle) @ frame.T, normals @ frame.T

    rim = local[_flat_rim(local, length)]
    if len(rim) and _joins_image(rim):
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


def prolonged(
    points: np.ndarray, normals: np.ndarray, times: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """An object that is cut off in a plane goes on behind it, nobody knows how far: straight on.

    Args:
        points, normals: as of `complete_by_symmetry`.
        times: how far each guess goes on, in lengths of what is there.

    Returns:
        For each guess points (N + M, 3) and normals; nothing where the cloud has no flat rim.
    """
    length = np.linalg.norm(normals.mean(axis=0))
    if length < OPEN:
        return []
    frame, middle = _frame(points, normals)
    local = (points - middle) @ frame.T
    rim = _flat_rim(local, length)
    if not rim.any():
        return []
    # Along the walls at the rim, and out of the opening where these leave a choice.
    facing = normals[rim]
    square = facing.T @ facing / len(facing) - OUTWARD * np.outer(frame[2], frame[2])
    along = np.linalg.eigh(square)[1][:, 0]
    along *= np.sign(along @ frame[2])
    across = facing @ (np.eye(3) - np.outer(along, along))
    steep = np.linalg.norm(across, axis=1) > STEEP
    across = across[steep] / np.linalg.norm(across[steep], axis=1, keepdims=True)
    step = np.sqrt(np.median(point_areas(cKDTree(local))))
    guesses = []
    for reach in np.minimum(np.asarray(times) * np.ptp(local[:, 2]), LONGEST):
        depth = np.arange(step, reach, step)[:, None, None]
        walls = (points[rim][steep] - depth * along).reshape(-1, 3)
        whole = np.concatenate([points, walls]), np.concatenate([normals, *[across] * len(depth)])
        guesses.append(tuple(one.astype(np.float32) for one in whole))
    return guesses


def _frame(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes in rows, two across the opening, the third out of it towards the seen side; origin."""
    toward = normals.mean(axis=0)
    toward = toward / np.linalg.norm(toward)
    first = np.cross(toward, np.eye(3)[np.abs(toward).argmin()])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(toward, first), toward]), points.mean(axis=0)


def _flat_rim(local: np.ndarray, length: float) -> np.ndarray:
    """(N,) bool, which are the hindmost points, if they surround all of the opening; else none."""
    area = np.median(point_areas(cKDTree(local)))
    depth = local[:, 2] - np.percentile(local[:, 2], 0.5)
    rim = depth < FLAT * np.sqrt(area)
    opening = length * len(local) * area
    try:
        whole = ConvexHull(local[rim, :2]).volume >= WHOLE * opening
    except QhullError:  # too few points, or all in a line
        whole = False
    return rim & whole


def _joins_image(rim: np.ndarray) -> bool:
    """Whether a rim (R, 3), turned about its middle, lies on itself."""
    apart = cKDTree(rim).query(2 * _middle(rim) - rim)[0]
    return np.quantile(apart, 0.9) < JOINT * np.linalg.norm(np.ptp(rim, axis=0))


def _middle(local: np.ndarray) -> np.ndarray:
    """(3,) middle of the outermost points of (N, 3) in opposite directions across the opening."""
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    reach = local[:, :2] @ directions
    # Of the points along an edge the hindmost lie on the rim, but for stray ones.
    edge = np.where(reach > reach.max(axis=0) - EDGE, local[:, 2:], np.nan)
    depth = np.nanpercentile(edge, 10, axis=0).mean()
    return np.append(2 * (directions * reach.max(axis=0)).mean(axis=1), depth)
