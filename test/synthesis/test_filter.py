"""Kept grasps of a can against tests run anew, and hands whose fate is known."""

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh

from grasp_gen_core.contact.force_closure import force_closure_margin
from grasp_gen_core.data.dataset import COLUMNS
from grasp_gen_core.hand import PARTS, ManoHand
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.synthesis import filter as filters
from grasp_gen_core.synthesis.filter import GraspMaker
from grasp_gen_core.synthesis.optimise import Candidates
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES

TRIED = 16


@pytest.fixture(scope="module")
def made(hand, can):
    return GraspMaker(can, hand)(TRIED, seed=0)


@pytest.fixture(scope="module")
def kept(made) -> pd.DataFrame:
    return made[0]


@pytest.fixture(scope="module")
def vertices(kept, hand) -> np.ndarray:
    with torch.no_grad():
        return hand(torch.tensor(np.stack(kept["mano"])))[0].numpy()


@pytest.fixture(scope="module")
def distance(vertices, can) -> np.ndarray:
    """By trimesh, which shares no code with the filter."""
    inside = trimesh.proximity.ProximityQuery(can).signed_distance(vertices.reshape(-1, 3))
    return -inside.reshape(vertices.shape[:2])


def test_a_can_is_easy_to_hold(made):
    kept, failed = made
    assert len(kept) >= TRIED // 2 and kept["kind"].nunique() >= 4
    assert len(kept) + sum(failed.values()) == TRIED
    assert list(kept.columns) == [name for name in COLUMNS if name not in ("object", "split")]


def test_depth_volume_and_contacts(kept, distance, vertices, hand, can):
    depth = 100 * (-distance).max(axis=1).clip(0)
    np.testing.assert_allclose(depth, kept["penetration_depth_cm"], atol=0.01)
    assert (kept["penetration_depth_cm"] <= 0.3).all()
    parts, zones = hand.parts.numpy(), hand.regions.zones.numpy()
    by_name = {kind.name: kind for kind in GRASP_TYPES}
    for row, near in zip(kept.itertuples(), distance <= 0.005, strict=True):
        touches = np.array([*(near[parts == f].any() for f in range(5)), near[zones == 5].any()])
        assert row.contacts.split() == list(np.array(PARTS)[touches])
        assert row.contact_fingers == touches[:5].sum()
        assert touches[0] and touches[1:5].any()
        assert by_name[row.kind].is_held(touches)
    faces = hand.closed_faces.numpy()
    for posed, volume in zip(vertices[:4], kept["penetration_volume_cm3"], strict=False):
        shared = trimesh.boolean.intersection([trimesh.Trimesh(posed, faces), can])
        assert volume == pytest.approx(1e6 * shared.volume, abs=0.02) and volume <= 1


def test_angles_are_within_limits_and_forearms_above_the_table(kept, hand, can):
    mano = torch.tensor(np.stack(kept["mano"]))
    low, high = hand.regions.limits.unbind(-1)
    angles = hand.regions.to_angles(mano[:, 13:58])
    assert (angles >= low - 1e-4).all() and (angles <= high + 1e-4).all()
    with torch.no_grad():
        joints = hand(mano)[1]
    assert (joints[:, 0, 2] >= can.bounds[0, 2] - 1e-6).all()


def test_both_engines_hold_what_was_kept(kept, vertices, hand, can):
    """With all of the hand, of which the filter leaves out what is far from the object."""
    assert (kept[["hold_cm", "displacement_cm"]] < 1).to_numpy().all()
    held = HoldTest(can, hand_cells(hand), duration=0.25)(vertices)
    assert (held.displacement_cm < 1).all() and not held.unstable.any()
    moved = SimTest(can, steps=200, drift=False)(vertices[:4], hand.closed_faces.numpy())
    assert (moved.displacement_cm < 1).all() and not moved.unstable.any()


def test_margin_is_that_of_the_anchors_that_touch(kept, vertices, hand, can):
    anchors = hand.regions.anchors.numpy()
    for margin, posed in zip(kept["force_closure_n"], vertices[:, anchors], strict=True):
        points, distance, faces = trimesh.proximity.closest_point(can, posed)
        near = distance <= 0.005
        expected = force_closure_margin(points[near], can.face_normals[faces[near]], np.zeros(3))
        # An anchor over an edge between two faces is on either.
        assert margin == pytest.approx(expected, abs=0.02)
    assert (kept["force_closure_n"] > 0).mean() > 0.5


