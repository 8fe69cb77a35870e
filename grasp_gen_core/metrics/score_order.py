"""How well a score orders an object's grasps: what its first ones are worth, and rank correlation.

Users take the first grasp, or the first few: means over all say little of what they get.
"""

from __future__ import annotations

import numpy as np

FIRST = (1, 5)
BADNESS, SUCCESS = "quality_index", "grasp_success"


def order_numbers(scores: list[np.ndarray], numbers: list[dict[str, np.ndarray]]) -> dict:
    """What a table says of a score, by name; NaN where nothing tells.

    Args:
        scores: of each object (B,), high is good.
        numbers: of each object, by metric, (B,).

    Returns:
        `best1`, `best5`: means of every metric over the first grasps by score of each object;
        `score_spearman` with the quality index, `score_roc_area` of the closing test's success,
        where these were measured.
    """
    found: dict = {f"best{count}": best(scores, numbers, count) for count in FIRST}
    if BADNESS in numbers[0]:
        found["score_spearman"] = spearman(scores, [one[BADNESS] for one in numbers])
    if SUCCESS in numbers[0]:
        found["score_roc_area"] = roc_area(scores, [one[SUCCESS] for one in numbers])
    return found


def best(
    scores: list[np.ndarray], numbers: list[dict[str, np.ndarray]], count: int
) -> dict[str, float]:
    """Means over the `count` grasps of each object that have the highest scores."""
    first = [np.argsort(-score, kind="stable")[:count] for score in scores]
    pairs = list(zip(first, numbers, strict=True))
    return {
        name: float(np.mean(np.concatenate([one[name][rows] for rows, one in pairs])))
        for name in numbers[0]
    }


def spearman(scores: list[np.ndarray], badness: list[np.ndarray]) -> float:
    """Mean over objects of the rank correlation of score and quality: 1 is the order of quality.

    Args:
        scores: of each object (B,), high is good.
        badness: of each object (B,), low is good, such as `quality_index`.

    Returns:
        -1 to 1; NaN where no object has grasps that differ in quality. A score that tells none of
        an object's grasps apart counts 0 there.
    """
    from scipy.stats import rankdata

    found = []
    for score, bad in zip(scores, badness, strict=True):
        ranks = np.stack([rankdata(score), rankdata(-bad)])
        if np.isnan(bad).any() or np.ptp(ranks[1]) == 0:
            continue
        found.append(np.corrcoef(ranks)[0, 1] if np.ptp(ranks[0]) else 0.0)
    return float(np.mean(found)) if found else float("nan")


def roc_area(scores: list[np.ndarray], success: list[np.ndarray]) -> float:
    """Mean over objects of the area under the ROC curve: how often a grasp that succeeds has the
    higher score of two; NaN where no object has both kinds.

    Args:
        scores: of each object (B,), high is good.
        success: of each object (B,) bool.
    """
    from sklearn.metrics import roc_auc_score

    pairs = zip(scores, success, strict=True)
    found = [roc_auc_score(good, score) for score, good in pairs if 0 < np.mean(good) < 1]
    return float(np.mean(found)) if found else float("nan")
