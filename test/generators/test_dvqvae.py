"""DVQ-VAE: each of its parts against what the paper's equations say."""

import copy

import numpy as np
import pytest
import roma
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch.nn import functional

from grasp_gen_core.generators import build_generator, load_generator, save_generator
from grasp_gen_core.generators.dvqvae import (
    DVQVAE,
    Codebooks,
    DVQVAEConfig,
    DVQVAESampling,
    Placed,
    Posture,
    SkeletalGate,
    bone_angles,
    perplexity,
)
from grasp_gen_core.generators.layers.frames import in_principal_frame
from grasp_gen_core.generators.layers.gated_prior import GatedPrior
from grasp_gen_core.generators.layers.mano import rotation_6d


@pytest.fixture(scope="module")
def net(hand) -> DVQVAE:
    torch.manual_seed(0)
    return build_generator("dvqvae", hand).eval()


def test_codes_are_the_nearest_entries_and_pass_the_gradient_through():
    books = Codebooks(2, 5, 3, DVQVAEConfig()).eval()
    features = torch.randn(7, 2, 3, requires_grad=True)
    codes, index, loss = books(features)
    for b in range(7):
        for book in range(2):
            apart = (books.entries[book] - features[b, book]).norm(dim=1)
            assert index[b, book] == apart.argmin()
    found = books.look_up(index)
    torch.testing.assert_close(codes, found)
    gradient = torch.randn(7, 2, 3)
    passed = torch.autograd.grad((codes * gradient).sum(), features, retain_graph=True)[0]
    torch.testing.assert_close(passed, gradient)

    # Eq. 1: the encoder's term has weight 1, the codebook's beta; each has its own gradient.
    squared = (found - features).square().mean(dim=2).sum(dim=1).mean()
    torch.testing.assert_close(loss, 1.25 * squared)
    to_features, to_entries = torch.autograd.grad(loss, [features, books.entries])
    torch.testing.assert_close(to_features, 2 * (features - found).detach() / 21)
    expected = torch.zeros_like(books.entries)
    for b in range(7):
        for book in range(2):
            step = 0.25 * 2 * (found - features)[b, book] / 21
            expected[book, index[b, book]] += step.detach()
    torch.testing.assert_close(to_entries, expected)


def test_dead_entries_come_to_life():
    """Features in a corner far from all entries but one: in the end every entry is used."""
    torch.manual_seed(0)
    books = Codebooks(1, 16, 2, DVQVAEConfig(patience=5))
    corner = torch.randn(400, 1, 2) + 50
    assert len(books.eval()(corner)[1].unique()) < 8
    books.train()
    for step in range(40):
        books(corner[10 * step : 10 * step + 10])
    assert len(books.eval()(corner)[1].unique()) > 12
    kept = books.entries.clone()
    books(corner)
    assert torch.equal(books.entries, kept)  # nothing is replaced outside training


def test_angles_between_bones_are_the_triangles_own(hand):
    """A finger bent by 30, 60 and 90 degrees at its joints, along a plane; the others straight."""
    joints = torch.zeros(1, 21, 3)
    first, tips = (13, 1, 4, 10, 7), range(16, 21)
    for finger, (start, tip) in enumerate(zip(first, tips, strict=True)):
        heading, point = torch.tensor(0.0), torch.zeros(2)
        bends = torch.deg2rad(torch.tensor([0.0, 30, 60, 90] if finger == 2 else [0.0, 0, 0, 0]))
        for joint, bend in zip((start, start + 1, start + 2, tip), bends, strict=True):
            heading = heading + bend
            point = point + (1 + finger) * torch.stack([heading.cos(), heading.sin()])
            joints[0, joint, :2] = point
    angles = torch.rad2deg(bone_angles(joints, hand.regions)).view(5, 3)
    torch.testing.assert_close(angles[2], torch.tensor([150.0, 120.0, 90.0]), atol=0.1, rtol=0)
    others = angles[[0, 1, 3, 4]]
    torch.testing.assert_close(others, torch.full_like(others, 180.0), atol=1, rtol=0)


def test_the_prior_sees_only_what_was_drawn_before():
    torch.manual_seed(0)
    prior = GatedPrior(6, DVQVAEConfig(entries=8)).eval()
    thing, indices = torch.tensor([3]), torch.randint(8, (1, 6))
    logits = prior(thing, indices)
    for place in range(6):
        other = indices.clone()
        other[0, place] = (other[0, place] + 1) % 8
        changed = (prior(thing, other) - logits).abs().amax(dim=2)[0] > 1e-7
        assert not changed[: place + 1].any()
        assert place == 5 or changed[place + 1]
    assert ((prior(torch.tensor([4]), indices) - logits).abs() > 1e-6).any(dim=2).all()
    torch.testing.assert_close(prior(thing, indices[:, :3]), logits[:, :4])


