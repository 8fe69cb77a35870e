"""Mesh and cloud files: round trips, and clear refusal of bad ones."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.clouds import load_cloud, load_object
from grasp_gen_core.objects.meshes import load_mesh, save_mesh
from grasp_gen_core.objects.procedural import make_object

MESHES = ["ply", "obj", "stl", "glb", "off"]


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform(-0.1, 0.1, (300, 3)).astype(np.float32)


def write_pcd(path, points, **options):
    import open3d as o3d

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.colors = cloud.normals = cloud.points  # more fields than x y z
    o3d.io.write_point_cloud(str(path), cloud, **options)


WRITERS = {
    "points.npz": lambda path, points: np.savez(path, points=points),
    "object.npz": lambda path, points: np.savez(path, depth=[1], object_points=points),
    "points.npy": np.save,
    "points.xyz": lambda path, points: np.savetxt(path, np.hstack([points, points])),
    "points.ply": lambda path, points: trimesh.PointCloud(points).export(path),
    "ascii.ply": lambda path, points: write_pcd(path, points, write_ascii=True),
    "ascii.pcd": lambda path, points: write_pcd(path, points, write_ascii=True),
    "binary.pcd": write_pcd,
    "compressed.pcd": lambda path, points: write_pcd(path, points, compressed=True),
}


@pytest.mark.parametrize("suffix", MESHES)
def test_mesh_round_trip(suffix, tmp_path):
    mesh = make_object("mug", 1)
    path = tmp_path / f"mug.{suffix}"
    save_mesh(mesh, path)
    loaded = load_mesh(path)
    assert loaded.is_watertight
    assert loaded.volume == pytest.approx(mesh.volume, rel=1e-4)
    np.testing.assert_allclose(loaded.bounds, mesh.bounds, atol=1e-6)
    seen, again = (load_object(path, num_points=500, seed=3) for _ in range(2))
    assert seen.points.shape == (500, 3) and len(seen.mesh.faces) == len(loaded.faces)
    np.testing.assert_array_equal(seen.points, again.points)
    triangles = trimesh.proximity.closest_point(loaded, seen.points)[2]
    aligned = (seen.normals * loaded.face_normals[triangles]).sum(axis=1)
    assert (aligned > 0.999).mean() > 0.98  # but where a point lies on an edge


@pytest.mark.parametrize("name", WRITERS)
def test_cloud_round_trip(name, points, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, points)
    loaded = load_cloud(path).points
    np.testing.assert_allclose(loaded, points, atol=1e-6)
    thinned = load_object(path, num_points=100)
    assert thinned.points.shape == (100, 3) and thinned.mesh is None and thinned.normals is None


@pytest.mark.parametrize("name", ["points.npy", "ascii.pcd", "binary.pcd", "points.xyz"])
def test_nan_points_are_dropped(name, points, tmp_path):
    holed = points.copy()
    holed[::3] = np.nan
    WRITERS[name](tmp_path / name, holed)
    np.testing.assert_allclose(
        load_cloud(tmp_path / name).points, points[np.arange(300) % 3 > 0], atol=1e-6
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_truncated_cloud_is_refused(name, points, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, points)
    whole = path.read_bytes()
    if path.suffix == ".xyz":  # has no header: break a line instead
        path.write_bytes(whole[: len(whole) // 2] + b"\n0.1 0.2\n")
    else:
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=name):
        load_object(path)


@pytest.mark.parametrize("suffix", [*MESHES, "pcd", "npy", "npz", "xyz"])
@pytest.mark.parametrize("content", [b"", b"hello\n", bytes(range(256)) * 8])
def test_garbage_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"garbage.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="garbage"):
        load_object(path)


@pytest.mark.parametrize("suffix", ["ply", "glb", "off"])
def test_a_truncated_mesh_is_refused(suffix, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    save_mesh(make_object("box", 0), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cut"):
        load_mesh(path)


def test_a_face_without_its_vertices_is_refused(tmp_path):
    path = tmp_path / "odd.glb"
    mesh = make_object("box", 0)
    save_mesh(mesh, path)
    index = mesh.faces.astype("<u4").tobytes()
    whole = path.read_bytes()
    assert index in whole
    path.write_bytes(whole.replace(index, b"\xff\xff\xff\x0f" + index[4:]))
    with pytest.raises(ValueError, match="odd.glb: damaged"):
        load_mesh(path)


def test_a_header_that_lies_is_refused(points, tmp_path):
    """More points announced than there are: open3d would return memory it never wrote."""
    path = tmp_path / "liar.pcd"
    write_pcd(path, points, compressed=True)
    path.write_bytes(path.read_bytes().replace(b" 300\n", b" 900000\n"))
    with pytest.raises(ValueError, match="liar"):
        load_cloud(path)


def test_pickles_are_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").mkdir, ())

    for save, name in ((np.save, "bomb.npy"), (np.savez, "bomb.npz")):
        array = np.array([Bomb()], dtype=object)
        save(tmp_path / name, array) if name == "bomb.npy" else save(tmp_path / name, points=array)
        with pytest.raises(ValueError, match=name):
            load_cloud(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("a.step", "accepted are"), ("missing.ply", "no such file")]
)
def test_unknown_and_missing_files(name, message, tmp_path):
    (tmp_path / "a.step").touch()
    with pytest.raises(ValueError, match=message):
        load_object(tmp_path / name)


def test_an_npz_without_points_is_refused(tmp_path):
    np.savez(tmp_path / "depth.npz", depth=np.zeros((4, 4)))
    with pytest.raises(ValueError, match="points and object_points"):
        load_cloud(tmp_path / "depth.npz")


def test_a_mesh_in_millimetres_is_refused(tmp_path):
    make_object("mug", 0).apply_scale(1000).export(tmp_path / "mug.stl")
    with pytest.raises(ValueError, match="millimetres; accepted is metres"):
        load_mesh(tmp_path / "mug.stl")


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "glb", "off"])
def test_a_mesh_with_nan_is_refused(suffix, tmp_path):
    """Not mended by leaving out the faces: that would open a hole without a word."""
    mesh = make_object("box", 0)
    corners = mesh.vertices.copy()
    corners[3, 1] = np.nan
    path = tmp_path / f"nan.{suffix}"
    trimesh.Trimesh(corners, mesh.faces, process=False).export(path)
    with pytest.raises(ValueError, match=rf"nan\.{suffix}: "):
        load_mesh(path)


def test_a_mesh_without_faces_is_refused(tmp_path):
    save_mesh(trimesh.Trimesh(np.eye(3), np.zeros((0, 3), int)), tmp_path / "empty.off")
    with pytest.raises(ValueError, match="empty.off: empty or damaged, accepted are meshes with"):
        load_mesh(tmp_path / "empty.off")


def test_an_inside_out_mesh_is_turned(tmp_path):
    mesh = make_object("can", 0)
    mesh.invert()
    mesh.export(tmp_path / "can.stl")
    assert load_mesh(tmp_path / "can.stl").volume > 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "0 finite points"),
        (np.random.rand(63, 3), "at least 64"),  # noqa: NPY002
        (np.full((100, 3), np.nan), "0 finite points"),
        (np.full((100, 3), 1e300), "0 finite points"),
        (np.linspace(0, 1, 400).reshape(100, 4), r"shape \(100, 4\), accepted is \(N, 3\)"),
        (np.zeros(300), "accepted is"),
        (np.full((100, 3), "a"), "real numbers"),
        (np.linspace(0, 300, 300).reshape(100, 3), "millimetres"),
        (np.linspace(0, 0.004, 300).reshape(100, 3), "at least 0.005"),
        (np.zeros((100, 3), complex), "real numbers"),
    ],
)
def test_bad_points_are_refused(bad, message):
    with pytest.raises(ValueError, match="my cloud: .*" + message):
        clean_points(bad, "my cloud")


def test_real_files_load(shared_data):
    for path in sorted((shared_data / "clouds").iterdir()):
        seen = load_object(path, num_points=1024)
        assert seen.points.shape == (1024, 3) and seen.mesh is None
        assert 0.05 < np.ptp(seen.points, axis=0).max() < 0.3
