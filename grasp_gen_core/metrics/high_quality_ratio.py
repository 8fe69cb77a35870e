"""High-quality ratio: the share of grasps that neither penetrate nor lose the object."""

from __future__ import annotations

import numpy as np

VOLUMES = np.linspace(0, 10, 41)  # cm^3, the axis of DVQ-VAE's Fig. 3
# The paper doesn't print its own. In the 35 steps an object in free fall moves 10.4 cm.
MAX_DISPLACEMENT_CM = 2.0


def high_quality_ratio(
    volume_cm3: np.ndarray,
    displacement_cm: np.ndarray,
    max_displacement_cm: float = MAX_DISPLACEMENT_CM,
) -> dict[str, float | list[float]]:
    """Share of grasps with at most so much volume and displacement (DVQ-VAE, Sec. 4.5, Fig. 3).

    Args:
        volume_cm3, displacement_cm: (B,) of the same grasps; NaN is never good.
        max_displacement_cm: threshold of the displacement.

    Returns:
        `max_displacement_cm`; `volume_cm3`, the thresholds from 0 to 10; `ratio_pct` under each.
    """
    held = np.asarray(displacement_cm) <= max_displacement_cm
    good = held & (np.asarray(volume_cm3) <= VOLUMES[:, None])
    return {
        "max_displacement_cm": max_displacement_cm,
        "volume_cm3": VOLUMES.tolist(),
        "ratio_pct": (100 * good.mean(axis=1)).tolist(),
    }
