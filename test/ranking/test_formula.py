"""The score's factors on fields and hands made to differ in one thing."""

import numpy as np
import pytest
import torch
from known import Known

from grasp_gen_core.contact import energies
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import finger_touches
from grasp_gen_core.ranking.formula import score_grasps


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


def score(hand, field, approach=(0.0, -1.0, 0.0), normals=None):
    vertices, joints = hand(torch.zeros(1, 61))
    value, metrics = score_grasps(
        vertices,
        joints,
        torch.tensor([approach]),
        hand,
        field if isinstance(field, Known) else Known(field),
        torch.zeros(4, 3) if normals is None else normals,
        torch.zeros(3),
    )
    return float(value), {name: float(v) for name, v in metrics.items()}


def floor(hand, gap: float):
    """The half-space under the flat hand, its top `gap` metres below the lowest vertex."""
    level = float(hand(torch.zeros(1, 61))[0][..., 1].min()) - gap
    return lambda points: points[..., 1] - level


def test_out_of_reach_scores_nothing(hand):
    value, metrics = score(hand, floor(hand, 0.02))
    assert value == 0 and metrics["contact_fingers"] == 0 and metrics["contact_ratio_pct"] == 0


def test_penetration_lowers_the_score(hand):
    touching, deep = (score(hand, floor(hand, gap)) for gap in (0.001, -0.008))
    assert deep[1]["penetration_depth_cm"] == pytest.approx(0.8, abs=1e-3)
    assert 0 < deep[0] < touching[0]


def test_a_wire_through_a_finger_scores_far_below_one_beside_it(hand):
    """A wire of 4 mm along the hand's width, inside the fingers or just under their pads."""
    joints = hand(torch.zeros(1, 61))[1][0]
    bone = (joints[5] + joints[6]) / 2  # middle finger

    def wire(drop: float):
        across, below = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, drop, 0.0])
        return lambda points: ((points - bone + below) * across).norm(dim=-1) - 0.002

    pierced, beside = score(hand, wire(0.0)), score(hand, wire(0.012))
    assert pierced[1]["bone_clearance_cm"] < 0 < beside[1]["bone_clearance_cm"]
    assert pierced[1]["contact_fingers"] > 0 and beside[1]["contact_fingers"] > 0
    assert pierced[0] < 0.5 * beside[0]


def test_hands_come_from_the_side_that_was_seen(hand):
    field = floor(hand, 0.001)
    seen = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)  # a surface that faces +y
    along = score(hand, field, approach=(0.0, -1.0, 0.0), normals=seen)[0]
    against = score(hand, field, approach=(0.0, 1.0, 0.0), normals=seen)[0]
    assert along > 0 and against == 0


def factors(hand, field, **options) -> tuple[float, dict[str, float], dict[str, float]]:
    """The score, its numbers, and docs/ranking.md's factors worked out of them."""
    value, numbers = score(hand, field, **options)
    touches = finger_touches(field(hand(torch.zeros(1, 61))[0]), hand.parts)[0]
    pierced = max(0.0, 1 - 10 * numbers["bone_clearance_cm"]) / 1.5
    return (
        value,
        numbers,
        {
            "touch": float(touches.sum()) / 5 * (1 if touches[0] else 0.5),
            "depth": np.exp(-((10 * numbers["penetration_depth_cm"] / 5) ** 2)),
            "clear": 0.2 + 0.8 * np.exp(-(pierced**2)),
            "balance": 0.1 + 0.9 * np.exp(-numbers["net_wrench"] / 2),
        },
    )


def slab(hand, gap: float, thick: float, off: float = 0.0):
    """A plate between a flat hand's palm and nothing; bent up by `off` under the thumb's side."""
    level = float(hand(torch.zeros(1, 61))[0][..., 1].min()) - gap

    def field(points):
        height = points[..., 1] - level - off * points[..., 2]
        return torch.maximum(height, -height - thick)

    return field


@pytest.mark.parametrize("gap", [0.004, 0.001, -0.002, -0.004, -0.008])
def test_the_score_is_the_product_of_the_factors(hand, gap):
    for field in (floor(hand, gap), slab(hand, gap, 0.004), slab(hand, gap, 0.004, 0.3)):
        value, _, known = factors(hand, field)
        assert known["touch"] > 0
        assert value == pytest.approx(np.prod(list(known.values())), rel=1e-4)


