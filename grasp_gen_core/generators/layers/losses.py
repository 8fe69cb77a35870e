"""Terms of generators' losses between a hand and points around the object."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.contact.maps import contact_value, nearest, pick
from grasp_gen_core.hand import ManoHand, vertex_normals

CM = 100.0
REACH = 0.01  # metres, GraspTTA's T (Sec. 2.1)


def is_inside(points: Tensor, vertices: Tensor, index: Tensor, faces: Tensor) -> Tensor:
    """(B, N) whether points lie behind the hand's skin at their nearest vertex.

    Args:
        points: (B, N, 3).
        vertices: (B, V, 3).
        index: (B, N) numbers of the nearest vertices.
        faces: (F, 3) outward triangles.
    """
    with torch.no_grad():
        normals = vertex_normals(vertices, faces)
        outward = points - pick(vertices, index)
        return (outward * pick(normals, index)).sum(dim=2) < 0


def penetration(surface: Tensor, vertices: Tensor, hand: ManoHand) -> Tensor:
    """(B,) mean squared depth of the surface's points inside the hand, cm^2 (GraspTTA, L_p).

    Args:
        surface: (B, N, 3) points all around the object.
        vertices: (B, 778, 3) of the hand.
        hand: whose skin they are.
    """
    apart, index = nearest(surface, vertices)
    inside = is_inside(surface, vertices, index, hand.closed_faces)
    return (CM * apart * inside).square().sum(dim=1) / inside.sum(dim=1).clamp(min=1)


def object_contact(points: Tensor, vertices: Tensor, hand: ManoHand) -> Tensor:
    """Contact map Omega (B, N) of points (B, N, 3) with hands' vertices (B, 778, 3), metres.

    To the nearest vertex of the zones that may touch (GraspTTA, Fig. 5); differentiable.
    """
    return contact_value(nearest(points, vertices[:, hand.regions.touching])[0])


def touching(surface: Tensor, vertices: Tensor, omega: Tensor, hand: ManoHand) -> tuple:
    """How the zones that may touch an object (GraspTTA, Fig. 5) touch it.

    Args:
        surface: (B, N, 3) points all around the object.
        vertices: (B, 778, 3) of the hand.
        omega: (B, N) the contact map that it should have.
        hand: whose skin they are.

    Returns:
        Mean squared distance (B,) of the zones to points within REACH of them, cm^2 (L_H), and the
        squared difference of the contact maps (B,), summed over the points (L_O, L_refine).
    """
    apart, _ = nearest(surface, vertices[:, hand.regions.touching])
    close = apart <= REACH
    reach = (CM * apart * close).square().sum(dim=1) / close.sum(dim=1).clamp(min=1)
    return reach, (contact_value(apart) - omega).square().sum(dim=1)


def out_of_touch(surface: Tensor, vertices: Tensor, hand: ManoHand, most: float = 0.03) -> Tensor:
    """(B,) squared distance from fingertips' pads to the surface, the five's mean, cm^2.

    Args:
        surface: (B, N, 3) points all around the object.
        vertices: (B, 778, 3) of the hand.
        hand: whose skin they are.
        most: metres, the distance that farther pads count with.
    """
    zones = hand.regions.zones
    pads = (zones >= 0) & (zones < 5)
    apart, _ = nearest(vertices[:, pads], surface)
    owner = zones[pads].expand(len(vertices), -1)
    far = apart.new_full((len(vertices), 5), most)
    return (CM * far.scatter_reduce(1, owner, apart, "amin")).square().mean(dim=1)
