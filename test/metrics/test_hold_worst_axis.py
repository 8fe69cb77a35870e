"""The MuJoCo hold test against free fall, rest and good and bad grasps."""

import manifold3d
import mujoco
import numpy as np
import pytest
import roma
import torch
import trimesh

from grasp_gen_core.metrics import hold_worst_axis, mujoco_scene
from grasp_gen_core.metrics.hold_worst_axis import GRAVITY, HoldTest, cells_of, hand_cells
from grasp_gen_core.metrics.mujoco_scene import SimObject

DOWN = np.array([[0.0, 0.0, -1.0]])


def test_cells_fit_posed_hands(hand, grasps):
    """What of the cells sticks out of the skin, against the hand's volume."""
    cells = hand_cells(hand)
    assert len(np.unique(np.concatenate(cells.patches))) == 778
    outside = []
    for vertices in hand(grasps[1])[0].numpy().astype(float):
        skin = manifold3d.Manifold(manifold3d.Mesh64(vertices, cells.faces.astype(np.uint64)))
        parts = [manifold3d.Manifold.hull_points(points) for points in cells.points(vertices)]
        union = manifold3d.Manifold.batch_boolean(parts, manifold3d.OpType.Add)
        outside.append((union - skin).volume() / skin.volume())
    assert np.mean(outside) < 0.06


def test_nothing_slips_between_cells(hand, grasps):
    """Points up to 4 mm below the skin lie in some cell."""
    cells = hand_cells(hand)
    vertices = hand(grasps[1][:1])[0][0].numpy().astype(float)
    skin = trimesh.Trimesh(vertices, cells.faces, process=False)
    points, faces = trimesh.sample.sample_surface(skin, 3000, seed=0)
    parts = [trimesh.convex.convex_hull(points) for points in cells.points(vertices)]
    for depth in (0.0005, 0.002, 0.004):
        inner = points - depth * skin.face_normals[faces]
        inside = np.zeros(len(points), bool)
        for part in parts:
            offset = (part.face_normals * part.triangles[:, 0]).sum(axis=1)
            inside |= (inner @ part.face_normals.T <= offset + 1e-9).all(axis=1)
        assert inside.mean() > 0.98


def test_free_fall(ball, hand):
    """An object out of the hand's reach falls g t^2 / 2."""
    away = hand(torch.zeros(1, 61))[0].numpy() + 50
    result = HoldTest(ball, hand_cells(hand))(away, lost=10.0)
    assert result.displacement_cm[0] == pytest.approx(100 * GRAVITY / 2, rel=0.02)
    assert result.drift_cm[0] == 0 and not result.unstable[0]


def test_an_object_rests_in_a_cup(ball):
    angle = np.linspace(0, 0.5 * np.pi, 17)
    arc = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    cup = trimesh.creation.revolve(np.concatenate([0.052 * arc, 0.04 * arc[::-1]]), sections=48)
    # The cells round off the cup's inside by up to a millimetre.
    resting = ball.copy().apply_translation([0, 0, -0.009])
    down = HoldTest(resting, cells_of(cup.vertices, cup.faces), axes=DOWN)(cup.vertices[None])
    assert down.displacement_cm[0] < 0.1 and down.drift_cm[0] < 0.1
    up = HoldTest(resting, cells_of(cup.vertices, cup.faces), axes=-DOWN)(cup.vertices[None])
    assert up.displacement_cm[0] == pytest.approx(5)


def test_a_good_grasp_holds_and_falls_when_backed_off(grasps, hand):
    mesh, mano = grasps
    test = HoldTest(mesh, hand_cells(hand))
    good = test(hand(mano)[0].numpy())
    assert (good.displacement_cm < 1).all() and not good.unstable.any()
    palm = roma.rotvec_to_rotmat(mano[:, 10:13]) @ hand.regions.palm_axis
    away = torch.cat([mano[:, :58], mano[:, 58:] - 0.03 * palm], dim=1)
    np.testing.assert_allclose(test(hand(away)[0].numpy()).displacement_cm, 5)


def test_contacts_found_now_and_then_hold_alike(grasps, hand, monkeypatch):
    """Good grasps and those backed off by 10 mm move as far as where each step finds contacts."""
    mesh, mano = grasps
    palm = roma.rotvec_to_rotmat(mano[:, 10:13]) @ hand.regions.palm_axis
    away = torch.cat([mano[:, :58], mano[:, 58:] - 0.01 * palm], dim=1)
    vertices = hand(torch.cat([mano, away]))[0].numpy()
    seldom = HoldTest(mesh, hand_cells(hand))(vertices)
    monkeypatch.setattr(mujoco_scene, "STALE", -1.0)
    always = HoldTest(mesh, hand_cells(hand))(vertices)
    moved = always.displacement_cm
    np.testing.assert_array_equal(seldom.displacement_cm < 2, moved < 2)
    assert 0 < (moved < 2).sum() < len(moved) and (seldom.displacement_cm != moved).any()
    assert np.median(np.abs(seldom.displacement_cm - moved)) < 0.01


