"""JointDiffusion as it ships: noisy hands of an object that training never saw become grasps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from grasp_gen_core.contact import choir
from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.generators.joint_diffusion import JointDiffusion, JointDiffusionConfig, fold
from grasp_gen_core.generators.layers.frames import principal_frame
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners import get_refiner

DATA = Path(__file__).parents[2] / "training" / "data"


@pytest.fixture(scope="module")
def scene(hand):
    """Eight grasps (8, 61) of a held-out flashlight, them with noise, points, and the distance."""
    data = GraspDataset.load(DATA)
    names = np.array(data.objects)
    held_out = np.flatnonzero(data.split == "validation")
    number = next(i for i in held_out if names[i].startswith("flashlight"))
    mesh = data.mesh(int(number))
    mano = torch.from_numpy(data.mano[data.object_index == number][:8])
    noisy = perturb(mano, torch.Generator().manual_seed(0))
    points = torch.from_numpy(sample_surface(mesh, 2048, 0)[0]).float()
    return mano, noisy, points, DistanceGrid.from_mesh(mesh)


@pytest.fixture(scope="module")
def found(hand, scene):
    """(8, 61) the hands with noise, refined."""
    return get_refiner("choir", hand)(*scene[1:])


@pytest.fixture(scope="module")
def refined(hand, scene, found):
    """Joints (8, 21, 3) of grasps, of them with noise, and refined; and the refined ones' depth."""
    mano, noisy, _, grid = scene
    with torch.no_grad():
        vertices, joints = hand(found)
        return hand(mano)[1], hand(noisy)[1], joints, -grid(vertices).amin(dim=1)


def test_noisy_hands_come_back_to_their_grasps(refined):
    true, noisy, found, _ = refined
    off, left = ((joints - true).norm(dim=2).mean() for joints in (noisy, found))
    assert off > 0.06
    assert left < 0.7 * off


def test_they_are_in_the_object_no_deeper_than_skin_gives_way(refined):
    assert refined[3].median() < 0.005


def test_a_refined_hand_keeps_its_shape(scene, found):
    _, noisy, _, _ = scene
    assert (found[:, :10] == noisy[:, :10]).all()
    assert (found[:, :10] != 0).any()


@pytest.fixture
def constant(hand) -> JointDiffusion:
    """A network that says the same of everything: contacts 0, 0.01 ... 2.87, and voxels 0 to 7."""
    net = JointDiffusion(hand)
    for layer, says in (
        (net.contact_out, torch.arange(288.0) / 100),
        (net.out[-1], torch.arange(8.0)),
    ):
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = says
    return net


def test_losses_are_the_squared_errors_of_contacts_and_distances(hand, batch, constant):
    """What is to be learned worked out by numpy: means and covariances turned, plain distances."""
    rng = torch.Generator().manual_seed(0)
    gaussians = 0.003 * torch.randn(4, 32, 9, generator=rng)
    gaussians[..., [3, 5, 8]] = gaussians[..., [3, 5, 8]].abs() + 0.001  # factors' diagonals
    gaussians[:, ::3] = 0  # nothing touches
    batch = batch | {"contacts": gaussians}
    losses = constant.loss(batch)
    rotation, centre = principal_frame(batch["view"], batch["flip"])
    lower = np.tril_indices(3)
    vertices = hand(batch["mano"])[0].double().numpy()
    grid = choir.basis().double().numpy()
    contact_errors, field_errors = [], []
    for turn, middle, contacts, places in zip(
        rotation.double().numpy(),
        centre.double().numpy(),
        batch["contacts"].double().numpy(),
        vertices,
        strict=True,
    ):
        truth = np.zeros((32, 9))
        for row, numbers in zip(truth, contacts, strict=True):
            if numbers.any():
                factor = np.zeros((3, 3))
                factor[lower] = numbers[3:]
                covariance = turn.T @ factor @ factor.T @ turn
                row[:3], row[3:] = turn.T @ numbers[:3], np.linalg.cholesky(covariance)[lower]
        contact_errors.append(truth.ravel() / 0.003 - np.arange(288) / 100)
        anchors = (places[hand.regions.anchors] - middle) @ turn
        far = np.linalg.norm(grid - anchors[np.arange(4096) % 32], axis=1)
        x, y, z = np.unravel_index(np.arange(4096), (16, 16, 16))
        field_errors.append((far - 0.17) / 0.06 - (4 * (x % 2) + 2 * (y % 2) + z % 2))
    by_contact, by_field = (np.mean(np.square(e)) for e in (contact_errors, field_errors))
    assert losses["contacts"].item() == pytest.approx(0.2 * by_contact, rel=1e-3)
    assert losses["field"].item() == pytest.approx(by_field, rel=1e-3)
    assert losses["loss"].item() == pytest.approx(0.2 * by_contact + by_field, rel=1e-3)


