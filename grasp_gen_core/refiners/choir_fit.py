"""Fits hands to CHOIRs (Morales et al. 2024, Sec. 3.3): first to the distances, then to contact.

Both objectives are sums of squares, so that all hands of a batch are fitted at once by
Levenberg-Marquardt instead of the paper's Adam: a dozen steps in place of hundreds. Each hand has
a damping and an end of its own: it comes out the same alone and in any batch.

Stage 2 leaves the shape (lambda_2) as stage 1 or who gave the hand has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from grasp_gen_core.contact import choir
from grasp_gen_core.hand import HandRegions, ManoHand, rotations
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.replay import Replay
from grasp_gen_core.stopping import heed
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

POSE_WEIGHT = 1e-5  # metres for each radian away from the start
LIMIT_WEIGHT = 1e-2  # metres for each radian that a joint bends beyond its limits, in both stages
DAMPING = 1e-2  # at the start, as a share of the normal equations' diagonal
CONVERGED = 1e-6  # metres that no anchor moves any more
# Of stage 2: how much more penetration weighs than contact, the paper's lambda_5 / lambda_4; and
# metres for each radian that the wrist turns or a joint bends, and each metre that the hand moves.
PENETRATION_WEIGHT = 1000 / 10
TURN_WEIGHT, BEND_WEIGHT, MOVE_WEIGHT = 3e-3, 3e-3, 3e-2
CONTACT_STEPS = 10
SKIN = 0.0015  # metres that soft skin gives way
TURNS = 4  # tried where nothing is known of the hand


class Stage(NamedTuple):
    """Most steps, and how many metres a unit of shape and a radian of pose are worth."""

    steps: int
    shape: float
    pose: float
    of_distances: bool = False


# The hand comes as it is, then bends, then all is free.
STAGES = (
    Stage(4, shape=1e-2, pose=5e-2),
    Stage(6, shape=2e-3, pose=5e-3),
    Stage(6, shape=2e-4, pose=5e-4),
    Stage(10, shape=3e-5, pose=0.0, of_distances=True),
)


class Fitted(NamedTuple):
    """Fitted hands: `mano` (B, 61), and `error` (B,), the distances' root mean square, metres."""

    mano: Tensor
    error: Tensor


def refine(
    mano: Tensor,
    points: Tensor,
    grid: DistanceGrid,
    around: Callable[[Tensor], Tensor] | None = None,
    *,
    hand: ManoHand,
) -> Tensor:
    """The fit without a network, the benchmark's baseline: hands touch where they nearly do.

    Stage 1 gives hands back from their own distances, so only stage 2 is left, with the contact
    Gaussians of the hands as they come.

    Args:
        mano: (B, 61) hands.
        points: (N, 3) the object, metres, dense enough for contact (see `choir.CONE`).
        grid: signed distance of the object.
        around: not used.
        hand: the hand model.

    Returns:
        (B, 61).
    """
    vertices, _ = hand(mano)
    weights = choir.contact_weights(points.expand(len(mano), -1, -1), vertices, hand.faces)
    contacts = choir.fit_gaussians(vertices, weights, hand.regions)
    contact = choir.dense_contact(contacts, vertices, hand.regions)
    return fit_contact(mano, contact, hand, grid)


def fit_field(
    field: Tensor, hand: ManoHand, start: Tensor | None = None, shape: float | None = 0.0
) -> Fitted:
    """Stage 1 (Eq. 9): hands whose anchors have the field's distances from the basis points.

    The anchors' places are found first, and the hands brought there: far from the solution the
    distances mislead, because each anchor's basis points lie in one plane, behind which it may
    be as well as in front. Then the distances themselves are fitted.

    Args:
        field: (B, SIDE^3) metres, of `contact.choir.hand_field`.
        hand: the hand model.
        start: (B, 61) MANO parameters about the grid's middle; None starts from flat hands in
            several turns, and goes on with the best of them.
        shape: metres that a unit of shape is worth at least (lambda_2); a field that a network
            drew says little of the hand's. None keeps the start's.
    """
    stages = tuple(stage._replace(shape=max(stage.shape, shape or 0.0)) for stage in STAGES)
    if start is not None:
        return _fit_field(field, hand, start, POSE_WEIGHT, stages, reshapes=shape is not None)
    turns = torch.zeros(TURNS, 61, device=field.device)
    turns[:, GLOBAL_ORIENT] = rotations.to_rotvec(even_turns(TURNS).to(field))
    first = _fit_field(
        field.repeat(TURNS, 1), hand, turns.repeat_interleave(len(field), dim=0), 0.0, stages[:2]
    )
    best = first.error.view(TURNS, -1).argmin(dim=0)
    every = torch.arange(len(field), device=field.device)
    return _fit_field(field, hand, first.mano.view(TURNS, -1, 61)[best, every], 0.0, stages[2:])


