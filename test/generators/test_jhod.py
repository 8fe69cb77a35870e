"""JHOD: its equations against independent implementations, what looks at what, its samplers."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from grasp_gen_core.generators import build_generator
from grasp_gen_core.generators.jhod import (
    JHOD,
    NEVER,
    UNIT,
    distance_field,
)
from grasp_gen_core.generators.layers.attention import Known
from grasp_gen_core.generators.layers.frames import in_view_frame
from grasp_gen_core.generators.layers.numbers import NUMBERS, mano_of, numbers_of
from grasp_gen_core.generators.layers.schedules import (
    certainty,
    corrupt,
    ddim,
    denoised,
    sample,
    signal,
)
from grasp_gen_core.generators.shape_autoencoder import SPREAD, arranged
from grasp_gen_core.objects.sampling import sphere_directions

SMALL = {"width": 32, "heads": 2, "layers": 2, "look_places": 8, "look_layers": 1}


@pytest.fixture
def net(hand) -> JHOD:
    torch.manual_seed(0)
    net = build_generator("jhod", hand, SMALL).eval()
    with torch.no_grad():  # gates and outputs that are nothing at first
        for weights in net.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    return net


def latents(net: JHOD, count: int) -> torch.Tensor:
    return torch.randn(count, len(net.order), net.shapes.config.channels)


def test_numbers_are_the_hand(batch, hand):
    mano = batch["mano"].clone()
    mano[:, 13:58] = hand.regions.to_pose(hand.regions.within_limits(mano[:, 13:58]))
    numbers = numbers_of(mano, hand)
    assert numbers.shape == (len(mano), NUMBERS)
    one, other = hand(mano)[0], hand(mano_of(numbers, hand))[0]
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_numbers_that_say_nothing_are_a_hand_yet(hand):
    """A fresh network's, of what is all noise: their turn is all zeros."""
    numbers = torch.zeros(2, NUMBERS, requires_grad=True)
    vertices, _ = hand(mano_of(numbers, hand))
    vertices.square().sum().backward()
    assert vertices.isfinite().all() and numbers.grad.isfinite().all()


def test_distance_field_is_eq_15(hand, batch):
    joints, points = hand.skeleton(batch["mano"]), batch["surface"]
    found = distance_field(joints, points).numpy()
    for hand_joints, cloud, field in zip(joints.numpy(), points.numpy(), found, strict=True):
        _, nearest = cKDTree(cloud).query(hand_joints[:16], k=10)
        expected = cloud[nearest] - hand_joints[:16, None]
        np.testing.assert_allclose(field, expected, atol=1e-6)


def test_noise_is_eq_3_each_with_its_time():
    torch.manual_seed(0)
    clean = torch.full((4000, 2, 3), 2.0)
    time, state = corrupt(clean)
    assert time.shape == (4000, 2)
    kept = ddim().alphas_cumprod[time][..., None]
    noise = (state - kept.sqrt() * clean) / (1 - kept).sqrt()
    usable = (1 - kept).expand_as(noise) > 1e-3
    assert noise[usable].mean().abs() < 0.02 and abs(noise[usable].std() - 1) < 0.02
    torch.testing.assert_close(signal(time)[..., None], kept)
    # Nothing is left of the sample at the last time.
    assert ddim().alphas_cumprod[NEVER] < 1e-6
    shared, _ = corrupt(clean, 1)
    assert shared.shape == (4000,)


