"""Malformed and odd clouds, by topic and by service, against a node in a process of its own.

python test/ros/fuzz.py --count 2000 --seed 0
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import Point
from ros_harness import Command, Peer, new_header, ros_command
from sensor_msgs.msg import PointCloud2, PointField

from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.msg import GraspArray, ManoHand
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps

ODD = (0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e300, 1e-45, 3.0, 1000.0)
COUNTS = (0, 1, 2, 7, 63, 255, 2**16, 2**31, 2**32 - 1)
MOST_MEMORY = 1.5  # GB
PATIENCE = 120.0  # seconds for an answer


def points(rng: np.random.Generator) -> np.ndarray:
    """(N, 3) an object, or what is none, spoilt by what sensors and programs put into clouds."""
    count = int(rng.choice([1, 10, 64, 300, 1000, 3000]))
    shape = rng.choice(["can", "can", "box", "plane", "line", "point", "clusters"])
    if shape == "can":
        angle, height = rng.uniform(0, 2 * np.pi, count), rng.uniform(-0.07, 0.07, count)
        made = np.stack([0.035 * np.cos(angle), 0.035 * np.sin(angle), height], axis=1)
    else:
        made = rng.uniform(-0.05, 0.05, (count, 3))
        made[:, {"plane": [2], "line": [1, 2], "point": [0, 1, 2]}.get(shape, [])] = 0
    if shape == "clusters":
        made[::2] += rng.uniform(-1, 1, 3)
    made *= rng.choice([1, 1, 1, 1e-3, 10, 100, 1000, 1e6])
    made += rng.choice([0, 0, 0.6, 5, 100, 1e6]) * rng.normal(size=3)
    for _ in range(rng.integers(3)):
        rows = rng.random(count) < rng.choice([0.01, 0.2, 0.9])
        made[rows] = rng.choice(ODD) if rng.random() < 0.7 else made[0]
    return made


def cloud(rng: np.random.Generator) -> PointCloud2:
    """A cloud in some layout; in most the layout contradicts itself."""
    made, frame = points(rng), str(rng.choice(["map", "", "camera_optical_frame", "\n\u2603" * 9]))
    with np.errstate(over="ignore"):
        message = make_cloud(made, new_header(frame))
        if rng.random() < 0.3:
            order = rng.choice(["<", ">"])
            message.data = array("B", made.astype(f"{order}f8").tobytes())
            message.is_bigendian = bool(order == ">")
            message.point_step, message.row_step = 24, 24 * len(made)
            for i, one in enumerate(message.fields):
                one.offset, one.datatype = 8 * i, PointField.FLOAT64
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        spoil(message, rng)
    return message


def spoil(message: PointCloud2, rng: np.random.Generator) -> None:
    """Changes one thing of a cloud."""
    fields, size = list(message.fields), len(message.data)
    what = rng.choice(["field", "field", "fields", "number", "number", "data", "endian"])
    if what == "field" and fields:
        one = fields[rng.integers(len(fields))]
        name = rng.choice(["offset", "datatype", "count", "name"])
        choices = {
            "offset": [0, 1, 3, 4, 8, 2**31, 2**32 - 1],
            "datatype": [0, 1, 5, 6, 7, 8, 9, 255],
            "count": COUNTS,
            "name": ["x", "y", "z", "X", "", "rgb", "x\n", "x" * 10_000],
        }[name]
        value = choices[rng.integers(len(choices))]
        setattr(one, name, value)
    elif what == "fields":
        some = rng.permutation(len(fields))[: rng.integers(len(fields) + 1)]
        more = fields * int(rng.choice([1, 1, 300])) if rng.random() < 0.5 else []
        message.fields = more + [fields[i] for i in some]
    elif what == "number":
        name = str(rng.choice(["width", "height", "point_step", "row_step"]))
        odd = [*COUNTS, getattr(message, name) + 1, max(getattr(message, name) - 1, 0)]
        setattr(message, name, int(odd[rng.integers(len(odd))]))
    elif what == "data":
        message.data = message.data[: rng.integers(size + 1)]
    else:
        message.is_bigendian = not message.is_bigendian


def hands(rng: np.random.Generator) -> list[ManoHand]:
    """Hands of which most are none."""
    made = []
    for _ in range(rng.choice([0, 1, 1, 3, 300], p=[0.1, 0.4, 0.2, 0.28, 0.02])):
        hand = ManoHand(side=str(rng.choice(["right", "right", "right", "left", ""])))
        for name in ("betas", "global_orient", "hand_pose", "transl"):
            values = getattr(hand, name)
            values += rng.normal(scale=0.3, size=values.shape).astype(values.dtype)
            if rng.random() < 0.05:
                with np.errstate(over="ignore"):
                    values[rng.integers(len(values))] = rng.choice(ODD)
        made.append(hand)
    return made


def numbers(message: GraspArray) -> np.ndarray:
    """All that a planner would move by."""
    found = [np.zeros(0)]
    for grasp in message.grasps:
        for hand in (grasp.hand, grasp.pregrasp, grasp.squeeze):
            found += [hand.betas, hand.global_orient, hand.hand_pose, hand.transl]
        found += [grasp.contact, grasp.metric_values, [grasp.score]]
        positions = [grasp.wrist_pose.position, grasp.pregrasp_wrist_pose.position, grasp.approach]
        found += [[p.x, p.y, p.z] for p in (*positions, *grasp.joints)]
        turns = (grasp.wrist_pose.orientation, grasp.pregrasp_wrist_pose.orientation)
        found += [[q.x, q.y, q.z, q.w] for q in turns]
    return np.concatenate(found)


def memory(command: Command) -> float:
    """Most that a process has held so far, GB."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


