"""The network that guesses the space about a part of an object: its cube, its nested objects."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core.completion import Seen, get_completion
from grasp_gen_core.completion.volume import (
    CHANNELS,
    MARGIN,
    ROOM,
    SIDE,
    SMALLEST,
    ByVolume,
    Cube,
    Volume,
    VolumeConfig,
    meshes,
)
from grasp_gen_core.generators import load_network
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid, signed_distance
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import outward_normals, sample_surface
from grasp_gen_core.objects.views import view_object


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def shipped(hand) -> ByVolume:
    return ByVolume(load_network("volume", hand))


def cap(size: float = 0.08, height: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """The upper part of a box that is open below, at z from 0 to its height, and its mirror's."""
    points, normals = sample_surface(trimesh.creation.box([size, size, 2 * height]), 1000)
    sides = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, 1]])
    upper = points[:, 2] > 0
    return tuple(
        np.concatenate([rows[upper] * side for side in sides]) for rows in (points, normals)
    )


def test_the_cube_looks_along_the_opening_and_reaches_beyond_it():
    points, normals = cap()
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    shift = np.array([0.3, -0.1, 0.2])
    cube = Cube.about(points @ turn.T + shift, normals @ turn.T)
    np.testing.assert_allclose(cube.turn @ cube.turn.T, np.eye(3), atol=1e-6)
    # Only the top's normals are left of the closed walls'.
    np.testing.assert_allclose(cube.turn[2], turn @ [0, 0, 1], atol=0.02)
    assert cube.step * (SIDE - 1) == pytest.approx(max(SMALLEST, 0.03 + MARGIN + ROOM), abs=2e-3)
    middle = cube.turn @ shift
    assert cube.rim == pytest.approx(middle[2], abs=2e-3)
    low, high = cube.places()[0, 0, 0], cube.places()[-1, -1, -1]
    assert high[2] == pytest.approx(middle[2] + 0.03 + MARGIN, abs=2e-3)
    assert low[2] < middle[2] - ROOM + 0.01
    np.testing.assert_allclose((low + high)[:2] / 2, middle[:2], atol=5e-3)


def test_channels_say_heights_over_the_nearest_plane_and_the_opening():
    points, normals = cap()
    cube = Cube.about(points, normals)
    rows = cube.channels(points, normals)
    assert rows.shape == (CHANNELS, SIDE, SIDE, SIDE) and np.isfinite(rows).all()
    places = cube.places() @ cube.turn  # in the cloud's axes
    above = np.abs(places[..., :2]).max(axis=-1) < 0.03
    above &= np.abs(places[..., 2] - 0.03) < cube.step
    height = (places[..., 2] - 0.03) / cube.step
    near = np.exp(-((height / 2) ** 2))
    assert above.sum() > 20
    np.testing.assert_allclose(rows[2][above], (near * height)[above], atol=0.1)
    up = np.einsum("c...,c->...", rows[3:6], cube.turn[:, 2])
    np.testing.assert_allclose(up[above], near[above], atol=0.1)
    np.testing.assert_allclose(rows[6], (places[..., 2] - cube.rim) / ROOM, atol=0.03)


def test_what_is_moved_is_guessed_alike(shipped):
    points, normals = cap()
    shift = np.array([0.3, -0.1, 0.2])
    asked = np.random.default_rng(0).uniform(-0.1, 0.1, (500, 3))
    one, moved = (
        shipped.field(points + by, normals).each(torch.from_numpy(asked + by).float())
        for by in (0 * shift, shift)
    )
    assert (one - moved).abs().mean() < 1e-3


