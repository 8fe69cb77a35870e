"""Penetration volume against closed forms and against counting voxels."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.objects.distance import build_scene, signed_distance

DATA = Path(__file__).parents[2] / "training" / "data"


def volume(hand: trimesh.Trimesh, mesh: trimesh.Trimesh) -> float:
    return penetration_volume_cm3(np.asarray(hand.vertices)[None], hand.faces, mesh)[0]


def moved(mesh: trimesh.Trimesh, by) -> trimesh.Trimesh:
    return mesh.copy().apply_translation(by)


@pytest.mark.parametrize("shift", [(0.03, 0, 0), (0.02, -0.015, 0.031), (0.0395, 0, 0)])
def test_two_boxes(shift):
    box = trimesh.creation.box((0.04, 0.04, 0.04))
    expected = 1e6 * np.prod(0.04 - np.abs(shift))
    assert volume(box, moved(box, shift)) == pytest.approx(expected, rel=0.02)


def test_lens_of_two_spheres():
    ball, apart = trimesh.creation.icosphere(5, 0.03), 0.05
    height = 0.03 - apart / 2
    lens = 2 * np.pi * height**2 * (3 * 0.03 - height) / 3
    assert volume(ball, moved(ball, (apart, 0, 0))) == pytest.approx(1e6 * lens, rel=0.02)


def test_inside_out_of_reach_and_hollow():
    small, large = trimesh.creation.icosphere(3, 0.01), trimesh.creation.icosphere(4, 0.05)
    assert volume(small, large) == pytest.approx(1e6 * small.volume, rel=0.005)
    assert volume(large, small) == pytest.approx(1e6 * small.volume, rel=0.005)
    assert volume(small, moved(large, (0.1, 0, 0))) == 0
    shell = trimesh.boolean.difference([large, trimesh.creation.icosphere(4, 0.045)])
    assert volume(small, shell) == 0


def test_boxes_that_overlap_where_the_shapes_dont():
    box, ball = trimesh.creation.box((0.04, 0.04, 0.04)), trimesh.creation.icosphere(3, 0.03)
    assert volume(ball, moved(box, (0.045, 0.045, 0.045))) == 0
    assert volume(box, moved(box, (0.04 - 1e-5, 0.04 - 1e-5, 0))) == pytest.approx(0, abs=1e-5)


def test_a_hand_that_overlaps_itself_counts_once():
    ball = trimesh.creation.icosphere(3, 0.02)
    twice = trimesh.util.concatenate([ball, moved(ball, (0.01, 0, 0))])
    union = trimesh.boolean.union([ball, moved(ball, (0.01, 0, 0))]).volume
    around = trimesh.creation.box((0.2, 0.2, 0.2))
    assert volume(twice, around) == pytest.approx(1e6 * union, rel=0.005)


def test_a_line_counts_for_a_square_of_the_lattice():
    """Of lines 10 cm apart, along the longest side, that through the origin alone meets the box."""
    box = moved(trimesh.creation.box((0.04, 0.06, 0.04)), (0.003, 0.02, 0.001))
    around = trimesh.creation.box((0.2, 0.2, 0.2))
    found = penetration_volume_cm3(box.vertices[None], box.faces, around, pitch=0.1)
    assert found == pytest.approx([1e6 * 0.1**2 * 0.06], rel=1e-5)


def test_it_moves_with_the_scene():
    """A rigid motion of both changes nothing, nor does the batch that a hand stands in."""
    ball, box = trimesh.creation.icosphere(4, 0.03), trimesh.creation.box((0.05, 0.03, 0.08))
    ball.apply_translation((0.03, 0.01, 0.0))
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.1]))
    here = volume(ball, box)
    assert volume(ball.copy().apply_transform(turn), box.copy().apply_transform(turn)) == (
        pytest.approx(here, rel=0.01)
    )
    batch = np.stack([ball.vertices + 0.01, ball.vertices])
    assert penetration_volume_cm3(batch, ball.faces, box)[1] == here


def inside(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    scene = build_scene(mesh.vertices, mesh.faces)
    return scene.compute_occupancy(points.astype(np.float32)).numpy() > 0


def voxels(hand: trimesh.Trimesh, mesh: trimesh.Trimesh) -> float:
    """Cubic centimetres by counting the voxels of 0.5 mm whose centres lie in both."""
    pitch, coarse = 0.0005, 0.004
    low, high = (f(hand.bounds[i], mesh.bounds[i]) for i, f in enumerate((np.maximum, np.minimum)))
    axes = [
        np.arange(a + coarse / 2, b + coarse / 2, coarse) for a, b in zip(low, high, strict=True)
    ]
    blocks = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
    # Blocks of 8^3 voxels that can't reach into both aren't looked at any closer.
    for body in (hand, mesh):
        blocks = blocks[signed_distance(body, blocks) < coarse * 3**0.5 / 2]
    fine = (np.arange(8) - 3.5) * pitch
    fine = np.stack(np.meshgrid(fine, fine, fine), -1).reshape(-1, 3)
    centres = (blocks[:, None] + fine).reshape(-1, 3)
    centres = centres[inside(hand, centres)]
    return 1e6 * pitch**3 * inside(mesh, centres).sum()


def overlaps_itself(hand: trimesh.Trimesh) -> bool:
    """Whether some of the skin lies in another part of the hand, where counting crossings fails."""
    return inside(hand, hand.triangles_center + 2e-4 * hand.face_normals).any()


def test_agrees_with_half_millimetre_voxels_on_random_grasps():
    data, hand = GraspDataset.load(DATA), ManoHand()
    rng, errors = np.random.default_rng(0), []
    faces = hand.closed_faces.numpy()
    while len(errors) < 50:
        drawn = rng.integers(len(data))
        mesh, mano = data.mesh(data.object_index[drawn]), torch.from_numpy(data.mano[[drawn]])
        mano[:, 58:] += torch.from_numpy(rng.normal(0, 0.008, (1, 3))).float()
        one = trimesh.Trimesh(hand(mano)[0][0].numpy(), faces, process=False)
        # Counting is blind to half a voxel along a wall that stands square to the axes.
        turn = trimesh.transformations.random_rotation_matrix(rng.random(3))
        one.apply_transform(turn), mesh.apply_transform(turn)
        if overlaps_itself(one):
            continue
        counted = voxels(one, mesh)
        if counted > 0.1:  # 800 voxels
            errors.append(volume(one, mesh) / counted - 1)
    errors = np.array(errors)
    assert np.abs(errors).max() < 0.03
    assert np.abs(errors.mean()) < 0.005
