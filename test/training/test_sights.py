"""Views that exit depth learns from: rays whose crossings are known in closed form."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.sight import SIZE
from grasp_gen_training.sights import (
    MISSED,
    STEP,
    VIEWS,
    look,
    lose,
    make_record,
    sight_names,
    stretched,
    turn,
)

RADIUS = 0.05


def depths(record: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays hit, and the first and last depth there, metres."""
    hit = record["first"] != MISSED
    first, last = (
        record["middle"] + record["radius"] * STEP * record[n] for n in ("first", "last")
    )
    return hit, np.where(hit, first, np.nan), np.where(hit, last, np.nan)


def test_a_balls_chords_are_those_of_a_ball():
    """Every chord of a ball of radius r at distance D: t1 t2 = D^2 - r^2, whatever the ray."""
    record = look(trimesh.creation.icosphere(5, RADIUS), 3)
    hit, first, last = depths(record)
    assert 0.4 < hit.mean() < 0.8 and record["filled"][hit].all()
    product = (first * last)[hit]
    distance = np.sqrt(np.median(product) + RADIUS**2)
    np.testing.assert_allclose(product, np.median(product), rtol=2e-3)
    assert np.nanmin(first) == pytest.approx(distance - RADIUS, abs=2e-4)
    assert np.nanmax(last) == pytest.approx(distance + RADIUS, abs=2e-4)


def test_a_pipe_is_hollow_where_rays_cross_its_inside():
    pipe = trimesh.creation.annulus(0.03, 0.033, 0.2, sections=96)
    share = [look(pipe, seed) for seed in range(6)]
    hollow = np.mean([1 - r["filled"][r["first"] != MISSED].mean() for r in share])
    assert 0.5 < hollow < 1


def test_what_is_seen_is_the_surface_but_for_noise_and_lost_edges():
    records = [record for name in ("box:5", "mug:5", "fruit:5") for record in make_record(name)]
    for record in records:
        hit, first, _ = depths(record)
        seen = record["seen"] != MISSED
        assert (seen & hit).sum() > 0.6 * hit.sum() and (seen & ~hit).sum() < 0.2 * hit.sum()
        depth = record["middle"] + record["radius"] * STEP * record["seen"]
        off = np.abs(depth - first)[seen & hit]
        assert np.median(off) < 0.003 and np.quantile(off, 0.9) < 0.01


def test_half_of_the_views_are_of_other_proportions():
    cube = trimesh.creation.box([0.1] * 3)
    extents = np.array([stretched(cube, seed).extents for seed in range(600)])
    other = np.abs(extents - 0.1).max(axis=1) > 1e-9
    assert 0.42 < other.mean() < 0.58
    logs = np.log(extents[other] / 0.1)
    np.testing.assert_allclose(np.cov(logs.T), 0.288**2 * np.eye(3), atol=0.02)
    assert np.abs(logs).max() <= 0.6 + 1e-9
    np.testing.assert_array_equal(stretched(cube, 3).vertices, stretched(cube, 3).vertices)
    np.testing.assert_array_equal(cube.extents, 0.1)


def test_patches_are_lost_half_the_time_and_nothing_else_changes():
    record = make_record("box:5")[0]
    rng = np.random.default_rng(0)
    hit, first, last = depths(record)
    seen, lost = record["seen"] != MISSED, []
    for _ in range(40):
        view = lose({name: record[name] for name in record.dtype.names}, rng)
        left = ~np.isnan(view["depth"])
        assert not (left & ~seen).any()
        lost.append((seen & ~left).sum() / seen.sum())
        np.testing.assert_allclose(view["depth"][left], STEP * record["seen"][left], rtol=1e-6)
        np.testing.assert_array_equal(view["hit"] > 0, hit)
        for name, depth in (("first", first), ("last", last)):
            metres = view["middle"] + view["radius"] * view[name][hit]
            np.testing.assert_allclose(metres, depth[hit], atol=1e-6)
    assert 0.25 < np.mean(np.array(lost) > 0) < 0.75 and max(lost) < 0.6


def test_turning_keeps_what_belongs_together():
    record = make_record("mug:5")[0]
    before = np.sort((record["last"].astype(int) - record["first"]).ravel())
    turned = turn(record, np.random.default_rng(1))
    np.testing.assert_array_equal(
        before, np.sort((turned["last"].astype(int) - turned["first"]).ravel())
    )
    assert turned["first"].shape == (SIZE, SIZE)


def test_held_out_families_are_not_trained_on():
    training, held = sight_names(200), sight_names(20, True)
    families = [{name.partition(":")[0] for name in names} for names in (training, held)]
    assert len(set(training)) == 200 and not families[0] & families[1]
    assert len(make_record(held[0])) == VIEWS
