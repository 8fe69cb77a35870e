"""Parts of objects that the network `volume` learns from: distances known in closed form."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.completion.volume import CHANNELS, SIDE, Volume, VolumeConfig
from grasp_gen_core.hand import ManoHand
from grasp_gen_training.volumes import (
    CAMERAS,
    FEWEST,
    SURFACE,
    Parts,
    _given,
    make_record,
    part,
    record_file,
    record_of,
)

RADIUS = 0.05


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    return record_of(trimesh.creation.icosphere(5, RADIUS), 3)


def test_half_of_a_ball_is_seen_by_each_camera(ball):
    points = ball["points"] * (ball["reach"] / 32767)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), RADIUS, atol=2e-4)
    for camera in range(CAMERAS):
        seen = (ball["seen"] >> camera) & 1 > 0
        assert 0.3 < seen.mean() < 0.5
        middle = points[seen].mean(axis=0)
        assert np.linalg.norm(middle) == pytest.approx(0.7 * RADIUS, rel=0.15)
        assert (points[seen] @ middle > 0).all()


def test_distances_are_those_to_the_whole(ball):
    """Of a ball: by how much the places' distances from one middle differ from one radius."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        made = part(ball, rng)
        assert made["channels"].shape == (CHANNELS, SIDE, SIDE, SIDE)
        assert made["steps"].shape == made["weight"].shape == (SIDE, SIDE, SIDE)
        # A ball's signed distance d obeys |x - c| = r + d: c and r by least squares, in steps.
        cells = np.stack(np.meshgrid(*3 * [np.arange(SIDE)], indexing="ij"), axis=-1)
        distance = made["steps"]
        near = np.abs(distance) < 2
        assert near.sum() > 50
        x, d = cells[near].astype(float), distance[near]
        # |x|^2 - d^2 = 2 x.c + 2 r d + (r^2 - |c|^2)
        rows = np.column_stack([2 * x, 2 * d, np.ones(len(d))])
        (*_, radius, _), *_ = np.linalg.lstsq(rows, (x**2).sum(1) - d**2, rcond=None)
        left = rows @ np.linalg.lstsq(rows, (x**2).sum(1) - d**2, rcond=None)[0]
        assert np.abs(left - (x**2).sum(1) + d**2).mean() < 0.1 * 2 * radius
        assert (made["weight"] > 0).all()


def test_thin_walls_are_kept():
    """A pipe's wall of 2 mm, thinner than a step of the grid: its middle is solid."""
    record = record_of(trimesh.creation.annulus(0.03, 0.032, 0.1, sections=96), 0)
    rng = np.random.default_rng(1)
    inside = [(part(record, rng)["steps"] < 0).sum() for _ in range(6)]
    assert np.mean(inside) > 20


def test_what_is_given_is_open_and_enough(ball):
    rng = np.random.default_rng(0)
    points = ball["points"] / 32767
    for _ in range(40):
        given = _given(ball, points, points, rng)
        assert len(given) >= FEWEST and len(np.unique(given)) == len(given) < SURFACE
        assert np.linalg.norm(points[given].mean(axis=0)) > 0.08


def test_the_network_takes_a_batch_and_the_same_seed_makes_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ["box:100000", "mug:100001"]
    samples = Parts(record_file(names, quiet=True))
    assert len(samples) == 2
    one, again, other = (samples[np.array([0, 1]), seed] for seed in (5, 5, 6))
    for name, value in one.items():
        torch.testing.assert_close(value, again[name])
    assert not torch.equal(one["channels"], other["channels"])
    net = Volume(ManoHand(), VolumeConfig(widths=(8, 8)))
    loss = net.loss(one)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    # Untrained: about as good as guessing among all bins.
    assert loss.item() == pytest.approx(np.log(16), rel=0.5)
    record = make_record(names[0])
    np.testing.assert_array_equal(record["grid"], make_record(names[0])["grid"])
