"""Joint errors of hands moved by known amounts."""

import numpy as np
import pytest

from grasp_gen_core.metrics.joint_error import mpjpe_mm, r_mpjpe_mm

JOINTS = np.random.default_rng(0).normal(0, 0.05, (3, 21, 3))


def test_a_hand_moved_as_a_whole_is_off_by_the_way_it_moved():
    moved = JOINTS + np.array([[[0.003, 0.004, 0]], [[0, 0, 0.01]], [[0, 0, 0]]])
    np.testing.assert_allclose(mpjpe_mm(moved, JOINTS), [5, 10, 0], atol=1e-9)
    np.testing.assert_allclose(r_mpjpe_mm(moved, JOINTS), 0, atol=1e-9)


def test_one_joint_counts_a_twenty_first():
    bent = JOINTS.copy()
    bent[:, 20] += [0.021, 0, 0]
    np.testing.assert_allclose(mpjpe_mm(bent, JOINTS), 1)
    np.testing.assert_allclose(r_mpjpe_mm(bent, JOINTS), 1)


def test_the_wrist_is_the_root():
    bent = JOINTS.copy()
    bent[:, 0] += [0, 0.021, 0]
    np.testing.assert_allclose(mpjpe_mm(bent, JOINTS), 1)
    np.testing.assert_allclose(r_mpjpe_mm(bent, JOINTS), 20)


@pytest.mark.parametrize("measure", [mpjpe_mm, r_mpjpe_mm])
@pytest.mark.parametrize("other", [JOINTS[:1], JOINTS[:, :16], JOINTS[0]])
def test_other_shapes_are_refused(measure, other):
    with pytest.raises(ValueError, match="accepted is"):
        measure(other, JOINTS)
    with pytest.raises(ValueError, match="accepted is"):
        measure(other[:, :16], other[:, :16])
