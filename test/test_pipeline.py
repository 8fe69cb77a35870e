"""The pipeline from a cloud to ranked hands, with the shipped weights."""

import os
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch

from grasp_gen_core import GraspPipeline, GraspSet
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.distance import DistanceGrid, signed_distance
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.perception.plane import Plane
from grasp_gen_core.ranking.collision import Surroundings


@pytest.fixture(scope="module")
def pipeline() -> GraspPipeline:
    return GraspPipeline(device="cpu")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return sample_surface(make_object("bottle", 3), 3000, 0)[0]


@pytest.fixture(scope="module")
def grasps(pipeline, points) -> GraspSet:
    return pipeline(points, num=8, seed=0)


def test_arrays_and_order(grasps):
    count, seen = 8, len(grasps.points)
    shapes = {
        "mano": (count, 61),
        "vertices": (count, 778, 3),
        "faces": (1538, 3),
        "joints": (count, 21, 3),
        "points": (seen, 3),
        "contact": (count, seen),
        "score": (count,),
        "wrist_pose": (count, 4, 4),
        "approach": (count, 3),
        "pregrasp": (count, 61),
        "squeeze": (count, 61),
        "retreat": (count, 3),
    }
    for name, shape in shapes.items():
        assert getattr(grasps, name).shape == shape, name
    assert (np.diff(grasps.score) <= 0).all()
    for name in ("contact", "score"):
        values = getattr(grasps, name)
        assert (values >= 0).all() and (values <= 1).all()
    assert (grasps.metrics["contact_ratio_pct"] == 100).all()


