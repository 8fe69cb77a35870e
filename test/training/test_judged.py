"""Judged hands: what is kept of each is what the metrics say on the true mesh."""

import numpy as np
import pytest
import torch

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.placing import bring_in
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects import procedural
from grasp_gen_training import judged
from grasp_gen_training.judged import HANDS, Judged, judge, judged_names, seen
from grasp_gen_training.shapes import shape_mesh

NAME = "fruit:200000/camera"


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return judge(NAME)


def test_names_are_of_all_families_and_views_and_stay(monkeypatch):
    names = judged_names(400)
    assert len(set(names)) == 400 and names[:100] == judged_names(100)
    families = {name.partition(":")[0] for name in names}
    assert families == set(procedural.FAMILIES) - set(procedural.HELD_OUT)
    assert {name.partition(":")[0] for name in judged_names(9, True)} == set(procedural.HELD_OUT)
    for family in families:
        views = {name.partition("/")[2] for name in names if name.startswith(family + ":")}
        assert views == set(judged.VIEWS)


def test_hands_are_judged_on_the_true_mesh(rows):
    """In the mesh's own frame, z up, each number is its metric's."""
    assert len(rows) == HANDS and np.isfinite(rows["score"]).all()
    assert (np.diff(rows["score"]) <= 0).all()
    hand, mesh = ManoHand(), shape_mesh(NAME.partition("/")[0])
    pose = seen(NAME)[0].pose
    turn, shift = (torch.from_numpy(x).float() for x in (pose[:3, :3], pose[:3, 3]))
    mano = hand.move(torch.from_numpy(rows["mano"].copy()), turn, shift)
    vertices, faces = hand(mano)[0].numpy(), hand.closed_faces.numpy()
    volume = penetration_volume_cm3(vertices, faces, mesh)
    np.testing.assert_allclose(rows["volume_cm3"], volume, atol=0.05, rtol=0.05)
    moved = SimTest(mesh)(vertices, faces).displacement_cm
    # Where an object rolls off, last digits decide how far.
    assert np.median(np.abs(rows["displacement_cm"] - moved)) < 0.01
    held = ClosingTest(mesh, hand)(mano.numpy()).outcome == HELD
    assert (rows["success"] == held).mean() > 0.8  # moved there and back, last digits differ


def test_batches_are_the_records_with_what_the_evaluator_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Judged([NAME, "pen:200001/mask90"], quiet=True)
    assert len(data) == 2
    batch = data[np.array([1, 0]), 0]
    assert batch["success"].shape == (2, HANDS) and batch["places"].shape[:2] == (2, HANDS)
    assert all(value.isfinite().all() for value in batch.values())
    np.testing.assert_array_equal(batch["volume_cm3"][1], data.records[0]["volume_cm3"])
    # Made anew it is the same: the pipeline's own evidence of these hands.
    pipe, (view, seed) = judged.pipeline(), seen(NAME)
    scene = pipe.look_at(view.points, seed, None)
    with torch.no_grad():
        told = pipe.evidence(bring_in(data.records[0]["mano"], pipe.hand, scene.frame), scene)
    torch.testing.assert_close(batch["places"][1], told.places, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(batch["hands"][1], told.hands, atol=2e-3, rtol=2e-3)
