"""The MANO layer against smplx, closed forms and mirror symmetry."""

import numpy as np
import pytest
import roma
import smplx
import torch
import trimesh
from torch import Tensor

from grasp_gen_core.hand import ManoHand, mirror_mano, mirror_points
from grasp_gen_core.hand.layer import GENERIC_HAND


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand(GENERIC_HAND)


def random_mano(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(count, 61, generator=generator)


def test_smplx_loads_the_shipped_file_unchanged_and_agrees(hand):
    theirs = smplx.MANO(
        str(GENERIC_HAND), is_rhand=True, use_pca=False, flat_hand_mean=True, ext="npz"
    )
    assert theirs.is_rhand
    mano = random_mano(4)
    output = theirs(
        betas=mano[:, :10],
        global_orient=mano[:, 10:13],
        hand_pose=mano[:, 13:58],
        transl=mano[:, 58:],
    )
    vertices, joints = hand(mano)
    torch.testing.assert_close(vertices, output.vertices)
    torch.testing.assert_close(joints[:, :16], output.joints)


def test_layout_is_manos(hand):
    vertices, joints = hand(torch.zeros(1, 61))
    assert vertices.shape == (1, 778, 3) and joints.shape == (1, 21, 3)
    assert hand.faces.shape == (1538, 3) and hand.closed_faces.shape == (1552, 3)
    closed = trimesh.Trimesh(vertices[0].numpy(), hand.closed_faces.numpy(), process=False)
    assert closed.is_watertight and closed.is_winding_consistent
    assert 150e-6 < closed.volume < 500e-6  # a hand displaces 0.3 litres or so
    # MANO's axes: fingers -x, palm -y, thumb +z; wrist to middle fingertip about 19 cm.
    wrist, thumb_tip, middle_tip = joints[0, 0], joints[0, 16], joints[0, 18]
    assert middle_tip[0] < wrist[0] - 0.15
    assert thumb_tip[2] > wrist[2] + 0.05
    assert 0.17 < float((middle_tip - wrist).norm()) < 0.21
    assert hand.regions.joint_axes[3, 1] @ torch.tensor([0.0, -1.0, 0.0]) > 0.9


def test_tips_are_smplx_fingertips_and_the_ends_of_their_fingers(hand):
    from smplx.vertex_ids import vertex_ids

    names = ("thumb", "index", "middle", "ring", "pinky")
    assert hand.regions.tips.tolist() == [vertex_ids["mano"][name] for name in names]
    vertices, joints = hand(torch.zeros(1, 61))
    torch.testing.assert_close(joints[:, 16:], vertices[:, hand.regions.tips])
    # No vertex of a finger is further from its first joint than its tip (within a nail's edge).
    for finger, first in enumerate((13, 1, 4, 10, 7)):
        own = vertices[0, hand.parts == finger]
        reach = (own - joints[0, first]).norm(dim=1).max()
        assert (vertices[0, hand.regions.tips[finger]] - joints[0, first]).norm() > reach - 0.003


def test_translation_and_wrist_rotation_are_rigid(hand):
    mano = random_mano(3)
    rotation = torch.linalg.matrix_exp(torch.tensor([[0.0, -1, 0.3], [1, 0, -0.5], [-0.3, 0.5, 0]]))
    shift = torch.tensor([0.1, -0.2, 0.3])
    vertices, joints = hand(mano)
    moved_vertices, moved_joints = hand(hand.move(mano, rotation, shift))
    torch.testing.assert_close(moved_vertices, vertices @ rotation.T + shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved_joints, joints @ rotation.T + shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(hand.root(mano[:, :10]) + mano[:, 58:], joints[:, 0])


def test_gradients_reach_every_parameter(hand):
    mano = random_mano(2).requires_grad_()
    vertices, _ = hand(mano)
    vertices.square().sum().backward()
    assert (mano.grad.abs() > 0).all()


@pytest.mark.parametrize("side", ["right", "left"])
def test_carried_vertices_are_those_of_the_whole_surface(side):
    hand, mano = ManoHand(side=side), random_mano(3)
    vertices, joints = hand(mano)
    some = torch.tensor([0, 5, 333, 777])
    points, sixteen = hand.carry(mano, some)
    torch.testing.assert_close(points, vertices[:, some], atol=1e-6, rtol=0)
    torch.testing.assert_close(sixteen, joints[:, :16], atol=1e-6, rtol=0)
    torch.testing.assert_close(hand.skeleton(mano), joints, atol=1e-6, rtol=0)

    pull = torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    slopes = []
    for surface in (lambda x: hand(x)[0][:, some], lambda x: hand.carry(x, some)[0]):
        free = mano.clone().requires_grad_()
        slopes += torch.autograd.grad((surface(free) * pull).sum(), free)
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-6, rtol=1e-4)


def test_carried_vertices_bulge_as_the_files_hand_does(tmp_path):
    arrays = dict(np.load(GENERIC_HAND))
    rng = np.random.default_rng(0)
    arrays["posedirs"] = 0.01 * rng.standard_normal(arrays["posedirs"].shape)
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    bulging, mano = ManoHand(tmp_path / "MANO_RIGHT.npz"), 0.3 * torch.randn(3, 61)
    points, _ = bulging.carry(mano, torch.arange(778))
    torch.testing.assert_close(points, bulging(mano)[0], atol=1e-5, rtol=0)
    assert (points - ManoHand()(mano)[0]).norm(dim=2).max() > 0.001


@pytest.mark.parametrize("side", ["right", "left"])
def test_derivative_is_that_of_automatic_differentiation(side):
    hand, mano = ManoHand(side=side), random_mano(3)
    mano[0, 10:] = 0  # a flat hand, where rotation vectors have no direction
    some = torch.tensor([0, 5, 333, 745, 777])

    def carried(change: Tensor, start: Tensor) -> Tensor:
        turned = roma.rotvec_composition((change[10:13], start[10:13]))
        moved = torch.cat([(start + change)[:10], turned, (start + change)[13:]])
        return hand(moved[None])[0][0, some]

    wanted = torch.func.vmap(torch.func.jacfwd(carried))(torch.zeros_like(mano), mano)
    torch.testing.assert_close(hand.derivative(mano, some), wanted, atol=1e-6, rtol=0)


def test_left_is_the_mirror_image(hand):
    left = ManoHand(GENERIC_HAND, side="left")
    mano = random_mano(3)
    vertices, joints = hand(mano)
    mirrored, mirrored_joints = left(mirror_mano(mano))
    torch.testing.assert_close(mirrored, mirror_points(vertices))
    torch.testing.assert_close(mirrored_joints, mirror_points(joints))
    surface = trimesh.Trimesh(mirrored[0].numpy(), left.closed_faces.numpy(), process=False)
    assert surface.volume > 0  # the faces turned with it


def test_left_angles_mean_the_same_as_right_ones(hand):
    left = ManoHand(GENERIC_HAND, side="left")
    angles = 0.3 * torch.rand(2, 15, 3)
    mano = torch.cat([torch.zeros(2, 13), hand.regions.to_pose(angles), torch.zeros(2, 3)], 1)
    mirrored = torch.cat([torch.zeros(2, 13), left.regions.to_pose(angles), torch.zeros(2, 3)], 1)
    torch.testing.assert_close(left(mirrored)[0], mirror_points(hand(mano)[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("component", range(10))
def test_shape_components_stay_anatomical(hand, component):
    """Three standard deviations either way: lengths change by centimetres, nothing folds."""
    betas = torch.zeros(2, 61)
    betas[0, component], betas[1, component] = 3, -3
    vertices, joints = hand(betas)
    length = (joints[:, 18] - joints[:, 0]).norm(dim=1)
    assert ((length > 0.15) & (length < 0.23)).all()
    for surface in vertices:
        closed = trimesh.Trimesh(surface.numpy(), hand.closed_faces.numpy(), process=False)
        assert closed.volume > 80e-6
        rest = trimesh.Trimesh(
            hand.model.v_template.numpy(), hand.closed_faces.numpy(), process=False
        )
        assert ((closed.face_normals * rest.face_normals).sum(axis=1) > 0).mean() > 0.995


def test_size_component_scales_by_five_percent(hand):
    mano = torch.zeros(2, 61)
    mano[1, 0] = 1
    _, joints = hand(mano)
    span = (joints[:, 1:] - joints[:, :1]).norm(dim=2)
    torch.testing.assert_close(span[1] / span[0], torch.full((20,), 1.05), atol=1e-3, rtol=0)


def test_environment_variable_names_the_hand(monkeypatch, tmp_path):
    copy = tmp_path / "MANO_RIGHT.npz"
    copy.write_bytes(GENERIC_HAND.read_bytes())
    monkeypatch.setenv("GRASP_GEN_HAND", str(copy))
    assert not ManoHand().is_generic
    monkeypatch.delenv("GRASP_GEN_HAND")
    assert ManoHand().is_generic


@pytest.mark.parametrize("shape", [(61,), (2, 60), (2, 61, 1)])
def test_wrong_shapes_are_refused(hand, shape):
    with pytest.raises(ValueError, match="accepted is"):
        hand(torch.zeros(shape))


def test_unknown_side_is_refused():
    with pytest.raises(ValueError, match="'right' and 'left'"):
        ManoHand(GENERIC_HAND, side="both")


def test_left_file_is_recognised_by_its_geometry(tmp_path):
    arrays = dict(np.load(GENERIC_HAND))
    flip = np.array([-1.0, 1.0, 1.0])
    arrays["v_template"] = arrays["v_template"] * flip
    arrays["shapedirs"] = arrays["shapedirs"] * flip[:, None]
    arrays["f"] = arrays["f"][:, ::-1]
    path = tmp_path / "some_hand.npz"
    np.savez(path, **arrays)
    hand, left = ManoHand(GENERIC_HAND), ManoHand(path, side="left")
    assert not left.mirrored
    mano = random_mano(2)
    torch.testing.assert_close(left(mirror_mano(mano))[0], mirror_points(hand(mano)[0]))


def test_reshaping_keeps_the_wrist_in_place(hand):
    mano = random_mano(3)
    reshaped = hand.reshape(mano, torch.zeros(3, 10))
    torch.testing.assert_close(hand(reshaped)[1][:, 0], hand(mano)[1][:, 0])
    torch.testing.assert_close(reshaped[:, 10:58], mano[:, 10:58])
    assert (reshaped[:, :10] == 0).all()