def _fit_field(
    field: Tensor,
    hand: ManoHand,
    start: Tensor,
    hold: float,
    stages: tuple[Stage, ...],
    reshapes: bool = True,
) -> Fitted:
    anchors = hand.regions.anchors
    grid = choir.by_anchor(choir.basis(field.device).to(field)[None], len(anchors))
    wanted = choir.by_anchor(field, len(anchors))
    places = anchor_places(wanted, grid)
    target, free = start.clone(), start.new_ones(61)
    if reshapes:
        target[:, BETAS] = 0
    else:
        free[BETAS] = 0
    mano = start
    for stage in stages:
        if stage.of_distances:
            measure = partial(distance_cost, grid=grid, wanted=wanted)
        else:
            measure = partial(place_cost, places=places)
        count = field.shape[1] if stage.of_distances else len(anchors)
        prior = field.new_zeros(61)
        prior[BETAS], prior[HAND_POSE] = count * stage.shape**2, count * max(stage.pose, hold) ** 2
        limit = count * LIMIT_WEIGHT**2
        mano, cost = levenberg_marquardt(
            mano, hand, anchors, measure, prior, target, free, limit, stage.steps
        )
    return Fitted(mano, (cost / count).sqrt())


def fit_contact(
    mano: Tensor,
    contact: Tensor,
    hand: ManoHand,
    grid: DistanceGrid,
) -> Tensor:
    """Stage 2 (Eq. 10-12): vertices that should touch are brought to the object, none into it.

    The nearest object points of Eq. 10 are the surface's own, which the signed distance gives; so
    it is the same for dense, sparse and one-sided clouds.

    Args:
        mano: (B, 61) hands of stage 1, in the object's frame.
        contact: (B, 778) how much each vertex should touch, 0 to 1 (`contact.choir.dense_contact`).
        hand: the hand model.
        grid: signed distance of the object.

    Returns:
        (B, 61).
    """
    vertices = hand.regions.palmar.nonzero()[:, 0]
    measure = partial(contact_cost, pull=contact[:, vertices], grid=grid)
    count, free = len(vertices), mano.new_ones(61)
    prior = mano.new_zeros(61)
    free[BETAS], prior[GLOBAL_ORIENT] = 0, count * TURN_WEIGHT**2
    prior[HAND_POSE], prior[TRANSL] = count * BEND_WEIGHT**2, count * MOVE_WEIGHT**2
    limit = count * LIMIT_WEIGHT**2
    return levenberg_marquardt(
        mano, hand, vertices, measure, prior, mano, free, limit, CONTACT_STEPS
    )[0]


# What is minimised, of points (B, K, 3): the cost (B,), half its gradient (B, K, 3), and a positive
# approximation of half its curvature (B, K, 3, 3).
Cost = tuple[Tensor, Tensor, Tensor]


def place_cost(points: Tensor, places: Tensor) -> Cost:
    """Squared distances of points from the nearer of two places (B, K, 2, 3) each, metres."""
    apart = points[:, :, None] - places
    side = apart.square().sum(dim=3).argmin(dim=2, keepdim=True)
    apart = apart.take_along_dim(side[..., None], dim=2)[:, :, 0]
    identity = torch.eye(3, dtype=points.dtype, device=points.device)
    identity = identity.expand(*points.shape[:2], 3, 3)
    return apart.square().sum(dim=(1, 2)), apart, identity