@dataclass
class Outcome:
    """What came of the messages; `counts` by way and answer."""

    counts: Counter = field(default_factory=Counter)
    unanswered: list[int] = field(default_factory=list)
    not_finite: list[int] = field(default_factory=list)
    bugs: Counter = field(default_factory=Counter)
    slowest: float = 0.0
    memory: float = 0.0


def fuzz(peer: Peer, command: Command, count: int, seed: int) -> Outcome:
    """Send `count` messages in turn to the topic and both services, each made of (seed, number)."""
    outcome = Outcome()
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        way, message = ("topic", "generate", "refine")[number % 3], cloud(rng)
        viewpoint = [Point(x=float(rng.choice(ODD)), z=1.0)] if rng.random() < 0.2 else []
        start = time.monotonic()
        if way == "topic":
            peer.send(message)
            outcome.counts["sent by topic"] += 1
            continue
        if way == "generate":
            num = int(rng.choice([0, 1, 2, 257, 2**32 - 1], p=[0.3, 0.3, 0.3, 0.05, 0.05]))
            at = int(rng.choice([-1, 3, 2**63 - 1, -(2**63)], p=[0.3, 0.5, 0.1, 0.1]))
            request = GenerateGrasps.Request(
                cloud=message, num_grasps=num, seed=at, viewpoint=viewpoint
            )
            if rng.random() < 0.3:  # of a scene
                request.object_id = int(rng.choice([0, 2, 3, 2**32 - 1]))
                if rng.random() < 0.5:
                    request.object_point = [Point(y=float(rng.choice(ODD)))]
            with np.errstate(over="ignore"):
                request.timeout = float(np.float32(rng.choice([0, 0, 60, 1e-3, *ODD])))
        else:
            request = RefineGrasps.Request(cloud=message, hands=hands(rng), viewpoint=viewpoint)
        try:
            response = peer.call(f"{way}_grasps", request, PATIENCE)
        except AssertionError:
            outcome.unanswered.append(number)
            assert command.process.poll() is None, f"ended at message {number}:\n{command.output}"
            continue
        outcome.slowest = max(outcome.slowest, time.monotonic() - start)
        if response.success and not np.isfinite(numbers(response.grasps)).all():
            outcome.not_finite.append(number)
        if response.message.startswith("internal error"):
            outcome.bugs[f"{number}: {response.message}"] += 1
        answer = "answered" if response.success else response.message.split(":")[0]
        outcome.counts[f"{way}: {answer}"] += 1
    outcome.memory = memory(command)
    return outcome


def main() -> int:
    """Exit code 0 if the node stood it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    node = ["-r", "__ns:=/fuzz", "-p", "num_grasps:=1", "-p", "device:=cpu"]
    with rclpy.init(), tempfile.TemporaryDirectory() as folder:
        command = Command(Path(folder) / "log", *ros_command("grasp_generator", *node))
        command.wait_for_output("ready")
        peer = Peer("/fuzz")
        peer.connect()
        try:
            outcome = fuzz(peer, command, options.count, options.seed)
            values = peer.latest_status()
        finally:
            peer.close()
        code, output = command.interrupt(), command.output
    for name, count in sorted(outcome.counts.items()):
        print(f"{count:5d}  {name}")
    print(f"{values['clouds_taken']} clouds taken, {values['clouds_dropped']} superseded")
    print(f"unanswered: {outcome.unanswered}; not finite: {outcome.not_finite}")
    print(f"bugs: {dict(outcome.bugs)}; {output.count('Traceback')} tracebacks in the log")
    print(
        f"slowest answer {outcome.slowest:.1f} s; memory {outcome.memory:.2f} GB; exit code {code}"
    )
    failed = outcome.unanswered or outcome.not_finite or outcome.bugs or code
    return int(bool(failed or "Traceback" in output or outcome.memory > MOST_MEMORY))


if __name__ == "__main__":
    sys.exit(main())