def test_a_grasp_backed_off_by_three_centimetres_drops_the_object(vertices, hand, can):
    palm = vertices[:6, hand.regions.zones.numpy() == 5].mean(axis=1)
    away = palm / np.linalg.norm(palm, axis=1, keepdims=True)
    moved = vertices[:6] + 0.03 * away[:, None] + [0, 0, 0.2]
    lost = HoldTest(can, hand_cells(hand), duration=0.3)(moved)
    assert (lost.displacement_cm > 1).all()


def test_the_closing_test_keeps_what_also_holds_when_it_closes(made, kept, hand, can):
    outcome = ClosingTest(can, hand)(np.stack(kept["mano"])).outcome
    also, failed = GraspMaker(can, hand, closing=True)(TRIED, seed=0)
    lets_go = failed.pop("lets go when it closes", 0)
    assert lets_go == (outcome != HELD).sum() and failed == made[1]
    assert list(also["kind"]) == list(kept["kind"][outcome == HELD])
    np.testing.assert_array_equal(np.stack(also["mano"]), np.stack(kept["mano"])[outcome == HELD])


def refused(monkeypatch, hand: ManoHand, mesh: trimesh.Trimesh, mano: torch.Tensor, kind: str):
    """Why hands given instead of optimised ones are refused."""
    number = [other.name for other in GRASP_TYPES].index(kind)
    given = Candidates(mano, torch.full((len(mano),), number))
    monkeypatch.setattr(filters, "optimise_grasps", lambda *_: given)
    kept, failed = GraspMaker(mesh, hand)(len(mano), 0)
    assert len(kept) + sum(failed.values()) == len(mano)
    return {test: count for test, count in failed.items() if count}


def test_bad_hands_are_refused_for_what_is_wrong(monkeypatch, kept, hand, can):
    wraps = kept[kept["kind"].isin(["medium_wrap", "large_diameter"])]
    good = torch.tensor(np.stack(wraps["mano"])[:3])
    away, deep = good.clone(), good.clone()
    away[:, 60] += 0.3
    assert refused(monkeypatch, hand, can, away, "large_diameter") == {"lacks contact": 3}
    with torch.no_grad():
        palm = hand(good)[0][:, hand.regions.zones == 5].mean(dim=1)
    deep[:, 58:60] -= 0.015 * torch.nn.functional.normalize(palm[:, :2], dim=1)
    assert refused(monkeypatch, hand, can, deep, "large_diameter") == {"deeper than 3 mm": 3}
    under = good.clone()
    under[:, 60] -= 0.3
    reason = {"reaches through the support": 3}
    assert refused(monkeypatch, hand, can, under, "large_diameter") == reason


def test_a_plate_through_the_palm_is_refused_by_volume(monkeypatch, hand):
    """Two millimetres are never three deep, wherever they are."""
    mano = torch.zeros(1, 61)
    with torch.no_grad():
        rest = hand(mano)[0][0].numpy()
    palm = rest[hand.regions.zones.numpy() == 5]
    plate = trimesh.creation.box((0.3, 0.002, 0.3))
    plate.apply_translation([*rest.mean(0)[:1], palm[:, 1].mean() + 0.01, rest[:, 2].mean()])
    inside = trimesh.boolean.intersection([trimesh.Trimesh(rest, hand.closed_faces), plate])
    assert inside.volume > 1.5e-6
    reason = refused(monkeypatch, hand, plate, mano, "tip_pinch")
    assert reason == {"shares more than 1.0 cm^3": 1}


def test_no_more_than_wanted_and_all_types_alike(kept, hand, can):
    few, _ = GraspMaker(can, hand)(TRIED, seed=0, wanted=4)
    assert len(few) == 4 and few["kind"].is_unique
    both = few.merge(kept, on=["kind", "hold_cm", "displacement_cm"])
    assert len(both) == 4  # the same seed, the same grasps


@pytest.mark.parametrize(
    ("kinds", "order"), [([], []), ([3, 3, 3], [0, 1, 2]), ([2, 2, 1, 2, 1], [0, 2, 1, 4, 3])]
)
def test_in_turn(kinds, order):
    assert filters.in_turn(kinds).tolist() == order
