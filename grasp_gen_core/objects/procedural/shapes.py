"""Building blocks of the procedural objects, all in millimetres."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import trimesh
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator

SEGMENTS = 24  # around a turned part: each costs a physics engine time
SPREAD = 0.06  # of a product's size, as a share; its proportions vary by a quarter of that

Sizes = dict[str, tuple[float, ...]]


def draw(rng: Generator, sizes: Sizes) -> tuple[str, np.ndarray]:
    """One row of a table of products: its name, and its numbers log-normally varied."""
    name = list(sizes)[rng.integers(len(sizes))]
    change = rng.normal() + 0.25 * rng.normal(size=len(sizes[name]))
    return name, np.array(sizes[name]) * np.exp(SPREAD * np.clip(change, -2, 2))


def union(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    """The parts grown together."""
    return trimesh.boolean.union(parts, engine="manifold")


def difference(mesh: trimesh.Trimesh, *holes: trimesh.Trimesh) -> trimesh.Trimesh:
    """A mesh without what the holes cover."""
    return trimesh.boolean.difference([mesh, *holes], engine="manifold")


def round_box(extents: np.ndarray | list[float], radius: float) -> trimesh.Trimesh:
    """A box with rounded edges."""
    grid = np.stack(np.meshgrid(*[range(4)] * 3), axis=-1).reshape(-1, 3)
    eighth = trimesh.unitize(grid[grid.sum(axis=1) == 3].astype(float))
    corners = np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 1, 3)
    points = corners * (np.asarray(extents) / 2 - radius + radius * eighth)
    return trimesh.convex.convex_hull(points.reshape(-1, 3))


def fillet(corners: np.ndarray | list, radius: float, steps: int = 3) -> np.ndarray:
    """Polyline (K, 2) with its corners rounded by parabolas, at most to the edges' middles."""
    corners = np.asarray(corners, float)
    t = np.linspace(0, 1, steps)[:, None]
    edges = np.diff(corners, axis=0)
    lengths = np.linalg.norm(edges, axis=1)
    rounded = [corners[:1]]
    for i, corner in enumerate(corners[1:-1]):
        if edges[i] @ edges[i + 1] > 0.95 * lengths[i] * lengths[i + 1]:  # smooth already
            rounded.append(corner[None])
            continue
        start = corner - edges[i] * min(0.49, radius / lengths[i])
        end = corner + edges[i + 1] * min(0.49, radius / lengths[i + 1])
        rounded.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate([*rounded, corners[-1:]])


def revolve(
    profile: np.ndarray | list, radius: float = 0.0, segments: int = SEGMENTS
) -> trimesh.Trimesh:
    """Turn (K, 2) of (radius, z), from axis to axis, around z; its corners rounded by `radius`."""
    profile = fillet(profile, radius) if radius else np.asarray(profile, float)
    return trimesh.creation.revolve(profile, sections=segments)


def disc(diameter: float, height: float, edge: float) -> trimesh.Trimesh:
    """A cylinder from z = 0 with rounded edges."""
    radius = diameter / 2
    return revolve([(0, 0), (radius, 0), (radius, height), (0, height)], edge)


def oval(mesh: trimesh.Trimesh, flat: float, power: float) -> trimesh.Trimesh:
    """Press a turned mesh: y shrinks by `flat`, circles become superellipses of that power."""
    x, y = mesh.vertices[:, 0], mesh.vertices[:, 1]
    angle = np.arctan2(y, x)
    norm = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (1 / power)
    mesh.vertices[:, :2] *= np.array([1, flat]) / norm[:, None]
    return mesh


def turn(mesh: trimesh.Trimesh, angle: float, axis: list[float]) -> trimesh.Trimesh:
    """Turn by radians about an axis through the origin."""
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(angle, axis))


