"""A short run of `fuzz.py`: whatever comes, each call is answered, and with numbers or a reason."""

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from fuzz import MOST_MEMORY, fuzz
from ros_harness import Command, Peer

COUNT = 150


def test_the_node_stands_whatever_comes(peer: Peer, generator: Command):
    outcome = fuzz(peer, generator, COUNT, seed=1)
    assert sum(outcome.counts.values()) == COUNT and not outcome.unanswered
    assert not outcome.not_finite and not outcome.bugs
    assert outcome.memory < MOST_MEMORY
    assert outcome.counts["generate: answered"] and outcome.counts["generate: cloud"]
