"""Objects that the synthesis tests share."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.hand import ManoHand


@pytest.fixture(scope="session")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="session")
def can() -> trimesh.Trimesh:
    return trimesh.creation.cylinder(0.03, 0.14)


@pytest.fixture(scope="session")
def mug() -> trimesh.Trimesh:
    """A mug 8 cm wide and 9 cm high, walls of 4 mm; its handle is a ring about (55, 0, 0) mm."""
    outside = trimesh.creation.cylinder(0.04, 0.09, sections=32)
    inside = trimesh.creation.cylinder(0.036, 0.09, sections=32).apply_translation([0, 0, 0.005])
    handle = trimesh.creation.torus(0.025, 0.005, major_sections=16, minor_sections=8)
    handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    handle.apply_translation([0.055, 0, 0])
    return trimesh.boolean.difference([trimesh.boolean.union([outside, handle]), inside])