def test_results_do_not_depend_on_runs_before(grasps, hand):
    mesh, mano = grasps
    vertices = hand(mano[:3])[0].numpy()
    cells = hand_cells(hand)
    batch, turned = HoldTest(mesh, cells)(vertices), HoldTest(mesh, cells)(vertices[::-1])
    for name, values in batch._asdict().items():
        np.testing.assert_array_equal(values, getattr(turned, name)[::-1])


def test_parts_are_those_of_their_object(ball):
    """MuJoCo keeps what it made of parts of other objects."""
    box = trimesh.creation.box((0.02, 0.03, 0.04))
    for mesh in (ball, box, ball):
        spec, body = mujoco.MjSpec(), SimObject(mesh, 1.0, (1.0, 0.0, 0.0))
        body.add_to(spec, 0.004)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        turn = data.geom_xmat[0].reshape(3, 3)
        corners = model.mesh_vert[: model.mesh_vertnum[0]] @ turn.T + data.geom_xpos[0]
        np.testing.assert_allclose(corners.min(axis=0), mesh.bounds[0], atol=2e-4)
        np.testing.assert_allclose(corners.max(axis=0), mesh.bounds[1], atol=2e-4)


def test_its_weight_acts_at_its_centre_of_mass():
    """Of a hammer far from its frame's origin: where MuJoCo has it, and how it turns by itself."""
    head = trimesh.creation.box((0.03, 0.1, 0.03)).apply_translation([0, 0, 0.1])
    handle = trimesh.creation.box((0.02, 0.02, 0.2))
    mesh = trimesh.boolean.union([head, handle]).apply_translation([0.4, -0.2, 0.7])
    spec, body = mujoco.MjSpec(), SimObject(mesh, 0.5, (1.0, 0.0, 0.0))
    body.add_to(spec, 0.004)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    number = model.body("object").id
    np.testing.assert_allclose(data.xipos[number], mesh.center_mass, atol=1e-6)
    turn = data.ximat[number].reshape(3, 3)
    inertia = turn @ np.diag(model.body_inertia[number]) @ turn.T
    np.testing.assert_allclose(inertia, mesh.moment_inertia * (0.5 / mesh.mass), atol=1e-8)


def test_a_thrown_object_is_named(ball):
    plate = trimesh.creation.box((0.2, 0.2, 0.004)).subdivide().subdivide()
    deep = plate.vertices + [0, 0, -0.025]
    cells = cells_of(plate.vertices, plate.faces)
    result = HoldTest(ball, cells)(np.stack([deep, plate.vertices + 1]))
    assert result.unstable.tolist() == [True, False]


def test_fingers_that_touch_are_cells_of_their_own():
    """Two bars a tenth of a millimetre apart: no cell holds vertices of both."""
    bar = trimesh.creation.box((0.01, 0.01, 0.08))
    two = trimesh.util.concatenate([bar, bar.copy().apply_translation([0.0101, 0, 0])])
    cells = cells_of(two.vertices, two.faces)
    first = len(bar.vertices)
    assert all((patch < first).all() or (patch >= first).all() for patch in cells.patches)


def test_what_diverges_is_named_and_quiet(ball, hand, tmp_path, monkeypatch, capfd):
    """Gravity of 1e14 m/s^2 is more than the engine can integrate."""
    monkeypatch.chdir(tmp_path)  # MuJoCo would write a log there
    monkeypatch.setattr(hold_worst_axis, "GRAVITY", 1e14)
    away = hand(torch.zeros(1, 61))[0].numpy() + 50
    result = HoldTest(ball, hand_cells(hand), axes=DOWN)(away, lost=np.inf)
    assert result.unstable[0]
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_an_object_that_the_engine_loses_counts_as_lost(ball, hand):
    """MuJoCo's own NaN, of a gravity that is none, after five directions that it stands."""
    away = hand(torch.zeros(1, 61))[0].numpy() + 50
    axes = np.vstack([np.zeros((5, 3)), [[np.nan, 0, 0]]])
    result = HoldTest(ball, hand_cells(hand), axes=axes)(away)
    assert result.displacement_cm.tolist() == [5.0] and result.unstable.tolist() == [True]
