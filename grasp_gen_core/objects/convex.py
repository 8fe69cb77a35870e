"""Convex parts of an object for physics engines, cached on disk by the mesh's content."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError

# Volume between the parts' hulls and the mesh, as shares of the mesh's: of all and of one part.
# The latter keeps a small deep corner from being filled, such as a drill's between grip and body.
EXCESS, PART_EXCESS = 0.04, 0.002
MOST_PARTS = 512
# A cut that removes less of a piece's excess is chosen by what the next one can remove.
GOOD_CUT = 0.1
TOLERANCE = 0.0001  # metres by which a hull is cut to have fewer vertices
SLIVER = 1e-6  # of the mesh's volume: cuts along a face leave such crumbs


@dataclass(frozen=True)
class ConvexParts:
    """Convex parts that together fill a mesh.

    Args:
        parts: metres, in the mesh's frame.
        volume: of the mesh, m^3.
    """

    parts: list[trimesh.Trimesh]
    volume: float

    @cached_property
    def volume_ratio(self) -> float:
        """Volume of the parts' union over the mesh's."""
        return union_volume(self.parts) / self.volume


def cache_folder() -> Path:
    """Where convex parts are kept: $XDG_CACHE_HOME/grasp_gen, else ~/.cache/grasp_gen."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grasp_gen"


@lru_cache(maxsize=8)
def convex_parts(mesh: trimesh.Trimesh) -> ConvexParts:
    """Cut a mesh until the hulls of its pieces fill no more than 4 % beside it.

    The piece whose hull adds most is cut in two, time and again, by the best of some planes
    (the greedy search of Lien and Amato 2007, for volume). CoACD leaves thin walls much too thick
    at the same number of parts, or takes minutes. Kept for the meshes used last, and on disk.

    Args:
        mesh: watertight, metres.

    Returns:
        The parts and the volume ratio that they reach: more than 1.05 only where 512 parts are too
        few, as for large vessels with the thinnest walls.

    Raises:
        InputError: if the mesh isn't watertight and manifold.
    """
    check_solid(mesh)
    settings = (EXCESS, PART_EXCESS, MOST_PARTS, GOOD_CUT, TOLERANCE)
    parts = cached_parts("cut", mesh, settings, _cut)
    return ConvexParts(parts, mesh.volume)


