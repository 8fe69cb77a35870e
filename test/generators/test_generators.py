"""What holds for every generator that is trained."""

import pytest
import torch
import trimesh

from grasp_gen_core.contact import choir
from grasp_gen_core.generators import CLASSES, build_generator, load_generator, save_generator
from grasp_gen_core.generators.joint_diffusion import CONTACTS, fold, normalise_field
from grasp_gen_core.objects.distance import DistanceGrid

SMALL = {
    "grasp_cvae": {"latent": 16},
    "dvqvae": {"entries": 32},
    "joint_diffusion": {"width": 16},
    "fastgrasp": {"latent": 16},
    "jhod": {"width": 32, "layers": 2},
}
# Settings without what keeps a network from learning by heart, and a loss that it then gets under:
# a squared centimetre for vertices, a twentieth of the fields' variance, a third of what untrained
# joints are off at the least.
OVERFIT = {
    "grasp_cvae": ({"weight_kl": 1e-3}, "vertices", 1.0),
    "dvqvae": (
        {"rough": 0.0, "weight_contact": 0.0, "weight_map": 0.0, "weight_penetration": 0.0},
        "vertices",
        1.0,
    ),
    "joint_diffusion": ({"width": 16}, "field", 0.05),
    "jhod": ({"layers": 3}, "xyz", 0.15),
    "fastgrasp": ({"noise": 0.0, "weights": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0)}, "mesh", 1.0),
}


@pytest.fixture(scope="module", params=CLASSES)
def name(request) -> str:
    return request.param


def sample(net, points: torch.Tensor, num: int, seed: int) -> torch.Tensor:
    """Hands of a network that may want to know the surface; a ball's does for all clouds."""
    ball = DistanceGrid.from_mesh(trimesh.creation.icosphere(2, 0.04))
    whole = torch.zeros_like(points)  # normals that add up to nothing: a cloud from all around
    with torch.no_grad():
        rng = torch.Generator().manual_seed(seed)
        return net.sample(points, num, rng, *((whole, ball) if net.knows_surface else ()))


@pytest.mark.parametrize("name", ["grasp_cvae", "dvqvae", "fastgrasp", "jhod"], indirect=True)
def test_samples_move_with_the_object(hand, name, cloud, turn):
    """The network works in the object's frame: a moved cloud gets equally moved hands."""
    net = build_generator(name, hand).eval()
    points, shift = cloud(0), torch.tensor([0.5, -0.2, 0.9])
    here, there = sample(net, points, 6, 1), sample(net, points @ turn.T + shift, 6, 1)
    expected = hand(here)[0] @ turn.T + shift
    torch.testing.assert_close(hand(there)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["grasp_cvae", "fastgrasp"], indirect=True)
def test_hands_take_turns_in_the_four_frames(hand, name, cloud):
    """What always decodes the same hand shows it in each frame, and then again."""
    net = build_generator(name, hand).eval()
    for parameter in net.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    found = hand(sample(net, cloud(0), 8, 0))[0].flatten(1)
    torch.testing.assert_close(found[:4], found[4:])
    assert torch.pdist(found[:4]).min() > 0.1


@pytest.mark.parametrize("name", ["grasp_cvae", "dvqvae", "fastgrasp", "jhod"], indirect=True)
def test_sampling_depends_on_the_seed_alone(hand, name, cloud):
    net = build_generator(name, hand).eval()
    one, two, three = (sample(net, cloud(0), 5, seed) for seed in (1, 1, 2))
    assert one.shape == (5, 61) and torch.isfinite(one).all()
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_drawn_choirs_depend_on_the_seed_alone(hand, cloud):
    """No hands: fitting them to an untrained network's fields magnifies the last digits."""
    net = build_generator("joint_diffusion", hand).eval()
    field = normalise_field(choir.object_field(cloud(0)[None]))
    with torch.no_grad():
        tokens = net.object_encoder(fold(field))
        rngs = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
        noises = (torch.randn(1, choir.SIDE**3 + CONTACTS, generator=rng) for rng in rngs)
        drawn = [net.draw(field, None, tokens, noise, 4) for noise in noises]
    one, two, three = (torch.cat([part.flatten() for part in parts]) for parts in drawn)
    assert torch.isfinite(one).all()
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_gradients_in_bfloat16_are_those_in_single_precision(hand, batch):
    net, found = build_generator("joint_diffusion", hand), []
    for rounded in (False, True):
        net.zero_grad()
        torch.manual_seed(0)  # of the times and the noise
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            loss = net.loss(batch)["loss"]
        loss.backward()
        found.append({name: p.grad.clone() for name, p in net.named_parameters()})
    largest = max(gradient.norm() for gradient in found[0].values())
    for name, gradient in found[0].items():
        if gradient.norm() > 1e-3 * largest:
            alike = torch.cosine_similarity(gradient.flatten(), found[1][name].flatten(), dim=0)
            assert alike > 0.9, name


@pytest.mark.parametrize("points", [64, 3000])
def test_any_number_of_points(hand, name, cloud, points):
    net = build_generator(name, hand).eval()
    assert sample(net, cloud(0, points), 3, 0).shape == (3, 61)


def test_it_overfits_a_few_grasps(hand, name, batch):
    torch.manual_seed(0)
    settings, term, limit = OVERFIT[name]
    net = build_generator(name, hand, settings)
    if net.stages:
        net.begin(next(iter(net.stages)))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    # Down to nothing: else the last of the losses, which are noisy, would decide.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    for _ in range(250):
        losses = net.loss(batch)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        schedule.step()
    assert losses[term].item() < limit


def test_weights_round_trip(hand, name, tmp_path):
    net = build_generator(name, hand, SMALL[name]).eval()
    save_generator(net, tmp_path)
    again = load_generator(tmp_path, hand)
    assert again.config == net.config
    torch.testing.assert_close(again.state_dict(), net.state_dict())


def test_bad_weights_and_names_are_one_clear_error(hand, name, tmp_path):
    with pytest.raises(ValueError, match="accepted are grasp_cvae"):
        build_generator("graspcvae", hand)
    with pytest.raises(ValueError, match="and folders of weights"):
        load_generator(tmp_path / "not_there", hand)
    with pytest.raises(ValueError, match="no weights"):
        load_generator(tmp_path, hand)
    for config in ("[]", "{}", '{"generator": 3}', '{"generator": "magic"}'):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(ValueError, match="generator"):
            load_generator(tmp_path, hand)
    with pytest.raises(ValueError, match="latents"):
        build_generator(name, hand, {"latents": 3})
    save_generator(build_generator(name, hand), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no weights"):
        load_generator(tmp_path, hand)