def test_a_call_leaves_cores_to_others(pipeline, points, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    before, within = torch.get_num_threads(), []
    pipeline(points, num=1, progress=lambda *stage: within.append(torch.get_num_threads()))
    assert set(within) == {1} and torch.get_num_threads() == before


def test_hands_are_the_mano_vectors(grasps):
    vertices, joints = ManoHand(GENERIC_HAND)(torch.from_numpy(grasps.mano))
    np.testing.assert_allclose(grasps.vertices, vertices, atol=1e-5)
    np.testing.assert_allclose(grasps.joints, joints, atol=1e-5)
    np.testing.assert_allclose(grasps.wrist_pose[:, :3, 3], grasps.joints[:, 0], atol=1e-5)
    rotation = grasps.wrist_pose[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-5
    )


def test_pregrasp_stands_off_against_the_approach_and_is_opened(grasps):
    hand = ManoHand(GENERIC_HAND)
    before = hand(torch.from_numpy(grasps.pregrasp))[1].numpy()
    np.testing.assert_allclose(
        before[:, 0], grasps.joints[:, 0] - 0.08 * grasps.approach, atol=1e-5
    )
    flexion = [
        hand.regions.to_angles(torch.from_numpy(m[:, 13:58]))[:, :12, 0].abs().sum(dim=1)
        for m in (grasps.mano, grasps.pregrasp)
    ]
    assert (flexion[1] < flexion[0]).all()


def test_the_squeeze_presses_the_grasp_s_fingers_on(grasps):
    """The wrist stays, and the fingers are driven a little further."""
    assert np.abs(grasps.squeeze - grasps.mano)[:, [*range(13), 58, 59, 60]].max() < 1e-6
    hand = ManoHand(GENERIC_HAND)
    flexion = [
        hand.regions.to_angles(torch.from_numpy(m[:, 13:58]))[..., 0].sum(dim=1)
        for m in (grasps.mano, grasps.squeeze)
    ]
    assert (flexion[1] > flexion[0]).all()
    assert 1e-3 < np.abs(grasps.squeeze - grasps.mano).max() < 0.5


def test_contact_by_gaussians_is_where_the_hand_touches(points, grasps):
    made = GraspPipeline(device="cpu", contact="gaussians")(points, num=8, seed=0)
    np.testing.assert_array_equal(made.mano, grasps.mano)
    assert (made.contact >= 0).all() and (made.contact <= 1).all()
    # By distance 0.8 is 2 mm from a vertex, 0.05 is 18 mm.
    near, far = grasps.contact > 0.8, grasps.contact < 0.05
    assert made.contact[near].mean() > 0.4 and made.contact[far].max() < 0.05


def test_same_seed_same_grasps_another_seed_others(pipeline, points, grasps):
    again, other = pipeline(points, num=8, seed=0), pipeline(points, num=8, seed=1)
    np.testing.assert_array_equal(grasps.mano, again.mano)
    assert not np.array_equal(grasps.mano, other.mano)


def test_stages_are_timed(pipeline, grasps):
    assert list(pipeline.timings) == ["cloud", "generate", "refine", "rank"]
    assert all(seconds >= 0 for seconds in pipeline.timings.values())


def test_camera_view_is_grasped_from_the_side_that_was_seen(pipeline):
    mesh = make_object("can", 1)
    pose = random_view(mesh, 2)
    seen = DepthCamera().capture(mesh, pose, 2)
    grasps = pipeline(seen, num=8, seed=0)
    # The camera looks along +z in its own frame: hands come along it, not towards it.
    assert (grasps.approach[:4, 2] > -0.5).all()
    assert (grasps.vertices[..., 2] > 0.1).all()  # in the camera's frame, in front of it


@pytest.mark.parametrize("family", ["mug", "box"])
def test_hands_are_proposed_for_what_was_seen_and_for_all_that_the_object_may_be(pipeline, family):
    """Those of the second kind know of the back: they are less deep in it."""
    mesh = make_object(family, 3)
    view = DepthCamera().capture(mesh, random_view(mesh, 2), 2)
    scene = pipeline.look_at(view, 0, None)
    assert torch.isin(scene.cloud, scene.whole).all(dim=1).float().mean() > 0.3
    with torch.no_grad():
        vertices, _ = pipeline.hand(pipeline.propose(scene, 8, torch.Generator().manual_seed(0)))
        seen, whole = (-scene.grid(vertices)).amax(dim=1).chunk(2)
    assert len(seen) == len(whole) == 4 * pipeline.generator.proposals
    assert whole.mean() < 0.9 * seen.mean()
    from_all_around = pipeline.look_at(sample_surface(mesh, 2000, 0)[0], 0, None)
    assert from_all_around.whole is None
    alone = pipeline.propose(from_all_around, 8, torch.Generator().manual_seed(0))
    assert len(alone) == 2 * len(seen)


def test_hands_from_where_nobody_saw_the_object_are_refined_last(pipeline, points):
    mesh = make_object("mug", 5)
    view = DepthCamera().capture(mesh, random_view(mesh, 2), 2)
    scene = pipeline.look_at(view, 0, None)
    hands = pipeline.propose(scene, 16, torch.Generator().manual_seed(0))
    chosen = pipeline.promising(hands, scene, 32)
    from_behind = [(pipeline.approach(one) @ scene.toward > 0.1).float() for one in (hands, chosen)]
    assert from_behind[0].mean() > 0.2 and from_behind[1].mean() < 0.1
    assert torch.isin(chosen, hands).all() and len(chosen) == 32
    assert not pipeline.look_at(points, 0, None).toward.any()  # all around there is no behind


def test_hands_reach_what_an_object_is_taken_for_and_not_the_thickest_guess_alone(points):
    """A bottle that may be 4 mm thinner or thicker: fingers close to what is likely."""
    made = GraspPipeline(device="cpu")
    bottle = make_object("bottle", 3)
    between = DistanceGrid.from_mesh(bottle)
    offsets = torch.tensor([-0.004, 0.0, 0.004])[:, None, None, None]
    values = between.values[0].permute(0, 3, 2, 1) + offsets
    several = DistanceGrid(values, between.lower, between.upper)
    owned = made.hand.parts == torch.arange(5)[:, None]
    gaps = []
    for field in (between, several):
        distance = signed_distance(bottle, made(points, num=12, field=field).vertices)
        gaps.append(np.median([distance[:, finger].min(axis=1) for finger in owned.numpy()]))
    assert gaps[0] - 0.003 < gaps[1] < gaps[0], gaps


def test_left_hands_are_mirror_images(points):
    left = GraspPipeline(device="cpu", side="left", refiner="none")
    right = GraspPipeline(device="cpu", side="right", refiner="none")
    mirrored = left(points * [-1, 1, 1], num=4, seed=0)
    assert mirrored.side == "left"
    hand = ManoHand(GENERIC_HAND, side="left")
    vertices, joints = hand(torch.from_numpy(mirrored.mano))
    np.testing.assert_allclose(mirrored.vertices, vertices, atol=1e-5)
    np.testing.assert_allclose(mirrored.joints, joints, atol=1e-5)
    # Unrefined hands of the mirrored cloud, the same seed: mirror images one by one.
    reference = right(points, num=4, seed=0)
    sign = np.concatenate([np.ones(13), np.tile([1.0, -1.0, -1.0], 15), np.ones(3)])
    squeezed = [grasps.squeeze - grasps.mano for grasps in (mirrored, reference)]
    np.testing.assert_allclose(squeezed[0] * sign, squeezed[1], atol=1e-4)
    assert mirrored.vertices.shape == reference.vertices.shape


def test_another_hand_file_gets_its_mean_shape(points, tmp_path):
    path = tmp_path / "MANO_RIGHT.npz"
    path.write_bytes(GENERIC_HAND.read_bytes())
    grasps = GraspPipeline(device="cpu", hand=path, refiner="none")(points, num=2)
    assert (grasps.mano[:, :10] == 0).all()


@pytest.mark.parametrize("num", [0, 1025])
def test_numbers_out_of_range_are_refused(pipeline, points, num):
    with pytest.raises(ValueError, match="accepted are 1 to 1024"):
        pipeline(points, num=num)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((0, 3)), "points"),
        (np.full((100, 3), np.nan), "finite"),
        (np.zeros((100, 2)), r"\(N, 3\)"),
        (np.random.default_rng(0).random((100, 3)) * 100, "millimetres"),
    ],
)
def test_bad_points_are_refused(pipeline, points, says):
    with pytest.raises(ValueError, match=says):
        pipeline(points)


