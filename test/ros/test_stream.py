"""The node under a camera's stream, with four planners that ask all the time."""

from pathlib import Path

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from stream import stream


def test_stream_and_planners_are_served_side_by_side(ros: None, tmp_path: Path):
    held, answers, by_topic = stream(tmp_path, seconds=30, every=5)
    assert min(answers) > 0 and max(answers) - min(answers) < 3 and by_topic > 0
    assert held[-1] < 1.3 * held[1]
