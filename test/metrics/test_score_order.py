"""How well a score orders grasps: closed forms, and scipy's and sklearn's own."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from grasp_gen_core.metrics.score_order import best, roc_area, spearman


def test_the_first_ones_of_each_object():
    numbers = [{"a": np.array([30.0, 1, 2])}, {"a": np.array([3.0, 6, 90])}]
    scores = [np.array([0.1, 0.9, 0.5]), np.array([0.5, 0.4, 0.1])]
    assert best(scores, numbers, 1) == {"a": 2.0}
    assert best(scores, numbers, 2) == {"a": 3.0}
    assert best(scores, numbers, 5) == {"a": 22.0}  # objects with fewer give all


def test_rank_correlation():
    rng = np.random.default_rng(0)
    scores = [rng.random(20) for _ in range(3)]
    bad = [rng.random(20).round(1) for _ in range(3)]  # with ties
    expected = np.mean([spearmanr(s, -b)[0] for s, b in zip(scores, bad, strict=True)])
    assert spearman(scores, bad) == pytest.approx(expected)
    assert spearman([-bad[0]], [bad[0]]) == pytest.approx(1)
    assert spearman([bad[0]], [bad[0]]) == pytest.approx(-1)


def test_what_has_no_order():
    bad = np.array([1.0, 2, 3])
    assert np.isnan(spearman([bad], [np.ones(3)]))
    assert np.isnan(spearman([bad], [np.array([1, np.nan, 2])]))
    assert spearman([np.ones(3), -bad], [bad, bad]) == pytest.approx(0.5)


def test_area_is_the_share_of_pairs_in_order():
    score = np.array([0.9, 0.8, 0.4, 0.3])
    success = np.array([True, False, True, False])
    assert roc_area([score], [success]) == pytest.approx(3 / 4)
    assert roc_area([score, score], [success, np.ones(4, bool)]) == pytest.approx(3 / 4)
    assert np.isnan(roc_area([score], [np.zeros(4, bool)]))
