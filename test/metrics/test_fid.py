"""Frechet distance against closed forms, views against geometry, FID on grasps spoilt by us."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from scipy.spatial.transform import Rotation

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.fid import (
    BEFORE_PALM,
    REACH,
    SIZE,
    Inception,
    RandomNetwork,
    fid,
    frechet_distance,
    get_extractor,
    grasp_views,
)

DATA = Path(__file__).parents[2] / "training" / "data"


def samples(mean, covariance, count=200, seed=0):
    """Samples whose own mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def random_covariance(size, seed):
    x = np.random.default_rng(seed).normal(size=(size, size))
    return x @ x.T / size + 0.1 * np.eye(size)


def test_equal_covariances_leave_the_squared_distance_of_the_means():
    covariance = random_covariance(6, seed=1)
    a = samples(np.zeros(6), covariance, seed=2)
    b = samples(np.array([3.0, 0, 0, 4, 0, 0]), covariance, count=90, seed=3)
    assert frechet_distance(a, b) == pytest.approx(25.0, rel=1e-9)


def test_diagonal_covariances_leave_the_deviations_differences():
    one, two = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 1.0])
    a, b = samples(np.zeros(3), np.diag(one**2)), samples(np.zeros(3), np.diag(two**2), seed=4)
    assert frechet_distance(a, b) == pytest.approx(((one - two) ** 2).sum(), rel=1e-9)


def test_agrees_with_the_matrix_square_root():
    one, two, shift = random_covariance(8, 5), random_covariance(8, 6), np.arange(8) / 10
    a, b = samples(np.zeros(8), one), samples(shift, two, count=333, seed=7)
    exact = shift @ shift + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-7)
    assert frechet_distance(b, a) == pytest.approx(exact, rel=1e-7)


def test_fewer_samples_than_features():
    """Zero columns and a rotation into 40 features change no distance."""
    one, two = np.diag([1.0, 4, 9]), np.diag([4.0, 4, 1])
    a, b = samples(np.zeros(3), one, count=8), samples(np.ones(3), two, count=9, seed=8)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(40, 40)))[0]
    wide = [np.pad(x, ((0, 0), (0, 37))) @ turn for x in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(3 + 1 + 0 + 4, rel=1e-9)


def test_sets_that_cannot_be_compared_are_refused():
    good = np.zeros((5, 4))
    with pytest.raises(ValueError, match=r"features_a: shape \(1, 4\), accepted is \(N, D\)"):
        fid(good[:1], good)
    with pytest.raises(ValueError, match=r"features_b: shape \(5,\)"):
        fid(good, good[:, 0])
    with pytest.raises(ValueError, match="features_b: contains NaN"):
        fid(good, good + np.nan)
    with pytest.raises(ValueError, match="features_b: 3 features, accepted.* 4"):
        fid(good, good[:, :3])


@pytest.fixture(scope="module")
def hand():
    return ManoHand()


@pytest.fixture(scope="module")
def flat(hand):
    """One flat hand: vertices (1, 778, 3), joints (1, 21, 3)."""
    return tuple(x.numpy() for x in hand(torch.zeros(1, 61)))


def ball(position):
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.015)
    return mesh.apply_translation(position)


def bluish(picture):
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    return blue > 1.2 * red


def test_views_show_the_grasp_where_it_is(hand, flat):
    vertices, joints = flat
    fingers = trimesh.unitize(joints[0, 4] - joints[0, 0])
    thumb_side = joints[0, 1] - joints[0, 7]
    thumb_side = trimesh.unitize(thumb_side - (thumb_side @ fingers) * fingers)
    palm_side = np.cross(thumb_side, fingers)
    faces, scale = hand.closed_faces.numpy(), SIZE / (2 * REACH)

    def centres(out, before, aside):
        """Pixels right of and above the middle of each view, of the middle of a ball."""
        offset = out * fingers + (before + BEFORE_PALM) * palm_side + aside * thumb_side
        pictures = grasp_views(vertices, faces, joints, ball(joints[0, 4] + offset))
        assert pictures.shape == (3, SIZE, SIZE, 3) and pictures.dtype == np.uint8
        rows, columns = zip(*(np.nonzero(bluish(p)) for p in pictures), strict=True)
        middles = [
            ((c.min() + c.max()) / 2, -(r.min() + r.max()) / 2)
            for r, c in zip(rows, columns, strict=True)
        ]
        return np.array(middles) - (63.5, -63.5)

    # Clear of the thumb; then further out, and to the thumb's side.
    for out, before, aside in ((0.06, 0.07, 0.0), (0.09, 0.06, 0.02)):
        thumb, palm, _ = centres(out, before, aside)
        # The thumb's side is seen from a little above the back of the hand.
        left = (before + 0.3 * aside) / np.hypot(1, 0.3)
        assert thumb == pytest.approx([-scale * left, scale * out], abs=1)
        assert palm == pytest.approx([scale * aside, scale * out], abs=1)


def test_the_nearer_hides_the_farther(hand, flat):
    vertices, joints = flat
    faces = hand.closed_faces.numpy()
    before = ball(joints[0, 4] + (0.02, -0.05, 0))
    behind = ball(joints[0, 4] + (0.02, 0.05, 0))
    assert bluish(grasp_views(vertices, faces, joints, before)[1]).sum() > 100
    assert bluish(grasp_views(vertices, faces, joints, behind)[1]).sum() == 0


