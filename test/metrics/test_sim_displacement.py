"""The PyBullet test against free fall, rest and good and bad grasps."""

import tempfile

import numpy as np
import pytest
import roma
import trimesh

from grasp_gen_core.metrics.sim_displacement import STEP, SimTest, distance_cm, vhacd_parts
from grasp_gen_core.objects.convex import convex_parts, union_volume
from grasp_gen_core.objects.procedural import make_object


@pytest.fixture(scope="module")
def cup() -> trimesh.Trimesh:
    """A shell whose inner radius is 40 mm, open above."""
    angle = np.linspace(0, 0.5 * np.pi, 17)
    arc = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    return trimesh.creation.revolve(np.concatenate([0.044 * arc, 0.04 * arc[::-1]]), sections=48)


def far_away(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices[None] + 50, mesh.faces


def test_free_fall(ball, cup):
    """Exactly semi-implicit Euler's n (n + 1) / 2 g dt^2: at 35 steps 2.9 % beyond g t^2 / 2.

    With more steps, g t^2 / 2 itself.
    """
    fallen = SimTest(ball)(*far_away(cup)).displacement_cm[0]
    assert fallen == pytest.approx(100 * 35 * 36 / 2 * 9.8 * STEP**2, rel=1e-4)
    fallen = SimTest(ball, steps=120, gravity=(0, 0, -5))(*far_away(cup)).displacement_cm[0]
    assert fallen == pytest.approx(100 * 5 * 0.5**2 / 2, rel=0.02)


def test_a_run_ends_when_the_object_is_lost(ball, cup):
    """At the first of the steps' sums n (n + 1) / 2 g dt^2 that is a centimetre or more."""
    fallen = SimTest(ball, lost=0.01)(*far_away(cup)).displacement_cm[0]
    sums = [100 * n * (n + 1) / 2 * 9.8 * STEP**2 for n in range(35)]
    assert fallen == pytest.approx(next(x for x in sums if x >= 1), rel=1e-4)


def test_an_object_rests_in_a_cup(ball, cup):
    resting = ball.copy().apply_translation([0, 0, -0.0099])
    result = SimTest(resting, steps=120, gravity=(0, 0, -9.8))(cup.vertices[None], cup.faces)
    assert result.displacement_cm[0] < 0.1 and result.drift_cm[0] < 0.1
    assert not result.unstable[0]


def test_a_good_grasp_holds_and_falls_when_backed_off(grasps, hand):
    mesh, mano = grasps
    faces = hand.closed_faces.numpy()
    good = SimTest(mesh)(hand(mano)[0].numpy(), faces)
    assert (good.displacement_cm < 1).all() and not good.unstable.any()
    palms = roma.rotvec_to_rotmat(mano[:, 10:13]) @ hand.regions.palm_axis
    for one, palm in zip(mano, palms, strict=True):
        away = one.clone()
        away[58:] -= 0.05 * palm  # fingertips too are past the object
        # Gravity away from the palm: else the object could come to lie in the hand.
        fallen = SimTest(mesh, gravity=9.8 * palm.numpy())(hand(away[None])[0].numpy(), faces)
        assert fallen.displacement_cm[0] > 2


def test_results_do_not_depend_on_runs_before(grasps, hand):
    mesh, mano = grasps
    vertices, faces = hand(mano[:4])[0].numpy(), hand.closed_faces.numpy()
    test = SimTest(mesh)
    batch = test(vertices, faces)
    turned = SimTest(mesh)(vertices[::-1], faces)
    alone = [test(one[None], faces) for one in vertices]
    for name, values in batch._asdict().items():
        np.testing.assert_array_equal(values, getattr(turned, name)[::-1])
        np.testing.assert_array_equal(values, [getattr(one, name)[0] for one in alone])


def test_round_parts_have_fewer_corners_and_lose_little():
    """A fine ball's hull, which stays within 0.2 mm of it."""
    fine = trimesh.creation.icosphere(subdivisions=4, radius=0.03)
    ((corners, faces),) = SimTest(fine).parts
    hull = trimesh.Trimesh(corners, faces, process=False)
    assert len(corners) < len(convex_parts(fine).parts[0].vertices) < len(fine.vertices)
    nearest = np.abs((hull.face_normals * hull.triangles[:, 0]).sum(axis=1)).min()
    assert 0.0297 < nearest < 0.03


def test_a_thrown_object_is_named(ball):
    """A wedge pushed into the ball from one side squeezes it out."""
    plate = trimesh.creation.box((0.2, 0.2, 0.004)).subdivide().subdivide()
    deep = plate.vertices + [0, 0, -0.015]
    result = SimTest(ball)(np.stack([deep, plate.vertices + 1]), plate.faces)
    assert result.unstable.tolist() == [True, False]
    assert result.drift_cm[0] > 1 and result.drift_cm[1] == 0


def test_without_drift_the_displacement_is_the_same(ball, cup):
    resting = ball.copy().apply_translation([0, 0, -0.0099])
    hands = np.stack([cup.vertices, cup.vertices + 50])
    full, half = (SimTest(resting, drift=drift)(hands, cup.faces) for drift in (True, False))
    np.testing.assert_array_equal(half.displacement_cm, full.displacement_cm)
    assert np.isnan(half.drift_cm).all() and np.isfinite(full.drift_cm).all()
    assert not half.unstable.any()
    # What gravity can't explain is named as before.
    plate = trimesh.creation.box((0.2, 0.2, 0.004)).subdivide().subdivide()
    deep = np.stack([plate.vertices + [0, 0, -0.015], plate.vertices + 1])
    thrown = SimTest(ball, gravity=(0, 0, -9.8), drift=False)(deep, plate.faces)
    assert thrown.unstable.tolist() == [True, False]


def test_drift_is_what_a_run_without_gravity_gives(can_grasps, hand):
    """To the last bit: nothing of the run with gravity is left in Bullet."""
    mesh, mano = can_grasps
    vertices, faces = hand(mano)[0].numpy(), hand.closed_faces.numpy()
    both = SimTest(mesh)(vertices, faces)
    alone = SimTest(mesh, gravity=(0, 0, 0), drift=False)(vertices, faces)
    np.testing.assert_array_equal(both.drift_cm, alone.displacement_cm)


def test_as_published(grasps, hand, cup):
    mug = make_object("mug", 0)
    assert union_volume(vhacd_parts(mug)) > 1.5 * mug.volume  # fat parts fill it
    np.testing.assert_allclose(SimTest.as_published(mug).centre, mug.vertices.mean(axis=0))
    fallen = SimTest.as_published(mug)(*far_away(cup))
    # Bullet's own damping, 4 % a second, was left on.
    assert fallen.displacement_cm[0] == pytest.approx(10.7, abs=0.05)
    assert np.isnan(fallen.drift_cm[0])


def test_nothing_is_printed_or_left_behind(ball, cup, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    SimTest(ball)(*far_away(cup))
    SimTest.as_published(ball)(*far_away(cup))
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_an_empty_batch(ball, cup):
    result = SimTest(ball)(np.zeros((0, len(cup.vertices), 3)), cup.faces)
    assert [values.shape for values in result] == [(0,)] * 3


def test_open_meshes_are_refused():
    sheet = trimesh.creation.box((0.05, 0.05, 0.05))
    sheet.update_faces(np.arange(len(sheet.faces)) > 1)
    with pytest.raises(ValueError, match="not watertight"):
        SimTest(sheet)


@pytest.mark.parametrize("drift", [True, False])
def test_an_object_that_the_engine_loses_moved_ten_centimetres(ball, cup, drift):
    """Bullet's own NaN, of a gravity that is none, is neither a distance nor left out of means."""
    lost = SimTest(ball, gravity=(0, np.nan, 0), drift=drift)(*far_away(cup))
    assert lost.displacement_cm.tolist() == [10.0] and lost.unstable.tolist() == [True]
    published = SimTest.as_published(ball)
    published.gravity = np.array([0, np.nan, 0])
    lost = published(*far_away(cup))
    assert lost.displacement_cm.tolist() == [10.0] and lost.unstable.tolist() == [True]
    assert distance_cm(np.array([0.0, np.inf, 0.0])) == 10.0
    assert distance_cm(np.array([0.03, 0.0, 0.04])) == pytest.approx(5)