def test_what_is_drawn_is_the_likeliest_by_the_whole_sequence_and_chance():
    torch.manual_seed(0)
    prior, draws = GatedPrior(7, DVQVAEConfig(entries=16)).double().eval(), 64
    things = torch.randint(16, (draws,))
    drawn = prior.sample(things, torch.Generator().manual_seed(1), DVQVAESampling())
    uniform = torch.rand(
        (7, draws, 16), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    chance = -torch.log(-torch.log(uniform)).transpose(0, 1)
    torch.testing.assert_close(drawn, (prior(things, drawn) + chance).argmax(dim=2))


def test_drawn_indices_follow_the_priors_own_probabilities():
    torch.manual_seed(0)
    prior = GatedPrior(2, DVQVAEConfig(entries=4)).eval()
    things, rng = torch.ones(20000, dtype=torch.long), torch.Generator().manual_seed(0)

    def shares(temperature: float, top_k: int) -> torch.Tensor:
        drawn = prior.sample(things, rng, DVQVAESampling(temperature, top_k))
        return torch.bincount(4 * drawn[:, 0] + drawn[:, 1], minlength=16).view(4, 4) / len(things)

    with torch.no_grad():
        first = prior(things[:1], things.new_zeros(1, 0))[0, 0]
        second = prior(things[:4], torch.arange(4)[:, None])[:, 1]
    for temperature in (1.0, 0.5):
        known = (first / temperature).softmax(0)[:, None] * (second / temperature).softmax(1)
        torch.testing.assert_close(shares(temperature, 0), known, atol=0.015, rtol=0)
    best = shares(1.0, 1)
    assert best.max() == 1 and best[first.argmax(), second[first.argmax()].argmax()] == 1
    assert (shares(1.0, 2) > 0).sum() == 4


def test_the_prior_learns_which_indices_go_together():
    torch.manual_seed(0)
    prior = GatedPrior(3, DVQVAEConfig(entries=6, prior_dropout=0.0))
    optimiser = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(200):
        thing, free = torch.randint(6, (64,)), torch.randint(6, (64,))
        indices = torch.stack([free, (free + thing) % 6, free], dim=1)
        loss = prior.loss(thing, indices)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Only the first is open: ln 6 nats for it, none for the other two.
    assert loss.item() == pytest.approx(torch.log(torch.tensor(6.0)).item() / 3, abs=0.05)
    rng = torch.Generator().manual_seed(0)
    thing = torch.arange(6).repeat(50)
    drawn = prior.eval().sample(thing, rng, DVQVAESampling())
    assert ((drawn[:, 1] == (drawn[:, 0] + thing) % 6) & (drawn[:, 2] == drawn[:, 0])).all()
    assert len(drawn[:, 0].unique()) == 6


def a_posture(hand, count: int) -> Posture:
    torch.manual_seed(1)
    angles = hand.regions.within_limits(torch.randn(count, 45))
    return Posture(
        0.5 * torch.randn(count, 10),
        rotation_6d(torch.randn(count, 6)),
        hand.regions.to_pose(angles),
    )


def test_placed_vertices_are_the_hands_own(hand, net, cloud):
    posture = a_posture(hand, 5)
    with torch.no_grad():
        view, start = cloud(0).expand(5, -1, -1), torch.rand(5, 3)
        placed = net.place(posture, net.upright(posture), view, start)
        vertices, _ = hand(placed.mano)
    torch.testing.assert_close(placed.vertices, vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(placed.centre, vertices.mean(dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(placed.mano[:, :10], posture.betas)


def test_the_position_does_not_shape_the_posture(hand, net, batch):
    """Eq. 9, 10: the posture gets no gradient from where the hand is put, nor how it is turned."""
    losses = net.loss(batch)
    posture = (net.posture_decoder, net.gate, net.part_encoders, net.type_encoder, net.hand_codes)
    position = (net.position_decoder, net.posture_encoder, net.pose_encoder)
    for term, parts, others in (("position", position, posture), ("posture", posture, position)):
        inside, outside = ([w for part in p for w in part.parameters()] for p in (parts, others))
        found = torch.autograd.grad(
            losses[term], inside + outside, retain_graph=True, allow_unused=True
        )
        assert found[len(inside) :] == (None,) * len(outside)
        assert any(x is not None and x.norm() > 0 for x in found[: len(inside)])
    # Eq. 11's vertices train both stages.
    both = [net.posture_decoder[0].weight, net.position_decoder[0].weight]
    assert all(x.norm() > 0 for x in torch.autograd.grad(losses["vertices"], both))


@pytest.fixture
def touching(hand, batch) -> dict[str, torch.Tensor]:
    """Hands, each with points within and about its own skin for an object."""
    vertices = hand(batch["mano"])[0]
    torch.manual_seed(3)
    surface = vertices[:, ::4] + 0.006 * torch.randn_like(vertices[:, ::4])
    return batch | {"view": surface, "surface": surface}


def test_the_losses_are_eq_6_to_16(hand, net, touching, monkeypatch):
    """Each term again: from the hands that were decoded, by trees, scipy's turns and trimesh."""
    config = DVQVAEConfig(
        weight_codes=2.0,
        weight_map=3.0,
        weight_contact=4.0,
        weight_penetration=5.0,
        weight_parameters=6.0,
        weight_vertices=7.0,
        weight_betas=0.5,
    )
    monkeypatch.setattr(net, "config", config)
    view, surface, mano = in_principal_frame(touching, hand)
    true = hand(mano)[0]
    with torch.no_grad():
        _, thing, object_loss = net.object_codes(net.type_encoder(view)[:, None])
        parts = net.encode_parts(true - true.mean(dim=1, keepdim=True))
        _, indices, hand_loss = net.hand_codes(parts)
        likely = net.prior(thing[:, 0], indices).log_softmax(dim=2).gather(2, indices[..., None])
    away = torch.tensor([[0.012, 0.0, 0.0], [0.0, 0.004, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -0.006]])
    off = mano.clone()
    off[:, 10:58] *= 1.1
    off[:, :10] += 0.2
    off[:, 58:] += away
    vertices = hand(off)[0]
    turns = [torch.from_numpy(Rotation.from_rotvec(m[:, 10:13]).as_matrix()) for m in (off, mano)]
    centre, true_centre = vertices.mean(dim=1), true.mean(dim=1)
    coarse = turns[1].float()
    posture = Posture(off[:, :10], coarse, off[:, 13:58])
    placed = Placed(off, vertices, turns[0].float(), centre)
    monkeypatch.setattr(net, "decode_posture", lambda codes, feature: posture)
    monkeypatch.setattr(net, "place", lambda *_: placed)
    with torch.no_grad():
        found = {name: value.item() for name, value in net.loss(touching).items()}

    bent = (off - mano)[:, 13:58].square().sum(dim=1) + 0.5 * 10 * 0.2**2
    turned = (turns[0] - turns[1]).square().sum(dim=(1, 2))
    shifted = (100 * (centre - true_centre)).square().sum(dim=1)
    zones, terms = hand.regions.zones.numpy() >= 0, []
    for points, now, then in zip(surface.numpy(), vertices.numpy(), true.numpy(), strict=True):
        touched = cKDTree(then).query(points)[0] < 0.005
        reach = 100 * cKDTree(now[zones]).query(points)[0]
        distance, index = cKDTree(now).query(points)
        member = 1 / (1 + np.exp(-(0.005 - distance) / 0.001))
        skin = trimesh.Trimesh(now, hand.closed_faces.numpy(), process=False)
        behind = ((points - now[index]) * skin.vertex_normals[index]).sum(axis=1) < 0
        depth = np.square(100 * distance[behind]).mean()
        terms.append([(1 - member)[touched].mean(), reach[touched].mean(), depth])
    missed, contact, depth = np.mean(terms, axis=0)
    assert min(missed, contact, depth) > 0.01
    expected = {
        "codes": 2 * (object_loss + hand_loss).item(),
        "prior": -likely.mean().item(),
        "posture": 6 * bent.mean().item(),
        "position": 6 * (turned + shifted).mean().item(),
        "vertices": 7 * (100 * (vertices - true)).square().sum(dim=2).mean().item(),
        "map": 3 * missed,
        "contact": 4 * contact,
        "penetration": 5 * depth,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=3e-3)


def test_the_gate_corrects_by_its_share_of_what_the_transformer_says(hand):
    """Eq. 8 with a gate that is shut, half open and open, and a correction of a known size."""
    torch.manual_seed(0)
    gate, free, betas = SkeletalGate(), torch.randn(3, 45), 0.3 * torch.randn(3, 10)
    with torch.no_grad():
        gate.outside.weight.zero_()
        gate.outside.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
        gate.gate[0][-1].weight.zero_()
        for bias, share in ((-50.0, 0.0), (0.0, 0.5), (50.0, 1.0)):
            gate.gate[0][-1].bias.fill_(bias)
            step = gate(free, betas, hand) - free
            expected = share * torch.tensor([0.1, -0.2, 0.3]).repeat(3, 15)
            torch.testing.assert_close(step, expected, atol=1e-6, rtol=0)


def test_the_gate_sees_the_skeletons_bends(hand, net):
    """Eq. 7: what it lets through follows the angles between the decoded hand's own bones."""
    free, betas = torch.randn(4, 45), torch.zeros(4, 10)
    bends, gate = [], net.gate.gate
    handle = gate.register_forward_pre_hook(lambda _, inputs: bends.append(inputs[0]))
    with torch.no_grad():
        net.gate(free, betas, hand)
        handle.remove()
        pose = hand.regions.to_pose(hand.regions.within_limits(free))
        still = torch.zeros(4, 3)
        joints = hand(torch.cat([betas, still, pose, still], dim=1))[1]
        torch.testing.assert_close(bends[0], bone_angles(joints, hand.regions), atol=1e-4, rtol=0)
        # And it is on the way from codes to hands.
        codes, feature = torch.randn(4, 6, net.config.width), torch.randn(4, 256)
        shut = copy.deepcopy(net)
        shut.gate.outside.weight.zero_()
        shut.gate.outside.bias.zero_()
        first, second = (n.decode_posture(codes, feature).pose for n in (net, shut))
    assert (first - second).abs().max() > 1e-4


def test_hand_codes_do_not_tell_where_the_hand_is(net, batch):
    """Moving a hand along changes nothing that its codes are, and nothing decoded from them."""
    losses = []
    for shift in (0.0, 0.03):
        moved = batch["mano"].clone()
        moved[:, 58:] += shift
        torch.manual_seed(0)
        losses.append(net.loss(batch | {"mano": moved}))
    for name in ("codes", "posture", "prior"):
        torch.testing.assert_close(losses[0][name], losses[1][name], atol=1e-4, rtol=1e-4)
    assert not torch.isclose(losses[0]["contact"], losses[1]["contact"])


def test_terms_add_up_and_codebooks_are_watched(net, batch):
    losses = net.loss(batch)
    terms = [v for n, v in losses.items() if n != "loss" and not n.startswith("perplexity/")]
    assert len(terms) == 8
    torch.testing.assert_close(losses["loss"], sum(terms))
    assert len(losses) == 8 + 7 + 1


def test_perplexity_counts_entries_used_alike():
    assert perplexity(torch.tensor([3, 3, 3, 3])) == 1
    assert perplexity(torch.tensor([5, 0, 2, 9] * 7)).item() == pytest.approx(4)
    assert 1 < perplexity(torch.tensor([0, 0, 0, 1])) < 2


def test_order_of_the_points_does_not_matter(hand, net, cloud):
    points = cloud(0, 400)
    one, two = (
        net.sample(p, 4, torch.Generator().manual_seed(0)) for p in (points, points.flip(0))
    )
    torch.testing.assert_close(hand(one)[0], hand(two)[0], atol=1e-4, rtol=0)


def test_repositioned_hands_keep_their_posture_and_move_with_the_object(hand, net, cloud, turn):
    mano, shift = torch.randn(3, 61) * 0.2, torch.tensor([0.4, 0.1, -0.3])
    points = cloud(2)
    with torch.no_grad():
        placed = net.reposition(mano, points)
        torch.testing.assert_close(placed[:, 13:58], mano[:, 13:58])
        torch.testing.assert_close(placed[:, :10], mano[:, :10])
        moved = net.reposition(hand.move(mano, turn, shift), points @ turn.T + shift)
    torch.testing.assert_close(hand(moved)[0], hand(placed)[0] @ turn.T + shift, atol=1e-4, rtol=0)


def test_hands_start_before_a_spot_and_stay_where_the_decoder_says_nothing(hand, net, cloud):
    """The vertices' mean: 35 mm behind a point that the palm faces; a given hand's own."""
    silent, points = copy.deepcopy(net), cloud(0)
    for parameter in silent.position_decoder.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        drawn = silent.sample(points, 8, torch.Generator().manual_seed(0))
        palm = roma.rotvec_to_rotmat(drawn[:, 10:13]) @ hand.regions.palm_axis
        spots = hand(drawn)[0].mean(dim=1) + 0.035 * palm
        assert (spots[:, None] - points).norm(dim=2).amin(dim=1).max() < 1e-5
        again = silent.reposition(drawn, points)
    torch.testing.assert_close(hand(again)[0], hand(drawn)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_k": -1}, {"heat": 1}]
)
def test_bad_sampling_options_are_one_clear_error(hand, net, tmp_path, sampling):
    save_generator(net, tmp_path)
    with pytest.raises(ValueError, match="accepted"):
        load_generator(tmp_path, hand, sampling)


def test_a_low_temperature_draws_alike(hand, net, cloud, tmp_path):
    """The same four postures, one in each frame, again and again; only their places differ."""
    save_generator(net, tmp_path)
    cold = load_generator(tmp_path, hand, {"temperature": 1e-6})
    hands = cold.sample(cloud(0), 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(hands[:4, 13:58], hands[4:, 13:58], atol=1e-5, rtol=0)
    warm = net.sample(cloud(0), 8, torch.Generator().manual_seed(0))[:, 13:58]
    assert functional.pairwise_distance(warm[:4], warm[4:]).min() > 1e-3
