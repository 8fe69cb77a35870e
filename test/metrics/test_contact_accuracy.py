"""F1, precision and recall on maps made by hand, and maps of a sheet at known heights."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_accuracy import (
    contact_f1_pct,
    contact_maps,
    contact_precision_pct,
    contact_recall_pct,
)

# predicted, reference -> precision, recall, F1
CASES = {
    "equal": ([1, 1, 0, 0], [1, 1, 0, 0], 100, 100, 100),
    "one false": ([1, 1, 1, 1, 0], [1, 1, 1, 0, 0], 75, 100, 600 / 7),
    "one missed": ([1, 0, 0], [1, 1, 0], 100, 50, 200 / 3),
    "apart": ([1, 0], [0, 1], 0, 0, 0),
    "neither touches": ([0, 0], [0, 0], 100, 100, 100),
    "only the reference touches": ([0, 0], [1, 0], 0, 0, 0),
    "only the hand touches": ([1, 0], [0, 0], 0, 0, 0),
}


@pytest.mark.filterwarnings("error")  # nothing is divided by zero, not even in vain
@pytest.mark.parametrize("case", CASES)
def test_masks_made_by_hand(case):
    predicted, reference, *expected = CASES[case]
    maps = np.array([predicted], bool), np.array([reference], bool)
    measures = contact_precision_pct, contact_recall_pct, contact_f1_pct
    assert [measure(*maps)[0] for measure in measures] == pytest.approx(expected)


def test_each_hand_of_a_batch_for_itself():
    predicted = np.array([[1, 1, 0], [0, 0, 0]], bool)
    reference = np.array([[1, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_allclose(contact_precision_pct(predicted, reference), [50, 100])
    np.testing.assert_allclose(contact_f1_pct(predicted, reference), [200 / 3, 100])


@pytest.fixture(scope="module")
def table() -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=[[-1, -1, -0.1], [1, 1, 0]])


def sheet(heights: list[float], side: float = 0.04) -> tuple[np.ndarray, np.ndarray]:
    """Square sheets of two triangles above the table, and their faces."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * side
    sheets = corners + np.array(heights)[:, None, None] * [0, 0, 1]
    return sheets, np.array([[0, 1, 2], [0, 2, 3]])


def test_contact_reaches_two_millimetres_to_both_sides(table):
    high, faces = sheet([0.0019, 0.0021, -0.0019, -0.0021])
    touching, _ = contact_maps(high, high, faces, table)
    assert touching.all(axis=1).tolist() == [True, False, True, False]
    assert touching.any(axis=1).tolist() == [True, False, True, False]


def test_contact_of_a_tilted_sheet_covers_the_share_of_it_that_is_near(table):
    """From 0 to 8 mm above the table: a quarter of the sheet is within 2 mm."""
    tilted, faces = sheet([0.0])
    tilted = tilted + 0.2 * tilted[:, :, :1] * [0, 0, 1]
    touching, _ = contact_maps(tilted, tilted, faces, table)
    assert touching.mean() == pytest.approx(0.25, abs=0.03)
    # Slid by half the length of the contact: half of it is right, half false.
    slid = tilted + [0, 0, 0.001]
    maps = contact_maps(slid, tilted, faces, table)
    assert contact_recall_pct(*maps)[0] == pytest.approx(50, abs=7)
    assert contact_precision_pct(*maps)[0] == 100


def test_a_hand_is_upsampled_to_two_millimetres(table):
    hand = ManoHand()
    with torch.no_grad():
        vertices = hand(torch.zeros(2, 61))[0].numpy()
    faces = hand.closed_faces.numpy()
    touching, same = contact_maps(vertices, vertices, faces, table)
    np.testing.assert_array_equal(touching, same)
    # Two rounds of one new vertex an edge: V + E, E = V + F - 2 (Euler).
    count, faces = vertices.shape[1], len(faces)
    for _ in range(2):
        count, faces = 2 * count + faces - 2, 4 * faces
    assert touching.shape == (2, count)


def test_edges_that_are_short_enough_are_not_halved(table):
    """The mean of 2, 2 and 2.83 mm is within 2.5 mm; half as much again is not."""
    for side, points in ((0.002, 4), (0.003, 9)):
        flat, faces = sheet([0.0], side)
        assert contact_maps(flat, flat, faces, table)[0].shape == (1, points)


def test_hands_of_another_shape_are_refused(table):
    high, faces = sheet([0, 0])
    with pytest.raises(ValueError, match=r"reference: shape \(1, 4, 3\)"):
        contact_maps(high, high[:1], faces, table)
