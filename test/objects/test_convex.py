"""Convex parts against the mesh's own volume, and their cache."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.convex import cache_folder, convex_parts, inertia
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.procedural import make_object


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def hollow_mug() -> trimesh.Trimesh:
    """A mug of 3 mm walls with a handle."""
    outside = trimesh.creation.cylinder(0.04, 0.09, sections=32)
    inside = trimesh.creation.cylinder(0.037, 0.09, sections=32).apply_translation([0, 0, 0.004])
    handle = trimesh.creation.torus(0.025, 0.005, major_sections=16, minor_sections=8)
    handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    handle.apply_translation([0.055, 0, 0])
    return trimesh.boolean.difference([trimesh.boolean.union([outside, handle]), inside])


def inside_hulls(parts: list[trimesh.Trimesh], points: np.ndarray) -> np.ndarray:
    """Which points lie on the inner side of all faces of some part."""
    inside = np.zeros(len(points), bool)
    for part in parts:
        beyond = points @ part.face_normals.T - (part.face_normals * part.triangles[:, 0]).sum(1)
        inside |= (beyond <= 0).all(axis=1)
    return inside


SHAPES = {
    "mug": hollow_mug,
    "hammer": lambda: make_object("hammer", 0),
    "screwdriver": lambda: make_object("screwdriver", 0),
    "composite": lambda: make_object("composite", 0),
    "bottle": lambda: make_object("bottle", 1),
    "drill": lambda: make_object("drill", 0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parts_are_convex_and_fill_the_mesh(name):
    mesh = SHAPES[name]()
    found = convex_parts(mesh)
    parts, ratio = found.parts, found.volume_ratio
    assert ratio == pytest.approx(1, abs=0.05)
    assert mesh.convex_hull.volume > 1.05 * mesh.volume  # or there was nothing to cut
    for part in parts:
        assert part.convex_hull.volume == pytest.approx(part.volume, rel=1e-3)
    # Not only as much volume: the same. Counted by points, apart from the solid modeller.
    points = np.random.default_rng(0).uniform(*mesh.bounds, (20000, 3))
    truth, covered = signed_distance(mesh, points) < 0, inside_hulls(parts, points)
    assert covered.sum() / truth.sum() == pytest.approx(ratio, abs=0.03)
    assert (truth & ~covered).sum() < 0.01 * truth.sum()


def test_a_convex_mesh_is_its_own_part():
    box = trimesh.creation.box((0.04, 0.06, 0.1))
    found = convex_parts(box)
    assert len(found.parts) == 1 and found.volume_ratio == pytest.approx(1)
    np.testing.assert_allclose(found.parts[0].bounds, box.bounds)


def test_parts_are_kept_on_disk_by_what_the_mesh_holds():
    mesh = make_object("hammer", 1)
    first = convex_parts(mesh)
    (file,) = cache_folder().glob("*.npz")
    again = convex_parts(mesh.copy())
    assert again.volume_ratio == first.volume_ratio
    for one, two in zip(first.parts, again.parts, strict=True):
        np.testing.assert_array_equal(one.vertices, two.vertices)
        np.testing.assert_array_equal(one.faces, two.faces)
    # What is in the file is what is given.
    with np.load(file) as kept:
        np.savez(file, v0=kept["v0"], f0=kept["f0"])
    assert len(convex_parts(mesh.copy()).parts) == 1 < len(first.parts)


def test_parts_move_with_the_mesh():
    mesh = make_object("hammer", 1)
    shift = np.array([0.1, 0, 0])
    here = convex_parts(mesh).parts
    away = convex_parts(mesh.copy().apply_translation(shift)).parts
    # A symmetric thing may be cut another way: the same is what the parts fill together.
    points = np.random.default_rng(0).uniform(*mesh.bounds, (20000, 3))
    one, two = inside_hulls(here, points), inside_hulls(away, points + shift)
    assert (one != two).sum() < 0.02 * one.sum()
    assert one.sum() > 1000
    assert len(list(cache_folder().glob("*.npz"))) == 2


def test_open_meshes_are_refused():
    sheet = trimesh.creation.box((0.05, 0.05, 0.05))
    sheet.update_faces(np.arange(len(sheet.faces)) > 1)
    with pytest.raises(ValueError, match="not watertight"):
        convex_parts(sheet)


def test_inertia_of_a_turned_box():
    sides = np.array([0.04, 0.06, 0.1])
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0, 0])
    centre, axes, moments = inertia(trimesh.creation.box(sides).apply_transform(turn), mass=0.5)
    squares = sides**2
    expected = 0.5 / 12 * np.sort(squares.sum() - squares)
    np.testing.assert_allclose(centre, turn[:3, 3], atol=1e-9)
    np.testing.assert_allclose(moments, expected, rtol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    # The longest side has the smallest moment.
    np.testing.assert_allclose(np.abs(axes[:, 0] @ turn[:3, 2]), 1, rtol=1e-6)
