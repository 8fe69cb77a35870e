"""Files in the dialects that programs write: one shape, one cloud, right from each or refused."""

import tracemalloc

import dialects
import numpy as np
import pytest
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects import clouds
from grasp_gen_core.objects.clouds import load_cloud, load_object
from grasp_gen_core.objects.meshes import load_mesh
from grasp_gen_core.types import GraspSet, read_npz


def named(*tables):
    """Parameters (suffix, bytes), with names."""
    return [
        pytest.param(suffix, data, id=f"{suffix}-{name}")
        for suffix, table in tables
        for name, data in table.items()
    ]


MESHES = named(
    ("obj", dialects.OBJS),
    ("off", dialects.OFFS),
    ("ply", dialects.PLYS),
    ("stl", dialects.STLS),
    ("glb", dialects.GLBS),
)
CLOUDS = named(("pcd", dialects.PCDS), ("xyz", dialects.XYZS))


def written(folder, suffix, data):
    path = folder / f"given.{suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "data"), MESHES)
def test_a_mesh_is_the_same_in_every_dialect(suffix, data, tmp_path):
    mesh = load_mesh(written(tmp_path, suffix, data))
    assert mesh.is_watertight and len(mesh.vertices) == 12 and mesh.vertices.dtype == np.float64
    assert mesh.volume == pytest.approx(dialects.VOLUME, rel=1e-6)
    assert mesh.area == pytest.approx(dialects.AREA, rel=1e-6)  # less than a fan's


@pytest.mark.parametrize(("suffix", "data"), CLOUDS)
def test_a_cloud_is_the_same_in_every_dialect(suffix, data, tmp_path):
    points, viewpoint = clouds.READERS[f".{suffix}"](written(tmp_path, suffix, data))
    np.testing.assert_allclose(points, dialects.CLOUD, atol=1e-8)
    assert viewpoint is None


@pytest.mark.parametrize(("suffix", "data"), named(("pcd", dialects.INTEGER_PCDS)))
def test_whole_numbers_are_read(suffix, data, tmp_path):
    points, _ = clouds.read_pcd(written(tmp_path, suffix, data))
    np.testing.assert_array_equal(points, dialects.WHOLE)


def test_packed_fields_of_different_sizes(tmp_path):
    """Against a packer that has nothing of ours: open3d's."""
    import open3d as o3d

    cloud = o3d.t.geometry.PointCloud(dialects.CLOUD)  # float64
    cloud.point["label"] = np.arange(200, dtype=np.uint8)[:, None]
    path = str(tmp_path / "packed.pcd")
    o3d.t.io.write_point_cloud(path, cloud, compressed=True)
    np.testing.assert_array_equal(clouds.read_pcd(tmp_path / "packed.pcd")[0], dialects.CLOUD)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("0 0 0 1 0 0 0", None),  # what programs write that know of none
        ("0.5 -1 2 1 0 0 0", (0.5, -1, 2)),
        ("0 0 0 0.5 0.5 0.5 0.5", (0, 0, 0)),
        ("1e3 0 0 0 1 0 0", (1000, 0, 0)),
    ],
)
def test_the_viewpoint_of_a_pcd(line, seen, tmp_path):
    path = written(tmp_path, "pcd", dialects.pcd(viewpoint=line))
    viewpoint = load_object(path, num_points=100).viewpoint
    assert viewpoint is None if seen is None else np.array_equal(viewpoint, seen)


def test_the_file_goes_before_the_order_of_its_faces(tmp_path):
    """Polygons of several sizes keep their order, and open surfaces their corners."""
    data = dialects.obj([[0, 1, 2], [1, 2, 3, 4], [2, 3, 4], [0, 1, 2, 3, 4, 5]])
    faces = load_mesh(written(tmp_path, "obj", data)).faces
    assert faces[0].tolist() == [0, 1, 2] and faces[3].tolist() == [2, 3, 4] and len(faces) == 8


@pytest.mark.parametrize("suffix", ["obj", "off", "ply"])
def test_far_away_nothing_is_merged_or_rounded(suffix, tmp_path):
    """At 10^6 m corners 0.1 mm apart stay so, and the inside stays inside."""
    corners = 1e6 + np.rint(dialects.CORNERS * 16) * 2.0**-8  # 4 mm steps
    corners[1] += [2.0**-13, 0, 0]  # 0.12 mm
    inside_out = [p[::-1] for p in dialects.POLYGONS]
    writers = {
        "obj": lambda: dialects.obj(inside_out, corners=corners),
        "off": lambda: dialects.off(polygons=inside_out, corners=corners),
        "ply": lambda: dialects.ply(
            dialects.LITTLE, "double", polygons=inside_out, corners=corners
        ),
    }
    far = written(tmp_path, suffix, writers[suffix]())
    loaded = load_mesh(far)
    assert sorted(map(tuple, loaded.vertices)) == sorted(map(tuple, corners))
    near = trimesh.Trimesh(loaded.vertices - 1e6, loaded.faces, process=False)
    assert near.is_watertight and near.volume > 0