def test_what_is_drawn_is_what_the_network_says_in_metres(constant):
    thing = torch.zeros(2, 4096)
    noise = torch.randn(2, 4096 + 288, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = constant.object_encoder(fold(thing))
        field, contacts = constant.draw(thing, None, tokens, noise, 4)
    assert contacts.shape == (2, 32, 9)
    # Anchor 3's fifth number is the 31st: 0.31 times 3 mm.
    assert contacts[1, 3, 4].item() == pytest.approx(0.31 * 0.003, abs=1e-7)
    # The basis point (5, 2, 11) is the voxel's corner (1, 0, 1), the fifth of eight.
    assert field.view(2, 16, 16, 16)[0, 5, 2, 11].item() == pytest.approx(5 * 0.06 + 0.17, abs=1e-5)


def test_contacts_are_drawn_by_ddim(hand):
    """Against its equation (Song et al. 2021, Eq. 12, without noise) on the cosine schedule."""
    torch.manual_seed(0)
    net = JointDiffusion(hand).eval()
    rng = torch.Generator().manual_seed(1)
    thing, noisy = torch.randn(2, 2, 4096, generator=rng)
    noise = torch.randn(2, 4096 + 288, generator=rng)
    ends = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    signal = np.sqrt(np.cumprod(1 - np.minimum(1 - ends[1:] / ends[:-1], 0.999)))
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    state = noise
    with torch.no_grad():
        tokens = net.pair_encoder(fold(thing, noisy))
        for time, after in ((999, 749), (749, 499), (499, 249), (249, None)):
            now, then = signal[time], 1.0 if after is None else signal[after]
            clean = net(state, torch.full((2,), time), thing, noisy, tokens)
            left = (state - now * clean) / np.sqrt(1 - now**2)
            state = then * clean + np.sqrt(1 - then**2) * left
        _, contacts = net.draw(thing, noisy, tokens, noise, 4)
    torch.testing.assert_close(contacts.flatten(1), 0.003 * state[:, 4096:], atol=1e-6, rtol=1e-3)
    assert contacts.std() > 1e-4


def test_contacts_follow_from_the_fields_and_not_the_fields_from_contacts(hand):
    """Fig. 4: the branch of contacts hangs on the U-Net's bottleneck, nothing leads back."""
    torch.manual_seed(0)
    net = JointDiffusion(hand).eval()
    rng = torch.Generator().manual_seed(1)
    thing, noisy = torch.randn(2, 1, 4096, generator=rng)
    field, contacts = torch.randn(1, 4096, generator=rng), torch.randn(1, 288, generator=rng)
    tokens = net.pair_encoder(fold(thing, noisy)).detach()
    known = [x.requires_grad_() for x in (field, contacts, thing, noisy, tokens)]
    said = net(torch.cat(known[:2], dim=1), torch.tensor([400]), *known[2:])
    slopes = torch.autograd.grad(said[:, 4096:].sum(), known, retain_graph=True)
    assert all((slope != 0).any() for slope in slopes)
    to_field = torch.autograd.grad(said[:, :4096].sum(), known)
    assert [bool((slope != 0).any()) for slope in to_field] == [True, False, True, True, True]


def test_hands_take_turns_in_the_four_frames(constant, cloud, monkeypatch):
    """What is drawn knows the object in the frame that its hand is then taken out of."""
    asked, frames, draw = [], [], constant.draw
    monkeypatch.setattr(
        constant, "draw", lambda thing, *rest: asked.append(thing) or draw(thing, *rest)
    )
    monkeypatch.setattr(constant, "touch", lambda mano, _, *rest: frames.append(rest[:2]) or mano)
    constant.sampling = constant.sampling_class(steps=1)
    with torch.no_grad():
        constant.sample(cloud(0), 5, torch.Generator().manual_seed(0), None, None)
    rotation, centre = principal_frame(cloud(0).expand(5, -1, -1), torch.tensor([0, 1, 2, 3, 0]))
    torch.testing.assert_close(frames[0], (rotation, centre))
    fields = choir.object_field((cloud(0) - centre[:, None]) @ rotation)
    torch.testing.assert_close(0.06 * asked[0] + 0.17, fields, atol=1e-5, rtol=0)


@pytest.mark.parametrize("share, task", [(0.0, "refinement"), (1.0, "synthesis")])
def test_one_task_alone_is_trained(hand, batch, share, task):
    losses = JointDiffusion(hand, JointDiffusionConfig(synthesis=share)).loss(batch)
    assert all(torch.isfinite(value) for value in losses.values())
    assert [name for name in losses if name.startswith("field_")] == [f"field_{task}"]
    torch.testing.assert_close(losses[f"field_{task}"], losses["field"])
