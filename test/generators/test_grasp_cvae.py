"""GraspCVAE: its posterior and its decoder."""

import torch

from grasp_gen_core.generators import build_generator


def test_joints_stay_within_limits_before_any_training(hand):
    net = build_generator("grasp_cvae", hand).eval()
    angles = hand.regions.to_angles(net.decode(torch.randn(8, 512), torch.randn(8, 64))[:, 13:58])
    low, high = hand.regions.limits.unbind(-1)
    assert (angles >= low - 1e-5).all() and (angles <= high + 1e-5).all()


def test_kl_is_the_closed_form(hand, batch):
    net = build_generator("grasp_cvae", hand)
    losses = net.loss(batch)
    expected = {"vertices", "pose", "betas", "kl", "penetration", "hand_contact", "object_contact"}
    assert set(losses) == expected | {"loss"}
    total = sum(value for name, value in losses.items() if name != "loss")
    torch.testing.assert_close(losses["loss"], total)

    mean, log_variance = torch.randn(4, 64), torch.randn(4, 64)
    net.encode = lambda *_: (mean, log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    truth = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    weighted = net.config.weight_kl * truth.sum(dim=1).mean()
    torch.testing.assert_close(net.loss(batch)["kl"], weighted)
