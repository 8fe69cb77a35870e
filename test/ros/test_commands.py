"""The console commands where ROS 2 is missing: one line, not a traceback."""

import subprocess
import sys

import pytest

NAMES = ("grasp_generator", "object_cloud_publisher", "example_planner", "grasp_demo")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lacks", ["rclpy", "grasp_gen_ros.msg"])
def test_what_is_missing_is_said(name, lacks):
    code = f"import sys; sys.modules[{lacks!r}] = None; from grasp_gen_ros import commands;"
    code += f"sys.exit(commands.{name}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name}: needs {lacks}: ") and "make setup" in line
