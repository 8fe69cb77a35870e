"""The unseen back of an object seen from one side, guessed by symmetry."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

ONE_SIDED = 0.3  # length of the mean normal from which a cloud shows one side only
DIRECTIONS = 48  # silhouette points looked for, one in each direction around the middle
EDGE = 0.004  # metres: how wide the silhouette is
SMALLEST = 0.002  # metres: points nearer to the mirror are their own image


def complete_by_symmetry(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a one-sided cloud in the plane of its silhouette.

    What people hold is mostly round or box-shaped: its back looks like its front, and both meet at
    the silhouette. Mirrored points count where the seen surface would have hidden them.

    Args:
        points: (N, 3) metres, evenly spaced.
        normals: (N, 3) outward unit normals.

    Returns:
        Points (N + M, 3) and normals of the seen and the guessed surface; a cloud from all around
        comes back as it is.
    """
    toward = normals.mean(axis=0)
    length = np.linalg.norm(toward)
    if length < ONE_SIDED:
        return points, normals
    # Coordinates: two across the view, the third towards the viewer.
    toward = toward / length
    first = np.cross(toward, np.eye(3)[np.abs(toward).argmin()])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(toward, first), toward])
    middle = points.mean(axis=0)
    local, facing = (points - middle) @ frame.T, normals @ frame.T

    mirror = _silhouette_plane(local)
    side = local @ mirror[:3] - mirror[3]
    front = side > SMALLEST
    guessed = local[front] - 2 * side[front, None] * mirror[:3]
    turned = facing[front] - 2 * (facing[front] @ mirror[:3])[:, None] * mirror[:3]

    seen = cKDTree(local[:, :2])
    spacing = np.median(seen.query(local[:, :2], k=2)[0][:, 1])
    apart, over = seen.query(guessed[:, :2])
    hidden = (apart < 3 * spacing) & (guessed[:, 2] < local[over, 2] - SMALLEST)
    back = guessed[hidden] @ frame + middle
    return (
        np.concatenate([points, back]).astype(np.float32),
        np.concatenate([normals, turned[hidden] @ frame]).astype(np.float32),
    )


def _silhouette_plane(local: np.ndarray) -> np.ndarray:
    """(4,) unit normal towards the viewer and offset of the plane through the outermost points."""
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    direction = np.stack([np.cos(angle), np.sin(angle)])
    reach = local[:, :2] @ direction
    # Of the points along an edge the hindmost lie on the silhouette, but for stray ones.
    depth = np.where(reach > reach.max(axis=0) - EDGE, local[:, 2:], np.nan)
    hindmost = np.abs(depth - np.nanpercentile(depth, 10, axis=0))
    outermost = local[np.unique(np.nanargmin(hindmost, axis=0))]
    system = np.column_stack([outermost[:, :2], np.ones(len(outermost))])
    # depth = a x + b y + c; weak ridge on the slopes for silhouettes that are nearly a line.
    ridge = 1e-3 * np.diag([1.0, 1.0, 0.0]) * len(outermost) * 0.05**2
    a, b, c = np.linalg.solve(system.T @ system + ridge, system.T @ outermost[:, 2])
    normal = np.array([-a, -b, 1.0])
    scale = np.linalg.norm(normal)
    return np.append(normal, c) / scale
