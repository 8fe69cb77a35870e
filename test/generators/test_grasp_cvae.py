"""GraspCVAE: shapes, frames, losses, and whether it can learn at all."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.generators import build_generator, load_generator, save_generator
from grasp_gen_core.generators.layers.frames import principal_frame
from grasp_gen_core.generators.layers.losses import is_inside, nearest
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.hand import ManoHand


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def cloud(seed: int, n: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, generator=generator) * torch.tensor([0.2, 0.08, 0.05])


def a_rotation() -> torch.Tensor:
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]]))


def batch(hand: ManoHand, count: int) -> dict[str, torch.Tensor]:
    """Hands half a decimetre from different boxes."""
    generator = torch.Generator().manual_seed(0)
    mano = 0.2 * torch.randn(count, 61, generator=generator)
    mano[:, 58:] *= 0.3
    views = torch.stack([cloud(seed) for seed in range(count)])
    flip = torch.zeros(count, dtype=torch.long)
    return {"view": views, "surface": views, "mano": mano, "flip": flip}


def test_principal_frame_is_a_rotation_that_follows_the_cloud():
    points = torch.stack([cloud(0), cloud(1)])
    flip = torch.tensor([0, 3])
    rotation, centre = principal_frame(points, flip)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    turn, shift = a_rotation(), torch.tensor([0.3, -0.1, 0.2])
    turned, moved = principal_frame(points @ turn.T + shift, flip)
    torch.testing.assert_close(turned, turn @ rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(moved, centre @ turn.T + shift)


def test_the_four_flips_are_the_four_turns_of_the_axes():
    frames, _ = principal_frame(cloud(0).expand(4, -1, -1), torch.arange(4))
    for i in range(4):
        between = frames[0].T @ frames[i]
        torch.testing.assert_close(between.abs(), torch.eye(3), atol=1e-5, rtol=0)
    assert len({tuple((frames[0].T @ f).diagonal().sign().tolist()) for f in frames}) == 4


def test_pointnet_ignores_order_and_repetition():
    net = PointNet((16, 32)).eval()
    points = torch.randn(2, 50, 3)
    shuffled = points[:, torch.randperm(50)]
    torch.testing.assert_close(net(points), net(shuffled))
    torch.testing.assert_close(net(points), net(torch.cat([points, points], dim=1)))


def test_pointnet_is_a_maximum_over_points_and_so_is_its_gradient():
    net, points = PointNet((16, 32, 64)), torch.randn(6, 50, 3)
    plainly = net.norm(net.last(net.point_layers(10 * points.mT)).max(dim=2).values)
    weights, found = list(net.parameters()), net(points)
    torch.testing.assert_close(found, plainly)
    gradients = (torch.autograd.grad(x.square().sum(), weights) for x in (found, plainly))
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


def test_samples_move_with_the_object(hand):
    """The network works in the object's frame: a moved cloud gets equally moved hands."""
    net = build_generator("grasp_cvae", hand).eval()
    points, turn, shift = cloud(0), a_rotation(), torch.tensor([0.5, -0.2, 0.9])
    with torch.no_grad():
        here = net.sample(points, 6, torch.Generator().manual_seed(1))
        there = net.sample(points @ turn.T + shift, 6, torch.Generator().manual_seed(1))
    expected = hand(here)[0] @ turn.T + shift
    torch.testing.assert_close(hand(there)[0], expected, atol=1e-4, rtol=0)


def test_sampling_depends_on_the_seed_alone(hand):
    net = build_generator("grasp_cvae", hand).eval()
    one, two, three = (
        net.sample(cloud(0), 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == (5, 61) and torch.isfinite(one).all()
    assert torch.equal(one, two) and not torch.equal(one, three)


@pytest.mark.parametrize("points", [64, 3000])
def test_any_number_of_points(hand, points):
    net = build_generator("grasp_cvae", hand).eval()
    assert net.sample(cloud(0, points), 3, torch.Generator().manual_seed(0)).shape == (3, 61)


def test_joints_stay_within_limits_before_any_training(hand):
    net = build_generator("grasp_cvae", hand).eval()
    angles = hand.regions.to_angles(net.decode(torch.randn(8, 512), torch.randn(8, 64))[:, 13:58])
    low, high = hand.regions.limits.unbind(-1)
    assert (angles >= low - 1e-5).all() and (angles <= high + 1e-5).all()


def test_kl_is_the_closed_form(hand):
    net = build_generator("grasp_cvae", hand)
    losses = net.loss(batch(hand, 4))
    expected = {"vertices", "pose", "betas", "kl", "penetration", "hand_contact", "object_contact"}
    assert set(losses) == expected | {"loss"}
    total = sum(value for name, value in losses.items() if name != "loss")
    torch.testing.assert_close(losses["loss"], total)

    mean, log_variance = torch.randn(4, 64), torch.randn(4, 64)
    net.encode = lambda *_: (mean, log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    truth = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    weighted = net.config.weight_kl * truth.sum(dim=1).mean()
    torch.testing.assert_close(net.loss(batch(hand, 4))["kl"], weighted)


def test_inside_test_agrees_with_trimesh(hand):
    vertices, _ = hand(torch.zeros(1, 61))
    solid = trimesh.Trimesh(vertices[0].numpy(), hand.closed_faces.numpy(), process=False)
    points = trimesh.sample.volume_mesh(solid, 300)[:150]
    outside = solid.sample(150) + 0.02 * np.random.default_rng(0).normal(size=(150, 3))
    points = np.concatenate([points, outside]).astype(np.float32)
    truth = solid.contains(points)
    query = torch.from_numpy(points)[None]
    _, index = nearest(query, vertices)
    ours = is_inside(query, vertices, index, hand.closed_faces)[0].numpy()
    assert (ours == truth).mean() > 0.95


def test_it_overfits_a_few_grasps(hand):
    torch.manual_seed(0)
    data = batch(hand, 4)
    net = build_generator("grasp_cvae", hand, {"weight_kl": 1e-3})
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(250):
        losses = net.loss(data)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    # Squared centimetres: from a decimetre off to under a centimetre.
    assert losses["vertices"].item() < 1.0


def test_weights_round_trip(hand, tmp_path):
    net = build_generator("grasp_cvae", hand, {"latent": 16}).eval()
    save_generator(net, tmp_path)
    again = load_generator("grasp_cvae", hand, tmp_path)
    assert again.config == net.config
    one, two = (n.sample(cloud(0), 3, torch.Generator().manual_seed(0)) for n in (net, again))
    torch.testing.assert_close(one, two)


def test_bad_weights_and_names_are_one_clear_error(hand, tmp_path):
    with pytest.raises(ValueError, match="accepted are grasp_cvae"):
        build_generator("graspcvae", hand)
    with pytest.raises(ValueError, match="no weights"):
        load_generator("grasp_cvae", hand, tmp_path)
    with pytest.raises(ValueError, match="latents"):
        build_generator("grasp_cvae", hand, {"latents": 3})
    save_generator(build_generator("grasp_cvae", hand), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no weights"):
        load_generator("grasp_cvae", hand, tmp_path)
