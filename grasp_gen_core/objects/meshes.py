"""Mesh files, and the checks they share with cloud files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.gltf import read_glb
from grasp_gen_core.objects.ply import read_ply
from grasp_gen_core.objects.readers import read_obj, read_off, read_stl

READERS = {".ply": read_ply, ".obj": read_obj, ".stl": read_stl, ".glb": read_glb, ".off": read_off}
MESH_FORMATS = tuple(READERS)
SMALLEST, LARGEST = 0.005, 2.0  # metres, of an object's longest side
GRASPABLE = 0.03, 0.5  # metres, of most things that people hold
UNITS = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254}
SEAM = 1e-5  # metres between vertices along open edges that are meant to be one
# A flat lid over a hole of width d in a surface of radius R is off by d^2 / 8R: 0.1 mm at 5 mm in
# something as thick as a can.
LARGEST_HOLE = 0.005  # metres, diagonal of the box around its edge
OVERLAP = 1e-6  # share of the volume; less is rounding


def load_mesh(path: str | Path) -> trimesh.Trimesh:
    """One mesh out of a file: parts, scene nodes and double vertices merged, faces outward.

    Args:
        path: .ply, .obj, .stl, .glb or .off, in metres.

    Raises:
        InputError: if the file is missing, of another format, unreadable, without faces, or of a
            size that tells it isn't in metres.
    """
    path = check_format(path, MESH_FORMATS)
    try:
        vertices, faces = READERS[path.suffix.lower()](path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can be so in any way
        raise InputError(f"{path}: not a readable {path.suffix} mesh: {error!r:.200}") from error
    if not len(faces):
        raise InputError(f"{path}: empty or damaged, accepted are meshes with faces")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: vertices hold NaN or infinity, accepted are finite numbers")
    used = vertices[faces]
    check_size(np.ptp(used, axis=(0, 1)), str(path))
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    near = trimesh.Trimesh(mesh.vertices - used[0, 0], mesh.faces, process=False)
    if near.is_watertight and near.volume < 0:  # far away the volume's sign drowns in rounding
        mesh.invert()
    return mesh


def solid(mesh: trimesh.Trimesh, source: str) -> tuple[trimesh.Trimesh, list[str]]:
    """The closed, outward-facing solid that a mesh stands for, its shape unchanged.

    Volumes, and what is inside, are defined for solids alone. Mended are vertices that were not
    merged (up to 10 um apart), collapsed, double and folded faces, holes up to 5 mm across, winding
    and orientation, edges and vertices where a surface touches itself, and bodies that overlap. A
    single surface that passes through itself is not looked for.

    Args:
        mesh: metres; left as it is.
        source: names the mesh in error messages.

    Returns:
        A mesh whose `is_volume` holds, and what was mended: nothing if it is the mesh itself.

    Raises:
        InputError: if it has no faces, holds NaN, or can't be made a solid.
    """
    if not len(mesh.faces):
        raise InputError(f"{source}: no faces, accepted are closed surfaces")
    if not np.isfinite(mesh.vertices).all():
        raise InputError(f"{source}: vertices hold NaN or infinity, accepted are finite numbers")
    with np.errstate(divide="ignore", invalid="ignore"):  # trimesh divides by the volume
        if mesh.is_volume and mesh.body_count == 1:
            return mesh, []
        mended, repairs = mesh, []
        for step in (_merged, _without_doubles, _without_holes, _wound, _oriented):
            mended, done = step(mended)
            repairs += [done] if done else []
            if not len(mended.faces):
                raise InputError(f"{source}: {_fault(mesh)}; accepted are closed surfaces")
        if not mended.is_volume:
            raise InputError(f"{source}: {_fault(mended)}; accepted are closed surfaces")
    return mended, repairs


def _merged(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, str]:
    """Vertices at one place made one, those a seam apart if edges are open; no collapsed faces."""
    merged = _bare(mesh.vertices, mesh.faces)
    merged.remove_unreferenced_vertices()
    before = len(merged.vertices)
    merged.merge_vertices()
    if len(_odd_edges(merged)):
        from open3d.geometry import TriangleMesh
        from open3d.utility import Vector3dVector, Vector3iVector

        sewn = TriangleMesh(Vector3dVector(merged.vertices), Vector3iVector(merged.faces))
        sewn.merge_close_vertices(SEAM)
        sewn = _bare(np.asarray(sewn.vertices), np.asarray(sewn.triangles))
        if len(_odd_edges(sewn)) < len(_odd_edges(merged)):
            merged = sewn
    a, b, c = merged.faces.T
    merged.update_faces((a != b) & (b != c) & (c != a))
    gone = {
        "vertices merged": before - len(merged.vertices),
        "collapsed faces removed": len(mesh.faces) - len(merged.faces),
    }
    done = ", ".join(f"{number} {what}" for what, number in gone.items() if number)
    return (merged, done) if done else (mesh, "")


def _without_doubles(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, str]:
    """Of two faces on the same three vertices one is kept; none if they are a fold of no volume."""
    _, first, count = np.unique(
        np.sort(mesh.faces, axis=1), axis=0, return_index=True, return_counts=True
    )
    if count.max() == 1:
        return mesh, ""
    once, unfolded = (_bare(mesh.vertices, mesh.faces[k]) for k in (first, first[count % 2 == 1]))
    better = len(unfolded.faces) and len(_odd_edges(unfolded)) < len(_odd_edges(once))
    kept = unfolded if better else once
    return kept, f"{len(mesh.faces) - len(kept.faces)} double faces removed"


def _without_holes(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, str]:
    """Small holes closed, if no others are left."""
    holes = _hole_sizes(mesh)
    if not len(holes) or max(holes) > LARGEST_HOLE:
        return mesh, ""
    from open3d.core import Tensor
    from open3d.t.geometry import TriangleMesh

    # What comes out shares the memory of what went in: `given` has to outlive it. Lids have no
    # vertices of their own.
    given = TriangleMesh(Tensor(mesh.vertices), Tensor(mesh.faces))
    filled = given.fill_holes(hole_size=LARGEST)
    closed = _bare(mesh.vertices, filled.triangle.indices.numpy())
    return closed, f"{len(holes)} holes closed, the largest {1000 * max(holes):.2g} mm across"


def _wound(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, str]:
    """Neighbouring faces wound the same way."""
    wound = _bare(mesh.vertices, mesh.faces)
    trimesh.repair.fix_winding(wound)
    turned = np.count_nonzero((wound.faces != mesh.faces).any(axis=1))
    return (wound, f"winding made consistent, {turned} faces turned") if turned else (mesh, "")


def _oriented(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, str]:
    """Bodies turned outward and joined where they overlap; edges that touch parted."""
    from manifold3d import Error, Manifold, Mesh64

    def manifold(vertices: np.ndarray, faces: np.ndarray) -> Manifold:
        return Manifold(Mesh64(vertices.astype(np.float64), faces.astype(np.uint64)))

    def turned(body: Manifold) -> Manifold:
        raw = body.to_mesh64()
        return manifold(raw.vert_properties[:, :3], raw.tri_verts[:, ::-1])

    whole = manifold(mesh.vertices, mesh.faces)
    if whole.status() != Error.NoError:
        return mesh, ""
    inside_out = whole.volume() < 0
    bodies = [turned(body) if inside_out else body for body in whole.decompose()]
    joined, volume = Manifold(), 0.0
    for body in sorted(bodies, key=lambda body: -abs(body.volume())):
        if body.volume() < 0:  # a cavity of a larger body, or a body inside out
            body = turned(body)
            if (joined ^ body).volume() > 0.5 * body.volume():
                joined, volume = joined - body, volume - body.volume()
                continue
            inside_out = True
        joined, volume = joined + body, volume + body.volume()
    overlap = abs(volume - joined.volume()) > OVERLAP * volume
    if mesh.is_volume and not inside_out and not overlap:
        return mesh, ""
    raw = joined.to_mesh64()
    done = ["turned outward"] * inside_out + ["overlapping bodies joined"] * overlap
    oriented = _bare(raw.vert_properties[:, :3], raw.tri_verts)
    return oriented, ", ".join(done) or "parted where edges touch"


def _fault(mesh: trimesh.Trimesh) -> str:
    """What keeps a mesh from being a solid."""
    if holes := _hole_sizes(mesh):
        loops = "loop" if len(holes) == 1 else "loops"
        return f"{len(holes)} open boundary {loops}, the largest {1000 * max(holes):.3g} mm across"
    if odd := len(_odd_edges(mesh)):
        return f"{odd} edges at which an odd number of faces meet"
    if not mesh.is_winding_consistent:
        return "a surface with one side only"
    return "no volume enclosed"


def _hole_sizes(mesh: trimesh.Trimesh) -> list[float]:
    """Diagonals of the boxes around the loops of open edges, metres."""
    single = trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)
    loops = trimesh.graph.connected_components(mesh.edges_sorted[single])
    return [float(np.linalg.norm(np.ptp(mesh.vertices[loop], axis=0))) for loop in loops]


def _odd_edges(mesh: trimesh.Trimesh) -> np.ndarray:
    """(E, 2) edges at which an odd number of faces meet; a closed surface has none."""
    edges, count = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    return edges[count % 2 == 1]


def _bare(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    """A mesh of its own arrays: those of open3d and manifold3d go when their objects do."""
    return trimesh.Trimesh(np.array(vertices, float), np.array(faces, np.int64), process=False)


def mesh_files(folder: str | Path) -> list[Path]:
    """The mesh files of a folder, by name.

    Raises:
        InputError: if there are none.
    """
    files = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in MESH_FORMATS)
    if not files:
        raise InputError(f"{folder}: no mesh files there, accepted are {' '.join(MESH_FORMATS)}")
    return files


def save_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Write a mesh in the format its suffix names.

    Raises:
        InputError: if the format is unknown.
    """
    mesh.export(check_format(path, MESH_FORMATS, must_exist=False))


def check_format(path: str | Path, formats: Sequence[str], must_exist: bool = True) -> Path:
    """The path, its suffix being one of the formats and the file being there, or InputError."""
    path = Path(path)
    if path.suffix.lower() not in formats:
        raise InputError(f"{path}: unknown format, accepted are {' '.join(formats)}")
    if must_exist and not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


def check_size(extents: np.ndarray, source: str) -> None:
    """InputError unless the longest side (metres) is that of something in a hand's world."""
    longest = float(np.max(extents))
    if longest > LARGEST:
        low, high = GRASPABLE
        likely = [name for name, unit in UNITS.items() if low <= longest * unit <= high]
        unless = f" unless these are {' or '.join(likely)}" if likely else ""
        raise InputError(
            f"{source}: {longest:.4g} across, too large{unless}; accepted is metres, "
            f"at most {LARGEST:g}"
        )
    if longest < SMALLEST:
        raise InputError(
            f"{source}: only {longest:.4g} across; accepted is metres, at least {SMALLEST:g}"
        )