def cached_parts(
    method: str,
    mesh: trimesh.Trimesh,
    settings: tuple,
    make: Callable[[trimesh.Trimesh], list[trimesh.Trimesh]],
) -> list[trimesh.Trimesh]:
    """The parts kept on disk for this mesh, method and settings, made first if there are none."""
    # Not trimesh's identifier: that is the same for the mesh moved elsewhere.
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(np.asarray(mesh.vertices, np.float64).tobytes())
    digest.update(np.asarray(mesh.faces, np.int64).tobytes())
    path = cache_folder() / f"{method}_{digest.hexdigest()}.npz"
    if not path.exists():
        parts = make(mesh)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"v{i}": np.asarray(part.vertices) for i, part in enumerate(parts)}
        arrays |= {f"f{i}": np.asarray(part.faces) for i, part in enumerate(parts)}
        # Written aside and renamed: another process never reads half a file.
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with open(unfinished, "wb") as file:
            np.savez_compressed(file, **arrays)
        unfinished.replace(path)
    with np.load(path, allow_pickle=False) as file:
        return [
            trimesh.Trimesh(file[f"v{i}"], file[f"f{i}"], process=False)
            for i in range(len(file.files) // 2)
        ]


def union_volume(parts: list[trimesh.Trimesh]) -> float:
    """Volume of the union of convex parts, m^3."""
    import manifold3d

    hulls = [manifold3d.Manifold.hull_points(np.asarray(part.vertices)) for part in parts]
    return manifold3d.Manifold.batch_boolean(hulls, manifold3d.OpType.Add).volume()


def check_solid(mesh: trimesh.Trimesh) -> None:
    """InputError unless the mesh encloses a volume."""
    if not mesh.is_volume:
        raise InputError("mesh: not watertight or not outward, accepted are closed meshes")


def inertia(mesh: trimesh.Trimesh, mass: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of mass (3,), principal axes (3, 3) as columns, moments (3,) in kg m^2.

    Args:
        mesh: watertight, metres, filled evenly.
        mass: kilograms.

    Raises:
        InputError: if the mesh isn't watertight.
    """
    check_solid(mesh)
    moments, axes = np.linalg.eigh(mesh.moment_inertia * (mass / mesh.mass))
    axes[:, 2] *= np.sign(np.linalg.det(axes))  # a rotation, no reflection
    return mesh.center_mass, axes, moments


def _cut(mesh: trimesh.Trimesh) -> list[trimesh.Trimesh]:
    """Hulls of the pieces, the one that adds most having been cut until little is added."""
    import manifold3d

    source = manifold3d.Manifold(
        manifold3d.Mesh64(
            vert_properties=np.asarray(mesh.vertices, np.float64),
            tri_verts=np.asarray(mesh.faces, np.uint64),
        )
    )
    if source.status() != manifold3d.Error.NoError:
        reason = source.status().name
        raise InputError(f"mesh: {reason}, accepted are meshes whose edges join two faces each")
    whole = source.volume()
    pieces: list[tuple] = []  # a heap of (-excess, number, piece, hull)
    number, total = 0, 0.0

    def keep(piece) -> None:
        nonlocal number, total
        hull = piece.hull()
        excess = hull.volume() - piece.volume()
        heapq.heappush(pieces, (-excess, number, piece, hull))
        number, total = number + 1, total + excess

    for piece in source.decompose():
        keep(piece)
    while len(pieces) < MOST_PARTS:
        excess, _, piece, hull = pieces[0]
        if total <= EXCESS * whole and -excess <= PART_EXCESS * whole:
            break
        halves = _best_cut(piece, hull, SLIVER * whole)
        if not halves:
            break
        heapq.heappop(pieces)
        total += excess
        for half in halves:
            keep(half)
    return [hull_within(_points_faces(hull)[0], TOLERANCE) for *_, hull in pieces]


def _best_cut(piece, hull, sliver: float) -> list:
    """What the cut whose pieces have the smallest hulls leaves of a piece; empty if none cuts."""
    cuts = _cuts(piece, hull, sliver)
    if not cuts:
        return []
    volume, halves = min(cuts, key=lambda cut: cut[0])
    excess = hull.volume() - piece.volume()
    if hull.volume() - volume >= GOOD_CUT * excess:
        return halves

    # No first cut helps a bowl, whose halves are as hollow: the one before the best second cut.
    def second(part) -> float:
        own = part.hull()
        volumes = [volume for volume, _ in _cuts(part, own, sliver)]
        return min([own.volume(), *volumes])

    return min(cuts, key=lambda cut: sum(map(second, cut[1])))[1]


def _cuts(piece, hull, sliver: float) -> list[tuple[float, list]]:
    """Sum of the hulls' volumes and the pieces, for planes through middle and deepest vertex."""
    points, _ = _points_faces(piece)
    corners, faces = _points_faces(hull)
    sides = trimesh.Trimesh(corners, faces, process=False)
    below = (sides.face_normals * sides.triangles[:, 0]).sum(axis=1) - points @ sides.face_normals.T
    deepest = points[below.min(axis=1).argmax()]
    _, principal = np.linalg.eigh(np.cov(points.T))
    cuts = []
    for normal in (*np.eye(3), *principal.T):
        along = points @ normal
        for offset in {(along.min() + along.max()) / 2, float(deepest @ normal)}:
            halves = piece.split_by_plane(normal.tolist(), offset)
            parts = [p for half in halves for p in half.decompose() if p.volume() > sliver]
            if len(parts) > 1:
                cuts.append((sum(part.hull().volume() for part in parts), parts))
    return cuts


def _points_faces(solid) -> tuple[np.ndarray, np.ndarray]:
    mesh = solid.to_mesh64()
    return np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts).astype(np.int64)


def hull_within(points: np.ndarray, tolerance: float) -> trimesh.Trimesh:
    """Convex hull of so few of the points that none lies further outside than the tolerance."""
    # The first corners are sought as if the points filled a ball: slender hulls have some, too.
    spread, principal = np.linalg.eigh(np.cov(points.T))
    ball = points @ (principal / np.sqrt(spread))
    directions = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    kept = np.unique((ball @ directions.T).argmax(axis=0))
    while True:
        hull = trimesh.convex.convex_hull(points[kept])
        beyond = points @ hull.face_normals.T
        beyond -= (hull.face_normals * hull.triangles[:, 0]).sum(axis=1)
        far = beyond.max(axis=0) > tolerance
        if not far.any():
            return hull
        kept = np.union1d(kept, beyond.argmax(axis=0)[far])
