"""Scenes from files, and `grasp-gen segment` and `generate --scene` on them."""

import json

import numpy as np
import pytest
from PIL import Image

from grasp_gen_core.cli import main
from grasp_gen_core.objects.camera import DepthCamera
from grasp_gen_core.perception import segment
from grasp_gen_core.perception.files import back_project, load_scene
from grasp_gen_core.types import GraspSet

MATRIX = DepthCamera().matrix
INTRINSICS = ("615", "615", "319.5", "239.5")


@pytest.fixture(scope="module")
def scene(look, table, box, tmp_path_factory):
    """One depth image in all its forms."""
    folder = tmp_path_factory.mktemp("scene")
    things = [box((0.06, 0.07, 0.12), (0, -0.12, 0)), box((0.08, 0.06, 0.09), (0, 0.12, 0))]
    points, _, _ = look([table, *things])
    depth = np.nan_to_num(1000 * points[..., 2]).round().astype(np.uint16)
    exact = back_project(depth / 1000, MATRIX)
    np.savez(folder / "depth.npz", depth_mm=depth, K=MATRIX)
    Image.fromarray(depth).save(folder / "depth.png")
    np.save(folder / "organised.npy", exact)
    np.savez(folder / "organised.npz", points=exact)
    np.save(folder / "listed.npy", exact[depth > 0])
    header = (
        "VERSION .7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 640\nHEIGHT 480\n"
    )
    header += "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 307200\nDATA binary\n"
    (folder / "organised.pcd").write_bytes(header.encode() + exact.tobytes())
    return folder, depth, exact


@pytest.mark.parametrize(
    "name", ["depth.npz", "depth.png", "organised.npy", "organised.npz", "organised.pcd"]
)
def test_all_forms_are_the_same_scene(scene, name):
    folder, _, exact = scene
    intrinsics = [float(x) for x in INTRINSICS] if name.endswith("png") else None
    points, _ = load_scene(folder / name, intrinsics)
    assert points.shape == (480, 640, 3)
    np.testing.assert_allclose(points, exact, atol=1e-12)
    np.testing.assert_array_equal(segment(points).labels, segment(exact).labels)


def test_points_of_a_depth_image_are_where_their_pixels_look():
    depth = np.full((5, 7), 2.0)
    depth[0, 0] = 0
    points = back_project(depth, np.array([[10, 0, 3], [0, 20, 2], [0, 0, 1.0]]))
    assert np.isnan(points[0, 0]).all()
    np.testing.assert_allclose(points[2, 3], [0, 0, 2])
    np.testing.assert_allclose(points[4, 1], [2 * -2 / 10, 2 * 2 / 20, 2])


