"""Where an object lies makes no difference."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core import GraspPipeline
from grasp_gen_core.cli import main
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.frame import FieldInFrame, Frame
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.types import Observation

MAP = np.array([836419.8, 818050.7, 4.88])  # metres, such as surveyors have them


class FirstCoordinate(torch.nn.Module):
    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return points[..., 0]


def motion(number: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """A rotation (3, 3) and a shift (3,) of that length."""
    way = np.random.default_rng(number).normal(size=3)
    turn = Rotation.random(random_state=number).as_matrix()
    return turn, distance * way / np.linalg.norm(way)


@pytest.fixture(scope="module")
def mug() -> trimesh.Trimesh:
    return make_object("mug", 3)


@pytest.fixture(scope="module")
def observations(mug) -> dict[str, Observation]:
    """What a cloud, a mesh, and a camera that stands beside the origin give, in float64."""
    points, normals = sample_surface(mug, 3000, 0)
    pose = random_view(mug, 2)
    seen = DepthCamera().capture(mug, pose, 2) @ pose[:3, :3].T + pose[:3, 3]
    return {
        "cloud": Observation(points.astype(float)),
        "mesh": Observation(points.astype(float), normals.astype(float)),
        "camera": Observation(seen.astype(float), viewpoint=pose[:3, 3]),
    }


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("given", ["cloud", "mesh", "camera"])
@pytest.mark.parametrize("distance", [0.0, 7.0, 1e6])
def test_a_moved_object_gets_the_same_grasps_moved(observations, side, given, distance):
    pipeline, seen = GraspPipeline(device="cpu", side=side), observations[given]
    turn, shift = motion(int(distance) + len(given), distance)
    moved = Observation(
        seen.points @ turn.T + shift,
        None if seen.normals is None else seen.normals @ turn.T,
        None if seen.viewpoint is None else turn @ seen.viewpoint + shift,
    )
    here, there = pipeline(seen, num=3, seed=1), pipeline(moved, num=3, seed=1)
    for name in ("vertices", "joints", "points"):
        expected = getattr(here, name).astype(float) @ turn.T + shift
        np.testing.assert_allclose(getattr(there, name), expected, atol=1e-4, rtol=0)
    wrist = np.einsum("ij,bjk->bik", turn, here.wrist_pose[:, :3, :3].astype(float))
    np.testing.assert_allclose(there.wrist_pose[:, :3, :3], wrist, atol=1e-4)
    np.testing.assert_allclose(there.approach, here.approach @ turn.T, atol=1e-4)
    np.testing.assert_allclose(there.score, here.score, atol=1e-6)
    np.testing.assert_allclose(there.contact, here.contact, atol=1e-6)
    # The parameters are those of the surfaces, told about the object.
    near = there.mano.astype(float) - np.append(np.zeros(58), shift)
    vertices, _ = ManoHand(side=side)(torch.from_numpy(near).float())
    np.testing.assert_allclose(vertices.numpy(), there.vertices - shift, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_hands_at_map_coordinates_are_refined_in_place(observations, side):
    pipeline, seen = GraspPipeline(device="cpu", side=side), observations["mesh"]
    turn, shift = motion(3, np.linalg.norm(MAP))
    good = pipeline(seen, num=2, seed=0)
    refined = pipeline.refine_hands(seen, good.mano)
    away = Observation(seen.points @ turn.T + shift, seen.normals @ turn.T)
    exact = (torch.from_numpy(x).double() for x in (good.mano, turn, shift))
    there = pipeline.refine_hands(away, ManoHand(side=side).double().move(*exact).numpy())
    expected = refined.vertices.astype(float) @ turn.T + shift
    np.testing.assert_allclose(there.vertices, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_give_back_what_they_took(mirrored):
    points = np.random.default_rng(0).normal(size=(200, 3)) * [0.1, 0.05, 0.02] + MAP
    frame = Frame.of(points, mirrored)
    local = frame.into(points)
    assert local.dtype == np.float32 and np.abs(local).max() < 0.5
    np.testing.assert_allclose(frame.out(local), points, atol=1e-4, rtol=0)
    np.testing.assert_allclose(np.linalg.det(frame.rotation), 1)
    across = SimpleNamespace(each=lambda places: places[None, ..., 0])
    field = FieldInFrame(across, Frame(frame.rotation, points[0] - MAP, mirrored))
    outside = torch.from_numpy(Frame(frame.rotation, points[0] - MAP, mirrored).into(points - MAP))
    np.testing.assert_allclose(field(outside), points[:, 0] - MAP[0], atol=1e-4)


def test_a_mirror_image_has_the_same_coordinates_in_its_mirrored_frame():
    points = np.random.default_rng(1).gamma(2, size=(200, 3)) * [0.05, 0.03, 0.01]
    image = points * [-1, 1, 1]
    here, there = Frame.of(points), Frame.of(image, mirrored=True)
    np.testing.assert_allclose(there.into(image), here.into(points), atol=1e-6)


def test_files_at_map_coordinates(mug, tmp_path, capsys):
    """Generated for, scored and drawn from files as the same mug at the origin."""
    far = mug.copy()
    far.apply_translation(MAP)
    scores = []
    for name, mesh in (("near", mug), ("far", far)):
        path, out = tmp_path / f"{name}.obj", tmp_path / f"{name}.npz"
        path.write_text(trimesh.exchange.obj.export_obj(mesh, digits=9))
        pictures = [f"--render={tmp_path / name}.png", f"--glb={tmp_path / name}.glb"]
        generate = ["generate", str(path), "--num=3", f"--out={out}", "--quiet", *pictures]
        assert main(generate) == 0
        score = ["score", str(out), f"--object={path}", f"--json={tmp_path / name}.json", "--quiet"]
        assert main(score) == 0
        scores.append(json.loads((tmp_path / f"{name}.json").read_text())["summary"])
    near, away = (np.load(tmp_path / f"{name}.npz")["vertices"] for name in ("near", "far"))
    assert away.dtype == np.float64
    np.testing.assert_allclose(away - MAP, near, atol=1e-4)
    for name in ("penetration_volume_cm3", "penetration_depth_cm", "contact_ratio_pct"):
        assert scores[1][name] == pytest.approx(scores[0][name], rel=0.02, abs=0.01), name
    drawn = [(tmp_path / f"{name}.png").stat().st_size for name in ("near", "far")]
    assert drawn[1] == pytest.approx(drawn[0], rel=0.02)


def test_the_command_takes_a_viewpoint(observations, tmp_path, capsys):
    seen = observations["camera"]
    seen = replace(seen, points=seen.points[:2000])
    np.save(tmp_path / "seen.npy", seen.points)
    out = tmp_path / "grasps.npz"
    command = ["generate", str(tmp_path / "seen.npy"), "--num=3", f"--out={out}", "--quiet"]
    assert main([*command, "--viewpoint", *map(str, seen.viewpoint)]) == 0
    made = GraspPipeline(device="cpu")(seen, num=3)
    np.testing.assert_allclose(np.load(out)["vertices"], made.vertices, atol=1e-5)
    with pytest.raises(SystemExit):
        main([*command, "--viewpoint", "1", "nan", "2"])
    assert "'nan', accepted are metres" in capsys.readouterr().err
