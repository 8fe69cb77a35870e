"""GraspCVAE: its posterior and its decoder; ContactNet."""

import roma
import torch

from grasp_gen_core.generators import build_generator, load_generator, load_network, save_generator


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


def test_hands_are_recognised_whatever_they_are(hand, cloud, turn):
    """From what is recognised the decoder comes by just these hands, in their object's frame."""
    net = load_generator("grasp_cvae", hand)
    rng, points = torch.Generator().manual_seed(0), cloud(0) @ turn.T
    own = net.sample(points, 4, rng)
    others = hand.move(own, turn, torch.tensor([0.01, 0.02, 0.03]))
    others[:, :10] += 1
    for mano in (own, others):
        known = net.recognise(mano, points)
        again = net.to_mano(net.decoder(known.inputs) + known.shift)
        again = hand.move(again, known.rotation, known.centre)
        torch.testing.assert_close(hand(again)[0], hand(mano)[0], atol=2e-4, rtol=0)


def test_contact_losses_of_a_point_on_the_skin_and_of_one_far_away(hand):
    """A point on the pads is in contact, one far away isn't, and neither is inside."""
    net, flat = build_generator("grasp_cvae", hand), torch.zeros(1, 61)
    vertices, _ = hand(flat)
    prior = (hand.regions.zones >= 0).nonzero()[:, 0]
    tip = vertices[0, prior[len(prior) // 2]]
    terms = net.consistency(tip.expand(1, 1, 3), vertices, torch.zeros(1, 1))
    torch.testing.assert_close(terms.map, torch.ones(1))  # f(0) = 1 where 0 is wanted
    far = net.consistency(torch.full((1, 1, 3), 9.0), vertices, torch.zeros(1, 1))
    for value in far:
        torch.testing.assert_close(value, torch.zeros(1))


def test_contact_net_learns_maps_by_heart_and_moves_with_the_scene(hand, batch, turn):
    torch.manual_seed(0)
    quiet = {"noise_place": 0, "noise_turn": 0, "noise_pose": 0}
    net = build_generator("contact_net", hand, quiet | {"features": (16, 32, 64)})
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    first = net.loss(batch)["loss"].item()
    for _ in range(60):
        optimiser.zero_grad()
        loss = net.loss(batch)["loss"]
        loss.backward()
        optimiser.step()
    assert loss < 0.1 * first
    net.eval()
    shift = torch.tensor([0.5, -0.2, 0.9])
    moved = hand.move(batch["mano"], turn, shift)
    here = net.contact(batch["view"], batch["mano"])
    there = net.contact(batch["view"] @ turn.T + shift, moved)
    torch.testing.assert_close(there, here, atol=1e-3, rtol=0)


def test_contact_net_round_trip(hand, tmp_path):
    net = build_generator("contact_net", hand, {"hidden": (32, 16)}).eval()
    save_generator(net, tmp_path)
    again = load_network(tmp_path, hand)
    assert again.config == net.config
    torch.testing.assert_close(again.state_dict(), net.state_dict())


def test_noise_on_training_hands_is_as_large_as_said(hand, batch):
    torch.manual_seed(0)
    net = build_generator("contact_net", hand)
    true = batch["mano"][:1].repeat(20000, 1)
    noisy = net.disturb(true)
    assert torch.equal(noisy[:, :10], true[:, :10])
    # The strength is even in [0, 1]: its mean square is a third.
    for part, size in ((slice(58, 61), 0.02), (slice(13, 58), 0.2)):
        spread = (noisy - true)[:, part].square().mean().sqrt()
        torch.testing.assert_close(spread, torch.tensor(size / 3**0.5), rtol=0.03, atol=0)
    turn = roma.rotvec_composition((noisy[:, 10:13], -true[:, 10:13]))
    spread = turn.square().mean().sqrt()
    torch.testing.assert_close(spread, torch.tensor(0.25 / 3**0.5), rtol=0.03, atol=0)
