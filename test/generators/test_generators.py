"""What holds for every generator that is trained."""

import pytest
import torch

from grasp_gen_core.generators import CLASSES, build_generator, load_generator, save_generator

SMALL = {"grasp_cvae": {"latent": 16}, "dvqvae": {"entries": 32}}
OVERFIT = {
    "grasp_cvae": {"weight_kl": 1e-3},
    "dvqvae": {"weight_contact": 0.0, "weight_map": 0.0, "weight_penetration": 0.0},
}


@pytest.fixture(scope="module", params=CLASSES)
def name(request) -> str:
    return request.param


def test_samples_move_with_the_object(hand, name, cloud, turn):
    """The network works in the object's frame: a moved cloud gets equally moved hands."""
    net = build_generator(name, hand).eval()
    points, shift = cloud(0), torch.tensor([0.5, -0.2, 0.9])
    with torch.no_grad():
        here = net.sample(points, 6, torch.Generator().manual_seed(1))
        there = net.sample(points @ turn.T + shift, 6, torch.Generator().manual_seed(1))
    expected = hand(here)[0] @ turn.T + shift
    torch.testing.assert_close(hand(there)[0], expected, atol=1e-4, rtol=0)


def test_sampling_depends_on_the_seed_alone(hand, name, cloud):
    net = build_generator(name, hand).eval()
    one, two, three = (
        net.sample(cloud(0), 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == (5, 61) and torch.isfinite(one).all()
    assert torch.equal(one, two) and not torch.equal(one, three)


@pytest.mark.parametrize("points", [64, 3000])
def test_any_number_of_points(hand, name, cloud, points):
    net = build_generator(name, hand).eval()
    assert net.sample(cloud(0, points), 3, torch.Generator().manual_seed(0)).shape == (3, 61)


def test_it_overfits_a_few_grasps(hand, name, batch):
    torch.manual_seed(0)
    net = build_generator(name, hand, OVERFIT[name])
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(250):
        losses = net.loss(batch)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    # Squared centimetres: from a decimetre off to under a centimetre.
    assert losses["vertices"].item() < 1.0


def test_weights_round_trip(hand, name, cloud, tmp_path):
    net = build_generator(name, hand, SMALL[name]).eval()
    save_generator(net, tmp_path)
    again = load_generator(name, hand, tmp_path)
    assert again.config == net.config
    one, two = (n.sample(cloud(0), 3, torch.Generator().manual_seed(0)) for n in (net, again))
    torch.testing.assert_close(one, two)


def test_bad_weights_and_names_are_one_clear_error(hand, name, tmp_path):
    with pytest.raises(ValueError, match="accepted are grasp_cvae"):
        build_generator("graspcvae", hand)
    with pytest.raises(ValueError, match="no weights"):
        load_generator(name, hand, tmp_path)
    with pytest.raises(ValueError, match="latents"):
        build_generator(name, hand, {"latents": 3})
    save_generator(build_generator(name, hand), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no weights"):
        load_generator(name, hand, tmp_path)
