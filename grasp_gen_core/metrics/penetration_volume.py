"""Penetration volume: what hand and object share."""

from __future__ import annotations

import numpy as np
import trimesh

from grasp_gen_core.objects.distance import build_scene, raycasting_scene

PITCH = 0.0005  # metres
SAME = 1e-6  # metres between hits that are one
GOLDEN = (1 + 5**0.5) / 2


def penetration_volume_cm3(
    vertices: np.ndarray, faces: np.ndarray, mesh: trimesh.Trimesh, pitch: float = PITCH
) -> np.ndarray:
    """Volume shared by the closed hand and the object (GraspTTA Table 1; CHOIR App. C.1, "IV").

    The papers count voxels of 1 mm. Here the voxels of a column are joined: along each of a grid of
    parallel lines the shared length is exact, so that a lens of a few cubic millimetres is measured
    as truly as a deep cut. Where the hand overlaps itself it counts once.

    Args:
        vertices: (B, V, 3) hands, metres.
        faces: (F, 3) their closed surface, outward.
        mesh: the object, a solid, metres.
        pitch: distance between the lines, metres.

    Returns:
        (B,) cubic centimetres.
    """
    return np.array([1e6 * _shared(hand, faces, mesh, pitch) for hand in vertices])


def _shared(hand: np.ndarray, faces: np.ndarray, mesh: trimesh.Trimesh, pitch: float) -> float:
    """Cubic metres shared by one hand and the object."""
    low = np.maximum(hand.min(axis=0), mesh.bounds[0])
    high = np.minimum(hand.max(axis=0), mesh.bounds[1])
    if (low >= high).any():
        return 0.0
    along = int(np.argmax(high - low))  # along the longest side there are fewest lines
    across = [axis for axis in range(3) if axis != along]
    lines = _lattice(low[across], high[across], pitch)
    if not len(lines):
        return 0.0
    rays = np.zeros((len(lines), 6), np.float32)
    rays[:, across] = lines
    rays[:, along] = min(hand[:, along].min(), mesh.bounds[0, along]) - 0.01
    rays[:, 3 + along] = 1.0

    ray, *in_hand = _crossings(build_scene(hand, faces), hand[faces], rays, along)
    met, ray = np.unique(ray, return_inverse=True)
    if not len(met):
        return 0.0
    mesh_ray, *in_mesh = _crossings(raycasting_scene(mesh), mesh.triangles, rays[met], along)
    hand_crossings, mesh_crossings = (ray, *in_hand), (mesh_ray, *in_mesh)
    return pitch**2 * _shared_length(hand_crossings, mesh_crossings, len(met))


def _lattice(low: np.ndarray, high: np.ndarray, pitch: float) -> np.ndarray:
    """(N, 2) nodes in a rectangle of a square lattice, turned so that no wall runs along a row.

    It is the same lattice for every rectangle: a grasp measures the same whatever batch it is in.
    """
    turn = np.array([[GOLDEN, -1.0], [1.0, GOLDEN]]) / np.hypot(GOLDEN, 1) * pitch
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    ends = corners @ np.linalg.inv(turn).T
    first, last = np.floor(ends.min(axis=0)), np.ceil(ends.max(axis=0))
    cells = np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True)))
    nodes = np.stack(cells, axis=-1).reshape(-1, 2) @ turn.T
    return nodes[((nodes >= low) & (nodes <= high)).all(axis=1)]


def _crossings(scene, triangles: np.ndarray, rays: np.ndarray, along: int):
    """Where rays along an axis cross a closed surface.

    Returns:
        ray numbers, distances, and +1 inward or -1 outward, each (C,).
    """
    hits = scene.list_intersections(rays)
    a, b, c = np.moveaxis(triangles[hits["primitive_ids"].numpy()], 1, 0)
    step = np.where(np.cross(b - a, c - a)[:, along] < 0, 1, -1)
    ray, distance = hits["ray_ids"].numpy(), hits["t_hit"].numpy()
    order = np.lexsort((distance, step, ray))
    ray, distance, step = ray[order], distance[order], step[order]
    # On an edge both of its triangles are hit.
    twice = (np.diff(ray) == 0) & (np.diff(step) == 0) & (np.diff(distance) < SAME)
    once = np.append(True, ~twice)[: len(ray)]
    return ray[once], distance[once], step[once]


def _shared_length(hand_crossings, mesh_crossings, count: int) -> float:
    """Total length that lies inside both surfaces, over `count` rays."""
    ray, distance, step = (
        np.concatenate(both) for both in zip(hand_crossings, mesh_crossings, strict=True)
    )
    of_mesh = np.arange(len(ray)) >= len(hand_crossings[0])
    steps = np.stack([step * ~of_mesh, step * of_mesh])  # of the hand's and of the mesh's winding
    # A ray along an edge may miss a crossing: it is left out, and the others stand for it.
    open_ends = sum(np.abs(np.bincount(ray, row, count)) for row in steps) > 0
    order = np.lexsort((distance, ray))
    order = order[~open_ends[ray[order]]]
    if not len(order):
        return 0.0
    inside = (np.cumsum(steps[:, order], axis=1)[:, :-1] > 0).all(axis=0)
    lengths = np.diff(distance[order].astype(float))
    return float(lengths[inside].sum()) * count / np.count_nonzero(~open_ends)
