"""GraspCVAE: its posterior and its decoder; ContactNet."""

import numpy as np
import pytest
import roma
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from grasp_gen_core.generators import build_generator, load_generator, load_network, save_generator
from grasp_gen_core.generators.layers.frames import in_four_frames, in_principal_frame


def test_joints_stay_within_limits_before_any_training(hand):
    net = build_generator("grasp_cvae", hand).eval()
    angles = hand.regions.to_angles(net.decode(torch.randn(8, 512), torch.randn(8, 64))[:, 13:58])
    low, high = hand.regions.limits.unbind(-1)
    assert (angles >= low - 1e-5).all() and (angles <= high + 1e-5).all()


@pytest.fixture
def touching(hand, batch) -> dict[str, torch.Tensor]:
    """Hands, each with points within and about its own skin for an object."""
    vertices = hand(batch["mano"])[0]
    torch.manual_seed(3)
    surface = vertices[:, ::4] + 0.006 * torch.randn_like(vertices[:, ::4])
    return batch | {"view": surface, "surface": surface}


def test_the_losses_are_eq_1_and_2(hand, touching):
    """Each term again: from what was decoded, by scipy's turns and trees, and trimesh's normals."""
    weights = {
        "weight_vertices": 2.0,
        "weight_pose": 3.0,
        "weight_betas": 4.0,
        "weight_kl": 5.0,
        "weight_penetration": 6.0,
        "weight_hand_contact": 7.0,
        "weight_object_contact": 8.0,
    }
    net = build_generator("grasp_cvae", hand, weights)
    _, surface, mano = in_principal_frame(touching, hand)
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 64), torch.randn(4, 64)
    off = mano + 0.1 * torch.randn(4, 61) * torch.cat([torch.ones(58), 0.05 * torch.ones(3)])
    net.encode = lambda *_: (mean, log_variance)
    drawn = []
    net.decode = lambda _, z: drawn.append(z) or off
    found = net.loss(touching)

    turns = [Rotation.from_rotvec(m[:, 10:13].numpy()).as_matrix() for m in (off, mano)]
    pose = np.square(turns[0] - turns[1]).sum(axis=(1, 2)).mean()
    pose += np.square((off - mano)[:, 13:58].numpy()).sum(axis=1).mean()
    true, vertices = (hand(m)[0].numpy() for m in (mano, off))
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    prior, depth, reach, maps = hand.regions.zones.numpy() >= 0, [], [], []
    for points, now, then in zip(surface.numpy(), vertices, true, strict=True):
        apart, apart_then = (100 * cKDTree(v[prior]).query(points)[0] for v in (now, then))
        reach.append(np.square(apart[apart <= 1]).mean())
        values = [1 - 2 * (1 / (1 + np.exp(-2 * d)) - 0.5) for d in (apart, apart_then)]
        maps.append(np.square(values[0] - values[1]).sum())
        distance, index = cKDTree(now).query(points)
        normals = trimesh.Trimesh(now, hand.closed_faces.numpy(), process=False).vertex_normals
        behind = ((points - now[index]) * normals[index]).sum(axis=1) < 0
        depth.append(np.square(100 * distance[behind]).mean())
    expected = {
        "vertices": 2 * np.square(100 * (vertices - true)).sum(axis=2).mean(),
        "pose": 3 * pose,
        "betas": 4 * (off - mano)[:, :10].square().sum(dim=1).mean().item(),
        "kl": 5 * kl.sum(dim=1).mean().item(),
        "penetration": 6 * np.mean(depth),
        "hand_contact": 7 * np.mean(reach),
        "object_contact": 8 * np.mean(maps) / 10,
    }
    assert min(expected.values()) > 0.1
    values = {name: value.item() for name, value in found.items()}
    assert values.pop("loss") == pytest.approx(sum(values.values()))
    # Vertex normals are means of faces', weighted in one way here and in another there.
    assert values.pop("penetration") == pytest.approx(expected.pop("penetration"), rel=0.03)
    assert values == pytest.approx(expected, rel=3e-3)

    # z is drawn from that posterior.
    for _ in range(200):
        net.loss(touching)
    spread = (torch.stack(drawn) - mean) / (0.5 * log_variance).exp()
    torch.testing.assert_close(spread.std(dim=0).mean(), torch.tensor(1.0), atol=0.02, rtol=0)
    assert spread.mean().abs() < 0.02


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
    errors, frames = [], in_four_frames(points)
    for rotation, centre, local in zip(*frames, strict=True):
        here = hand(hand.move(own, rotation.T, -rotation.T @ centre))[0]
        feature = net.object_encoder(local[None]).expand(4, -1)
        back = net.decode(feature, net.encode(feature, here)[0])
        errors.append((hand(back)[0] - here).square().sum(dim=(1, 2)))
    nearest = torch.stack(errors).argmin(dim=0)
    torch.testing.assert_close(net.recognise(own, points).rotation, frames[0][nearest])


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


def test_contact_net_answers_for_the_maps_of_the_true_hands(hand, touching):
    """L_cont of a network that always says 0.25, and was shown disturbed hands."""
    net, shown = build_generator("contact_net", hand), []
    net.contact = lambda points, mano: shown.append(mano) or torch.full(points.shape[:2], 0.25)
    loss = net.loss(touching)["loss"].item()
    assert not torch.isclose(shown[0][:, 10:], touching["mano"][:, 10:]).any()
    prior, wanted = hand.regions.zones.numpy() >= 0, []
    vertices = hand(touching["mano"])[0].numpy()
    for points, now in zip(touching["view"].numpy(), vertices, strict=True):
        distance = cKDTree(now[prior]).query(points)[0]
        wanted.append(1 - 2 * (1 / (1 + np.exp(-200 * distance)) - 0.5))
    assert loss == pytest.approx(np.square(0.25 - np.array(wanted)).mean(), rel=1e-3)


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
