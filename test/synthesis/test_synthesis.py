"""Synthesised grasps: what every kept one must be, on a can that people can hold."""

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh

from grasp_gen_core.data.dataset import COLUMNS, GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import finger_touches
from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.synthesis import MAX_DEPTH_CM, MAX_HOLD_CM, make_grasps, synthesize
from grasp_gen_core.synthesis.optimise import best_starts, object_grid, place_hands
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES, pre_shapes


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def can() -> trimesh.Trimesh:
    return trimesh.creation.cylinder(0.03, 0.14)


@pytest.fixture(scope="module")
def kept(hand, can) -> pd.DataFrame:
    return make_grasps(can, hand, 32, seed=0)


def test_a_can_is_easy_to_hold(kept):
    assert len(kept) >= 10
    assert kept["kind"].nunique() >= 3


def test_kept_grasps_hold_what_the_filters_promise(kept, hand, can):
    mano = torch.tensor(np.stack(kept["mano"]))
    with torch.no_grad():
        vertices = hand(mano)[0]
    # Depth by trimesh, which shares no code with the filter.
    inside = -trimesh.proximity.ProximityQuery(can).signed_distance(vertices.reshape(-1, 3))
    depth = -100 * inside.reshape(len(mano), -1).min(axis=1)
    np.testing.assert_allclose(depth, kept["penetration_depth_cm"], atol=0.01)
    assert (depth <= MAX_DEPTH_CM + 0.01).all()
    assert (kept["hold_cm"] <= MAX_HOLD_CM).all()
    touches = finger_touches(torch.tensor(signed_distance(can, vertices.numpy())), hand.parts)
    assert touches[:, 0].all() and (touches[:, 1:].any(dim=1)).all()
    low, high = hand.regions.limits.unbind(-1)
    angles = hand.regions.to_angles(mano[:, 13:58])
    assert (angles >= low - 1e-4).all() and (angles <= high + 1e-4).all()


def test_a_grasp_backed_off_by_three_centimetres_drops_the_object(kept, hand, can):
    mano = torch.tensor(np.stack(kept["mano"][:6]))
    vertices, _ = hand(mano)
    palm = vertices[:, hand.regions.zones == 5].mean(dim=1)
    away = torch.nn.functional.normalize(palm - torch.tensor(can.center_mass).float(), dim=1)
    moved = vertices + 0.03 * away[:, None] + torch.tensor([0.0, 0.0, 0.2])
    lost = HoldTest(can, hand_cells(hand), duration=0.3)(moved.numpy())
    assert (lost.displacement_cm > MAX_HOLD_CM).all()


def test_starts_are_outside_and_span_the_object(hand, can):
    grid = object_grid(can, torch.device("cpu"))
    rng = torch.Generator().manual_seed(1)
    starts = place_hands(can, grid, hand, pre_shapes(hand), 128, rng)
    assert 32 < len(starts.mano) <= 128
    widths = torch.tensor([kind.max_width for kind in GRASP_TYPES])[starts.kind]
    assert (widths > 0.03).all()
    chosen = best_starts(starts, grid, hand, 16)
    with torch.no_grad():
        distance = grid(hand(chosen.mano)[0])
    assert (distance.amin(dim=1) < 0.03).all()  # near the can


def test_same_seed_same_grasps_and_files(tmp_path):
    can = trimesh.creation.cylinder(0.025, 0.12)
    folder = tmp_path / "meshes"
    folder.mkdir()
    can.export(folder / "can.ply")
    one, two = (
        synthesize(str(folder), 5, tmp_path / name, device="cpu", quiet=True) for name in "ab"
    )
    pd.testing.assert_frame_equal(one, two)
    assert set(one.columns) == set(COLUMNS)
    data = GraspDataset.load(tmp_path / "a")
    assert data.objects == ["can.ply"] and len(data) == len(one)
    np.testing.assert_allclose(data.mesh(0).extents, can.extents, atol=1e-6)
    # A second run finds the object done.
    again = synthesize(str(folder), 5, tmp_path / "a", device="cpu", quiet=True)
    pd.testing.assert_frame_equal(one, again)


def test_open_meshes_are_named_and_refused(tmp_path):
    sheet = trimesh.creation.box((0.05, 0.05, 0.05))
    sheet.update_faces(np.arange(len(sheet.faces)) > 1)
    sheet.export(tmp_path / "sheet.ply")
    with pytest.raises(ValueError, match=r"sheet\.ply: mesh: 1 open boundary loop"):
        synthesize(str(tmp_path), 5, tmp_path / "out", device="cpu", quiet=True)


def test_things_nobody_can_hold_are_named_and_refused(tmp_path):
    trimesh.creation.box((0.5, 0.5, 0.5)).export(tmp_path / "crate.ply")
    with pytest.raises(ValueError, match=r"no grasp was kept \(crate\.ply: "):
        synthesize(str(tmp_path), 5, tmp_path / "out", device="cpu", quiet=True)


@pytest.mark.parametrize(("objects", "count"), [("nowhere", 5), ("procedural", 0)])
def test_bad_requests(tmp_path, objects, count):
    with pytest.raises(ValueError, match="accepted"):
        synthesize(objects, count, tmp_path / "out", quiet=True)
