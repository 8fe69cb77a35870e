"""The closing test against gravity, mirror images and hands that can't hold."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand, mirror_mano
from grasp_gen_core.metrics import grasp_success, mujoco_scene
from grasp_gen_core.metrics.grasp_success import (
    COLLIDED,
    HELD,
    PRESETS,
    PUSHED_AWAY,
    SLIPPED,
    ClosingTest,
    _stays,
)
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.protocols import PROTOCOLS, measure_exact, summarise


def back(hand: ManoHand, mano: torch.Tensor, distance: float) -> torch.Tensor:
    """Hands backed off along their palms' direction, metres."""
    palm = roma.rotvec_to_rotmat(mano[:, 10:13]) @ hand.regions.palm_axis
    return torch.cat([mano[:, :58], mano[:, 58:] - distance * palm], dim=1)


def mirrored(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices * [-1, 1, 1], mesh.faces[:, ::-1], process=False)


def test_a_good_grasp_holds_and_one_that_never_touches_slips(grasps, hand):
    mesh, mano = grasps
    test = ClosingTest(mesh, hand)
    result = test(mano.numpy())
    held = result.outcome == HELD
    assert held.sum() >= 4
    assert (result.moved_cm[held] <= 2).all() and (result.turned_deg[held] <= 15).all()
    away = test(back(hand, mano[:2], 0.1).numpy())
    assert away.outcome.tolist() == [SLIPPED, SLIPPED] and (away.overlap_cm == 0).all()
    assert [one.shape for one in test(mano[:0].numpy())] == 4 * [(0,)]


def test_what_clearly_stays_is_not_waited_for(can_grasps, hand, monkeypatch):
    """The outcomes are those of whole seconds, in which a held object creeps further."""
    mesh, mano = can_grasps
    mano = torch.cat([mano, back(hand, mano, 0.015)]).numpy()
    early = ClosingTest(mesh, hand)(mano)
    monkeypatch.setattr(grasp_success, "CLEARLY", 0.0)
    whole = ClosingTest(mesh, hand)(mano)
    np.testing.assert_array_equal(early.outcome, whole.outcome)
    held = whole.outcome == HELD
    assert (early.moved_cm <= whole.moved_cm)[held].all() and 0 < held.sum() < len(mano)
    assert (early.moved_cm < whole.moved_cm)[held].any()


def test_contacts_found_now_and_then_give_the_same_outcomes(can_grasps, hand, monkeypatch):
    mesh, mano = can_grasps
    mano = torch.cat([mano, back(hand, mano, 0.015)]).numpy()
    seldom = ClosingTest(mesh, hand)(mano)
    monkeypatch.setattr(mujoco_scene, "STALE", -1.0)
    always = ClosingTest(mesh, hand)(mano)
    assert (seldom.outcome == always.outcome).sum() >= len(mano) - 1  # chaos may change one
    assert (seldom.moved_cm != always.moved_cm).any()


def test_what_moves_fast_or_far_or_was_hardly_seen_is_waited_for():
    """Ways as shares of what is allowed; the slower one moves by 0.001 in a look."""
    ways = 0.1 + np.outer(np.arange(4), [0.001, 0.0])
    assert _stays(ways, 20) and not _stays(ways[:2], 20)
    assert not _stays(10 * (ways - 0.1), 20) and _stays(10 * (ways - 0.1), 5)
    assert not _stays(ways + [0.0, 0.4], 20)
    assert _stays(ways[::-1], 1000)  # comes back


def test_a_hand_deep_inside_collides(grasps, hand):
    mesh, mano = grasps
    result = ClosingTest(mesh, hand)(back(hand, mano[:2], -0.04).numpy())
    assert result.outcome.tolist() == [COLLIDED, COLLIDED]
    assert (result.overlap_cm > 1).all() and np.isnan(result.moved_cm).all()


def test_nothing_slippery_is_held(grasps, hand, monkeypatch):
    """A fruit without friction leaves the fingertips that hold it otherwise."""
    mesh, mano = grasps
    monkeypatch.setitem(PRESETS, "oiled", replace(PRESETS["strict"], friction=(0.0, 0.0, 0.0)))
    assert (ClosingTest(mesh, hand, "oiled")(mano.numpy()).outcome != HELD).all()


