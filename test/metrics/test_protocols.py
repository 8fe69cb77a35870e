"""Protocols: each reproduces its paper's way of measuring, on shapes of known numbers."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.protocols import (
    get_protocol,
    spread_dvqvae,
    summarise,
    surface_voxel_volume_cm3,
    tolerant_depth_cm,
)
from grasp_gen_core.objects.distance import signed_distance


class Hands:
    """A closed mesh in the place of a hand."""

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self.vertices, self.faces = np.asarray(mesh.vertices)[None], np.asarray(mesh.faces)


def test_surface_voxels_see_a_shell_only():
    """Around a hand-sized ball deep in a box no voxel counts; across its wall about a slab's."""
    ball, box = trimesh.creation.icosphere(3, 0.03), trimesh.creation.box((0.15, 0.15, 0.15))
    assert surface_voxel_volume_cm3(Hands(ball), box, 0.005)[0] == 0
    assert penetration_volume_cm3(Hands(ball).vertices, ball.faces, box)[0] > 100
    ball.apply_translation((0.075, 0, 0))
    slab = 1e6 * np.pi * 0.03**2 * 0.005
    assert surface_voxel_volume_cm3(Hands(ball), box, 0.005)[0] == pytest.approx(slab, rel=0.2)


def test_the_convex_hull_fills_a_cup():
    outer = trimesh.creation.cylinder(0.04, 0.1)
    inner = trimesh.creation.cylinder(0.037, 0.1).apply_translation((0, 0, 0.005))
    cup = trimesh.boolean.difference([outer, inner])
    finger = trimesh.creation.capsule(0.06, 0.008)
    assert penetration_volume_cm3(Hands(finger).vertices, finger.faces, cup)[0] == 0
    hull = penetration_volume_cm3(Hands(finger).vertices, finger.faces, cup.convex_hull)[0]
    assert hull > 5


def test_the_tolerant_depth_is_right_in_millimetres_and_wrong_in_metres():
    """The same test on a thousandfold scene agrees with the exact distance."""
    ball = trimesh.creation.icosphere(5, 0.04)  # 20,480 small triangles
    points = np.random.default_rng(0).uniform(-0.08, 0.08, (1, 2000, 3))
    exact = -100 * signed_distance(ball, points).min()
    large = ball.copy().apply_scale(1000)
    assert tolerant_depth_cm(1000 * points, large)[0] / 1000 == pytest.approx(exact, abs=0.1)
    outside = points[:, np.linalg.norm(points[0], axis=1) > 0.045]
    assert tolerant_depth_cm(1000 * outside, large)[0] == 0
    assert tolerant_depth_cm(outside, ball)[0] > 0.5
    # Rays through a hollow ball cross four walls.
    walls = [trimesh.creation.icosphere(3, radius) for radius in (40, 30)]
    hollow = trimesh.util.concatenate(walls)
    assert tolerant_depth_cm(1000 * outside[:, :400], hollow)[0] == 0


def test_parts_of_the_true_volume_need_no_note(ball):
    assert get_protocol("exact").notes(ball) == []


def test_papers_disagree_on_what_contact_is(ball):
    """Small balls 3 mm in a large one, 3 mm before it, and far off: a shared lens, and 5 mm."""
    small = trimesh.creation.icosphere(4, 0.01)
    hands = Hands(small)
    hands.vertices = hands.vertices + np.array([0.037, 0.043, 0.08])[:, None, None] * [1, 0, 0]
    found = {name: get_protocol(name).measure(hands, ball) for name in ("dvqvae", "fastgrasp")}
    assert found["dvqvae"]["contact_ratio_pct"].tolist() == [100, 0, 0]
    assert found["fastgrasp"]["contact_ratio_pct"].tolist() == [100, 100, 0]
    lens = 1e6 * np.pi * 0.003**2 * (0.037**2 + 2 * 0.037 * 0.04 - 3 * 0.02**2) / (12 * 0.037)
    volume = {name: numbers["penetration_volume_cm3"] for name, numbers in found.items()}
    assert volume["dvqvae"] == pytest.approx([lens, 0, 0], rel=0.1)
    voxels = surface_voxel_volume_cm3(hands, ball, 0.005)
    assert voxels[0] > 0 and volume["fastgrasp"].tolist() == voxels.tolist()


def test_unknown_protocol():
    with pytest.raises(ValueError, match="accepted are exact, dvqvae, grasptta, fastgrasp"):
        get_protocol("strict")


def test_raw_parameters_are_needed_for_dvqvae():
    with pytest.raises(ValueError, match="mano"):
        spread_dvqvae(np.zeros((30, 21, 3)), None, 0)


def test_summary():
    numbers = {
        "penetration_volume_cm3": np.array([0.5, 1.5, 3.0, 0.0]),
        "sim_displacement_cm": np.array([1.0, 0.5, 0.1, 12.0]),
        "sim_unstable": np.array([False, False, False, True]),
    }
    summary = summarise(numbers, np.zeros((4, 21, 3)), None, get_protocol("exact"), 0)
    assert summary["penetration_volume_cm3"] == 1.25
    assert summary["sim_displacement_median_cm"] == 0.75
    assert summary["sim_displacement_std_cm"] == pytest.approx(np.std([1.0, 0.5, 0.1, 12.0]))
    assert summary["sim_unstable_pct"] == 25.0
    assert summary["entropy"] is None  # four grasps don't fill twenty clusters
    curve = summary["high_quality_ratio"]
    assert curve["ratio_pct"][curve["volume_cm3"].index(1.0)] == 25.0
    assert curve["ratio_pct"][-1] == 75.0


def test_nothing_leaves_the_means_unseen():
    """A number that is missing makes its mean missing, and nobody else's."""
    numbers = {
        "penetration_volume_cm3": np.array([1.0, 3.0]),
        "sim_displacement_cm": np.array([0.2, np.nan]),
        "sim_unstable": np.array([False, True]),
    }
    summary = summarise(numbers, np.zeros((2, 21, 3)), None, get_protocol("exact"), 0)
    assert summary["penetration_volume_cm3"] == 2.0 and summary["sim_unstable_pct"] == 50.0
    for name in ("sim_displacement_cm", "sim_displacement_median_cm", "sim_displacement_std_cm"):
        assert np.isnan(summary[name])
    assert summary["high_quality_ratio"]["ratio_pct"][-1] == 50.0
