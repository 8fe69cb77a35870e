"""Shapes without grasps: their distances against closed forms, and what is held out."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.metrics.reconstruction import reconstruction_errors
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT
from grasp_gen_training.shapes import (
    FIRST_SEED,
    NOISES,
    SIZES,
    STEP,
    JointSamples,
    ShapeSamples,
    make_record,
    record_of,
    shape_mesh,
    shape_names,
    urdf_folder,
)

HALF = np.array([0.03, 0.05, 0.02])


def box_distance(points):
    beyond = np.abs(points) - HALF
    return np.linalg.norm(beyond.clip(0), axis=-1) + beyond.max(axis=-1).clip(max=0)


def sphere_distance(points):
    return np.linalg.norm(points, axis=-1) - 0.04


SHAPES = {
    "box": (trimesh.creation.box(2 * HALF), box_distance, 3e-5),
    "sphere": (trimesh.creation.icosphere(5, 0.04), sphere_distance, 1e-4),
}


@pytest.mark.parametrize("name", SHAPES)
def test_distances_are_the_closed_forms(name):
    mesh, exact, most = SHAPES[name]
    record = record_of(mesh, 0)
    points = record["step"] * record["points"].astype(float)
    near = np.abs(exact(points)) < 0.29
    found = STEP * record["distance"].astype(float)
    np.testing.assert_allclose(found[near], exact(points)[near], atol=most)
    assert (found < -0.005).any() and (np.abs(found) < 0.004).mean() > 0.3
    surface = record["step"] * record["surface"].astype(float)
    assert np.abs(exact(surface)).max() < most


def fitted_sphere(points):
    """Centre and radius by least squares."""
    rows = np.c_[2 * points, np.ones(len(points))]
    solved = np.linalg.lstsq(rows, np.square(points).sum(axis=1))[0]
    return solved[:3], np.sqrt(solved[3] + solved[:3] @ solved[:3])


def test_turned_scaled_and_moved_distances_are_right(tmp_path):
    """The sphere's centre and radius follow from its sample; distances are to that sphere."""
    file = tmp_path / "shapes.npy"
    np.save(file, np.stack([record_of(SHAPES["sphere"][0], 0)]))
    batch = ShapeSamples(file, 4096, 1024)[np.zeros(6, int), 1]
    radii = []
    arrays = (x.double().numpy() for x in batch.values())
    for surface, points, distance in zip(*arrays, strict=True):
        centre, radius = fitted_sphere(surface)
        exact = np.linalg.norm(points - centre, axis=1) - radius
        near = np.abs(exact) < 0.2
        np.testing.assert_allclose(distance[near], exact[near], atol=2e-4)
        radii.append(radius)
    assert 0.031 < min(radii) < max(radii) < 0.049


def test_surfaces_are_of_many_densities_and_noises(tmp_path):
    """A sphere's points are off it by nothing, half or one millimetre."""
    file = tmp_path / "shapes.npy"
    np.save(file, np.stack([record_of(SHAPES["sphere"][0], 0)]))
    counts, off = set(), []
    for seed in range(12):
        surface = ShapeSamples(file, 2048, 64)[np.zeros(4, int), seed]["surface"].double()
        counts.add(surface.shape[1])
        for points in surface.numpy():
            centre, radius = fitted_sphere(points)
            off.append((np.linalg.norm(points - centre, axis=1) - radius).std())
    assert len(counts) > 8 and 512 <= min(counts) and max(counts) <= 2048
    nearest = np.array(NOISES)[np.abs(np.subtract.outer(off, NOISES)).argmin(axis=1)]
    assert set(nearest) == set(NOISES)
    np.testing.assert_allclose(off, nearest, atol=8e-5)


def test_grasps_come_with_objects_that_have_none(tmp_path):
    class Grasps:
        surface = 300

        def __getitem__(self, batch):
            return {"mano": batch[0]}

    file = tmp_path / "shapes.npy"
    np.save(file, np.stack([record_of(SHAPES["sphere"][0], 0)]))
    joint = JointSamples(Grasps(), file, alone=5)
    batch = joint[np.arange(3), 7]
    assert batch["mano"].tolist() == [0, 1, 2]
    radii = batch["shapes"].norm(dim=2)
    assert radii.shape == (5, 300)
    assert radii.std(dim=1).max() < 1e-4 and radii.min() > 0.0315 and radii.max() < 0.0485
    np.testing.assert_array_equal(batch["shapes"], joint[np.arange(3), 7]["shapes"])


def test_held_out_families_are_for_validation_alone():
    training, validation = shape_names(100)
    families = {name.partition(":")[0] for name in training}
    assert families - {"urdf"} == set(FAMILIES) - set(HELD_OUT)
    assert {name.partition(":")[0] for name in validation} == set(HELD_OUT)
    assert len(set(training)) == len(training)
    seeds = [int(n.partition(":")[2]) for n in training + validation if not n.startswith("urdf")]
    assert min(seeds) >= FIRST_SEED


@pytest.mark.skipif(urdf_folder() is None, reason="pybullet_data isn't installed")
def test_pybullets_objects_are_solids_that_fit_a_hand():
    names = [name for name in shape_names(0)[0] if name.startswith("urdf:")]
    assert len(names) == 999
    for name in names[::250]:
        mesh = shape_mesh(name)
        assert mesh.is_volume and SIZES[0] <= mesh.extents.max() <= SIZES[1]
        assert np.array_equal(make_record(name), make_record(name))


def test_without_pybullets_objects_training_goes_on(monkeypatch, capsys):
    monkeypatch.setattr("grasp_gen_training.shapes.urdf_folder", lambda: None)
    training, _ = shape_names(10)
    assert len(training) == 10 and "without its shapes" in capsys.readouterr().err


def test_reconstruction_errors_are_those_of_a_larger_ball():
    small, large = (trimesh.creation.icosphere(5, radius) for radius in (0.04, 0.042))
    errors = reconstruction_errors(large, small)
    assert errors["surface_error_mm"] == pytest.approx(2, abs=0.02)
    assert errors["volume_error_pct"] == pytest.approx(100 * (1.05**3 - 1), abs=0.05)
    assert np.isnan(errors["cavity_open_pct"])


def test_a_filled_cup_is_not_hollow():
    cup = trimesh.creation.annulus(0.03, 0.04, 0.1)
    filled = trimesh.creation.cylinder(0.04, 0.1)
    assert reconstruction_errors(cup, cup)["cavity_open_pct"] > 99.9
    assert reconstruction_errors(filled, cup)["cavity_open_pct"] < 0.1
