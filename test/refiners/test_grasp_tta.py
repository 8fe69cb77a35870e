"""Adaptation at test time: each grasp's decoder against a copied one, trained by itself."""

import copy
from concurrent.futures import CancelledError

import pytest
import torch

from grasp_gen_core import GraspPipeline
from grasp_gen_core.generators import build_generator, load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners import get_refiner
from grasp_gen_core.refiners.grasp_tta import RATE, Adaptation, refine
from grasp_gen_core.stopping import stopped_by


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return torch.from_numpy(sample_surface(make_object("bottle", 3), 1000, 0)[0]).float()


@pytest.fixture(scope="module")
def generator(hand):
    return load_generator("grasp_cvae", hand, {"steps": 3})


@pytest.fixture(scope="module")
def proposed(generator, points) -> torch.Tensor:
    with torch.no_grad():
        return generator.sample(points, 4, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def contact_net(hand):
    torch.manual_seed(0)
    return build_generator("contact_net", hand).eval().requires_grad_(False)


def by_itself(adaptation: Adaptation, decoder: torch.nn.Module, number: int) -> torch.Tensor:
    """One grasp's loss with a decoder that is its own."""
    decoded = decoder(adaptation.known.inputs) + adaptation.known.shift
    return adaptation.loss(adaptation.hands(decoded))[number]


def test_gradients_are_those_of_separate_decoders(generator, contact_net, proposed, points):
    adaptation = Adaptation(proposed, points, generator, contact_net)
    stacked = adaptation.gradients(adaptation.weights())
    for number in range(len(proposed)):
        decoder = copy.deepcopy(generator.decoder).requires_grad_(True)
        by_itself(adaptation, decoder, number).backward()
        for name, value in decoder.named_parameters():
            scale = value.grad.abs().max()
            torch.testing.assert_close(
                stacked[name][number] / scale, value.grad / scale, atol=1e-3, rtol=0
            )


def test_hands_are_those_of_a_plain_loop(generator, contact_net, proposed, points, hand):
    """Grasp by grasp: a copied decoder, torch's Adam as the manual has it."""
    adapted = refine(proposed, points, None, generator=generator, contact_net=contact_net)
    adaptation = Adaptation(proposed, points, generator, contact_net)
    for number in range(len(proposed)):
        decoder = copy.deepcopy(generator.decoder).requires_grad_(True)
        optimiser = torch.optim.Adam(decoder.parameters(), lr=RATE)
        for _ in range(3):
            optimiser.zero_grad()
            by_itself(adaptation, decoder, number).backward()
            optimiser.step()
        with torch.no_grad():
            decoded = decoder(adaptation.known.inputs) + adaptation.known.shift
            alone = hand(adaptation.hands(decoded))[0][number]
        torch.testing.assert_close(hand(adapted)[0][number], alone, atol=2e-4, rtol=0)


def test_it_starts_from_the_hands_as_they_came(generator, contact_net, proposed, points, hand):
    adaptation = Adaptation(proposed, points, generator, contact_net)
    start = adaptation.hands(adaptation.decode(adaptation.weights()))
    torch.testing.assert_close(hand(start)[0], hand(proposed)[0], atol=1e-5, rtol=0)


def test_loss_falls_and_decoder_and_shapes_stay(hand, contact_net, proposed, points):
    generator = load_generator("grasp_cvae", hand, {"steps": 12})
    before = copy.deepcopy(generator.state_dict()), copy.deepcopy(contact_net.state_dict())
    adapted = refine(proposed, points, None, generator=generator, contact_net=contact_net)
    again = refine(proposed, points, None, generator=generator, contact_net=contact_net)
    assert torch.equal(adapted, again)
    adaptation = Adaptation(proposed, points, generator, contact_net)
    with torch.no_grad():
        assert (adaptation.loss(adapted) < 0.9 * adaptation.loss(proposed)).all()
    torch.testing.assert_close(adapted[:, :10], proposed[:, :10])
    after = generator.state_dict(), contact_net.state_dict()
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert not any(value.requires_grad for value in generator.parameters())


def test_stop_is_asked_before_each_step(generator, contact_net, proposed, points):
    asked = []
    with (
        pytest.raises(CancelledError),
        stopped_by(lambda: asked.append(0) or len(asked) == 2),
    ):
        refine(proposed, points, None, generator=generator, contact_net=contact_net)
    assert len(asked) == 2


def test_other_generators_and_settings_are_refused(hand, generator):
    with pytest.raises(ValueError, match="adapts the decoder of grasp_cvae"):
        GraspPipeline("dvqvae", "grasp_tta", device="cpu")
    with pytest.raises(ValueError, match="adapts the decoder of grasp_cvae"):
        get_refiner("grasp_tta", hand)
    with pytest.raises(ValueError, match=r"contact_net.*makes no hands"):
        load_generator("contact_net", hand)
    for steps in (-1, 0.5):
        with pytest.raises(ValueError, match="steps"):
            GraspPipeline("grasp_cvae", "grasp_tta", device="cpu", sampling={"steps": steps})


def test_the_pipeline_adapts_left_hands_too(points):
    left = GraspPipeline("grasp_cvae", "grasp_tta", "cpu", side="left", sampling={"steps": 2})
    grasps = left(points.numpy(), num=2, seed=0)
    assert grasps.side == "left" and (grasps.metrics["contact_ratio_pct"] == 100).all()
