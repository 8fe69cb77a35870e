"""Force-closure margin: the smallest disturbance that a grasp's contacts can't resist."""

from __future__ import annotations

import numpy as np

FRICTION = 1.0
EDGES = 6  # of the pyramid that stands for a friction cone
TORQUE_LENGTH = 0.05  # metres: a torque of 1 N at this lever counts as much as a force of 1 N


def force_closure_margin(
    points: np.ndarray, normals: np.ndarray, centre: np.ndarray, friction: float = FRICTION
) -> float:
    """Radius of the largest ball of wrenches that the contacts resist (Ferrari & Canny 1992).

    Each contact presses with at most 1 N along the normal; wrenches are forces, and torques about
    the centre divided by 5 cm. 0 where some disturbance, however small, isn't resisted.

    Args:
        points: (C, 3) contacts, metres.
        normals: (C, 3) outward unit normals of the object there.
        centre: (3,) centre of mass, metres.
        friction: coefficient.

    Returns:
        Newton.
    """
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 2:
        return 0.0
    wrenches = contact_wrenches(points, normals, centre, friction)
    try:
        hull = ConvexHull(wrenches)
    except QhullError:  # flat: some direction isn't resisted at all
        return 0.0
    return max(0.0, float(-hull.equations[:, -1].max()))


def contact_wrenches(
    points: np.ndarray, normals: np.ndarray, centre: np.ndarray, friction: float
) -> np.ndarray:
    """(C * EDGES, 6) wrenches of the edges of all friction cones, see force_closure_margin."""
    normals = np.asarray(normals, float)
    helper = np.eye(3)[np.abs(normals).argmin(axis=1)]
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    angle = 2 * np.pi * np.arange(EDGES)[:, None, None] / EDGES
    forces = -normals + friction * (np.cos(angle) * first + np.sin(angle) * second)
    torques = np.cross(np.asarray(points, float) - centre, forces) / TORQUE_LENGTH
    return np.concatenate([forces, torques], axis=-1).reshape(-1, 6)