def test_a_mirrored_hand_fares_alike_at_the_mirrored_object(grasps, hand):
    mesh, mano = grasps
    left = ClosingTest(mirrored(mesh), ManoHand(side="left"))(mirror_mano(mano).numpy())
    right = ClosingTest(mesh, hand)(mano.numpy())
    np.testing.assert_allclose(left.overlap_cm, right.overlap_cm, atol=1e-3)
    assert (left.outcome == right.outcome).sum() >= len(mano) - 1  # contacts come in another order
    both = (left.outcome == HELD) & (right.outcome == HELD)
    np.testing.assert_allclose(left.moved_cm[both], right.moved_cm[both], atol=0.3)


def test_outcomes_do_not_depend_on_where_the_frame_is(can_grasps, hand):
    """Of a camera's view the object is half a metre and more from the origin."""
    mesh, mano = can_grasps
    shift = np.array([0.4, -0.2, 0.7])
    moved = mano.numpy().copy()
    moved[:, 58:] += np.float32(shift)
    here = ClosingTest(mesh, hand)(mano.numpy())
    there = ClosingTest(mesh.copy().apply_translation(shift), hand)(moved)
    assert (here.outcome == HELD).sum() >= 3
    assert (here.outcome == there.outcome).sum() >= len(mano) - 1  # contact is chaotic


def test_results_do_not_depend_on_runs_before(can_grasps, hand):
    mesh, mano = can_grasps
    mano = mano[:3].numpy()
    once, again = ClosingTest(mesh, hand)(mano), ClosingTest(mesh, hand)(mano[::-1])
    for name, values in once._asdict().items():
        np.testing.assert_array_equal(values, getattr(again, name)[::-1])


def test_what_is_pushed_away_is_told(grasps, hand, monkeypatch):
    """The same hands, where closing may move nothing at all."""
    monkeypatch.setattr(grasp_success, "PUSHED", 0.0)
    mesh, mano = grasps
    assert (ClosingTest(mesh, hand)(mano[:2].numpy()).outcome == PUSHED_AWAY).all()


def test_an_object_on_its_table_is_lifted_or_left(hand, ball, monkeypatch):
    """Without weight along six axes, an open hand beside the object fails at the table alone."""
    monkeypatch.setattr(grasp_success, "AXES", np.zeros((1, 3)))
    aside = torch.zeros(1, 61)
    aside[0, 58:] = torch.tensor([0.0, 0.3, 0.0])
    assert ClosingTest(ball, hand)(aside.numpy()).outcome.tolist() == [SLIPPED]
    # Where no lift is asked for, nothing happens to it.
    assert ClosingTest(ball, hand, "dexgraspbench")(aside.numpy()).outcome.tolist() == [HELD]


def test_fingers_are_driven_to_the_squeeze(grasps, hand):
    """Driven to an open hand they hold nothing, driven further closed they do."""
    mesh, mano = grasps
    chosen = mano[:3]
    pose, opened, pressed = chosen[:, 13:58], chosen.clone(), chosen.clone()
    angles = hand.regions.to_angles(pose)
    angles[..., 0] += 0.03
    opened[:, 13:58], pressed[:, 13:58] = 0.2 * pose, hand.regions.to_pose(angles)
    test = ClosingTest(mesh, hand)
    assert (test(chosen.numpy(), opened.numpy()).outcome == SLIPPED).all()
    assert (test(chosen.numpy(), pressed.numpy()).outcome == HELD).sum() >= 2


def test_unknown_presets_are_refused(ball, hand):
    with pytest.raises(InputError, match="accepted are strict, dexgraspbench"):
        ClosingTest(ball, hand, "mild")


def test_it_stands_among_the_metrics(grasps, hand):
    """Shares of hands with MANO vectors; of others there is no number."""
    mesh, mano = grasps
    vertices, joints = (part.numpy() for part in hand(mano[:2]))
    arrays = {"vertices": vertices, "joints": joints, "faces": hand.faces.numpy()}
    known = measure_exact(HandMeshes.from_arrays(arrays | {"mano": mano[:2].numpy()}, hand), mesh)
    outcome = ClosingTest(mesh, hand)(mano[:2].numpy()).outcome
    np.testing.assert_array_equal(known["grasp_success"], outcome == HELD)
    kinds = ("grasp_success", "grasp_pushed_away", "grasp_slipped", "grasp_collided")
    np.testing.assert_array_equal(np.sum([known[kind] for kind in kinds], axis=0), 1)
    summary = summarise(known, joints, None, PROTOCOLS["exact"], 0)
    assert summary["grasp_success"] == np.mean(outcome == HELD)
    unknown = measure_exact(HandMeshes.from_arrays(arrays, hand), mesh)
    assert all(np.isnan(unknown[kind]).all() for kind in kinds)
