"""The evaluator: what it is told against closed forms, what it learns, its judged hands."""

import numpy as np
import pytest
import torch
from known import Known
from torch.nn import functional

from grasp_gen_core.contact.closing import hold
from grasp_gen_core.generators import build_generator, load_network, save_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.placing import bring_in
from grasp_gen_core.ranking.evaluator import NO_FAMILY, Evaluator, Expected, is_good
from grasp_gen_core.ranking.evidence import (
    AHEAD,
    FORMULA,
    HAND_NUMBERS,
    HAND_PARTS,
    HAND_UNIT,
    HOLD_UNITS,
    MOST,
    NEAR,
    PLACE_NUMBERS,
    PLACE_PARTS,
    PLACES,
    UNIT,
    Evidence,
    gather,
)
from grasp_gen_core.types import TRANSL

SMALL = {"members": 2, "width": 32, "dropout": 0.0}


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def told(hand, mano, cloud, normals, field) -> Evidence:
    vertices, joints = hand(mano)
    metrics = {name: torch.full((len(mano),), unit / 2) for name, unit in FORMULA.items()}
    score = torch.full((len(mano),), 0.25)
    return gather(mano, vertices, joints, hand, cloud, normals, field, field, score, metrics)


def test_how_far_several_floors_are_apart_is_told(hand, floor):
    cloud, normals, field, _ = floor
    several = Known(field)
    several.each = lambda x: torch.stack([field(x) - 0.003, field(x) + 0.003])
    places, _ = told(hand, torch.zeros(1, 61), cloud, normals, several)
    unsure = places[0].split([*PLACE_PARTS.values()], dim=1)[[*PLACE_PARTS].index("unsure")]
    torch.testing.assert_close(unsure, torch.full((PLACES, 1), 0.003 / UNIT), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def floor(hand):
    """A square of a plane 1 cm below the flat hand, seen from above: points, normals, field."""
    level = float(hand(torch.zeros(1, 61))[0][..., 1].min()) - 0.01
    grid = torch.cartesian_prod(torch.linspace(-0.25, 0.25, 22), torch.linspace(-0.25, 0.25, 22))
    cloud = torch.stack([grid[:, 0], torch.full((len(grid),), level), grid[:, 1]], dim=1)
    normals = torch.tensor([[0.0, 1.0, 0.0]]).expand(len(cloud), 3)
    return cloud, normals, Known(lambda points: points[..., 1] - level), level


def test_a_floor_is_told_as_it_lies(hand, floor):
    cloud, normals, field, level = floor
    places, hands = told(hand, torch.zeros(1, 61), cloud, normals, field)
    assert places.shape == (1, PLACES, PLACE_NUMBERS) and hands.shape == (1, HAND_NUMBERS)
    vertices, joints = hand(torch.zeros(1, 61))
    skin = vertices[0, hand.regions.sparse[:PLACES]]
    parts = places[0].split([*PLACE_PARTS.values()], dim=1)
    where, outward, apart, unsure, away, ahead, guessed, seen, offset, facing = parts
    close = {"atol": 1e-4, "rtol": 0}
    torch.testing.assert_close(where, (skin - joints[0, 0]) / HAND_UNIT, **close)
    height = skin[:, 1] - level
    torch.testing.assert_close(apart[:, 0], (height / UNIT).clamp(-MOST, MOST), **close)
    torch.testing.assert_close(unsure, torch.zeros(PLACES, 1), **close)
    torch.testing.assert_close(away, torch.tensor([[0.0, 1.0, 0.0]]).expand(PLACES, 3), **close)
    for column, way in enumerate(AHEAD):
        expected = ((height + way * outward[:, 1]) / UNIT).clamp(-MOST, MOST)
        torch.testing.assert_close(ahead[:, column], expected, **close)
    # All that is guessed was seen, within the spacing of the points; the hand is in front of it.
    assert guessed.max() * UNIT < 0.02 and seen[:, 0].max() * UNIT < 0.02
    torch.testing.assert_close(seen[:, 1], (height / UNIT).clamp(-MOST, MOST), **close)
    torch.testing.assert_close(seen[:, 2], torch.ones(PLACES), **close)
    nearest = torch.cdist(skin, cloud).amin(dim=1)
    first = (offset.view(PLACES, NEAR, 3)[:, 0] * UNIT).norm(dim=1)
    within = nearest < MOST * UNIT
    torch.testing.assert_close(first[within], nearest[within], **close)
    torch.testing.assert_close(facing.reshape(-1, 3)[:, 1], torch.ones(PLACES * NEAR), **close)
    *_, held, formula = hands[0].split([*HAND_PARTS.values()])
    # Bending on, the thumb reaches the floor, and pushes it off.
    got = torch.cat(hold(hand, torch.zeros(1, 61), field, field.middle()))
    torch.testing.assert_close(held, got / torch.tensor(HOLD_UNITS))
    assert got[0] > 0.5 and got[1] > 1 and got[2] > 0.9 and got[3] < 0.01
    torch.testing.assert_close(formula, torch.tensor([0.25] + [0.5] * len(FORMULA)), **close)


def test_moved_and_turned_the_same_is_told(hand, floor):
    cloud, normals, field, _ = floor
    mano = 0.1 * torch.randn(3, 61, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]]))
    shift = torch.tensor([0.3, -0.2, 0.5])
    moved = hand.move(mano, turn, shift)
    there = told(
        hand,
        moved,
        cloud @ turn.T + shift,
        normals @ turn.T,
        Known(lambda x: field((x - shift) @ turn), shift),
    )
    for one, other in zip(told(hand, mano, cloud, normals, field), there, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def judged(count: int, hands: int) -> dict[str, torch.Tensor]:
    """Random evidence, of which one number tells all about a hand."""
    rng = torch.Generator().manual_seed(0)
    places = torch.randn(count, hands, PLACES, PLACE_NUMBERS, generator=rng)
    whole = torch.randn(count, hands, HAND_NUMBERS, generator=rng)
    good = whole[..., 0]
    return {
        "places": places,
        "hands": whole,
        "success": (good > 0).float(),
        "volume_cm3": torch.exp(-good),
        "displacement_cm": torch.exp(-2 * good),
        "family": torch.arange(count),
    }


def evidence(batch: dict[str, torch.Tensor]) -> Evidence:
    return Evidence(*(batch[name].flatten(0, 1) for name in Evidence._fields))


def test_losses_are_their_closed_forms(hand):
    """Each member learns from the objects of the families that it doesn't leave out."""
    torch.manual_seed(0)
    net: Evaluator = build_generator("evaluator", hand, SMALL)
    batch = judged(3, 3) | {"family": torch.tensor([0, 3, NO_FAMILY])}
    losses, found = net.loss(batch), net(evidence(batch))
    learned = [(1, 0), (0, 1), (0, 2), (1, 2)]  # member 0 leaves even numbers out, 1 odd ones
    index = 0.301 * found.volume_cm3 + 0.699 * found.displacement_cm
    torch.testing.assert_close(found.quality_index, index)
    true = (0.301 * batch["volume_cm3"] + 0.699 * batch["displacement_cm"] + 0.05).log()
    mine, order, success, numbers = (index + 0.05).log().view(2, 3, 3), 0.0, 0.0, 0.0
    for member, one in learned:
        chance = torch.sigmoid(found.success.view(2, 3, 3)[member, one])
        right = torch.where(batch["success"][one] > 0, chance, 1 - chance)
        success -= right.log().mean() / len(learned)
        for name in ("volume_cm3", "displacement_cm"):
            told = getattr(found, name).view(2, 3, 3)[member, one]
            off = ((told + 0.05).log() - (batch[name][one] + 0.05).log()).abs() / 2
            numbers += torch.where(off < 1, off**2 / 2, off - 0.5).mean() / len(learned)
        for a in range(3):
            for b in range(3):
                apart = true[one, a] - true[one, b]
                far = mine[member, one, a] - mine[member, one, b]
                wrong = functional.softplus(-2 * far * apart.sign()) * min(float(apart.abs()), 2)
                order += wrong / 9 / len(learned)
    torch.testing.assert_close(losses["success"], success)
    torch.testing.assert_close(losses["numbers"], numbers)
    torch.testing.assert_close(losses["order"], 0.5 * order)
    assert losses["loss"] == sum(losses[n] for n in ("success", "numbers", "order"))


def test_it_learns_what_is_told(hand):
    torch.manual_seed(0)
    net = build_generator("evaluator", hand, SMALL)
    batch = judged(4, 8)
    net.standardise(evidence(batch))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        losses = net.loss(batch | {"family": torch.full((4,), NO_FAMILY)})
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        found = net(evidence(batch))
    for member in range(2):
        right = (found.success[member] > 0) == (batch["success"].flatten() > 0)
        assert right.float().mean() > 0.9
        true = Expected(*(batch[name].flatten() for name in Expected._fields)).quality_index
        both = (found.quality_index[member], true)
        ranks = torch.stack([x.argsort().argsort().float() for x in both])
        assert torch.corrcoef(ranks)[0, 1] > 0.8


def test_chances_are_calibrated(hand):
    """Of hands whose true chances are known, members that are too sure say what is true."""
    rng = torch.Generator().manual_seed(0)
    count = 40_000
    sure, log_index = (3 * torch.randn(count, generator=rng) for _ in range(2))
    holds = torch.rand(count, generator=rng) < torch.sigmoid(0.4 * sure - 0.5)
    small = torch.rand(count, generator=rng) < torch.sigmoid(-0.8 * log_index + 0.3)
    said = (log_index.exp() - 0.05).clamp(min=0)
    became = torch.where(small, 0.1, 2.0)
    net: Evaluator = build_generator("evaluator", hand, SMALL)
    true = Expected(holds.float(), became, became)
    net.calibrate(Expected(sure, said, said), true)
    expected = torch.tensor([[0.4, -0.5], [-0.8, 0.3]])
    told = torch.stack([sure, (said + 0.05).log()])
    torch.testing.assert_close(net.calibration[0], expected[0], atol=0.05, rtol=0)
    chance = torch.sigmoid(net.calibration[:, :1] * told + net.calibration[:, 1:]).prod(dim=0)
    for low in (0.1, 0.3, 0.5):
        some = (chance > low) & (chance <= low + 0.1)
        share = is_good(true)[some].float().mean()
        assert share == pytest.approx(float(chance[some].mean()), abs=0.04)


def test_weights_are_kept_like_a_generators(hand, tmp_path):
    net = build_generator("evaluator", hand, SMALL)
    save_generator(net, tmp_path)
    again = load_network(tmp_path, hand)
    batch = judged(1, 2)
    torch.testing.assert_close(net.eval()(evidence(batch)), again(evidence(batch)))


def test_the_pipeline_tells_the_same_wherever_the_object_lies(hand):
    """Hands of a call, and the same of the moved cloud."""
    from grasp_gen_core import GraspPipeline
    from grasp_gen_core.objects.procedural import make_object
    from grasp_gen_core.objects.views import view_object

    pipeline = GraspPipeline("grasp_cvae", "none", device="cpu", ranking="formula")
    points = view_object(make_object("can", 4), "full", 1024, 4).points.astype(np.float64)
    grasps, shift = pipeline(points, num=3), np.array([5.0, -2.0, 8.0])
    mano = grasps.mano.astype(np.float64)
    here = pipeline.look_at(points, 0, None)
    there = pipeline.look_at(points + shift, 0, None)
    mano_there = mano.copy()
    mano_there[:, TRANSL] += shift
    one = pipeline.evidence(bring_in(mano, pipeline.hand, here.frame), here)
    other = pipeline.evidence(bring_in(mano_there, pipeline.hand, there.frame), there)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=0)
