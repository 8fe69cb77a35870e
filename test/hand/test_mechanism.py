"""The hand as a mechanism, against the MANO layer, physics and geometry."""

import mujoco
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core.cli import main
from grasp_gen_core.hand import PARTS, ManoHand
from grasp_gen_core.hand.mechanism import Mechanism
from grasp_gen_core.objects.distance import signed_distance

FIRM = 0.9  # of the skinning weight: away from creases


@pytest.fixture(scope="module", params=["right", "left"])
def mechanism(request) -> Mechanism:
    return Mechanism(ManoHand(side=request.param))


def hands(mechanism: Mechanism, count: int) -> torch.Tensor:
    """Random shapes, places and poses within the joints' limits."""
    rng = torch.Generator().manual_seed(0)
    low, high = mechanism.hand.regions.limits.unbind(-1)
    angles = low + (high - low) * torch.rand(count, 15, 3, generator=rng)
    mano = torch.randn(count, 61, generator=rng)
    mano[:, 13:58] = mechanism.hand.regions.to_pose(angles)
    mano[:, 58:] *= 0.1
    return mano


def posed(mechanism: Mechanism, mano: torch.Tensor) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The model of a hand (61,), in its place and pose."""
    spec = mechanism.spec(mano[:10].numpy())
    wrist = spec.body("wrist")
    wrist.pos = wrist.pos + mano[58:].numpy()
    wrist.quat = Rotation.from_rotvec(mano[10:13].numpy()).as_quat(scalar_first=True)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = mechanism.angles(mano[None, 13:58].numpy()).ravel()
    mujoco.mj_kinematics(model, data)
    return model, data


def hulls(model: mujoco.MjModel, data: mujoco.MjData) -> list[tuple[int, trimesh.Trimesh]]:
    """Each cell's segment and surface."""
    found = []
    for geom in range(model.ngeom):
        mesh = model.geom_dataid[geom]
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        points = points @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        found.append((model.geom_bodyid[geom] - 1, trimesh.convex.convex_hull(points)))
    return found


def test_rotation_vectors_are_hinge_angles(mechanism):
    """There and back, and MuJoCo's own bodies turn as MANO's joints do; poses fit the ranges."""
    mano = hands(mechanism, 8)
    angles = mechanism.angles(mano[:, 13:58].numpy())
    np.testing.assert_allclose(mechanism.pose(angles), mano[:, 13:58].numpy(), atol=1e-9)
    assert (angles >= mechanism.range[..., 0] - 1e-6).all()
    assert (angles <= mechanism.range[..., 1] + 1e-6).all()
    model, data = posed(mechanism, mano[0])
    turns = [Rotation.from_rotvec(mano[0, 10:13].numpy())]
    for number, segment in enumerate(mechanism.segments[1:]):
        own = Rotation.from_rotvec(mano[0, 13 + 3 * number : 16 + 3 * number].numpy())
        turns.append(turns[segment.parent] * own)
        found = data.body(segment.name).xmat.reshape(3, 3)
        np.testing.assert_allclose(found, turns[-1].as_matrix(), atol=1e-6)


def test_joints_and_fingertips_are_the_layers(mechanism):
    for mano in hands(mechanism, 4):
        _, data = posed(mechanism, mano)
        joints = mechanism.hand(mano[None])[1][0].numpy()
        found = [data.body(segment.name).xpos for segment in mechanism.segments]
        found += [data.site(f"{finger}_tip").xpos for finger in PARTS[:5]]
        # Where a tip's skin is its last bone's alone, as here, it moves as that bone does.
        np.testing.assert_allclose(found, joints, atol=1e-6)


