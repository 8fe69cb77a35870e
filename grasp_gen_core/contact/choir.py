"""CHOIR (Morales et al., A Versatile and Differentiable Hand-Object Interaction Representation,
2024): hand, object and contact as distances from one grid of points, and 32 Gaussians.

Where the paper is ambiguous, and what is chosen here:

- Eq. 1 and 2 square the distances, the paper's own code (appendix B.2) doesn't: plain metres here,
  whose errors weigh the same near and far.
- The grid holds every object at its own size: a cube with points every 2 cm, its middle at the
  object's. The paper scales objects to fit; hands then change size with them.
- The cone's kappa = 4/3 pi is no angle that an arccosine can exceed. It is read as the full
  opening: points up to 120 degrees from the normal count, so up to 2 mm inside the skin at 4 mm.
- A vertex belongs to the anchor that is nearest on the hand at rest. Means are relative to the
  anchor. An anchor without contact has nine zeros; any other covariance has a millimetre squared
  added, so that a contact at one vertex is a Gaussian too.
- A vertex' contact is the density over the density's peak: between 0 and 1, without a unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.contact.maps import distances
from grasp_gen_core.hand import HandRegions, vertex_normals

SIDE = 16  # points along an edge of the grid
PITCH = 0.02  # metres between them
CONE = 0.004  # metres, lambda in Eq. 4
CONE_COSINE = -0.5  # of 120 degrees, half of kappa
SPREAD = 0.001  # metres, standard deviation added to each Gaussian
CHUNK = 8  # clouds or hands whose distances are computed at a time


class Choir(NamedTuple):
    """What Eq. 8 puts in a row, of B hands and their objects.

    Attributes:
        object_field: (B, SIDE^3) metres, from each basis point to the object (Eq. 1).
        hand_field: (B, SIDE^3) metres, from each basis point to its anchor (Eq. 2).
        contacts: (B, 32, 9) mean in metres from the anchor, and the Cholesky factor's lower
            triangle row by row, metres (Eq. 7).
    """

    object_field: Tensor
    hand_field: Tensor
    contacts: Tensor


def basis(device: torch.device | str = "cpu") -> Tensor:
    """(SIDE^3, 3) the basis points, metres about the origin, z fastest."""
    axis = (torch.arange(SIDE, device=device) - (SIDE - 1) / 2) * PITCH
    return torch.cartesian_prod(axis, axis, axis)


def encode(
    points: Tensor, vertices: Tensor, faces: Tensor, regions: HandRegions, centre: Tensor
) -> Choir:
    """The CHOIR of hands at their objects.

    Args:
        points: (B, N, 3) or (N, 3) on the object's surface, metres, full or partial.
        vertices: (B, 778, 3) hands.
        faces: (F, 3) the hand's outward triangles.
        regions: the hand's tables.
        centre: (B, 3) or (3,) where the grid's middle is.
    """
    points = (points - centre[..., None, :]).expand(len(vertices), -1, -1)
    vertices = vertices - centre[..., None, :]
    weights = contact_weights(points, vertices, faces)
    return Choir(
        object_field(points),
        hand_field(vertices[:, regions.anchors]),
        fit_gaussians(vertices, weights, regions),
    )


def object_field(points: Tensor) -> Tensor:
    """(B, SIDE^3) distance from each basis point to the nearest of (B, N, 3) points, metres."""
    grid = basis(points.device)
    if points.device.type == "cpu":  # a tree is four times faster there
        trees = [cKDTree(cloud) for cloud in points.numpy()]
        return torch.from_numpy(np.stack([tree.query(grid)[0] for tree in trees])).to(points)
    fields = [distances(grid.expand(len(p), -1, -1), p).amin(dim=2) for p in points.split(CHUNK)]
    return torch.cat(fields)


def hand_field(anchors: Tensor) -> Tensor:
    """(B, SIDE^3) distance from each basis point to its anchor, metres.

    The anchors (B, 32, 3) take turns along the basis points: the paper's repeating assignment.
    """
    grid = by_anchor(basis(anchors.device)[None], anchors.shape[1])
    return from_anchors((grid - anchors[:, None]).norm(dim=3))


def by_anchor(values: Tensor, anchors: int) -> Tensor:
    """Values (B, SIDE^3, ...) of basis points in a table (B, SIDE^3 / anchors, anchors, ...)."""
    return values.unflatten(1, (-1, anchors))


def from_anchors(values: Tensor) -> Tensor:
    """The inverse of `by_anchor`."""
    return values.flatten(1, 2)


def contact_weights(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """How many object points lie in each vertex' cone of tolerance (Eq. 3-5).

    Args:
        points: (B, N, 3) metres.
        vertices: (B, V, 3) metres.
        faces: (F, 3) outward triangles.

    Returns:
        (B, V) counts.
    """
    normals = vertex_normals(vertices, faces)
    counts = []
    if points.device.type == "cpu":  # few points are that near: trees are twenty times faster there
        arrays = (x.detach().numpy() for x in (points, vertices, normals))
        for p, v, n in zip(*arrays, strict=True):
            near = cKDTree(v).sparse_distance_matrix(cKDTree(p), CONE, output_type="coo_matrix")
            along = (n[near.row] * (p[near.col] - v[near.row])).sum(axis=1)
            within = near.row[along >= CONE_COSINE * near.data]
            counts.append(torch.from_numpy(np.bincount(within, minlength=len(v))))
        return torch.stack(counts)
    for p, v, n in zip(
        points.split(CHUNK), vertices.split(CHUNK), normals.split(CHUNK), strict=True
    ):
        apart = distances(v, p)
        along = n @ p.mT - (n * v).sum(dim=2, keepdim=True)
        counts.append(((apart <= CONE) & (along >= CONE_COSINE * apart)).sum(dim=2))
    return torch.cat(counts)


def fit_gaussians(vertices: Tensor, weights: Tensor, regions: HandRegions) -> Tensor:
    """Maximum likelihood of a Gaussian for each anchor, over its weighted vertices (Eq. 6, 7).

    Args:
        vertices: (B, V, 3) metres.
        weights: (B, V) contact weights.
        regions: the hand's tables.

    Returns:
        (B, 32, 9) as in `Choir`.
    """
    anchors = vertices[:, regions.anchors]
    owner = regions.nearest_anchor
    apart = vertices - anchors[:, owner]
    share = weights.float()[..., None]
    moments = torch.cat([share, share * apart, share * outer(apart)], dim=2)
    # A product has one order of summation on every device, index_add none on CUDA.
    owned = owner == torch.arange(anchors.shape[1], device=owner.device)[:, None]
    sums = owned.to(moments) @ moments
    touched = sums[..., 0] > 0
    sums = sums[..., 1:] / sums[..., :1].clamp(min=1e-9)
    mean = sums[..., :3]
    covariance = (sums[..., 3:] - outer(mean)).unflatten(2, (3, 3))
    spread = SPREAD**2 * torch.eye(3, dtype=mean.dtype, device=mean.device)
    return gaussians(mean, covariance + spread, touched)


def outer(vectors: Tensor) -> Tensor:
    """(..., 9) products of the components of (..., 3) vectors."""
    return (vectors[..., :, None] * vectors[..., None, :]).flatten(-2)


def turn_contacts(contacts: Tensor, rotation: Tensor) -> Tensor:
    """Contacts of the same hands after a rotation x -> rotation x.

    Args:
        contacts: (B, 32, 9) as in `Choir`.
        rotation: (B, 3, 3).

    Returns:
        (B, 32, 9).
    """
    rotation = rotation[:, None]
    factor, touched = factors(contacts)
    turned = rotation @ factor
    covariance = turned @ turned.mT
    mean = (rotation @ contacts[..., :3, None])[..., 0]
    return gaussians(mean, covariance, touched)


def gaussians(mean: Tensor, covariance: Tensor, touched: Tensor) -> Tensor:
    """Nine numbers (B, 32, 9) of each Gaussian; zeros for anchors that nothing touches.

    Args:
        mean: (B, 32, 3) metres.
        covariance: (B, 32, 3, 3) square metres, positive.
        touched: (B, 32) bool.
    """
    # In millimetres, where squares don't vanish in single precision.
    factor = torch.linalg.cholesky(1e6 * covariance) / 1e3
    row, column = torch.tril_indices(3, 3, device=mean.device)
    return torch.cat([mean, factor[..., row, column]], dim=2) * touched[..., None]


def factors(contacts: Tensor) -> tuple[Tensor, Tensor]:
    """Lower factors (B, 32, 3, 3), millimetre ones where nothing touches; whether something does.

    What a network predicts for an anchor without contact is not quite zero: a factor counts from
    half of what `fit_gaussians` gives at least.
    """
    row, column = torch.tril_indices(3, 3, device=contacts.device)
    factor = contacts.new_zeros(*contacts.shape[:2], 3, 3)
    factor[..., row, column] = contacts[..., 3:]
    touched = factor.diagonal(dim1=2, dim2=3).amin(dim=2) > SPREAD / 2
    identity = SPREAD * torch.eye(3, dtype=factor.dtype, device=factor.device)
    return torch.where(touched[..., None, None], factor, identity), touched


def object_contact(
    points: Tensor, contacts: Tensor, vertices: Tensor, regions: HandRegions
) -> Tensor:
    """Contact in [0, 1] of object points: the density of the Gaussian that reaches each best.

    Gaussians lie on the skin; each is widened by the cone's reach, which is how far from it
    something counts as touched.

    Args:
        points: (N, 3) on the object, metres.
        contacts: (B, 32, 9) as in `Choir`.
        vertices: (B, V, 3) the hands, metres.
        regions: the hand's tables.

    Returns:
        (B, N).
    """
    factor, touched = factors(contacts)
    reach = CONE**2 * torch.eye(3, dtype=factor.dtype, device=factor.device)
    precision = torch.linalg.inv(factor @ factor.mT + reach)
    mean = vertices[:, regions.anchors] + contacts[..., :3]
    found = []
    for m, p, t in zip(
        mean.split(CHUNK), precision.split(CHUNK), touched.split(CHUNK), strict=True
    ):
        apart = points[:, None] - m[:, None]
        square = torch.einsum("bnac,bacd,bnad->bna", apart, p, apart)
        found.append((torch.exp(-0.5 * square) * t[:, None]).amax(dim=2))
    return torch.cat(found)


def dense_contact(contacts: Tensor, vertices: Tensor, regions: HandRegions) -> Tensor:
    """Contact in [0, 1] of each vertex, from the Gaussian of its anchor.

    Args:
        contacts: (B, 32, 9) as in `Choir`.
        vertices: (B, V, 3) the hands, metres.
        regions: the hand's tables.

    Returns:
        (B, V).
    """
    owner = regions.nearest_anchor
    apart = vertices - vertices[:, regions.anchors][:, owner]
    factor, touched = factors(contacts)
    whitened = torch.linalg.solve_triangular(
        factor[:, owner], (apart - contacts[:, owner, :3])[..., None], upper=False
    )
    return torch.exp(-0.5 * whitened.square().sum(dim=(2, 3))) * touched[:, owner]