FLOATS = dialects.CORNERS.astype("<f4")
DRACO = dialects.glb(FLOATS, dialects.INDEX, extensionsRequired=["KHR_draco_mesh_compression"])
ELSEWHERE = dialects.glb(FLOATS, buffers=[{"uri": "../a.bin", "byteLength": 144}])
PLY = dialects.PLYS["ascii"]
REFUSED = [
    ("off", dialects.off("OFF BINARY\n{} {} 0\n"), "OFF BINARY, accepted is OFF in text"),
    ("off", dialects.off("nOFF 4\n{} {} 0\n"), "nOFF of other than 3 dimensions"),
    ("off", dialects.off("OFF\n13 8 0\n"), "truncated"),
    ("off", dialects.off("OFF\n12 9 0\n"), "truncated"),
    ("off", dialects.off("OFF\n11 8 0\n"), "not a readable .off|damaged"),
    ("glb", DRACO, "needs KHR_draco_mesh_compression, accepted is"),
    ("glb", ELSEWHERE, "another file, '../a.bin'; accepted is one file"),
    ("glb", dialects.GLBS["float"][:-8], "truncated"),
    ("glb", dialects.GLBS["float"].replace(b'"count": 12', b'"count": 99'), "truncated"),
    ("ply", b"", "empty"),
    ("ply", PLY.replace(b"vertex 12", b"vertex 0").replace(b"face 8", b"face 0"), "0 finite"),
    ("ply", PLY.replace(b"face 8", b"face 9"), "truncated"),
    ("ply", dialects.PLYS["mixed_little"].replace(b"face 8", b"face 9"), "truncated"),
    ("ply", dialects.PLYS["mixed_big"][:-2], "truncated"),
    ("ply", dialects.PLYS["strips_big"][:-2], "truncated"),
    ("ply", PLY.replace(b"property float x\n", b"property float u\n"), "x, y and z"),
    ("ply", PLY.replace(b"vertex_indices", b"corners"), "face without vertex_indices"),
    ("obj", dialects.obj([[0, 1, 12]]), "vertices that are not there"),
    ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -4 -2 -1\n", "vertices that are not there"),
    ("obj", dialects.obj([[0, 1]]), "face 1 is '1 2', accepted are three"),
    ("obj", dialects.obj([[0, -1, 2]]), "counted from 1"),
    ("stl", dialects.STLS["binary"][:-30], "truncated: 19 of 20"),
    ("stl", dialects.STLS["binary"] + bytes(100), "2 facets more than the 20"),
    ("stl", dialects.STLS["ascii"][:-80], "truncated"),
    ("stl", dialects.stl_ascii().rpartition(b"endsolid")[0], "no endsolid"),
    ("pcd", dialects.pcd(data="binary")[:-1], "truncated: less than the 200 points"),
    ("pcd", dialects.pcd()[:-30], "truncated: less than the 200 points"),
    ("pcd", dialects.pcd(points_line=False, shape=(20, 11)), "truncated: less than the 220"),
    ("pcd", dialects.pcd(data="binary_compressed")[:-3], "truncated"),
    ("pcd", dialects.pcd(fields="x y rgb"), "accepted are such with x y z"),
    ("pcd", dialects.pcd(data="zipped"), "DATA zipped, accepted are"),
    ("xyz", dialects.XYZS["count"].replace(b"200", b"201", 1), "200 of 201 points announced"),
    ("xyz", dialects.XYZS["commas"] + b"0.1,,0.3\n", "line 201 is '0.1,,0.3'"),
    ("xyz", b"x y z\n0.1 0.2\n0.3 0.4\n", "no line starts with three numbers"),
]


@pytest.mark.parametrize(("suffix", "data", "words"), REFUSED)
def test_what_cannot_be_read_right_is_refused(suffix, data, words, tmp_path):
    with pytest.raises(InputError, match=rf"given\.{suffix}: .*({words})"):
        load_object(written(tmp_path, suffix, data))


MANY = b"999999999999"
BOMBS = [
    ("off", dialects.off("OFF\n999999999999 8 0\n")),
    ("off", dialects.off("OFF\n12 999999999999 0\n")),
    ("ply", dialects.PLYS["mixed_little"].replace(b"vertex 12", b"vertex " + MANY)),
    ("ply", dialects.PLYS["mixed_little"].replace(b"face 8", b"face " + MANY)),
    ("ply", dialects.PLYS["strips_ascii"].replace(b"\n46 ", b"\n" + MANY + b" ")),
    ("stl", dialects.stl_binary()[:80] + b"\xff" * 4 + dialects.stl_binary()[84:]),
    ("glb", dialects.glb(FLOATS, dialects.INDEX, accessor={"count": 10**12})),
    ("glb", dialects.glb(FLOATS, dialects.INDEX, accessor={"count": 10**12, "bufferView": 9})),
    ("pcd", dialects.pcd(data="binary").replace(b"POINTS 200", b"POINTS " + MANY)),
    ("pcd", dialects.pcd(points_line=False, shape=(10**6, 10**6))),
    ("pcd", dialects.pcd(data="binary_compressed").replace(b"POINTS 200", b"POINTS " + MANY)),
]


