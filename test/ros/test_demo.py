"""`make demo`: the whole chain, and its clear end when something is wrong."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_harness import COMMANDS

import grasp_gen_ros.demo
from grasp_gen_core.types import GraspSet
from grasp_gen_ros.demo import DemoFailed, Process, Watch


def demo(*options: str | Path) -> subprocess.CompletedProcess:
    command = [COMMANDS / "grasp_demo", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_demo_leaves_grasps_picture_and_scene(tmp_path: Path, cylinder: np.ndarray):
    np.save(tmp_path / "can.npy", cylinder)
    out = tmp_path / "out"
    done = demo("--cloud", tmp_path / "can.npy", "--num", "4", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "4 grasps by service" in done.stdout and "penetration_depth_cm" in done.stdout
    grasps = GraspSet.load(out / "grasps.npz")
    assert len(grasps) == 4
    distance = np.linalg.norm(grasps.joints[:, :, None] - cylinder, axis=3).min(axis=(1, 2))
    assert (distance < 0.05).all()
    assert (out / "grasps.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "grasps.glb").read_bytes().startswith(b"glTF")
    for log in ("grasp_generator.log", "object_cloud_publisher.log"):
        assert "Traceback" not in (out / log).read_text()


def test_demo_names_a_file_that_is_none(tmp_path: Path):
    done = demo("--cloud", tmp_path / "none.ply", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "none.ply" in done.stderr and "Traceback" not in done.stderr


def test_demo_shows_the_nodes_log_when_it_fails(tmp_path: Path, cylinder: np.ndarray):
    np.save(tmp_path / "can.npy", cylinder)
    done = demo("--cloud", tmp_path / "can.npy", "--num", "1000", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "grasp_generator: ended with exit code 2" in done.stderr
    assert "num_grasps" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def silent(tmp_path):
    """A process that runs and says nothing."""
    process = Process.__new__(Process)
    process.command, process.log = "grasp_generator", tmp_path / "log"
    process.log.write_text("ready: takes clouds")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        process.running = running
        yield process
        running.kill()


def test_a_silent_node_is_given_up_with_hints(ros, silent, monkeypatch):
    monkeypatch.setattr(grasp_gen_ros.demo, "PATIENCE", 1.5)
    with pytest.raises(
        DemoFailed, match="nothing came for 1.5 s while waiting for grasps"
    ) as failed:
        Watch("/silent", silent, silent).wait("grasps", lambda: None)
    text = str(failed.value)
    assert "ready: takes clouds" in text and str(silent.log) in text
    assert "MULTICAST" in text and "/dev/shm" in text


@pytest.mark.parametrize(("state", "patient"), [("generating", True), ("idle", False)])
def test_a_slow_node_is_waited_for(ros, silent, monkeypatch, state, patient):
    """As long as it says that it works; one that stays idle has heard nothing."""
    monkeypatch.setattr(grasp_gen_ros.demo, "PATIENCE", 1.5)
    publisher = rclpy.create_node(f"slow_{state}").create_publisher(
        DiagnosticArray, "/diagnostics", 1
    )
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(0.2):
            publisher.publish(DiagnosticArray(status=[DiagnosticStatus(message=state)]))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        watch, deadline = Watch(f"/slow_{state}", silent, silent), time.monotonic() + 6
        wait = lambda: watch.wait("grasps", lambda: time.monotonic() > deadline)  # noqa: E731
        if patient:
            wait()
        else:
            with pytest.raises(DemoFailed, match="nothing came"):
                wait()
        assert watch.state == state
    finally:
        ended.set()
        speaker.join()