def lie_down(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Turn z to x."""
    return turn(mesh, np.pi / 2, [0, 1, 0])


def tube(
    path: np.ndarray, widths: np.ndarray, closed: bool = False, sides: int = 12
) -> trimesh.Trimesh:
    """Sweep an ellipse along a path in the x-z plane.

    Args:
        path: (K, 2) x and z.
        widths: (K, 2) half axes in the plane and across it (along y), or (2,).
        closed: a ring without ends.
        sides: of the ellipse.
    """
    widths = np.broadcast_to(widths, path.shape)
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    inward = widths[:, :1] * np.cos(angle)
    x = path[:, :1] - inward * ahead[:, 1:]
    z = path[:, 1:] + inward * ahead[:, :1]
    y = widths[:, 1:] * np.sin(angle)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)

    ring = np.arange(len(path) * sides).reshape(len(path), sides)
    here, there = (ring, np.roll(ring, -1, axis=0)) if closed else (ring[:-1], ring[1:])
    left, right = np.roll(here, -1, axis=1), np.roll(there, -1, axis=1)
    faces = [(here, there, right), (here, right, left)]
    if not closed:
        middles = np.insert(path[[0, -1]], 1, 0, axis=1)
        first, last = np.full((2, sides), [[len(vertices)], [len(vertices) + 1]])
        vertices = np.concatenate([vertices, middles])
        faces += [(first, here[0], left[0]), (last, right[-1], there[-1])]
    faces = [np.stack(corners, axis=-1).reshape(-1, 3) for corners in faces]
    mesh = trimesh.Trimesh(vertices, np.concatenate(faces))
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def round_ends(t: np.ndarray, length: float, radius: float) -> np.ndarray:
    """(K,) factor that rounds the ends of a tube; t in [0, 1] runs along it."""
    into = np.clip(np.minimum(t, 1 - t) * length / radius, 0, 1)
    return np.sqrt(1 - (1 - into) ** 2).clip(0.3)


class Vessel(NamedTuple):
    """A turned vessel before it is hollowed.

    Attributes:
        outside: solid.
        cavity: what it holds, a little beyond the rim.
        rings: (K, 2) of (radius, z) of the outside from foot to rim.
    """

    outside: trimesh.Trimesh
    cavity: trimesh.Trimesh
    rings: np.ndarray

    def radius(self, z: float) -> float:
        """Of the outside at a height."""
        return float(np.interp(z, self.rings[:, 1], self.rings[:, 0]))

    def hollow(self, *attached: trimesh.Trimesh) -> trimesh.Trimesh:
        """The vessel with what is attached outside; nothing of that reaches into the cavity."""
        return difference(union(self.outside, *attached) if attached else self.outside, self.cavity)


def vessel(knots: list[tuple[float, float]], wall: float, rings: int = 4) -> Vessel:
    """A turned vessel.

    Args:
        knots: (radius, z) of the outside from foot to rim.
        wall: its thickness.
        rings: of vertices outside; each costs a physics engine convex parts.
    """
    radius, z = np.array(knots, float).T
    heights = np.linspace(0, z[-1], rings)
    outer = np.stack([PchipInterpolator(z, radius)(heights), heights], axis=1)
    along = np.gradient(outer, axis=0)
    # At the heights of the outside, so that level cuts leave convex parts.
    inner = outer.copy()
    inner[:, 0] -= wall * np.linalg.norm(along, axis=1) / along[:, 1]
    top, edge, floor = z[-1], 0.3 * wall, 1.2 * wall
    corner = np.interp(floor, inner[:, 1], inner[:, 0])
    mouth = np.interp(top, inner[:, 1], inner[:, 0])
    sides = inner[(inner[:, 1] > floor + edge) & (inner[:, 1] < top - 2 * edge)]
    cavity = [(0, floor), (corner, floor), *sides, (mouth, top - edge), (mouth + edge, top)]
    cavity += [(mouth + edge, top + 1), (0, top + 1)]
    (foot, _), (rim, _) = outer[[0, -1]]
    solid = [(0, 0), (foot - edge, 0), (np.interp(edge, heights, outer[:, 0]), edge), *outer[1:-1]]
    solid += [(rim, top - edge), (rim - edge, top), (0, top)]
    turned = (revolve(half, segments=SEGMENTS) for half in (solid, cavity))
    return Vessel(*turned, outer)


def handle(
    rng: Generator, body: Vessel, high: float, low: float, gap: float, thick: float
) -> trimesh.Trimesh:
    """A handle on the +x side of a vessel from z `high` to `low`, with a `gap` for fingers."""
    start, end = body.radius(high), body.radius(low)
    out = max(start, end, body.radius((high + low) / 2)) + gap + thick
    lower = out - gap * rng.uniform(0, 0.25)
    lift = rng.uniform(-0.08, 0.08) * (high - low)
    corners = [(start - thick, high), (out, high + lift), (lower, low), (end - thick, low)]
    path = fillet(corners, rng.uniform(0.4, 0.7) * gap, steps=4)
    return tube(path, [thick, thick * rng.uniform(1, 1.8)], sides=8)