def test_cells_and_skin_agree_away_from_creases(mechanism):
    hand = mechanism.hand
    weights = hand.model.lbs_weights.numpy()
    for mano in hands(mechanism, 3):
        skin = hand(mano[None])[0][0].double().numpy()
        surface = trimesh.Trimesh(skin, hand.closed_faces.numpy(), process=False)
        cells = hulls(*posed(mechanism, mano))
        firm = np.flatnonzero(weights.max(axis=1) > FIRM)
        outside = np.min([signed_distance(cell, skin[firm]) for _, cell in cells], axis=0)
        assert outside.max() < 0.001
        sticking = []
        for _, cell in cells:
            points, _ = trimesh.sample.sample_surface(cell, 200, seed=0)
            nearest = trimesh.proximity.ProximityQuery(surface).vertex(points)[1]
            away = weights[nearest].max(axis=1) > FIRM
            sticking.append(signed_distance(surface, points[away]))
        sticking = np.concatenate(sticking)
        # A few cells bridge the palm's folds.
        assert (sticking < 0.001).mean() > 0.9 and sticking.max() < 0.012


def test_it_weighs_what_its_volume_does_and_stays_where_it_is(mechanism):
    """Gravity is compensated: a hand that is told to stay doesn't sink or shake in a second."""
    mano = hands(mechanism, 1)[0]
    model, data = posed(mechanism, mano)
    skin = mechanism.hand(mano[None, :])[0][0].numpy()
    volume = trimesh.Trimesh(skin, mechanism.hand.closed_faces.numpy(), process=False).volume
    # The palm's hull fills its hollow, too.
    assert 1100 * volume < model.body_mass.sum() < 1.5 * 1100 * volume
    start = data.qpos.copy()
    data.ctrl[:] = start
    for _ in range(500):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(data.qpos, start, atol=1e-4)
    model.body_gravcomp[:] = 0
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert np.abs(data.qpos - start).max() > 3e-4


def test_motors_are_as_strong_as_fingers(mechanism):
    """Far from its target, a motor gives its limit, and the joint comes to rest on the target."""
    spec = mechanism.spec(np.zeros(10))
    model = spec.compile()
    data = mujoco.MjData(model)
    flexion = [model.actuator(f"middle{k}_flexion").id for k in (1, 2, 3)]
    data.ctrl[flexion] = 0.8
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_force[flexion], [1.0, 0.6, 0.3])
    for _ in range(1000):
        mujoco.mj_step(model, data)
    found = [data.joint(f"middle{k}_flexion").qpos[0] for k in (1, 2, 3)]
    np.testing.assert_allclose(found, 0.8, atol=0.01)
    # Flexed, the tip is on the palm's side.
    tip, knuckle = data.site("middle_tip").xpos, data.body("middle1").xpos
    assert (tip - knuckle) @ mechanism.hand.regions.palm_axis.numpy() > 0.03


def test_the_exported_file_is_the_hand(tmp_path):
    out = tmp_path / "my.hand.xml"
    betas = ["-1.5", "0.5"]
    assert main(["export-hand", "--side", "left", "--betas", *betas, "--out", str(out)]) == 0
    model = mujoco.MjModel.from_xml_path(str(out))
    data = mujoco.MjData(model)
    mano = torch.zeros(1, 61)
    mano[0, :2] = torch.tensor([float(beta) for beta in betas])
    mujoco.mj_kinematics(model, data)
    hand = ManoHand(side="left")
    tips = [data.site(f"{finger}_tip").xpos for finger in PARTS[:5]]
    np.testing.assert_allclose(tips, hand(mano)[1][0, 16:].numpy(), atol=1e-6)
    own = Mechanism(hand).spec(mano[0, :10].numpy()).compile()
    assert (model.nu, model.ngeom) == (own.nu, own.ngeom) == (45, model.nmesh)
    np.testing.assert_allclose(model.body_mass, own.body_mass, rtol=1e-5)
    np.testing.assert_allclose(model.actuator_forcerange, own.actuator_forcerange, rtol=1e-5)


@pytest.mark.parametrize(
    ("betas", "reason"),
    [(["nan"], "betas[0] is nan"), (["0"] * 11, "11 numbers"), (["11"], "betas[0] is 11")],
)
def test_wrong_shapes_are_refused(betas, reason, tmp_path, capsys):
    out = tmp_path / "hand.xml"
    assert main(["export-hand", "--betas", *betas, "--out", str(out)]) == 2
    assert reason in capsys.readouterr().err and not out.exists()
