"""The main job end to end: node and cloud publisher as real processes, and a planner that asks."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.wait_for_message import wait_for_message
from sensor_msgs.msg import PointCloud2

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.render import export_glb, render_grasps
from grasp_gen_core.types import GraspSet
from grasp_gen_ros.client import GraspClient
from grasp_gen_ros.cloud_publisher import demo_object
from grasp_gen_ros.conversions import grasp_set
from grasp_gen_ros.msg import GraspArray

PATIENCE = 120.0  # seconds until a process that is alive counts as stuck
SHOWN = 5


class DemoFailed(Exception):
    """The demo can't go on; the text says why."""


def run(path: str, num: int, seed: int, out: Path) -> None:
    """Run the demo and write grasps.npz, grasps.png and grasps.glb to `out`.

    Raises:
        ValueError: if the object file can't be read.
        DemoFailed: if a process ends or stalls, or the node refuses the cloud.
    """
    _, mesh = demo_object(path, seed)
    out.mkdir(parents=True, exist_ok=True)
    # A domain and namespace of its own: nothing else on this machine or network hears the demo.
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    namespace = f"/demo_{os.getpid()}"
    with rclpy.init():
        node = rclpy.create_node("demo_planner", namespace=namespace)
        client = GraspClient(node)
        options = ["-r", f"__ns:={namespace}", "-p", f"seed:={seed}"]
        cloud_file = ["-p", f"cloud:={Path(path).resolve()}"] if path else []
        start = time.perf_counter()
        generator = Process("grasp_generator", [*options, "-p", f"num_grasps:={num}"], out)
        feed = Process("object_cloud_publisher", [*options, *cloud_file], out)
        with generator:
            with feed:
                await_server(client, generator)
                print(f"node ready after {time.perf_counter() - start:.1f} s", flush=True)
                cloud = receive(node, PointCloud2, "object_cloud", feed)
                heard = receive(node, GraspArray, "grasps", generator)
                print(f"{len(heard.grasps)} grasps by topic, in frame {heard.header.frame_id}")
            asked = time.perf_counter()
            try:
                message = client.generate(cloud, num=num, seed=seed, timeout=PATIENCE)
            except (RuntimeError, TimeoutError) as error:
                raise generator.failed(str(error)) from error
            answered = time.perf_counter() - asked
    grasps = grasp_set(message, ManoHand(side=message.grasps[0].hand.side))
    name = path or "a procedural mug, one side of it seen by a depth camera"
    print(f"{len(grasps)} grasps by service in {answered:.2f} s for {name}\n\n{table(grasps)}\n")
    grasps.save(out / "grasps.npz")
    render_grasps(grasps, out / "grasps.png", mesh=mesh)
    export_glb(grasps, out / "grasps.glb", mesh=mesh)
    print("wrote " + ", ".join(str(out / f"grasps.{kind}") for kind in ("npz", "png", "glb")))


class Process:
    """A console command of this package, ended by its `with` block; its output goes to a log file.

    Args:
        command: a command beside the one that runs now.
        arguments: ROS arguments.
        folder: where command.log is written.
    """

    def __init__(self, command: str, arguments: list[str], folder: Path) -> None:
        self.command, self.log = command, folder / f"{command}.log"
        with open(self.log, "wb") as log:
            self.running = subprocess.Popen(
                [Path(sys.argv[0]).with_name(command), "--ros-args", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_) -> None:
        self.running.send_signal(signal.SIGINT)
        try:
            self.running.wait(10)
        except subprocess.TimeoutExpired:
            self.running.kill()

    def check(self) -> None:
        """Raises DemoFailed, with the end of the log, if the process has ended."""
        if (code := self.running.poll()) is not None:
            raise self.failed(f"ended with exit code {code}")

    def failed(self, reason: str) -> DemoFailed:
        log = self.log.read_text(errors="replace").splitlines()[-15:]
        return DemoFailed("\n".join([f"{self.command}: {reason}", f"--- {self.log}:", *log]))


def await_server(client: GraspClient, generator: Process) -> None:
    for _ in range(int(PATIENCE)):
        generator.check()
        try:
            return client.wait_for_server(timeout=1.0)
        except TimeoutError:
            continue
    raise generator.failed(f"isn't ready after {PATIENCE:g} s")


def receive(node: Node, kind: type, topic: str, sender: Process):
    window = 5.0
    for _ in range(int(PATIENCE / window)):
        sender.check()
        found, message = wait_for_message(kind, node, topic, time_to_wait=window)
        if found:
            return message
    raise sender.failed(f"sent nothing on {topic} for {PATIENCE:g} s")


def table(grasps: GraspSet) -> str:
    """The best grasps as text: score, wrist and approach in the cloud's frame, metrics."""
    rows = [["#", "score", "wrist x y z [m]", "approach x y z", *grasps.metrics]]
    for i in range(min(SHOWN, len(grasps))):
        wrist = " ".join(f"{value:6.3f}" for value in grasps.wrist_pose[i, :3, 3])
        approach = " ".join(f"{value:5.2f}" for value in grasps.approach[i])
        metrics = [f"{values[i]:.2f}" for values in grasps.metrics.values()]
        rows.append([str(i + 1), f"{grasps.score[i]:.2f}", wrist, approach, *metrics])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def main() -> int:
    """Exit code 0 when done, 2 for an object that can't be used, 1 when a process fails."""
    parser = argparse.ArgumentParser(prog="grasp_demo", description=__doc__)
    parser.add_argument("--cloud", default="", help="mesh or cloud file; default: a procedural mug")
    parser.add_argument("--num", type=int, default=32, help="grasps (default: 32)")
    parser.add_argument("--seed", type=int, default=0, help="of object and grasps (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for the results")
    options = parser.parse_args()
    try:
        run(options.cloud, options.num, options.seed, options.out)
    except ValueError as error:
        print(f"grasp_demo: {error}", file=sys.stderr)
        return 2
    except DemoFailed as error:
        print(f"grasp_demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
