"""Process-wide settings."""

import os

import pytest
import torch

from grasp_gen_core.runtime import few_threads


@pytest.mark.parametrize(
    ("cores", "before", "within"), [(1, 4, 1), (2, 4, 1), (3, 4, 1), (6, 4, 3), (16, 4, 4)]
)
def test_half_of_the_cores_work_and_others_are_given_back(monkeypatch, cores, before, within):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    original = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        with pytest.raises(KeyError), few_threads():
            assert torch.get_num_threads() == within
            raise KeyError
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(original)
