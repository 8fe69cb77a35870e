"""Objects drawn for what a camera saw of one: as a pipeline's guess, and by `grasp-gen`."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core import GraspPipeline
from grasp_gen_core.cli import main
from grasp_gen_core.completion import NAMES, Seen, get_completion
from grasp_gen_core.generators import load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import outward_normals, sample_surface
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.types import Observation


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def drawn(hand):
    return get_completion("jhod", hand)


def seen(family: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a camera saw about its middle, its normals, the direction to it, and all surface."""
    mesh = make_object(family, seed)
    view = view_object(mesh, "camera", 1024, seed)
    surface = trimesh.transform_points(sample_surface(mesh, 4000)[0], np.linalg.inv(view.pose))
    middle = view.points.mean(axis=0)
    normals = outward_normals(view.points, np.zeros(3))
    return (view.points - middle).astype(np.float32), normals, -middle, surface - middle


def test_drawn_objects_are_nearer_to_the_hidden_side_than_what_was_seen(drawn):
    """Of families that no training has seen."""
    before, after = [], []
    for family, seed in (("kettle", 400_001), ("flashlight", 400_002), ("flashlight", 400_003)):
        points, normals, _, surface = seen(family, seed)
        _, shapes = drawn.draw(points, normals, seed=0, count=2)
        assert shapes and all(shape.is_watertight and shape.volume > 0 for shape in shapes)
        known = np.concatenate([points, sample_surface(shapes[0], 4000)[0]])
        before.append(cKDTree(points).query(surface)[0].mean())
        after.append(cKDTree(known).query(surface)[0].mean())
        # What was seen lies on what was drawn.
        off = np.abs(trimesh.proximity.closest_point(shapes[0], points[::8])[1])
        assert np.median(off) < 0.01
    assert np.mean(after) < 0.7 * np.mean(before)


def test_what_is_seen_from_all_around_is_not_guessed(drawn):
    mesh = make_object("can", 5)
    points, normals = sample_surface(mesh, 1500)
    assert drawn(Seen(points, normals), 0).shapes == ()


def test_the_same_seed_draws_the_same(drawn):
    points, normals, *_ = seen("mug", 3)
    one, again, other = (drawn.draw(points, normals, seed, 1)[1][0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.vertices, again.vertices)
    assert not np.array_equal(one.vertices, other.vertices)


def test_none_is_what_was_seen_and_symmetry_adds_behind(hand):
    points, normals, _, surface = seen("box", 4)
    hidden = surface[cKDTree(points).query(surface)[0] > 0.015].astype(np.float32)
    given = Seen(points, normals)
    none, symmetric = (get_completion(n, hand)(given, 0) for n in ("none", "symmetry"))
    off = [belief.field(torch.from_numpy(hidden)).abs().mean() for belief in (none, symmetric)]
    assert off[1] < 0.7 * off[0]
    assert none.shapes == symmetric.shapes == ()


def test_unknown_ways_are_refused(hand):
    with pytest.raises(ValueError, match=f"accepted are {', '.join(NAMES)}"):
        get_completion("magic", hand)


def test_shapes_are_in_the_frame_of_the_cloud():
    """Moved and turned, and mirrored for left hands, the cloud has the same shapes there."""
    points = view_object(make_object("can", 4), "camera", 1024, 4).points.astype(np.float64)
    pipeline = GraspPipeline("grasp_cvae", "none", device="cpu", completion="jhod")
    shapes = pipeline(points, num=1).shapes
    nearest = np.abs(trimesh.proximity.closest_point(shapes[0], points[::8])[1])
    assert np.median(nearest) < 0.01 and all(shape.volume > 0 for shape in shapes)
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.5, 0.7]))[:3, :3]
    shift = np.array([30.0, -20.0, 5.0])
    moved = pipeline.look_at(Observation(points @ turn.T + shift, viewpoint=shift), 0, None)
    there = moved.frame.mesh_out(moved.shapes[0])
    np.testing.assert_allclose(
        there.vertices, shapes[0].vertices @ turn.T + shift, atol=1e-4, rtol=0
    )
    left = GraspPipeline("grasp_cvae", "none", device="cpu", completion="jhod", side="left")
    mirrored = left.look_at(points * [-1, 1, 1], 0, None)  # the camera at the origin, again
    other = mirrored.frame.mesh_out(mirrored.shapes[0])
    np.testing.assert_allclose(other.vertices, shapes[0].vertices * [-1, 1, 1], atol=1e-4, rtol=0)
    assert other.volume > 0