def test_frame_and_side_change_no_picture(hand, flat):
    vertices, joints = (np.repeat(x.astype(float), 2, axis=0) for x in flat)
    faces = hand.closed_faces.numpy()
    mesh = trimesh.creation.cylinder(radius=0.02, height=0.12)
    mesh.apply_translation(joints[0, 4] + (0.01, -0.04, 0.02))
    here = grasp_views(vertices, faces, joints, mesh)
    np.testing.assert_array_equal(here[:3], here[3:])

    turn, shift = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix(), np.array([0.5, -0.2, 0.3])
    turned = mesh.copy()
    turned.apply_transform(np.vstack([np.column_stack([turn, shift]), (0, 0, 0, 1)]))
    there = grasp_views(vertices @ turn.T + shift, faces, joints @ turn.T + shift, turned)
    assert np.abs(here.astype(int) - there).mean() < 0.05, "grey levels"

    flip = np.array([1, -1, 1])
    mirrored = trimesh.Trimesh(mesh.vertices * flip, mesh.faces[:, ::-1], process=False)
    left = grasp_views(vertices * flip, faces[:, ::-1], joints * flip, mirrored)
    assert np.abs(here.astype(int) - left).mean() < 0.05, "grey levels"


def test_random_network_is_fixed_and_sees_each_picture_alone():
    network = get_extractor()
    assert network.name == "random-cnn-64" and network is get_extractor()
    pictures = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    pictures[1] = 255
    features = network(pictures)
    assert features.shape == (70, 64) and features.dtype == np.float64
    assert not features[1].any(), "white is nothing"
    np.testing.assert_array_equal(features, RandomNetwork()(pictures))
    np.testing.assert_allclose(features[65:66], network(pictures[65:66]), rtol=1e-4)
    # The layers are linear but for a relu: the darker the ink, the larger the features.
    half = (255 - (255 - pictures[2:3].astype(int)) // 2 * 2, 255 - (255 - pictures[2:3]) // 2)
    full, light = (network(x.astype(np.uint8)) for x in half)
    np.testing.assert_allclose(full, 2 * light, rtol=1e-4)


@pytest.fixture(scope="module")
def drawn(hand):
    """Features of 20 good grasps of one object, and of the same grasps spoilt."""
    data = GraspDataset.load(DATA)
    index = int(np.bincount(data.object_index).argmax())
    mesh, extractor = data.mesh(index), get_extractor()
    mano = torch.from_numpy(data.mano[data.object_index == index][:20])
    noise = torch.randn(20, 45, generator=torch.Generator().manual_seed(0))

    def features(back_off=0.0, deviation=0.0):
        spoilt = mano.clone()
        spoilt[:, 13:58] += deviation * noise
        vertices, joints = (x.numpy().astype(float) for x in hand(spoilt))
        # Out of the back of the right hand.
        fingers = joints[:, 4] - joints[:, 0]
        back = trimesh.unitize(np.cross(fingers, joints[:, 1] - joints[:, 7]))
        shift = back_off * back[:, None]
        faces = hand.closed_faces.numpy()
        return extractor(grasp_views(vertices + shift, faces, joints + shift, mesh))

    return {
        "good": features(),
        "backed off": [features(back_off=mm / 1000) for mm in (10, 40)],
        "joint noise": [features(deviation=radians) for radians in (0.1, 0.4)],
    }


def test_fid_of_a_set_with_itself_is_zero(drawn):
    good = drawn["good"]
    assert good.shape == (60, 64)
    assert fid(good, good[::-1]) < 1e-9 * np.trace(np.cov(good.T))


@pytest.mark.parametrize("spoilt", ["backed off", "joint noise"])
def test_fid_grows_as_grasps_are_spoilt(drawn, spoilt):
    to = np.array([fid(drawn["good"], features) for features in drawn[spoilt]])
    assert to[0] > 0 and (to[1:] > 1.1 * to[:-1]).all(), to


def torchvision_error():
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


def test_files_that_are_no_weights_are_refused(tmp_path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for name, content in (("text.pth", b"hello"), ("text.safetensors", b"hello")):
        (tmp_path / name).write_bytes(content)
    torch.save({"weight": Command()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("absent.pth", "text.pth", "text.safetensors", "code.pth", "list.pth"):
        with pytest.raises(ValueError, match=f"{name}: .*accepted are") as raised:
            Inception(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(torchvision_error() is None, reason="torchvision is there")
def test_without_torchvision_inception_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights.pth: Inception needs a torchvision that fits"):
        Inception(tmp_path / "weights.pth")


@pytest.mark.skipif(torchvision_error() is not None, reason=f"torchvision: {torchvision_error()}")
def test_inception_features_are_torchvisions(tmp_path):
    from torchvision.models import Inception3

    torch.manual_seed(0)
    network = Inception3(transform_input=True, aux_logits=True, init_weights=False).eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(1 / 6)  # an untrained layer's, so that outputs don't fade
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")

    pictures = np.random.default_rng(0).integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)
    pooled = []
    network.avgpool.register_forward_hook(lambda *call: pooled.append(call[2].flatten(1)))
    # The whole way of torchvision's own recipe: ImageNet's mean and deviation, then its transform.
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = (torch.from_numpy(pictures).float() / 255 - mean) / deviation
        network(x.permute(0, 3, 1, 2))
    for name in ("weights.pth", "weights.safetensors"):
        extractor = get_extractor(tmp_path / name)
        assert extractor.name == "inception-v3"
        features = extractor(pictures)
        assert features.shape == (2, 2048) and features.std() > 0
        exact = pooled[0].numpy()
        np.testing.assert_allclose(features, exact, rtol=1e-3, atol=1e-4 * exact.std())
    assert extractor(pictures[:, ::3, ::3].copy()).shape == (2, 2048), "other sizes are resized"

    other = dict(network.state_dict())
    other["fc.weight"] = torch.zeros(1008, 2048)
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match="other.safetensors: no weights of torchvision's inception"
    ):
        Inception(tmp_path / "other.safetensors")