def distance_cost(points: Tensor, grid: Tensor, wanted: Tensor) -> Cost:
    """Eq. 9: squared errors of the distances of points (B, K, 3) from basis points.

    Args:
        points: metres.
        grid: (1, N, K, 3) each point's basis points, metres.
        wanted: (B, N, K) distances, metres.
    """
    apart = points[:, None] - grid
    length = apart.norm(dim=3).clamp(min=1e-9)
    direction, residual = apart / length[..., None], length - wanted
    gradient = torch.einsum("bnac,bna->bac", direction, residual)
    curvature = torch.einsum("bnac,bnad->bacd", direction, direction)
    return residual.square().sum(dim=(1, 2)), gradient, curvature


def contact_cost(points: Tensor, pull: Tensor, grid: Callable[[Tensor], Tensor]) -> Cost:
    """Eq. 10 and 12: squared distances to the object, and squared depths below the soft skin.

    Both are of each point at once, so what a point costs has no jump where penetration begins.

    Args:
        points: (B, K, 3) metres.
        pull: (B, K) how much each should touch.
        grid: signed distance of the object, metres.
    """
    with torch.enable_grad():
        places = points.detach().requires_grad_()
        distance = grid(places)
        slope = torch.autograd.grad(distance.sum(), places)[0]
    distance = distance.detach()
    depth = (distance + SKIN).clamp(max=0)
    cost = pull * distance.square() + PENETRATION_WEIGHT * depth.square()
    steep = pull * distance + PENETRATION_WEIGHT * depth
    weight = pull + PENETRATION_WEIGHT * (depth < 0)
    curvature = weight[..., None, None] * slope[..., :, None] * slope[..., None, :]
    return cost.sum(dim=1), steep[..., None] * slope, curvature


def even_turns(count: int) -> Tensor:
    """(count, 3, 3) rotations far from each other: a super-Fibonacci spiral (Alexa 2022)."""
    number = torch.arange(count, dtype=torch.float64) + 0.5
    share, (phi, psi) = number / count, (2**0.5, 1.533751168755204288118041)
    alpha, beta = 2 * torch.pi * number / phi, 2 * torch.pi * number / psi
    near, far = share.sqrt(), (1 - share).sqrt()
    parts = [near * alpha.sin(), near * alpha.cos(), far * beta.sin(), far * beta.cos()]
    return torch.from_numpy(Rotation.from_quat(torch.stack(parts, dim=1).numpy()).as_matrix())


def anchor_places(wanted: Tensor, grid: Tensor) -> Tensor:
    """Where anchors are, from their distances to points in a plane of constant z.

    Args:
        wanted: (B, N, A) metres.
        grid: (1, N, A, 3) metres.

    Returns:
        (B, A, 2, 3) the places in front of and behind each anchor's plane.
    """
    points = grid[0].transpose(0, 1)
    height = points[:, :1, 2]
    # d^2 = |b|^2 - 2 (bx x + by y) + t in the plane, t = x^2 + y^2 + (z - height)^2.
    known = torch.cat([-2 * points[..., :2], torch.ones_like(points[..., :1])], dim=2)
    right = wanted.square().permute(2, 1, 0) - points[..., :2].square().sum(dim=2, keepdim=True)
    # LAPACK's least squares differ in last digits from call to call, which the fit makes more of.
    exact = known.double()
    inverse = (torch.linalg.inv(exact.mT @ exact) @ exact.mT).to(known)
    solved = (inverse @ right).permute(2, 0, 1)
    across = solved[..., :2]
    away = (solved[..., 2] - across.square().sum(dim=2)).clamp(min=0).sqrt()
    sides = [torch.cat([across, (height[:, 0] + s * away)[..., None]], dim=2) for s in (1, -1)]
    return torch.stack(sides, dim=2)


