"""The main job end to end: node and cloud publisher as real processes, and a planner that asks."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import PointCloud2

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.render import export_glb, render_grasps
from grasp_gen_core.types import GraspSet
from grasp_gen_ros.client import GraspClient
from grasp_gen_ros.cloud_publisher import demo_object
from grasp_gen_ros.conversions import grasp_set
from grasp_gen_ros.msg import GraspArray

PATIENCE = 60.0  # seconds without a sign of life from the node until the demo gives up
BUSY = 5.0  # seconds of processor time that are a sign of life, too: loading, on a slow machine
LONGEST = 86400.0  # seconds for a call: whether it's still worked on, the watch knows
TELL = 10.0  # seconds between words on what is waited for
SHOWN = 5
HINTS = """What to look at:
- {log}: "ready" means that the node runs; then its messages don't get here, or none to it
- `ip link show lo`: Fast DDS looks for its peers by MULTICAST (`sudo ip link set lo multicast on`)
- `df -h /dev/shm`: its shared memory, which must not be full, nor left by another user's processes
- a firewall that drops UDP 7400 to 7700 on this machine itself"""


class DemoFailed(Exception):
    """The demo can't go on; the text says why."""


def run(path: str, num: int, seed: int, out: Path) -> None:
    """Run the demo and write grasps.npz, grasps.png and grasps.glb to `out`.

    Raises:
        InputError: if the object file can't be read.
        DemoFailed: if a process ends or stalls, or the node refuses the cloud.
    """
    seen = demo_object(path, seed)
    out.mkdir(parents=True, exist_ok=True)
    # A domain and namespace of its own: nothing else on this machine or network hears the demo.
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    namespace = f"/demo_{os.getpid()}"
    options = ["-r", f"__ns:={namespace}", "-p", f"seed:={seed}"]
    generating = [*options, "-p", f"num_grasps:={num}"]
    if seen.viewpoint is not None:
        viewpoint = ", ".join(f"{value:.6f}" for value in seen.viewpoint)
        generating += ["-p", f"viewpoint:=[{viewpoint}]"]
    cloud_file = ["-p", f"cloud:={Path(path).resolve()}"] if path else []
    with (
        rclpy.init(),
        Process("grasp_generator", generating, out) as generator,
        Process("object_cloud_publisher", [*options, *cloud_file], out) as feed,
        ThreadPoolExecutor(1) as caller,
    ):
        start = time.perf_counter()
        watch = Watch(namespace, generator, feed)
        watch.wait("the node, which loads its network", lambda: watch.state)
        print(f"node ready after {time.perf_counter() - start:.1f} s", flush=True)
        watch.wait("the object's cloud", lambda: watch.cloud)
        watch.wait("its grasps by topic", lambda: watch.grasps)
        heard = watch.grasps
        print(f"{len(heard.grasps)} grasps by topic, in frame {heard.header.frame_id}")
        asked = time.perf_counter()
        client = GraspClient(rclpy.create_node("demo_planner", namespace=namespace))
        call = caller.submit(client.generate, watch.cloud, num=num, seed=seed, timeout=LONGEST)
        watch.wait("the grasps that the service was asked for", call.done)
        try:
            message = call.result()
        except (RuntimeError, TimeoutError) as error:
            raise generator.failed(str(error)) from error
        answered = time.perf_counter() - asked
    grasps = grasp_set(message, ManoHand(side=message.grasps[0].hand.side))
    name = path or "a procedural mug, one side of it seen by a depth camera"
    print(f"{len(grasps)} grasps by service in {answered:.2f} s for {name}\n\n{table(grasps)}\n")
    files = [out / f"grasps.{kind}" for kind in ("npz", "png", "glb")]
    grasps.save(files[0])
    render_grasps(grasps, files[1], mesh=seen.mesh)
    export_glb(grasps, files[2], mesh=seen.mesh)
    print("wrote " + ", ".join(map(str, files)))


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

    def cpu_seconds(self) -> float:
        """Processor time that it has used, all threads together."""
        fields = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def failed(self, reason: str) -> DemoFailed:
        log = self.log.read_text(errors="replace").splitlines()[-15:]
        return DemoFailed("\n".join([f"{self.command}: {reason}", f"--- {self.log}:", *log]))


class Watch:
    """Keeps what the processes publish, and waits as long as the node shows signs of life.

    Args:
        namespace: of the processes.
        generator, feed: the node, and what gives it clouds.

    Attributes:
        state: what the node's diagnostics said last, "" before the first.
        cloud, grasps: the newest, None before the first.
    """

    def __init__(self, namespace: str, generator: Process, feed: Process) -> None:
        self.generator, self.feed = generator, feed
        self.state, self.cloud, self.grasps = "", None, None
        self._counts, self._cpu, self._alive = {}, 0.0, time.monotonic()
        self._node = rclpy.create_node("demo_watch", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        listen = self._node.create_subscription
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        listen(PointCloud2, "object_cloud", partial(setattr, self, "cloud"), 1)
        listen(GraspArray, "grasps", partial(setattr, self, "grasps"), 1)

    def wait(self, what: str, arrived: Callable[[], object]) -> None:
        """Wait until `arrived` is true.

        Raises:
            DemoFailed: if a process ends, or the node shows no sign of life for PATIENCE seconds.
        """
        begun = told = self._alive = time.monotonic()
        while not arrived():
            self._executor.spin_once(timeout_sec=0.2)
            for process in (self.generator, self.feed):
                process.check()
            now, used = time.monotonic(), self.generator.cpu_seconds()
            if used - self._cpu > BUSY:
                self._alive, self._cpu = now, used
            if now - told > TELL:
                state = f"node {self.state}" if self.state else "no word from it yet"
                print(f"waiting for {what}: {now - begun:.0f} s, {state}", flush=True)
                told = now
            if now - self._alive > PATIENCE:
                reason = f"nothing came for {PATIENCE:g} s while waiting for {what}"
                hints = HINTS.format(log=self.generator.log)
                raise DemoFailed(f"{self.generator.failed(reason)}\n{hints}")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        counts = {one.key: one.value for one in status.values}
        # An idle node that gets no cloud is well, but nothing will come of it.
        if not self.state or status.message == "generating" or counts != self._counts:
            self._alive = time.monotonic()
        self.state, self._counts = status.message, counts


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
    except InputError as error:
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
