"""Contact accuracy: whether a hand touches the object where a reference hand does."""

from __future__ import annotations

import math

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.distance import raycasting_scene

CONTACT_DISTANCE = 0.002  # metres, to either side of the surface: skin gives way
EDGE = 0.0025  # metres, mean edge of the upsampled hand: MANO's 8 mm are halved twice


def contact_maps(
    vertices: np.ndarray, reference: np.ndarray, faces: np.ndarray, mesh: trimesh.Trimesh
) -> tuple[np.ndarray, np.ndarray]:
    """Which points of the upsampled hands are within 2 mm of the object (CHOIR App. C.1).

    The paper takes the distance to the nearest point of a cloud; here it is that to the surface.
    Both hands are upsampled alike, edges halved until the reference's are 2.5 mm long in the mean.

    Args:
        vertices, reference: (B, V, 3) hands of one topology, metres.
        faces: (F, 3) of both.
        mesh: the object, metres.

    Returns:
        Two (B, U) bool arrays, the hands' and the reference's.

    Raises:
        InputError: if the two shapes differ.
    """
    vertices, reference = np.asarray(vertices, float), np.asarray(reference, float)
    if vertices.shape != reference.shape:
        raise InputError(
            f"reference: shape {reference.shape}, accepted is that of the hands, {vertices.shape}"
        )
    both = np.concatenate([reference, vertices])
    for _ in range(_halvings(reference, faces)):
        both, faces = _halve(both, faces)
    scene = raycasting_scene(mesh)
    touching = np.stack([scene.compute_distance(hand.astype(np.float32)).numpy() for hand in both])
    touching = touching <= CONTACT_DISTANCE
    return touching[len(reference) :], touching[: len(reference)]


def contact_precision_pct(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(B,) percent of the hand's contacts that the reference has; arguments as `contact_f1_pct`."""
    return _share(predicted & reference, predicted, predicted | reference)


def contact_recall_pct(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(B,) percent of the reference's contacts that the hand has; arguments as `contact_f1_pct`."""
    return _share(predicted & reference, reference, predicted | reference)


def contact_f1_pct(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall (CHOIR App. C.1).

    Where neither hand touches anything they agree: 100, in precision and recall too. Where one of
    them alone does, all three are 0.

    Args:
        predicted, reference: (B, U) bool contact maps.

    Returns:
        (B,) percent.
    """
    hits, either = predicted & reference, predicted | reference
    both = predicted.sum(axis=1) + reference.sum(axis=1)
    return np.where(either.any(axis=1), 200 * hits.sum(axis=1) / both.clip(1), 100.0)


def _share(hits: np.ndarray, of: np.ndarray, either: np.ndarray) -> np.ndarray:
    share = 100 * hits.sum(axis=1) / of.sum(axis=1).clip(1)
    return np.where(either.any(axis=1), share, 100.0)


def _halvings(vertices: np.ndarray, faces: np.ndarray) -> int:
    """How often edges are to be halved."""
    lengths = np.linalg.norm(np.diff(vertices[:, _edges(faces)], axis=3), axis=-1)
    return max(0, math.ceil(math.log2(lengths.mean() / EDGE)))


def _halve(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles cut in four at the middles of their edges; vertices (B, V, 3) stay in front."""
    edges, middle = np.unique(_edges(faces).reshape(-1, 2), axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = np.transpose(faces), middle.reshape(-1, 3).T + vertices.shape[1]
    vertices = np.concatenate([vertices, vertices[:, edges].mean(axis=2)], axis=1)
    corners = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
    return vertices, np.concatenate([np.transpose(corner) for corner in corners])


def _edges(faces: np.ndarray) -> np.ndarray:
    """(F, 3, 2) vertices of the edges of each face, the lower number first."""
    return np.sort(np.asarray(faces)[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
