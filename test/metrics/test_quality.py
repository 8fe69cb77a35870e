"""Quality index and high-quality ratio on numbers worked out by hand."""

import json

import numpy as np
import pytest

from grasp_gen_core.metrics.high_quality_ratio import high_quality_ratio
from grasp_gen_core.metrics.quality_index import quality_index


def test_the_index_is_the_papers():
    """Rows of DVQ-VAE's Table 1 (HO-3D): volume, displacement, quality index."""
    volume, displacement = np.array([5.36, 7.23, 20.05]), np.array([2.75, 2.78, 4.14])
    found = quality_index(volume, displacement)
    np.testing.assert_allclose(found, [3.54, 4.12, 8.93], atol=0.006)


def test_the_curve_counts_grasps_under_both_thresholds():
    volume = np.array([0.0, 1.0, 1.0, 4.0, 20.0, 2.0])
    displacement = np.array([0.1, 0.1, 3.0, 0.1, 0.1, np.nan])
    curve = high_quality_ratio(volume, displacement)
    assert curve["max_displacement_cm"] == 2.0
    ratio = dict(zip(curve["volume_cm3"], curve["ratio_pct"], strict=True))
    assert [ratio[v] for v in (0, 1, 4, 10)] == pytest.approx([100 / 6, 200 / 6, 50, 50])
    assert ratio[0.75] == ratio[0]
    assert json.loads(json.dumps(curve)) == curve
    assert high_quality_ratio(volume, displacement, 3.0)["ratio_pct"][-1] == pytest.approx(400 / 6)
