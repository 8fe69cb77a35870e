"""The console commands: what ROS 2 brings is missing from many environments, which they say."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

HINT = (
    "it comes with a ROS 2 installation (source /opt/ros/DISTRO/setup.bash, and the workspace in "
    "which this package was built), or with `make setup` in a checkout, in its .venv"
)
ENDING = (signal.SIGINT, signal.SIGTERM)


def run(command: str, module: str) -> int:
    """What `main` of a module here returns; 2 and one line on stderr where ROS 2 is missing.

    Ctrl-C where `main` doesn't expect it, such as during imports, gives 130.
    """
    interrupt_once()
    try:
        try:
            import_module("rclpy")  # first, for where all of ROS 2 is missing it is what to name
            entry = import_module(f"grasp_gen_ros.{module}")
        except ModuleNotFoundError as error:
            name = error.name
            if name == f"grasp_gen_ros.{module}":
                raise
            if not name.startswith("grasp_gen_ros."):
                name = name.partition(".")[0]
            print(f"{command}: needs {name}: {HINT}", file=sys.stderr)
            return 2
        return entry.main()
    except KeyboardInterrupt:
        return 130
    finally:  # Python's own end would restore the default: to be killed
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def interrupt_once() -> None:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt; later ones don't disturb the end."""
    left = iter([KeyboardInterrupt])

    def interrupt(*_) -> None:
        for error in left:
            raise error

    for number in ENDING:
        signal.signal(number, interrupt)


def grasp_generator() -> int:
    """The node."""
    return run("grasp_generator", "node")


def scene_segmenter() -> int:
    """The node that tells a scene's objects apart."""
    return run("scene_segmenter", "segmenter")


def object_cloud_publisher() -> int:
    """Publishes a file's points, or a mug's."""
    return run("object_cloud_publisher", "cloud_publisher")


def example_planner() -> int:
    """The shortest planner."""
    return run("example_planner", "example_planner")


def grasp_demo() -> int:
    """The main job end to end."""
    return run("grasp_demo", "demo")
