"""Procedural objects: sound meshes of household size."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.procedural import FAMILIES, make_object


def test_there_are_enough_families():
    assert len(FAMILIES) == len(set(FAMILIES)) >= 10


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_are_sound_and_of_household_size(family):
    for seed in range(8):
        mesh = make_object(family, seed)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
        assert mesh.body_count == 1
        assert 500 < len(mesh.faces) < 10000
        assert 0.03 < mesh.extents.max() < 0.37
        assert mesh.extents.min() < 0.17  # something a hand can span
        np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(family):
    same, again, other = (make_object(family, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(same.vertices, again.vertices)
    np.testing.assert_array_equal(same.faces, again.faces)
    assert np.abs(same.extents - other.extents).max() > 1e-4


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="teapot.*accepted are .*mug"):
        make_object("teapot", 0)


@pytest.mark.parametrize("family", ["mug", "pitcher"])
def test_vessels_with_a_handle_have_one_hole(family):
    assert all(make_object(family, seed).euler_number == 0 for seed in range(8))  # genus 1


def test_scissors_have_two_finger_holes_at_least():
    assert all(make_object("scissors", seed).euler_number <= -2 for seed in range(8))


@pytest.mark.parametrize("family", ["mug", "pitcher", "cup", "bowl"])
def test_vessels_are_hollow_and_hold_water(family):
    for seed in range(4):
        mesh = make_object(family, seed)
        top = mesh.bounds[1, 2]
        axis = np.stack([np.zeros(500), np.zeros(500), np.linspace(-top, top, 500)], axis=1)
        if family in ("mug", "pitcher"):  # the body's own axis: the handle shifts the centre
            ring = mesh.vertices[mesh.vertices[:, 2] < mesh.bounds[0, 2] + 1e-6]
            axis[:, 0] = (ring[:, 0].min() + ring[:, 0].max()) / 2
        distance = signed_distance(mesh, axis)
        assert distance.max() > 0.015  # room inside
        assert distance.min() < -0.0005  # a floor below it
        assert mesh.volume < 0.6 * mesh.convex_hull.volume


def test_a_finger_fits_through_the_handle():
    for seed in range(4):
        mesh = make_object("mug", seed)
        x = np.linspace(mesh.bounds[1, 0] - 0.04, mesh.bounds[1, 0], 81)
        line = np.stack([x, np.zeros(81), np.zeros(81)], axis=1)
        gap = signed_distance(mesh, line)
        assert gap.max() > 0.007 and gap.min() < 0


def test_solids_have_the_volume_of_their_shape():
    """A can is nearly its cylinder, a box nearly its cuboid."""
    box = make_object("box", 2)
    assert 0.93 < box.volume / np.prod(box.extents) <= 1
    hull = trimesh.convex.convex_hull(box)
    assert box.volume == pytest.approx(hull.volume, rel=1e-3)