@pytest.mark.parametrize("side", ["right", "left"])
def test_given_hands_are_refined_in_their_order(points, side):
    """Grasps moved off by some millimetres touch again, each the nearest to what it was."""
    pipeline = GraspPipeline(device="cpu", side=side)
    good = pipeline(points, num=4, seed=1)  # 46 mm and more from each other
    off = good.mano.copy()
    off[:, 58:] -= 0.008 * good.approach
    refined = pipeline.refine_hands(points, off)
    apart = np.linalg.norm(refined.joints[:, None] - good.joints, axis=3).mean(axis=2)
    assert (apart.argmin(axis=1) == np.arange(4)).all() and refined.side == side
    assert (refined.metrics["contact_ratio_pct"] == 100).all()


@pytest.mark.parametrize("refiner", ["quick", "choir"])
def test_a_given_hand_depends_on_none_beside_it_and_keeps_its_shape(refiner, points, grasps):
    pipeline = GraspPipeline(refiner=refiner, device="cpu")
    noisy = perturb(torch.from_numpy(grasps.mano[:3]), torch.Generator().manual_seed(0)).numpy()
    noisy[:, :10] = np.linspace(-1, 1, 30).reshape(3, 10)
    refined, reverse = (pipeline.refine_hands(points, hands) for hands in (noisy, noisy[::-1]))
    alone = pipeline.refine_hands(points, noisy[1:2])
    np.testing.assert_allclose(reverse.vertices[::-1], refined.vertices, atol=1e-5)
    np.testing.assert_allclose(alone.vertices, refined.vertices[1:2], atol=1e-5)
    np.testing.assert_allclose(refined.mano[:, :10], noisy[:, :10], atol=1e-6)


@pytest.mark.parametrize(
    ("mano", "says"),
    [
        (np.zeros((0, 61)), "1 to 1024"),
        (np.zeros((2, 60)), "61"),
        (np.full((1, 61), np.nan), "finite"),
        (np.full((1, 61), 3.0), "one frame"),
    ],
)
def test_bad_hands_are_refused(pipeline, points, mano, says):
    with pytest.raises(ValueError, match=says):
        pipeline.refine_hands(points, mano)