def test_clean_samples_follow_from_v():
    """v = sqrt(kept) noise - sqrt(1 - kept) clean, at times of any shape (Salimans and Ho 2022)."""
    clean, noise = torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    time = torch.tensor([0, 10, 300, 900, NEVER])
    kept = ddim().alphas_cumprod[time][:, None, None]
    state = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    v = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    torch.testing.assert_close(denoised(state, -v, time), clean, atol=1e-5, rtol=0)
    each = time[:, None].expand(-1, 2)
    torch.testing.assert_close(denoised(state, -v, each), clean, atol=1e-5, rtol=0)
    assert certainty(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([1, 2, 5])


def test_losses_of_hands_are_eq_15_and_16(net, hand, batch):
    points, numbers = batch["surface"], numbers_of(batch["mano"], hand)
    mano = mano_of(numbers, hand)
    moved = numbers.clone()
    moved[:, 16:19] += 0.2  # the hand, by a centimetre along each axis
    kept, both = torch.tensor([0.9, 0.5, 0.0, 0.3]), torch.tensor([0.0, 0.2, 0.75, 0.4])
    losses = net.hand_losses(moved, numbers, hand.skeleton(mano), points, kept, both)
    # Errors of clean samples weigh as those of v do: divided by the noise's variance.
    share = (0.9 / 0.2 + 0.5 / 0.5 + 0 + 0.3 / 0.7) / 4
    expected = net.config.weight_xyz * share * 3 * (0.01 / UNIT) ** 2
    assert losses["xyz"].item() == pytest.approx(expected, rel=1e-3)
    share = (1 / 0.2 + 1 / 0.5 + 1 + 1 / 0.7) / 4
    expected = net.config.weight_parts[2] * share * 3 * 0.2**2 / NUMBERS
    assert losses["hand"].item() == pytest.approx(expected, rel=1e-3)
    joints = hand.skeleton(mano)
    field, shifted = distance_field(joints, points), distance_field(joints + 0.01, points)
    apart = ((shifted - field) / UNIT).square().sum(dim=-1).mean(dim=(1, 2))
    expected = net.config.weight_distance * (both / (1 - both) * apart).mean()
    assert losses["distance"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_rows_are_about_the_same_place_of_every_object(net):
    """Of a turned-over order nothing remains; a ball's points lie in their rows' directions."""
    latent = latents(net, 2)
    shuffled = latent[:, torch.randperm(latent.shape[1])]
    one, other = arranged(latent), arranged(shuffled)
    torch.testing.assert_close(one, other)
    assert sorted(one[0, :, 5].tolist()) == sorted(latent[0, :, 5].tolist())
    ball = torch.nn.functional.normalize(torch.randn(3, 400, 3), dim=2)
    rows = arranged(torch.cat([ball[:, :64], latents(net, 3)[..., 3:]], dim=2))[..., :3]
    directions = torch.from_numpy(sphere_directions(64)).float()
    assert (rows * directions).sum(dim=2).median() > 0.9


def test_objects_alone_teach_the_object_alone(net, batch):
    """Eq. 13, 14: no gradient reaches what makes hands of rows."""
    net.train()
    losses = net.loss(batch)
    losses["object"].backward()
    for name, part in net.named_parameters():
        touched = part.grad is not None and part.grad.abs().max() > 0
        if name.startswith("hand_out"):
            assert not touched, name
        if name.startswith(("object_out", "object_in", "look", "camera")):
            assert touched, name
    total = sum(losses[name] for name in ("hand", "xyz", "distance", "object"))
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_times_are_each_its_own_unless_told_otherwise(hand, batch, asynchronous, monkeypatch):
    """Eq. 9, and Table 4's other row; an object alone has a hand of which nothing is known."""
    torch.manual_seed(0)
    net = build_generator("jhod", hand, SMALL | {"asynchronous": asynchronous})
    given, both = [], net.both
    monkeypatch.setattr(net, "both", lambda *args: given.append(args[2:4]) or both(*args))
    net.loss(batch)
    (object_time, hand_time), alone = given[0], len(batch["shapes"])
    assert torch.equal(object_time, hand_time) == (not asynchronous)
    assert (hand_time[-alone:] == NEVER).all() == asynchronous


def test_hands_look_at_the_object_and_not_at_each_other(net):
    known = net.know(latents(net, 2))
    noisy, time = torch.randn(2, 3, NUMBERS), torch.tensor([[5.0, 400, 900]] * 2)
    with torch.no_grad():
        all_ = net.hands(noisy, time, known)
        first = net.hands(noisy[:, :1], time[:, :1], known)
        flipped = Known(known.latent, [rows.flip(0) for rows in known.rows])
        other = net.hands(noisy[:, :1], time[:, :1], flipped)
    torch.testing.assert_close(all_[:, :1], first, atol=1e-5, rtol=1e-5)
    assert (other - first).abs().max() > 1e-3


def test_hands_are_told_what_is_around_their_joints(net, hand, batch):
    """Places, and the nearest latent point as seen from each; of clean hands exactly."""
    mano, latent = batch["mano"][:2], latents(net, 1)
    numbers, time = numbers_of(mano, hand)[None], torch.zeros(1, 2)
    found = net.surroundings(numbers, time, latent)[0].unflatten(1, (21, -1)).numpy()
    joints = hand.skeleton(mano_of(numbers[0], hand)).numpy() / SPREAD
    points = latent[0].numpy()
    _, nearest = cKDTree(points[:, :3]).query(joints)
    expected = [joints, points[nearest, :3] - joints, points[nearest, 3:]]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=2), atol=1e-3)
    # Faint hands are scaled to their size.
    time = torch.full((1, 2), 400.0)
    faint = net.surroundings(numbers * signal(time).sqrt()[..., None], time, latent)
    np.testing.assert_allclose(faint[0].unflatten(1, (21, -1)).numpy(), found, atol=1e-3)