@pytest.mark.parametrize(("suffix", "data"), BOMBS)
def test_what_is_announced_is_not_allocated(suffix, data, tmp_path):
    path = written(tmp_path, suffix, data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="given"):
            load_object(path)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_an_npy_that_announces_more_than_it_holds(tmp_path):
    np.save(tmp_path / "bomb.npy", dialects.CLOUD)
    whole = (tmp_path / "bomb.npy").read_bytes()
    (tmp_path / "bomb.npy").write_bytes(
        whole.replace(b"(200, 3), }         ", b"(200000000000, 3), }")
    )
    assert b"200000000000" in (tmp_path / "bomb.npy").read_bytes()
    with pytest.raises(InputError, match="bomb.npy"):
        load_cloud(tmp_path / "bomb.npy")


@pytest.mark.parametrize(("suffix", "data"), MESHES + CLOUDS)
def test_damage_is_never_a_bug(suffix, data, tmp_path):
    """Bytes changed at random: read, or refused by name."""
    rng = np.random.default_rng(len(data))
    for _ in range(8):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            broken[place] = rng.integers(256)
        path = written(tmp_path, suffix, bytes(broken[: rng.integers(len(data) // 2, len(data))]))
        with np.errstate(all="ignore"):
            try:
                load_object(path, num_points=64)
            except InputError as error:
                assert "given" in str(error) and "\n" not in str(error)


class Bomb:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_arrays_beside_the_points_are_left_alone(tmp_path, capsys):
    path = tmp_path / "mixed.npz"
    np.savez(path, meta=np.array([Bomb()], dtype=object), points=dialects.CLOUD)
    assert len(load_cloud(path).points) == 200
    arrays = read_npz(path)
    assert "meta" in arrays and len(arrays) == 2
    with pytest.raises(InputError, match="mixed.npz: meta can't be read: Object arrays"):
        arrays["meta"]
    assert "executed" not in capsys.readouterr().out


def test_a_grasp_file_may_carry_pickled_arrays(tmp_path):
    names = ("mano", "vertices", "faces", "joints", "points", "contact", "score", "wrist_pose")
    names += ("approach", "pregrasp", "squeeze", "retreat")
    arrays = {name: np.ones((2, 3), np.float32) for name in names}
    arrays |= {"side": np.array("left"), "metric_depth_cm": np.zeros(2)}
    np.savez(tmp_path / "a.npz", info=np.array([Bomb()], dtype=object), **arrays)
    grasps = GraspSet.load(tmp_path / "a.npz")
    assert grasps.side == "left" and list(grasps.metrics) == ["depth_cm"]


def test_faults_from_outside(shared_data):
    """Files that programs of others wrote, and the right geometry beside them."""
    faults = shared_data / "faults"
    if not faults.is_dir():
        pytest.skip(f"no files at {faults}")
    truth = load_mesh(faults / "obj_negative_interleaved" / "truth_mesh.ply")
    for name in ("obj_negative_interleaved/obj_neg_interleaved.obj",
                 "coff_more_vertices_than_faces/off_coff_unmerged.off"):  # fmt: skip
        mesh = load_mesh(faults / name)
        assert mesh.is_watertight and len(mesh.faces) == len(truth.faces)
        assert mesh.volume == pytest.approx(truth.volume, rel=1e-5)
        np.testing.assert_allclose(mesh.bounds, truth.bounds, atol=1e-6)
    for name in ("obj_tabs/obj_meshlab267.obj", "ply_binary_mixed_polygons/ply_blender_mixed.ply"):
        mesh = load_mesh(faults / name)
        assert mesh.is_volume and mesh.volume == pytest.approx(np.prod(mesh.extents), rel=1e-6)
    plain = clouds.read_pcd(faults / "pcd_no_points_line" / "pcd_no_points_line.pcd")[0]
    for name, read in (
        ("pcd_float64_binary/pcd_pdal_double.pcd", clouds.read_pcd),
        ("xyz_dialects/xyz_bom.xyz", clouds.read_xyz),
        ("xyz_dialects/xyz_cloudcompare.xyz", clouds.read_xyz),
        ("npz_extra_object/npz_pickle_extra.npz", clouds.read_npz_cloud),
    ):
        points, _ = read(faults / name)
        np.testing.assert_allclose(points, plain, atol=1e-6)