@pytest.mark.parametrize("looks", [0, 2, 10])
def test_stopping_ends_a_call_before_its_next_stage(pipeline, points, looks):
    answers = iter([False] * looks + [True] * 100)
    with pytest.raises(CancelledError):
        pipeline(points, num=40, stop=lambda: next(answers))
    assert "rank" not in pipeline.timings
    assert len(pipeline(points, num=2)) == 2


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_retreat_is_up_or_back(pipeline, points, grasps, side):
    np.testing.assert_allclose(grasps.retreat, -0.1 * grasps.approach, atol=1e-8)
    plane = Plane(np.array([0, -0.6, 0.8]), -1.0)
    around = Surroundings(plane, np.zeros((0, 3)))
    one = pipeline if side == "right" else GraspPipeline(device="cpu", side="left", refiner="none")
    (across,) = one(points, num=1, scene=around).retreat
    np.testing.assert_allclose(across, 0.1 * plane.normal, atol=1e-7)
    (told,) = one(points, num=1, scene=around, up=(3.0, 0, 4.0)).retreat
    np.testing.assert_allclose(told, [0.06, 0, 0.08], atol=1e-7)
    with pytest.raises(ValueError, match="up: .*not all 0"):
        one(points, num=1, up=np.zeros(3))


def test_progress_tells_stages_and_the_best_so_far(pipeline, points):
    told = []
    grasps = pipeline(points, num=50, progress=lambda *now: told.append(now))
    stages, bests = zip(*told, strict=True)
    assert stages == ("generate", "refine", "refine", "rank")
    assert bests[0] is None and all(len(best) == 1 for best in bests[1:])
    # What is best of all that were refined, is best in the end.
    np.testing.assert_array_equal(bests[-1].mano[0], grasps.mano[0])
    assert bests[2].score <= bests[3].score == grasps.score[0]
    np.testing.assert_array_equal(pipeline(points, num=50).mano, grasps.mano)


def test_stopping_ends_the_refinement_of_given_hands(pipeline, points, grasps):
    with pytest.raises(CancelledError):
        pipeline.refine_hands(points, grasps.mano, stop=lambda: True)


def test_more_grasps_than_are_made_at_a_time(pipeline, points):
    grasps = pipeline(points, num=70)
    assert len(grasps) == 70 == len(np.unique(grasps.mano, axis=0))


def test_nothing_is_refined_without_a_refiner(points):
    with pytest.raises(ValueError, match="refiner: none"):
        GraspPipeline(device="cpu", refiner="none").refine_hands(points, np.zeros((1, 61)))


@pytest.mark.parametrize(
    "options", [{"generator": "gan"}, {"refiner": "slow"}, {"device": "abacus"}, {"side": "both"}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="accepted"):
        GraspPipeline(**options)


def test_grasp_files_round_trip(grasps, tmp_path):
    grasps.save(tmp_path / "grasps.npz")
    again = GraspSet.load(tmp_path / "grasps.npz")
    np.testing.assert_array_equal(again.mano, grasps.mano)
    assert again.side == "right" and set(again.metrics) == set(grasps.metrics)
    data = (tmp_path / "grasps.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.npz"):
        GraspSet.load(tmp_path / "cut.npz")
    with np.load(tmp_path / "grasps.npz") as file:
        older = {name: file[name] for name in file.files if name not in ("squeeze", "retreat")}
    np.savez(tmp_path / "older.npz", **older)
    read = GraspSet.load(tmp_path / "older.npz")
    np.testing.assert_array_equal(read.squeeze, older["mano"])
    np.testing.assert_allclose(read.retreat, grasps.retreat, atol=1e-7)


def test_the_result_says_what_was_guessed_and_how_much_of_the_contact_was_seen(grasps):
    """Left hands at a mirrored view, too: the backs lie behind what was seen, on the eye's rays."""
    mesh = make_object("can", 2)
    pose = random_view(mesh, 4)
    view = DepthCamera().capture(mesh, pose, 4)
    solid = mesh.copy().apply_transform(np.linalg.inv(pose))  # the camera's frame
    for side in ("right", "left"):
        made = GraspPipeline(device="cpu", side=side, completion="exit_depth")
        found = made(view, num=3)
        seen = found.metrics["contact_seen"]
        assert ((0 <= seen) & (seen <= 1)).all()
        volumes = np.array([shape.volume for shape in found.shapes])
        assert len(volumes) > 3 and 0.6 < volumes.max() / solid.volume < 1.5
        off = min(np.abs(shape.bounds - solid.bounds).max() for shape in found.shapes)
        assert off < 0.02
    assert (grasps.metrics["contact_seen"] > 0.95).all() and grasps.shapes == ()