def levenberg_marquardt(
    start: Tensor,
    hand: ManoHand,
    vertices: Tensor,
    measure: Callable[[Tensor], Cost],
    prior: Tensor,
    target: Tensor,
    free: Tensor,
    limit: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Hands of least cost, each by itself.

    Args:
        start: (B, 61) MANO parameters.
        hand: the hand model.
        vertices: (K,) numbers of the vertices that the cost depends on.
        measure: of the vertices' places what `Cost` holds.
        prior: (61,) weights of the squared differences from the target.
        target: (B, 61) parameters.
        free: (61,) one for parameters that may change, zero for those that stay.
        limit: weight of the squared radians beyond the joints' limits.
        steps: most steps.

    Returns:
        mano (B, 61) and the cost (B,) without the prior's and the limits' parts.
    """

    def aims(mano: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        away, bent = difference(mano, target), beyond_limits(mano, hand.regions)
        excess = bent.square().sum(dim=(1, 2))
        return away, bent, (prior * away.square()).sum(dim=1) + limit * excess

    mano, damping = start.clone(), start.new_full((len(start),), DAMPING)
    points = hand.carry(mano, vertices)[0]
    cost, gradient, curvature = (one.contiguous() for one in measure(points))  # memory of their own
    away, bent, aim = aims(mano)
    total = cost + aim
    done = torch.zeros_like(total, dtype=torch.bool)
    curved, change = torch.diag(prior), torch.zeros_like(mano)

    def system() -> tuple[Tensor, Tensor, Tensor]:
        jacobian = hand.derivative(mano, vertices) * free
        slope = (jacobian.flatten(1, 2).mT @ gradient.flatten(1)[..., None])[..., 0] + prior * away
        weighted = (curvature @ jacobian).flatten(1, 2)
        normal = jacobian.flatten(1, 2).mT @ weighted + curved
        slope[:, HAND_POSE] += limit * hand.regions.to_pose(bent)
        blocks = normal[:, HAND_POSE, HAND_POSE].unflatten(2, (15, 3)).unflatten(1, (15, 3))
        axes = hand.regions.joint_axes
        stiff = torch.einsum("jax,bja,jay->bxyj", axes, (bent != 0).to(mano), axes)
        blocks.diagonal(dim1=1, dim2=3).add_(stiff, alpha=limit)
        # Parameters have their own units: each is scaled by its own curvature.
        scale = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12).rsqrt()
        normal = scale[:, :, None] * normal * scale[:, None]
        ridge = torch.diag_embed(damping[:, None].expand_as(scale))
        return normal + ridge, -(scale * slope)[..., None], scale

    def step() -> None:
        tried = changed(mano, change)
        moved = hand.carry(tried, vertices)[0]
        new_cost, *slopes = measure(moved)
        new_away, new_bent, new_aim = aims(tried)
        new_total = new_cost + new_aim
        better = (new_total < total) & ~done
        done.logical_or_(better & ((moved - points).norm(dim=2).amax(dim=1) < CONVERGED))
        damping.copy_(torch.where(better, damping / 5, damping * 4).clamp(1e-6, 1e6))
        new = (tried, moved, new_away, new_bent, new_cost, new_total, *slopes)
        for one, old in zip(new, known, strict=True):
            old.copy_(torch.where(better.view(-1, *[1] * (old.ndim - 1)), one, old))

    known = (mano, points, away, bent, cost, total, gradient, curvature)
    ask, take = Replay(system, mano.device), Replay(step, mano.device)
    for number in range(steps):
        heed()
        normal, slope, scale = ask()
        # `solve` would wait for the device to tell whether all could be solved, as these can.
        change.copy_(scale * torch.linalg.solve_ex(normal, slope)[0][..., 0])
        take()
        if number % 2 and done.all():  # a device has to be waited for to tell
            break
    return mano, cost


def beyond_limits(mano: Tensor, regions: HandRegions) -> Tensor:
    """(B, 15, 3) radians that joints of hands (B, 61) bend beyond their limits, with their sign."""
    angles = regions.to_angles(mano[:, HAND_POSE])
    return angles - angles.clamp(*regions.limits.unbind(-1))


def changed(mano: Tensor, change: Tensor) -> Tensor:
    """MANO parameters (B, 61) after a change (B, 61): turns are composed, the rest is added."""
    turned = rotations.compose(change[:, GLOBAL_ORIENT], mano[:, GLOBAL_ORIENT])
    added = mano + change
    return torch.cat([added[:, BETAS], turned, added[:, HAND_POSE], added[:, TRANSL]], dim=1)


def difference(mano: Tensor, target: Tensor) -> Tensor:
    """The change (B, 61) that makes MANO parameters (B, 61) of the target's."""
    turned = rotations.compose(mano[:, GLOBAL_ORIENT], -target[:, GLOBAL_ORIENT])
    apart = mano - target
    return torch.cat([apart[:, BETAS], turned, apart[:, HAND_POSE], apart[:, TRANSL]], dim=1)