def test_shapes_lie_beside_the_grasps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    points = view_object(make_object("can", 4), "camera", 1024, 4).points
    np.save("seen.npy", points)
    options = ["--num", "2", "--generator", "grasp_cvae", "--quiet"]
    assert main(["generate", "seen.npy", "--completion", "jhod", *options]) == 0
    files = sorted((tmp_path / "grasps_shapes").glob("*.ply"))
    assert files and files[0].name == "0000.ply"
    assert all(trimesh.load_mesh(file).is_watertight for file in files)
    # A later run that draws nothing leaves none of these behind.
    assert main(["generate", "seen.npy", "--completion", "symmetry", *options]) == 0
    assert not list((tmp_path / "grasps_shapes").glob("*.ply"))


@pytest.mark.parametrize("completion", NAMES)
def test_hands_are_drawn_for_the_shapes_that_come_with_them(completion):
    """JHOD's, whatever the refiner believes: each hand near one of the objects, first ones best."""
    points = view_object(make_object("can", 4), "camera", 1024, 4).points
    grasps = GraspPipeline("jhod", "none", device="cpu", completion=completion)(points, num=8)
    assert len(grasps.shapes) > 1
    off = np.stack(
        [
            [np.abs(trimesh.proximity.signed_distance(shape, hand)).min() for hand in grasps.joints]
            for shape in grasps.shapes
        ]
    )
    assert off.min(axis=0).max() < 0.03


def test_imagine(tmp_path, monkeypatch, hand):
    """Objects with hands: files as the page on them says."""
    monkeypatch.chdir(tmp_path)
    command = ["imagine", "--num", "2", "--seed", "1", "--sampling", "steps=8", "--quiet"]
    assert main([*command, "--render", "invented.png", "--glb", "scenes"]) == 0
    with np.load("invented.npz") as file:
        arrays = dict(file)
    assert arrays["mano"].shape == (2, 61) and arrays["points"].shape[::2] == (2, 3)
    assert arrays["contact"].shape == arrays["points"].shape[:2]
    vertices, _ = hand(torch.from_numpy(arrays["mano"]))
    np.testing.assert_allclose(arrays["vertices"], vertices, atol=1e-5)
    assert arrays["score"][0] >= arrays["score"][1]
    for i in range(2):
        shape = trimesh.load_mesh(tmp_path / "invented_shapes" / f"{i:04d}.ply")
        assert shape.is_volume
        off = trimesh.proximity.closest_point(shape, arrays["points"][i, ::16])[1]
        assert off.max() < 1e-4
        assert (tmp_path / "scenes" / f"{i:04d}.glb").stat().st_size > 1000
        # A hand on its object, not beside it.
        assert cKDTree(arrays["points"][i]).query(arrays["vertices"][i])[0].min() < 0.02
    assert (tmp_path / "invented.png").stat().st_size > 1000
    again = [*command, "--out", "again.npz"]
    assert main(again) == 0
    np.testing.assert_array_equal(np.load("again.npz")["mano"], arrays["mano"])


def test_only_what_draws_objects_imagines(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["imagine", "--generator", "dvqvae", "--num", "1"]) == 2
    assert "draws no objects" in capsys.readouterr().err


def test_a_partial_cloud_gets_hands_for_objects_that_are_drawn(hand):
    """The generator's own: hands lie about what was seen, and differ from draw to draw."""
    points, normals, *_ = seen("can", 4)
    net = load_generator("jhod", hand)
    cloud, outward = torch.from_numpy(points), torch.from_numpy(normals)
    with torch.no_grad():
        mano = net.sample(cloud, 6, torch.Generator().manual_seed(0), outward, None)
        again = net.sample(cloud, 6, torch.Generator().manual_seed(0), outward, None)
    torch.testing.assert_close(mano, again)
    vertices, _ = hand(mano)
    assert torch.cdist(vertices, cloud.expand(6, -1, -1)).amin(dim=(1, 2)).max() < 0.03
