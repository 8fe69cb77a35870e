"""What belongs to one thing: surfaces that are convex together (after LCCP, Stein et al., 2014).

Small patches of one direction are joined, most convex boundary first, until each boundary that is
left is concave or a step. Then insides go to their vessels, and surfaces that go on behind what
hides them become one.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from grasp_gen_core.perception.plane import Plane

# Lengths, in spacings between places, so that coarse scenes are treated like fine ones.
LINKED = 2.2  # between neighbours
AROUND = 4.0  # around a place, which tells its normal
REACH, NEAREST = 4.0, 1.6  # between places whose normals are compared: nearer ones share theirs
PATCH, TURN = 4.0, 2.0  # across a patch, and patches that a unit of direction is worth
RIM_GAP, RIM = 8.0, 4.0  # between both sides of a rim, which is lost at times, and of its height
HIDDEN_PATCH, HIDDEN_GAP = 3.0, 30.0  # across places that are one behind others, and between them

FEWEST = 20  # places of a thing by itself, at least
SPECK = 40  # places, of a thing that touches a larger one
CONCAVE = 0.32  # sine of the mean rise above the neighbour's tangent plane: there things part
DOUBT = 8  # pairs of such places that each boundary starts with: few pairs prove little
ROUNDS = 3  # of making patches
INWARD = 0.15  # mean sine by which a vessel's inside rises above its own tangent planes
CHORDS, CHORD = 1000, (6.0, 20.0)  # pairs of places that tell, and spacings between them
IN_HULL = 0.8  # of a thing's places, in another's hollow
SAME_WAY, LEVEL, TILT = 0.966, 1.2, 0.05  # cosine; spacings and slope off the other's plane
BEHIND, ASIDE = 2.0, 1.6  # spacings that what hides is nearer, and is off the ray, at most
STEPS, FEWEST_LINES = 9, 6  # places looked at on a line between two surfaces, and lines hidden


class Surface(NamedTuple):
    """What is seen of the things.

    Attributes:
        points: (N, 3) places, evenly spread, metres.
        normals: (N, 3) unit, outward.
        spacing: between them, metres.
        eye: (3,) where the camera stood, None if that isn't known.
        height: (N,) metres above the supporting plane, None without one.
    """

    points: np.ndarray
    normals: np.ndarray
    spacing: float
    eye: np.ndarray | None
    height: np.ndarray | None


def find_things(
    points: np.ndarray, spacing: float, plane: Plane | None, eye: np.ndarray | None
) -> np.ndarray:
    """Number of the thing that each place belongs to, -1 for none.

    Args:
        points: (N, 3) of surfaces, evenly spread, metres.
        spacing: between them, metres.
        plane: on which the things stand, if they do.
        eye: (3,) where the camera stood, None if that isn't known: then insides of vessels and
            what goes on behind others aren't told.

    Returns:
        (N,) int64, from 0.
    """
    if len(points) < FEWEST:
        return np.full(len(points), -1)
    height = None if plane is None else plane.height(points)
    normals = surface_normals(points, spacing, eye)
    surface = Surface(points, normals, spacing, eye, height)
    piece = without_specks(surface, convex_pieces(surface))
    if eye is not None:
        if height is not None:
            piece = with_insides(surface, piece)
        piece = with_contents(surface, piece)
        piece = seen_past_others(surface, piece)
    size = np.bincount(piece)
    number = np.where(size < FEWEST, -1, np.cumsum(size >= FEWEST) - 1)
    return number[piece]


def surface_normals(points: np.ndarray, spacing: float, eye: np.ndarray | None) -> np.ndarray:
    """(N, 3) unit normals of the planes through the places around each of the points (N, 3).

    They point to the eye (3,); where that isn't known, away from the middle of what hangs together.
    """
    tree, number = cKDTree(points), len(points)
    graph = _graph(tree.query_pairs(AROUND * spacing, output_type="ndarray"), number).tocsr()
    near = points - points.mean(axis=0)
    moments = np.hstack([near, (near[:, :, None] * near[:, None]).reshape(number, 9)])
    moments = np.hstack([moments, np.ones((number, 1))])
    sums = moments + graph @ moments + graph.T @ moments
    means = sums / sums[:, -1:]
    covariance = means[:, 3:12].reshape(-1, 3, 3) - means[:, :3, None] * means[:, None, :3]
    normals = np.linalg.eigh(covariance)[1][:, :, 0]
    if eye is None:
        linked = tree.query_pairs(LINKED * spacing, output_type="ndarray")
        group = connected_components(_graph(linked, number), directed=False)[1]
        middles = np.stack([np.bincount(group, axis) for axis in points.T], axis=1)
        towards = points - (middles / np.bincount(group)[:, None])[group]
    else:
        towards = eye - points
    return normals * np.where((normals * towards).sum(axis=1) < 0, -1, 1)[:, None]


def convex_pieces(surface: Surface) -> np.ndarray:
    """(N,) number of the piece of surface, convex as a whole, that each place is of, from 0."""
    points, spacing = surface.points, surface.spacing
    pairs = cKDTree(points).query_pairs(REACH * spacing, output_type="ndarray")
    ways = points[pairs[:, 1]] - points[pairs[:, 0]]
    lengths = np.linalg.norm(ways, axis=1)
    linked = _graph(pairs[lengths < LINKED * spacing], len(points))
    group = connected_components(linked, directed=False)[1]
    patch = _patches(surface, group)
    told = (lengths > NEAREST * spacing) & (group[pairs[:, 0]] == group[pairs[:, 1]])
    pairs = pairs[told]
    return _join(patch, pairs, rise(surface, pairs))[patch]


def rise(surface: Surface, pairs: np.ndarray) -> np.ndarray:
    """(P,) sine of the angle by which one of two places is above the other's tangent plane.

    The larger of the two: below 0 where the surface is convex between the places (P, 2), near 0
    where it is flat, above where it is concave, or where one surface is behind the other.
    """
    first, second = pairs.T
    ways = surface.points[second] - surface.points[first]
    above = (ways * surface.normals[first]).sum(axis=1)
    below = (ways * surface.normals[second]).sum(axis=1)
    return np.maximum(above, -below) / np.linalg.norm(ways, axis=1)


def _patches(surface: Surface, group: np.ndarray) -> np.ndarray:
    """(N,) number of the patch, from 0, all of one group and about one place and direction."""
    size = PATCH * surface.spacing
    features = np.hstack([surface.points / size, TURN * surface.normals])
    patch = _cells(surface.points, size)
    for _ in range(ROUNDS):
        members = np.bincount(patch)
        sums = np.stack([np.bincount(patch, column) for column in features.T], axis=1)
        seeds = sums[members > 0] / members[members > 0, None]
        patch = cKDTree(seeds).query(features)[1]
    return _renumbered(patch * (group.max() + 1) + group)


def _join(patch: np.ndarray, pairs: np.ndarray, rises: np.ndarray) -> np.ndarray:
    """(P,) number of the piece that each patch ends up in, from 0."""
    number = int(patch.max()) + 1
    ends = np.sort(patch[pairs], axis=1)
    between = ends[:, 0] != ends[:, 1]
    keys, place = np.unique(ends[between] @ [number, 1], return_inverse=True)
    sums, counts = np.bincount(place, rises[between]), np.bincount(place)
    links: list[dict[int, tuple[float, int]]] = [{} for _ in range(number)]
    heap = []
    for key, total, count in zip(keys.tolist(), sums.tolist(), counts.tolist(), strict=True):
        a, b = divmod(key, number)
        links[a][b] = links[b][a] = (total, count)
        heap.append((_doubted(total, count), a, b, count))
    heapq.heapify(heap)
    into = np.arange(number)
    while heap:
        concavity, a, b, count = heapq.heappop(heap)
        if concavity >= CONCAVE:
            break
        if links[a].get(b, (0.0, 0))[1] != count:  # one of them was joined to another since
            continue
        if len(links[a]) < len(links[b]):
            a, b = b, a
        into[b] = a
        del links[a][b], links[b][a]
        for c, (total, count) in links[b].items():
            more, further = links[a].get(c, (0.0, 0))
            total, count = total + more, count + further
            links[a][c] = links[c][a] = (total, count)
            del links[c][b]
            heapq.heappush(heap, (_doubted(total, count), a, c, count))
        links[b] = {}
    return _given(np.arange(number), into)


def _doubted(total: float, count: int) -> float:
    """Mean rise along a boundary; that of few pairs is nearer to the limit."""
    return (total + DOUBT * CONCAVE) / (count + DOUBT)


def without_specks(surface: Surface, piece: np.ndarray) -> np.ndarray:
    """Pieces of a few places, as noise makes them, go to the larger one that they touch most."""
    linked = cKDTree(surface.points).query_pairs(LINKED * surface.spacing, output_type="ndarray")
    size = np.bincount(piece)
    contacts = _graph(piece[linked], len(size)).tocsr()
    contacts = contacts + contacts.T
    into = np.arange(len(size))
    for speck in np.flatnonzero(size < SPECK):
        row = contacts[speck]
        larger = size[row.indices] > size[speck]
        if larger.any():
            into[speck] = row.indices[larger][row.data[larger].argmax()]
    return _given(piece, into)


def with_insides(surface: Surface, piece: np.ndarray) -> np.ndarray:
    """The inside of a vessel, which curves inwards, goes to the outside with which it has a rim.

    The rim is where both are highest. It is seen edge-on, so a camera loses a part of it.
    """
    size, points = np.bincount(piece), surface.points
    rng = np.random.default_rng(0)
    inward = np.zeros(len(size), bool)
    low, high = np.array(CHORD) * surface.spacing
    for number in np.flatnonzero(size >= FEWEST):
        own = np.flatnonzero(piece == number)
        chords = own[rng.integers(len(own), size=(CHORDS, 2))]
        length = np.linalg.norm(points[chords[:, 1]] - points[chords[:, 0]], axis=1)
        chords = chords[(length > low) & (length < high)]
        inward[number] = len(chords) > FEWEST and rise(surface, chords).mean() > INWARD
    some = inward[piece]
    if not some.any():
        return piece
    top = np.array(
        [np.quantile(surface.height[piece == number], 0.98) for number in range(len(size))]
    )
    outside = np.flatnonzero(~some)
    across = cKDTree(points[some]).query_ball_tree(
        cKDTree(points[outside]), RIM_GAP * surface.spacing
    )
    first = np.repeat(np.flatnonzero(some), [len(found) for found in across])
    second = outside[np.concatenate([np.array(found, int) for found in across])]
    level = (surface.height[first] + surface.height[second]) / 2
    into = np.arange(len(size))
    for number in np.flatnonzero(inward):
        most = 0
        for other in np.unique(piece[second[piece[first] == number]]):
            both = (piece[first] == number) & (piece[second] == other)
            drop = max(top[number], top[other]) - np.median(level[both])
            if drop < RIM * surface.spacing and both.sum() > most:
                into[number], most = other, both.sum()
    return _given(piece, into)


def with_contents(surface: Surface, piece: np.ndarray) -> np.ndarray:
    """What is inside the convex hull of a larger piece belongs to it."""
    size, points = np.bincount(piece), surface.points
    into = np.arange(len(size))
    for number in np.argsort(-size, kind="stable"):
        if size[number] < FEWEST:
            break
        try:
            sides = ConvexHull(points[piece == number]).equations
        except QhullError:  # flat
            continue
        inside = (points @ sides[:, :3].T + sides[:, 3]).max(axis=1) < surface.spacing / 2
        share = np.bincount(piece, inside) / size
        smaller = (share > IN_HULL) & (size < size[number]) & (into == np.arange(len(size)))
        into[smaller] = number
    return _given(piece, into)


def seen_past_others(surface: Surface, piece: np.ndarray) -> np.ndarray:
    """Pieces that lie in one plane with nothing but nearer things seen between them are one."""
    points, eye, spacing = surface.points, surface.eye, surface.spacing
    size = np.bincount(piece)
    # Flat patches stand for the pieces: fewer lines to look along.
    patch = _renumbered(_cells(points, HIDDEN_PATCH * spacing) * len(size) + piece)
    count = np.bincount(patch)
    middle = np.stack([np.bincount(patch, axis) for axis in points.T], axis=1) / count[:, None]
    way = np.stack([np.bincount(patch, axis) for axis in surface.normals.T], axis=1)
    length = np.linalg.norm(way, axis=1)
    owner = np.zeros(len(count), np.int64)
    owner[patch] = piece
    flat = (length > SAME_WAY * count) & (count > 3) & (size[owner] >= FEWEST)
    middle, way, owner = middle[flat], (way / length[:, None])[flat], owner[flat]
    if len(middle) < 2:
        return piece
    pairs = cKDTree(middle).query_pairs(HIDDEN_GAP * spacing, output_type="ndarray")
    pairs = pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]
    a, b = pairs.T
    line = middle[b] - middle[a]
    off = np.maximum(np.abs((line * way[a]).sum(axis=1)), np.abs((line * way[b]).sum(axis=1)))
    level = off < LEVEL * spacing + TILT * np.linalg.norm(line, axis=1)
    pairs = pairs[level & ((way[a] * way[b]).sum(axis=1) > SAME_WAY)]
    if not len(pairs):
        return piece
    rays = points - eye
    distance = np.linalg.norm(rays, axis=1)
    tree = cKDTree(rays / distance[:, None])
    ends = middle[pairs]
    steps = np.linspace(0, 1, STEPS)[:, None]
    along = ends[:, :1] + steps * (ends[:, 1:] - ends[:, :1]) - eye
    far = np.linalg.norm(along, axis=2)
    aside, seen = tree.query(along / far[..., None])
    own = (piece[seen][..., None] == owner[pairs][:, None]).any(axis=2)
    nearer = far - distance[seen]
    hidden = ~own & (nearer > BEHIND * spacing) & (aside * far < ASIDE * spacing)
    itself = own & (np.abs(nearer) < BEHIND * spacing)
    whole = (hidden | itself).all(axis=1) & hidden.any(axis=1)
    lines = _graph(np.sort(owner[pairs[whole]], axis=1), len(size)).tocsr()
    lines.data[lines.data < FEWEST_LINES] = 0
    lines.eliminate_zeros()
    return connected_components(lines, directed=False)[1][piece]


def _graph(pairs: np.ndarray, number: int) -> coo_matrix:
    """(number, number) how often each of the pairs (P, 2) is there."""
    return coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), (number, number))


def _cells(points: np.ndarray, size: float) -> np.ndarray:
    """(N,) number of the cube of that size that each of the points (N, 3) is in, from 0."""
    return np.unique(np.floor(points / size), axis=0, return_inverse=True)[1].reshape(-1)


def _renumbered(number: np.ndarray) -> np.ndarray:
    """(N,) the same parts, numbered from 0."""
    return np.unique(number, return_inverse=True)[1].reshape(-1)


def _given(piece: np.ndarray, into: np.ndarray) -> np.ndarray:
    """(N,) pieces, from 0, after each was given into another or stays itself."""
    while (into[into] != into).any():
        into = into[into]
    return _renumbered(into[piece])
