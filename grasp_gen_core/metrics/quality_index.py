"""Quality index: penetration and displacement in one number."""

from __future__ import annotations

import numpy as np

VOLUME_WEIGHT = 0.301


def quality_index(volume_cm3: np.ndarray, displacement_cm: np.ndarray) -> np.ndarray:
    """0.301 penetration volume + 0.699 simulation displacement (DVQ-VAE, Sec. 4.2, Eq. 19).

    A hand that barely touches has no volume, one deep in the object no displacement: neither is
    good alone.

    Args:
        volume_cm3, displacement_cm: of the same grasps.

    Returns:
        Of their shape; less is better.
    """
    volume, displacement = np.asarray(volume_cm3), np.asarray(displacement_cm)
    return VOLUME_WEIGHT * volume + (1 - VOLUME_WEIGHT) * displacement
