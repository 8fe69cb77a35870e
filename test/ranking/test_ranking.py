"""Ranking as users meet it: by name, by folder of weights, in a pipeline and by the command."""

import json
import shutil

import numpy as np
import pytest
import torch

from grasp_gen_core import GraspPipeline, GraspSet, InputError
from grasp_gen_core.cli import main
from grasp_gen_core.generators import WEIGHTS
from grasp_gen_core.hand import ManoHand, mirror_mano, rotations
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.hand.placing import bring_in
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.views import view_object
from grasp_gen_core.ranking import get_evaluator
from grasp_gen_core.types import GLOBAL_ORIENT, TRANSL

POINTS = 2048


@pytest.fixture(scope="module")
def pipeline() -> GraspPipeline:
    return GraspPipeline(device="cpu", ranking="evaluator")


def scores(pipeline: GraspPipeline, points: np.ndarray, mano: np.ndarray) -> np.ndarray:
    """Of hands of the pipeline's side, as they are."""
    scene = pipeline.look_at(points, 0, None)
    with torch.no_grad():
        hands = bring_in(mano, pipeline.hand, scene.frame)
        return pipeline.score(hands, *pipeline.hand(hands), scene)[0].numpy()


def spoilt(pipeline: GraspPipeline, grasps: GraspSet) -> dict[str, np.ndarray]:
    """The grasps' hands moved 20 mm back or 20 mm in, and turned about so that the back touches."""
    mano, approach = grasps.mano.astype(np.float64), grasps.approach
    back, inside = mano.copy(), mano.copy()
    back[:, TRANSL] -= 0.02 * approach
    inside[:, TRANSL] += 0.02 * approach
    turned = torch.from_numpy(grasps.mano).clone()
    along = rotations.to_matrix(turned[:, GLOBAL_ORIENT]) @ pipeline.hand.regions.finger_axis
    middle = torch.from_numpy(grasps.vertices[:, pipeline.hand.regions.anchors.numpy()]).mean(1)
    half = rotations.to_matrix(np.pi * along)
    for i in range(len(turned)):
        there = middle[i] - half[i] @ middle[i]
        turned[i : i + 1] = pipeline.hand.move(turned[i : i + 1], half[i], there)
    return {"back": back, "inside": inside, "turned": turned.numpy().astype(np.float64)}


@pytest.mark.parametrize("view", ["full", "camera"])
@pytest.mark.parametrize("family", ["can", "bottle"])
def test_good_hands_are_above_the_same_hands_spoilt(pipeline, family, view):
    points = view_object(make_object(family, 7), view, POINTS, 7).points
    grasps = pipeline(points, num=8)
    good = scores(pipeline, points, grasps.mano.astype(np.float64))
    # Of seen points that are about as near, last digits say which the evaluator is told of.
    off = np.abs(good - grasps.score)
    assert np.median(off) < 0.003 and off.max() < 0.03
    for how, hands in spoilt(pipeline, grasps).items():
        bad = scores(pipeline, points, hands)
        assert bad.mean() < 0.8 * good.mean() and np.mean(bad < good) >= 0.75, how


def test_left_hands_are_scored_as_their_mirror_images(pipeline):
    points = view_object(make_object("bottle", 3), "camera", POINTS, 3).points
    mano = pipeline(points, num=4).mano
    mirrored = mirror_mano(torch.from_numpy(mano)).numpy().astype(np.float64)
    left = GraspPipeline(device="cpu", side="left", ranking="evaluator")
    there = scores(left, points * [-1, 1, 1], mirrored)
    np.testing.assert_allclose(there, scores(pipeline, points, mano.astype(float)), atol=5e-3)


def test_another_hand_file_is_scored_by_its_geometry(pipeline, tmp_path):
    path = tmp_path / "MANO_RIGHT.npz"
    shutil.copy(GENERIC_HAND, path)
    other = GraspPipeline(device="cpu", hand=path, ranking="evaluator")
    assert not other.hand.is_generic
    points = view_object(make_object("bottle", 3), "full", POINTS, 3).points
    grasps = other(points, num=4)
    here = scores(pipeline, points, grasps.mano.astype(np.float64))
    np.testing.assert_allclose(here, grasps.score, atol=0.01)


def test_the_command_s_scores_are_the_ranking_s(tmp_path):
    scored = {}
    for ranking in ("formula", "evaluator", str(WEIGHTS / "evaluator")):
        out = tmp_path / "grasps.npz"
        words = ["generate", "examples/mug_camera.pcd", "--num", "4", "--ranking", ranking]
        assert main([*words, "--out", str(out), "--quiet"]) == 0
        file = np.load(out)
        scored[ranking] = file["score"]
        assert (np.diff(file["score"]) <= 0).all()
        assert json.loads(str(file["info"]))["ranking"] == ranking
    formula, evaluator, folder = scored.values()
    np.testing.assert_array_equal(evaluator, folder)
    assert np.abs(formula - evaluator).max() > 0.01


def test_names_and_folders_that_are_no_ranking_are_refused(tmp_path, capsys):
    hand = ManoHand()
    with pytest.raises(InputError, match="'luck', accepted are evaluator, formula, and folders"):
        get_evaluator("luck", hand)
    with pytest.raises(InputError, match="of an evaluator"):
        get_evaluator(WEIGHTS / "contact_net", hand)
    with pytest.raises(InputError, match="no weights"):
        get_evaluator(tmp_path, hand)
    shutil.copytree(WEIGHTS / "evaluator", tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    words = ["generate", "examples/mug.ply", "--ranking", str(tmp_path / "broken")]
    assert main(words) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told and "broken" in told
