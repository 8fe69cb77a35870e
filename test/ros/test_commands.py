"""The console commands where ROS 2 is missing: one line, not a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from grasp_gen_core import generators, refiners

NAMES = ("grasp_generator", "scene_segmenter", "object_cloud_publisher", "example_planner")
NAMES += ("grasp_demo",)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lacks", ["rclpy", "grasp_gen_ros.msg"])
def test_what_is_missing_is_said(name, lacks):
    code = f"import sys; sys.modules[{lacks!r}] = None; from grasp_gen_ros import commands;"
    code += f"sys.exit(commands.{name}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name}: needs {lacks}: ") and "make setup" in line


@pytest.mark.parametrize("name", NAMES)
def test_where_all_of_ros_is_missing_rclpy_is_said(name):
    code = "import sys; from importlib.machinery import PathFinder\nclass Lean(PathFinder):\n"
    code += " @classmethod\n def find_spec(cls, name, *args):\n"
    code += "  spec = PathFinder.find_spec(name, *args)\n"
    code += "  ros = name.endswith('_msgs') or name.partition('.')[0] in ('rclpy', 'tf2_ros')\n"
    code += "  return None if ros else spec\n"
    code += "sys.meta_path = [Lean if f is PathFinder else f for f in sys.meta_path]\n"
    code += f"from grasp_gen_ros import commands; sys.exit(commands.{name}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name}: needs rclpy: ")


@pytest.mark.parametrize("text", ["docs/ros.md", "config/generate.yaml"])
def test_every_system_is_named_to_users(text):
    words = (Path(__file__).parents[2] / text).read_text()
    missing = {name for name in (*generators.NAMES, *refiners.NAMES) if name not in words}
    assert not missing
