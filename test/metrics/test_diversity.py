"""Diversity against closed forms."""

import numpy as np
import pytest

from grasp_gen_core.metrics.diversity import diversity, scipy_diversity


def blobs(sizes, spread: float = 0.0, seed: int = 0) -> np.ndarray:
    """Points around well separated centres: a sphere of radius `spread` in three dimensions."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.stack(np.unravel_index(np.arange(len(sizes)), (3, 3, 3)), axis=1)
    rows = np.repeat(centres, sizes, axis=0).astype(float)
    around = rng.normal(size=rows.shape)
    return rows + spread * around / np.linalg.norm(around, axis=1, keepdims=True)


def test_uniform_clusters_have_the_entropy_ln_20():
    assert diversity(blobs([30] * 20, 0.1), whiten=False).entropy == pytest.approx(np.log(20))


def test_entropy_of_unequal_clusters():
    sizes = np.arange(1, 21) * 4
    share = sizes / sizes.sum()
    found = diversity(blobs(sizes, 0.01), whiten=False)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum())


def test_cluster_size_is_the_mean_distance_to_the_own_centre():
    """Four corners of a square of side 2 are each sqrt(2) from its middle; a pair's ends 1."""
    square = np.array([[-1, -1, 0], [-1, 1, 0], [1, -1, 0], [1, 1, 0]])
    pair = np.array([[0, 0, -1], [0, 0, 1]])
    centres = 100 * np.stack(np.unravel_index(np.arange(20), (3, 3, 3)), axis=1)
    rows = [centre + square for centre in centres[:12]] + [centre + pair for centre in centres[12:]]
    found = diversity(np.vstack(rows), whiten=False)
    assert found.cluster_size == pytest.approx((48 * np.sqrt(2) + 16 * 1) / 64)


def test_whitening_forgets_the_unit_and_divides_by_the_deviation():
    rows = np.random.default_rng(1).normal(size=(300, 5))
    found = diversity(rows, whiten=True)
    other = diversity(rows * [1, 100, 0.01, 7, 1] + 3, whiten=True)
    assert found.entropy == pytest.approx(other.entropy)
    assert found.cluster_size == pytest.approx(other.cluster_size)
    plain = diversity(rows / rows.std(axis=0), whiten=False)
    assert found.cluster_size == pytest.approx(plain.cluster_size)
    assert diversity(3 * rows, whiten=False).cluster_size == pytest.approx(
        3 * diversity(rows, whiten=False).cluster_size
    )


@pytest.mark.parametrize("measure", [diversity, scipy_diversity])
def test_columns_that_never_change_change_nothing(measure):
    rows = np.random.default_rng(1).normal(size=(200, 3))
    constant = np.full((200, 2), 1 / 3, dtype=np.float32)
    alone, beside = measure(rows, True), measure(np.hstack([rows, constant]), True)
    assert beside.cluster_size == pytest.approx(alone.cluster_size)
    assert beside.entropy == pytest.approx(alone.entropy)


@pytest.mark.parametrize("measure", [diversity, scipy_diversity])
def test_grasps_all_alike_are_not_diverse(measure):
    found = measure(np.ones((40, 21, 3)), True)
    assert found.entropy == 0 and found.cluster_size == pytest.approx(0)


@pytest.mark.parametrize("measure", [diversity, scipy_diversity])
def test_the_same_seed_gives_the_same_numbers(measure):
    rows = np.random.default_rng(2).normal(size=(150, 21, 3))
    assert measure(rows, True, seed=3) == measure(rows, True, seed=3)
    assert measure(rows, True, seed=3) != measure(rows, True, seed=4)


def test_scipy_measures_the_same_where_clusters_are_plain():
    """As the papers' code does, it may find fewer clusters, never more than there are."""
    rows = np.random.default_rng(4).uniform(size=(600, 2))
    best, papers = diversity(rows, False), scipy_diversity(rows, False)
    assert papers.cluster_size == pytest.approx(best.cluster_size, rel=0.03)
    assert papers.entropy == pytest.approx(best.entropy, rel=0.03)
    assert scipy_diversity(blobs([30] * 20, 0.1), False).entropy <= np.log(20) + 1e-9


@pytest.mark.parametrize("measure", [diversity, scipy_diversity])
def test_too_few_or_broken_grasps_are_refused(measure):
    with pytest.raises(ValueError, match="19 grasps, accepted are at least 20"):
        measure(np.zeros((19, 63)), True)
    rows = np.zeros((30, 63))
    rows[3, 4] = np.nan
    with pytest.raises(ValueError, match="diversity: features hold NaN"):
        measure(rows, True)
