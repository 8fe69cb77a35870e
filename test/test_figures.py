"""Figures of results: which are written, what they show, and pictures of grasps of any origin."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from grasp_gen_core.evaluation import Measured
from grasp_gen_core.figures import DISTRIBUTIONS, TILE, contact_sheet, plot_results
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.render import CAPTION, LINE

ALL = {*DISTRIBUTIONS, "high_quality_ratio"}


def results(values, metrics=tuple(DISTRIBUTIONS)):
    """As results.json holds them: values by object, the same for each of the metrics."""
    return {
        "per_grasp": [
            {"object": name, "index": i, **dict.fromkeys(metrics, value)}
            for name, numbers in values.items()
            for i, value in enumerate(numbers)
        ]
    }


def names(paths):
    assert all(Image.open(path).format == "PNG" for path in paths)
    return {path.stem for path in paths}


def box_columns(path):
    """Columns that each box of a distribution covers, from the top box down."""
    red, _, blue = np.moveaxis(np.array(Image.open(path).convert("RGB")).astype(int), -1, 0)
    filled = (blue - red > 25) & (blue > 180)
    rows = np.flatnonzero(filled.sum(axis=1) > 20)
    boxes = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [np.flatnonzero(filled[box].any(axis=0)) for box in boxes]


def test_a_figure_for_each_metric(tmp_path):
    assert names(plot_results(results({"mug": [1.0, 2.0], "box": [3.0]}), tmp_path)) == ALL


def test_boxes_stand_where_the_values_are(tmp_path):
    given = results({"first": [1.0, 1.5, 2.0, 2.5], "second": [7.0, 7.5, 8.0, 8.5]})
    plot_results(given, tmp_path)
    upper, lower = box_columns(tmp_path / "penetration_volume_cm3.png")
    assert upper.max() < lower.min(), "objects from top to bottom, values from left to right"


def test_what_was_not_measured_is_left_out(tmp_path):
    given = results({"mug": [1.0, None], "box": [None, None]}, ["penetration_depth_cm"])
    assert names(plot_results(given, tmp_path)) == {"penetration_depth_cm"}
    given["per_grasp"][0]["sim_displacement_cm"] = 0.4
    given["per_grasp"][1]["penetration_volume_cm3"] = 0.4
    expected = {"penetration_depth_cm", "sim_displacement_cm", "penetration_volume_cm3"}
    assert names(plot_results(given, tmp_path)) == expected, "no grasp has both for the ratio"
    assert plot_results(results({"mug": [None]}), tmp_path) == []


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [1.0], [0.01, 0.02, 0.03, 500.0]])
def test_any_range_of_values_is_drawn(tmp_path, numbers):
    assert names(plot_results(results({"mug": numbers}), tmp_path)) == ALL


def test_same_results_same_pictures(tmp_path):
    given = results({"mug": [1.0, 2.0, 2.0], "box": [3.0, 40.0]})
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        plot_results(given, tmp_path / folder)
    for name in ALL:
        first, second = (tmp_path / folder / f"{name}.png" for folder in "ab")
        assert first.read_bytes() == second.read_bytes()


@pytest.fixture(scope="module")
def measured():
    """Three hands before a ball and one hand before a box: its surface closed and finer."""
    hand = ManoHand()
    vertices, joints = (x.numpy().astype(float) for x in hand(torch.zeros(1, 61)))
    arrays = {"vertices": vertices, "joints": joints, "faces": hand.faces.numpy()}
    three = {**arrays, "vertices": vertices.repeat(3, 0), "joints": joints.repeat(3, 0)}
    finer, faces = trimesh.remesh.subdivide(vertices[0], hand.closed_faces.numpy())
    other = {"vertices": finer[None], "joints": joints, "faces": faces}
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.03)
    ball.apply_translation(joints[0, 4] + (0, -0.05, 0))
    box = trimesh.creation.box((0.08, 0.03, 0.05)).apply_translation(joints[0, 4] + (0, -0.04, 0))
    numbers = {
        "penetration_volume_cm3": np.array([0.5, 1.5, 2.5]),
        "sim_displacement_cm": np.array([0.1, np.nan, 0.3]),
    }
    return [
        Measured("ball", ball, HandMeshes.from_arrays(three, hand), numbers),
        Measured("box", box, HandMeshes.from_arrays(other, hand), {}),
    ]


def inked(image):
    return (image < 250).any(axis=-1)


def test_contact_sheet_has_a_row_for_each_object(tmp_path, measured):
    path = tmp_path / "grasps.png"
    contact_sheet(measured, path, count=2)
    sheet = np.array(Image.open(path))
    assert sheet.shape == (2 * (TILE + CAPTION + LINE), 4 * TILE, 3)
    first, second = np.split(sheet, 2)
    for row, filled in ((first, 4), (second, 2)):
        for i, tile in enumerate(np.split(row[CAPTION + LINE :], 4, axis=1)):
            covered = inked(tile)
            if i < filled:
                assert max(np.ptp(axis) for axis in np.nonzero(covered)) > 0.9 * TILE
            else:
                assert not covered.any(), "the box has one grasp"
    # The same hand before the same ball makes the same pictures, with less written above.
    tiles = np.split(first, 2, axis=1)
    np.testing.assert_array_equal(tiles[0][CAPTION + LINE :], tiles[1][CAPTION + LINE :])
    names, numbers = (
        [inked(tile[rows]).sum() for tile in tiles]
        for rows in (slice(LINE), slice(LINE, CAPTION + LINE))
    )
    assert names[0] > 50 and names[1] == 0, "the object's name stands above the first alone"
    assert numbers[0] > 1.3 * numbers[1] > 100, "so does its displacement, which the second lacks"


def test_bad_input_is_named(tmp_path, measured):
    with pytest.raises(ValueError, match="per_grasp is empty"):
        plot_results({"per_grasp": []}, tmp_path)
    with pytest.raises(ValueError, match=r"absent.*cannot be written"):
        plot_results(results({"mug": [1.0]}), tmp_path / "absent")
    with pytest.raises(ValueError, match="0 objects, 4 grasps of each, accepted are 1 or more"):
        contact_sheet([], tmp_path / "x.png")
    with pytest.raises(ValueError, match="2 objects, 0 grasps of each"):
        contact_sheet(measured, tmp_path / "x.png", count=0)
