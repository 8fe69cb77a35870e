"""Diversity: into how many kinds a set of grasps falls, and how wide those are."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from grasp_gen_core.errors import InputError

CLUSTERS = 20


class Diversity(NamedTuple):
    """Entropy (nats) of the cluster sizes, and mean distance to the own cluster's centre."""

    entropy: float
    cluster_size: float


def diversity(
    features: np.ndarray, whiten: bool, seed: int = 0, clusters: int = CLUSTERS
) -> Diversity:
    """K-means of the grasps, the best of ten starts (FastGrasp Sec. 4.2; DVQ-VAE Sec. 4.2, 4).

    FastGrasp, after HALO and ContactGen, clusters whitened joints, DVQ-VAE the raw 61 parameters:
    their cluster sizes have different units and don't compare.

    Args:
        features: (B, D) or (B, ...) one row a grasp.
        whiten: divide each column by its standard deviation; the cluster size is then in standard
            deviations, else in the features' own unit.
        seed: same seed, same clusters.
        clusters: how many.

    Raises:
        InputError: if there are fewer grasps than clusters, or features aren't finite.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    features = _rows(features, whiten, clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal grasps fill fewer clusters
        fit = KMeans(clusters, n_init=10, random_state=seed).fit(features)
    apart = np.linalg.norm(features - fit.cluster_centers_[fit.labels_], axis=1)
    return Diversity(_entropy(fit.labels_), float(apart.mean()))


def scipy_diversity(
    features: np.ndarray, whiten: bool, seed: int = 0, clusters: int = CLUSTERS
) -> Diversity:
    """The same as the papers' own code clusters: scipy's k-means from random grasps as centres.

    It keeps the least distortion of 20 starts and may lose clusters on the way. Arguments and
    errors as above.
    """
    from scipy.cluster.vq import kmeans, vq

    features = _rows(features, whiten, clusters)
    centres, _ = kmeans(features, clusters, rng=np.random.default_rng(seed))
    labels, apart = vq(features, centres)
    return Diversity(_entropy(labels), float(apart.mean()))


def _rows(features: np.ndarray, whiten: bool, clusters: int) -> np.ndarray:
    """(B, D) float64, columns divided by their deviation if asked; constant ones stay."""
    features = np.asarray(features, dtype=float)
    if len(features) < clusters:
        raise InputError(
            f"diversity: {len(features)} grasps, accepted are at least {clusters}, one a cluster"
        )
    features = features.reshape(len(features), -1)
    if not np.isfinite(features).all():
        raise InputError("diversity: features hold NaN or infinity, accepted are finite numbers")
    if whiten:
        features = features / np.where(np.ptp(features, axis=0) > 0, features.std(axis=0), 1)
    return features


def _entropy(labels: np.ndarray) -> float:
    _, counts = np.unique(labels, return_counts=True)
    share = counts / len(labels)
    return float(-(share * np.log(share)).sum())
