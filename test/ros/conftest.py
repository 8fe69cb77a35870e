"""Fixtures of the ROS tests. ROS is imported in them: test modules skip where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from ros_harness import Command, Peer
    from sensor_msgs.msg import PointCloud2


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    import rclpy

    with rclpy.init():
        yield


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest) -> str:
    return f"/{request.module.__name__}"


@pytest.fixture(scope="module")
def generator(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The node, with few grasps to be quick; Ctrl-C must end it cleanly."""
    from ros_harness import Command, ros_command

    log = tmp_path_factory.mktemp("node") / "log"
    options = ["-r", f"__ns:={namespace}", "-p", "num_grasps:=4", "-p", "device:=cpu"]
    command = Command(log, *ros_command("grasp_generator", *options))
    command.wait_for_output("ready")
    yield command
    assert command.interrupt() == 0, command.output
    assert "Traceback" not in command.output


@pytest.fixture(scope="module")
def peer(ros: None, namespace: str, generator: Command) -> Iterator[Peer]:
    from ros_harness import Peer

    peer = Peer(namespace)
    peer.connect()
    yield peer
    peer.close()


@pytest.fixture
def cylinder() -> np.ndarray:
    """(1000, 3) points of one side of an upright can, metres, away from the origin."""
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(0, np.pi, 1000), rng.uniform(-0.07, 0.07, 1000)
    side = np.stack([0.035 * np.cos(angle), -0.035 * np.sin(angle), height], axis=1)
    return (side + [0.1, 0.6, 0.05]).astype(np.float32)


@pytest.fixture
def cloud(cylinder: np.ndarray) -> PointCloud2:
    from ros_harness import new_header

    from grasp_gen_ros.conversions import make_cloud

    return make_cloud(cylinder, new_header())