def test_segment_leaves_labels_plane_and_objects(scene, tmp_path, capsys):
    folder, depth, exact = scene
    out, picture = tmp_path / "out", tmp_path / "seen.png"
    out.mkdir()
    np.save(out / "object_9.npy", np.zeros((3, 3)))  # an older scene's
    assert main(["segment", f"{folder}/depth.npz", f"--out={out}", f"--render={picture}"]) == 0
    labels = np.load(out / "labels.npy")
    assert labels.shape == (480, 640) and labels.dtype == np.int32
    assert set(np.unique(labels)) == {0, 1, 2, 3} and not labels[depth == 0].any()
    assert sorted(file.name for file in out.glob("object_*")) == ["object_2.npy", "object_3.npy"]
    for number in (2, 3):
        np.testing.assert_array_equal(
            np.load(out / f"object_{number}.npy"), exact[labels == number]
        )
    plane = json.loads((out / "plane.json").read_text())
    height = exact[labels == 1] @ plane["normal"] - plane["offset"]
    assert np.abs(height).mean() < 0.001
    assert exact[labels == 2] @ plane["normal"] - plane["offset"] == pytest.approx(0.06, abs=0.07)
    image = np.asarray(Image.open(picture).convert("HSV"))
    hues = np.unique(image[image[..., 1] > 120][:, 0] // 20)
    assert len(hues) >= 2  # both objects in colours of their own
    shown = capsys.readouterr()
    assert "2 objects" in shown.err and "plane" in shown.out


def test_segment_of_an_image_and_of_a_list(scene, tmp_path):
    folder, depth, _ = scene
    png = ["segment", f"{folder}/depth.png", f"--out={tmp_path}/a", "--quiet", "--intrinsics"]
    assert main([*png, *INTRINSICS]) == 0
    assert main(["segment", f"{folder}/listed.npy", f"--out={tmp_path}/b", "--quiet"]) == 0
    image, listed = (np.load(tmp_path / name / "labels.npy") for name in "ab")
    np.testing.assert_array_equal(image[depth > 0], listed)


def test_no_plane_is_null(tmp_path, look, box):
    points, _, _ = look([box((0.05, 0.05, 0.1), (0, 0, 0))])
    np.save(tmp_path / "alone.npy", points)
    assert main(["segment", f"{tmp_path}/alone.npy", f"--out={tmp_path}/out", "--quiet"]) == 0
    assert json.loads((tmp_path / "out" / "plane.json").read_text()) is None


def test_grasps_for_every_object_of_a_scene(scene, tmp_path, capsys):
    folder, _, exact = scene
    out = tmp_path / "grasps.npz"
    command = ["generate", f"{folder}/depth.npz", "--scene", "--num=2", f"--out={out}", "--quiet"]
    pictures = [f"--render={tmp_path}/grasps.png", f"--glb={tmp_path}/grasps.glb"]
    assert main([*command, *pictures]) == 0
    grasps, seen = GraspSet.load(out), segment(exact)
    assert grasps.object.tolist() == [2, 2, 3, 3]
    for number in seen.numbers:
        one = grasps.chosen(np.flatnonzero(grasps.object == number))
        assert (np.diff(one.score) <= 0).all()
        touched = grasps.points[(one.contact > 0.5).any(axis=0)]
        theirs = seen.object(number)
        assert len(touched)
        gap = np.abs(touched[:, None] - theirs[None, ::20]).max(axis=2).min(axis=1)
        assert gap.max() < 0.02  # contact is with the object itself
    assert (tmp_path / "grasps.png").stat().st_size > 10_000
    assert (tmp_path / "grasps.glb").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("segment {folder}/depth.png --out {out}", "needs intrinsics fx fy cx cy"),
        ("segment {folder}/depth.npz --out {out} --intrinsics 1 1 1 1", "takes no intrinsics"),
        ("segment {folder}/depth.png --out {out} --intrinsics 0 1 1 1", "intrinsics"),
        ("segment {folder}/colour.png --out {out} --intrinsics 1 1 1 1", "16-bit grey"),
        ("segment {folder}/broken.png --out {out} --intrinsics 1 1 1 1", "not a readable .png"),
        ("segment {folder}/half.npz --out {out}", "depth_mm without K"),
        ("segment {folder}/flat.npz --out {out}", "accepted is (H, W)"),
        ("segment {folder}/absent.pcd --out {out}", "no such file"),
        ("segment {folder}/scene.obj --out {out}", "unknown format"),
        ("segment {folder}/dark.npz --out {out}", "dark.npz: points: 0 finite ones"),
        ("segment {folder}/depth.npz --out {folder}/depth.npz", "not a folder"),
        ("segment {folder}/depth.npz --out {out} --up 0 0 0", "up: "),
        ("segment {folder}/depth.npz --out {out} --region 0 0 0 1 1 -1", "region: "),
        ("generate {folder}/depth.npz --up 0 0 1", "--up: goes with --scene"),
        ("generate {folder}/empty.npz --scene --out {out}.npz", "no object found"),
    ],
)
def test_bad_scenes_are_told_in_one_line(scene, look, table, tmp_path, capsys, arguments, words):
    folder, depth, _ = scene
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "colour.png")
    (folder / "broken.png").write_bytes((folder / "depth.png").read_bytes()[:2000])
    np.savez(folder / "half.npz", depth_mm=depth)
    np.savez(folder / "flat.npz", depth_mm=depth.ravel(), K=MATRIX)
    np.savez(folder / "dark.npz", depth_mm=0 * depth, K=MATRIX)
    np.savez(folder / "empty.npz", points=look([table])[0])
    try:
        code = main(arguments.format(folder=folder, out=tmp_path / "out").split())
    except SystemExit as stopped:
        code = stopped.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and words in lines[-1], lines
    assert lines[-1].startswith("grasp-gen: error: ")


def test_a_real_scene(shared_data, tmp_path):
    """Two boxes, stacked: learn19 of PCL's mOSD."""
    file = shared_data / "scenes" / "learn19.pcd"
    if not file.exists():
        pytest.skip("no real scenes there")
    assert main(["segment", str(file), f"--out={tmp_path}", "--quiet"]) == 0
    assert len(list(tmp_path.glob("object_*.npy"))) == 2
    assert np.load(tmp_path / "labels.npy").shape == (480, 640)