def test_it_learns_one_part_by_heart(hand):
    """A box of which the upper half is given: within half a step of the whole."""
    torch.manual_seed(0)
    net = Volume(hand, VolumeConfig(widths=(8, 16), dropout=0.0))
    points, normals = cap()
    cube = Cube.about(points, normals)
    mesh = trimesh.creation.box([0.08, 0.08, 0.06])
    true = signed_distance(mesh, cube.places() @ cube.turn) / cube.step
    batch = {
        "channels": torch.from_numpy(cube.channels(points, normals))[None],
        "steps": torch.from_numpy(true)[None],
        "weight": torch.ones(1, SIDE, SIDE, SIDE),
    }
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        net.loss(batch)["loss"].backward()
        optimiser.step()
    field = ByVolume(net.eval()).field(points, normals)
    asked = np.random.default_rng(0).uniform(-0.05, 0.05, (3000, 3)).astype(np.float32)
    found = field(torch.from_numpy(asked)).numpy()
    assert np.abs(found - signed_distance(mesh, asked)).mean() < 0.5 * cube.step
    solid = meshes(field)[0]
    assert solid.is_watertight and solid.volume == pytest.approx(mesh.volume, rel=0.25)


def masked(family: str, seed: int, view: str):
    mesh = make_object(family, seed)
    points = view_object(mesh, view, seed=seed).points
    return points, outward_normals(points), mesh


def test_each_object_lies_in_the_next(shipped):
    """Those of one quantile everywhere are nested: but for what rounding of the grids adds."""
    points, normals, _ = masked("bottle", 3, "mask50")
    values = shipped.field(points, normals).values[0]
    assert len(values) == 6
    inside = (values < 0).flatten(1).float().mean(dim=1)
    assert (inside.diff() >= 0).all() and inside[-1] > 1.05 * inside[0]
    assert (values.diff(dim=0) > 0.004).float().mean() < 0.01


def test_what_was_seen_is_exact_in_each(shipped):
    points, normals, mesh = masked("box", 5, "mask50")
    field = shipped.field(points, normals)
    inner = points[np.linalg.norm(points - points.mean(axis=0), axis=1) < 0.05]
    assert field.each(torch.from_numpy(inner)).abs().mean() < 0.001


def test_it_is_nearer_to_the_truth_than_symmetry(hand, shipped):
    """Of a family that no training has seen, near what is missing."""
    off = {"volume": [], "symmetry": []}
    for seed in range(6):
        points, normals, mesh = masked("flashlight", seed, ("mask50", "mask90")[seed % 2])
        cube = Cube.about(points, normals)
        places = cube.places()[cube.places()[..., 2] < cube.rim] @ cube.turn
        true = signed_distance(mesh, places)
        near = np.abs(true) < 0.02
        for name, way in (("volume", shipped), ("symmetry", get_completion("symmetry", hand))):
            field = way(Seen(points, normals), 0).field
            found = field(torch.from_numpy(places[near]).float()).numpy()
            off[name].append(np.abs(found - true[near]).mean())
    assert np.mean(off["volume"]) < np.mean(off["symmetry"]), off


def test_a_whole_object_is_taken_for_what_it_is(hand, shipped):
    points, normals = sample_surface(trimesh.creation.box([0.05, 0.06, 0.1]), 2000)
    believed = shipped(Seen(points, normals), 0)
    assert not believed.shapes
    expected = DistanceGrid.from_cloud(points, normals)
    torch.testing.assert_close(believed.field.values, expected.values)


def test_what_a_camera_saw_to_be_free_is_in_none(shipped):
    """A ball's front half, seen from above: nothing is beside the cone that it shades."""
    points, normals = sample_surface(trimesh.creation.icosphere(4, 0.04), 4000)
    eye = np.array([0.0, 0.0, 0.5])
    toward = eye - points
    seen = np.einsum("nd,nd->n", normals, toward) > 0.1 * np.linalg.norm(toward, axis=1)
    field = shipped(Seen(points[seen], normals[seen], eye), 0).field
    free = torch.tensor([[0.0, 0.0, 0.06], [0.06, 0, 0.0], [0, -0.06, 0.01], [0.05, 0.05, 0.02]])
    assert (field.each(free) > 0).all()
