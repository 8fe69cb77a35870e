"""A camera at 30 Hz and four planners at once: `python test/ros/stream.py --minutes 10`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from ros_harness import Command, Peer, new_header, ros_command

from grasp_gen_ros.conversions import make_cloud

CLIENTS, RATE = 4, 30.0
PLANNER = """
import sys, time
import numpy as np
import rclpy
from grasp_gen_ros.client import GraspClient

with rclpy.init():
    client = GraspClient(rclpy.create_node(sys.argv[1], namespace="/stream"))
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        assert len(client.generate(np.load(sys.argv[3]), "camera", num=4).grasps) == 4
        print("answered", flush=True)
"""


def memory(command: Command) -> float:
    """Megabytes that a process holds."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def stream(folder: Path, seconds: float, every: float) -> tuple[list[float], list[int], int]:
    """Stream and ask for some time.

    Args:
        folder: for what is written.
        seconds: how long.
        every: seconds between looks at the memory.

    Returns:
        The node's memory at each look, MB; answers that each planner got; how often grasps came by
        topic.
    """
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(0, np.pi, 20_000), rng.uniform(-0.07, 0.07, 20_000)
    side = np.stack([0.035 * np.cos(angle), -0.035 * np.sin(angle), height], axis=1)
    points = (side + [0.1, 0.6, 0.05]).astype(np.float32)
    np.save(folder / "can.npy", points)
    options = ["-r", "__ns:=/stream", "-p", "num_grasps:=4", "-p", "device:=cpu"]
    node = Command(folder / "node", *ros_command("grasp_generator", *options))
    node.wait_for_output("ready")
    peer, held = Peer("/stream"), []
    peer.connect()
    planners = []
    for number in range(CLIENTS):
        arguments = f"planner_{number}", str(seconds), folder / "can.npy"
        log = folder / f"planner_{number}"
        planners.append(Command(log, sys.executable, "-c", PLANNER, *arguments))
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        peer.send(make_cloud(points, new_header()))
        if time.monotonic() - start > every * len(held):
            held.append(memory(node))
            print(f"{time.monotonic() - start:4.0f} s: {held[-1]:.0f} MB", flush=True)
        time.sleep(1 / RATE)
    for planner in planners:
        assert planner.process.wait(60) == 0, planner.output
    count = len(peer.received["grasps"])
    peer.close()
    assert node.interrupt() == 0 and "Traceback" not in node.output, node.output
    return held, [planner.output.count("answered") for planner in planners], count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with rclpy.init(), tempfile.TemporaryDirectory() as folder:
        _, answers, count = stream(Path(folder), 60 * options.minutes, 60.0)
    print(f"{answers} answers, {count} by topic")


if __name__ == "__main__":
    main()
