"""Procedural objects: sound meshes of household size."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT, make_object
from grasp_gen_core.objects.procedural.shapes import SPREAD, draw


def test_there_are_enough_families():
    assert len(FAMILIES) == len(set(FAMILIES)) >= 26


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_are_sound_and_of_household_size(family):
    for seed in range(8):
        mesh = make_object(family, seed)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
        assert mesh.body_count == 1
        assert 150 < len(mesh.faces) < 6000
        assert 0.014 < mesh.extents.max() < 0.37
        assert 0.0015 < mesh.extents.min() < 0.17  # something a hand can span
        np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(family):
    same, again, other = (make_object(family, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(same.vertices, again.vertices)
    np.testing.assert_array_equal(same.faces, again.faces)
    assert np.abs(same.extents - other.extents).max() > 1e-4


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="wardrobe.*accepted are .*mug"):
        make_object("wardrobe", 0)


@pytest.mark.parametrize("family", ["mug", "pitcher", "kettle", "basket", "ring"])
def test_handles_hoops_and_rings_have_one_hole(family):
    assert all(make_object(family, seed).euler_number == 0 for seed in range(8))  # genus 1


def test_scissors_have_two_finger_holes_at_least():
    assert all(make_object("scissors", seed).euler_number <= -2 for seed in range(8))


@pytest.mark.parametrize("family", ["mug", "pitcher", "cup", "bowl", "pan", "basket", "kettle"])
def test_vessels_are_hollow_and_hold_water(family):
    for seed in range(4):
        mesh = make_object(family, seed)
        top = mesh.bounds[1, 2]
        axis = np.stack([np.zeros(500), np.zeros(500), np.linspace(-top, top, 500)], axis=1)
        # The body's own axis, from its foot: handles and spouts shift the centre.
        foot = mesh.vertices[mesh.vertices[:, 2] < mesh.bounds[0, 2] + 1e-6]
        axis[:, 0] = (foot[:, 0].min() + foot[:, 0].max()) / 2
        distance = signed_distance(mesh, axis)
        assert distance.max() > 0.015  # room inside
        assert distance.min() < -0.0005  # a floor below it
        assert mesh.volume < 0.6 * mesh.convex_hull.volume


@pytest.mark.parametrize("family", ["mug", "pitcher", "kettle"])
def test_a_finger_passes_the_handle(family):
    for seed in range(8):
        mesh = make_object(family, seed)
        x, z = (np.linspace(*mesh.bounds[:, axis], 121) for axis in (0, 2))
        grid = np.stack(np.meshgrid(x, [0.0], z, indexing="ij"), axis=-1)[:, 0]
        gap = signed_distance(mesh, grid.reshape(-1, 3)).reshape(121, 121)
        widest = 0.0
        for column in gap.T:  # at one height: outwards from the body's wall
            runs = np.flatnonzero(np.diff(column < 0))
            if len(runs) >= 4:  # through the wall, into the gap, through the handle
                widest = max(widest, column[runs[-3] : runs[-2] + 1].max())
        assert widest > 0.010


def test_held_out_families_are_a_few_of_all():
    assert set(HELD_OUT) < set(FAMILIES)
    assert 2 <= len(HELD_OUT) <= 0.1 * len(FAMILIES)


def test_sizes_are_those_of_products():
    cans = np.array([make_object("can", seed).extents for seed in range(60)])
    assert 0.055 < np.median(cans[:, 0]) < 0.09
    assert 0.07 < np.median(cans[:, 2]) < 0.15
    boxes = np.sort([make_object("box", seed).extents for seed in range(60)], axis=1)
    assert 0.05 < np.median(boxes[:, 0]) < 0.07  # broad ones are many
    assert boxes[:, 0].max() < 0.09  # what a hand spans
    balls = np.array([make_object("ball", seed).extents for seed in range(60)])
    assert 0.055 < np.median(balls) < 0.08


def test_a_drawn_size_keeps_its_proportions():
    rng = np.random.default_rng(0)
    drawn = np.array([draw(rng, {"can": (66.0, 115.0)})[1] for _ in range(300)])
    scale = np.log(drawn / [66, 115])
    assert np.abs(scale).max() <= 2.001 * SPREAD
    assert 0.8 * SPREAD < scale.std() < 1.1 * SPREAD
    assert np.diff(scale).std() < 0.5 * SPREAD


def test_solids_have_the_volume_of_their_shape():
    """A can is nearly its cylinder, a box nearly its cuboid."""
    box = make_object("box", 2)
    assert 0.93 < box.volume / np.prod(box.extents) <= 1
    hull = trimesh.convex.convex_hull(box)
    assert box.volume == pytest.approx(hull.volume, rel=1e-3)