def test_balance_is_the_wrench_of_thumb_against_fingers(hand):
    """Of five pads that press down on a floor: the thumb 1 N, the others 1 N among them.

    Forces add up to 2 N. Torques about a centre, in units of 5 cm, by numpy.
    """
    field = floor(hand, 0.0)
    vertices = hand(torch.zeros(1, 61))[0]
    _, numbers, known = factors(hand, field)
    pads = energies.pad_contact(vertices, field(vertices), hand.regions).points[0].numpy()
    touches = finger_touches(field(vertices), hand.parts)[0].numpy() + 1e-3
    strength = np.r_[1.0, touches[1:] / touches[1:].sum()]
    force = strength[:, None] * [0.0, -1.0, 0.0]
    torque = np.cross(pads / 0.05, force).sum(axis=0)
    wrench = np.square(force.sum(axis=0)).sum() + np.square(torque).sum()
    assert numbers["net_wrench"] == pytest.approx(wrench, rel=1e-3)
    assert np.square(force.sum(axis=0)).sum() == pytest.approx(4)
    # The least that balance leaves: a tenth.
    assert 0.1 <= known["balance"] < 0.1 + 0.9 * np.exp(-2)


def test_a_pinch_across_is_balanced_and_a_push_is_not(hand):
    """Thumb and fingers on opposite faces of a plate, and both on one face."""
    joints = hand(torch.zeros(1, 61))[1][0]
    middle = (joints[16] + joints[17:].mean(dim=0)) / 2
    across = torch.nn.functional.normalize(joints[16] - middle, dim=0)

    def between(points):  # its faces look at the thumb and at the fingers
        return ((points - middle) @ across).abs() - (joints[16] - middle).norm() + 0.008

    wrenches = []
    for field in (between, lambda points: (points - middle) @ across + 0.02):
        vertices, joints_of = hand(torch.zeros(1, 61))
        _, numbers = score_grasps(
            vertices,
            joints_of,
            torch.tensor([[0.0, -1.0, 0.0]]),
            hand,
            Known(field),
            torch.zeros(4, 3),
            middle,
        )
        wrenches.append(float(numbers["net_wrench"]))
    assert wrenches[0] < 1 < 3 < wrenches[1]


def test_each_factor_falls_as_its_number_gets_worse(hand):
    """Deeper is worse, and so is less clearance, all the way."""
    _, numbers, known = zip(
        *(factors(hand, floor(hand, gap)) for gap in np.linspace(0.002, -0.012, 8)), strict=True
    )
    for number, factor in (("penetration_depth_cm", "depth"), ("bone_clearance_cm", "clear")):
        values = np.array([n[number] for n in numbers])
        steps, change = np.diff(values), np.diff([k[factor] for k in known])
        worse = steps > 0 if number == "penetration_depth_cm" else steps < 0
        assert worse.sum() > 3 and (change[worse] <= 0).all()
    values = [score(hand, floor(hand, gap))[0] for gap in np.linspace(0, -0.012, 7)]
    assert (np.diff(values) < 0).all()


def test_fingers_that_touch_count_and_half_without_the_thumb(hand):
    """The floor under some of the fingers alone."""
    level = float(hand(torch.zeros(1, 61))[0][..., 1].min()) - 0.0005
    parts = hand.parts
    vertices, joints = hand(torch.zeros(1, 61))
    for fingers in ([0, 1, 2], [1, 2, 3, 4], [0], [2]):
        under = torch.isin(parts, torch.tensor(fingers))

        def field(points, under=under):
            height = points[..., 1] - level
            if points.shape[-2] != len(parts):
                return height
            return torch.where(under, torch.full_like(height, 0.001), torch.ones(()))

        value, numbers = score_grasps(
            vertices,
            joints,
            torch.tensor([[0.0, -1.0, 0.0]]),
            hand,
            Known(field),
            torch.zeros(4, 3),
            torch.zeros(3),
        )
        balance = 0.1 + 0.9 * np.exp(-float(numbers["net_wrench"]) / 2)
        pierced = max(0.0, 1 - 10 * float(numbers["bone_clearance_cm"])) / 1.5
        clear = 0.2 + 0.8 * np.exp(-(pierced**2))
        touch = len(fingers) / 5 * (1 if 0 in fingers else 0.5)
        assert float(value) == pytest.approx(touch * balance * clear, rel=1e-4)


def test_sight_falls_with_the_cosine(hand):
    field, seen = floor(hand, 0.001), torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)
    best = score(hand, field, approach=(0.0, -1.0, 0.0), normals=seen)[0]
    for cosine in (0.0, 0.3, 0.8):
        approach = (0.0, cosine, (1 - cosine**2) ** 0.5)
        found = score(hand, field, approach=approach, normals=seen)[0]
        assert found == pytest.approx((1 - cosine) * best, rel=1e-4)


def test_of_several_objects_score_and_metrics_are_the_means(hand):
    fields = [floor(hand, gap) for gap in (0.001, -0.003, 0.02)]

    class Several(Known):
        def each(self, points):
            return torch.stack([field(points) for field in fields])

    alone = [score(hand, field) for field in fields]
    mean = Several(lambda points: sum(field(points) for field in fields) / 3)
    value, metrics = score(hand, mean)
    assert value == pytest.approx(np.mean([one for one, _ in alone]), rel=1e-4)
    for name, number in metrics.items():
        assert number == pytest.approx(np.mean([m[name] for _, m in alone]), abs=1e-4)
