"""`make demo`: the whole chain, and its clear end when something is wrong."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

from ros_harness import COMMANDS

from grasp_gen_core.types import GraspSet


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