def test_objects_look_at_the_hand_and_at_what_was_seen(net):
    latent, numbers = latents(net, 1), torch.randn(1, NUMBERS)
    time = torch.tensor([500.0])
    view = 0.05 * torch.randn(1, 60, 3)
    with torch.no_grad():
        context = net.see(view, torch.tensor([[0.0, 0.0, 1.0]]))
        elsewhere = net.see(view, torch.tensor([[0.0, 1.0, 0.0]]))
        base, _ = net.both(latent, numbers, time, time, context)
        for changed in (
            net.both(latent, numbers + 1, time, time, context)[0],
            net.both(latent, numbers, time, time, elsewhere)[0],
            net.both(latent, numbers, time, time, net.unseen(1))[0],
            net.both(latent, numbers, time, time / 2, context)[0],
        ):
            assert (changed - base).abs().max() > 1e-4


def test_batches_are_in_the_frame_of_what_is_seen(hand, batch):
    """Turned and moved as a whole, a batch is the same batch."""
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix()).float()
    shift = torch.tensor([0.3, -0.2, 0.5])
    moved = batch | {name: batch[name] @ turn.T + shift for name in ("view", "surface", "eye")}
    there = hand.move(batch["others"].flatten(0, 1), turn, shift)
    moved["others"] = there.unflatten(0, (-1, 2))
    one, other = in_view_frame(batch, hand), in_view_frame(moved, hand)
    seen = (
        (*one[:2], one[3][:1]),
        (*other[:2], other[3][:1]),
    )
    for before, after in zip(*seen, strict=True):
        torch.testing.assert_close(before, after, atol=1e-4, rtol=0)
    before, after = (hand(each[2].flatten(0, 1))[0] for each in (one, other))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)
    # The camera's direction, where there was one.
    view, toward = batch["view"][0], one[3][0]
    away = batch["eye"][0] - view.mean(dim=0)
    cosine = ((view - view.mean(dim=0)) @ away)[:, None] / away.norm()
    torch.testing.assert_close((one[0][0] @ toward)[:, None], cosine, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_perfect_denoiser_gives_the_sample_back(steps):
    clean = torch.randn(4, 3, NUMBERS)
    found = sample(lambda state, time: clean, torch.randn(4, 3, NUMBERS), steps)
    torch.testing.assert_close(found, clean, atol=1e-3, rtol=0)


def test_guidance_goes_beyond_what_is_told(net):
    latent, noise = latents(net, 2), torch.randn(2, 3, NUMBERS)
    found = {}
    with torch.no_grad():
        for guidance in (0.0, 1.0, 2.0):
            net.sampling = net.sampling_class(steps=1, guidance=guidance)
            found[guidance] = net.draw_hands(latent, noise)
    torch.testing.assert_close(found[2.0], 2 * found[1.0] - found[0.0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 1.5}, {"guidance": -1.0}])
def test_wrong_options_are_refused(net, options):
    with pytest.raises(ValueError, match="accepted are"):
        net.sampling_class(**options)
