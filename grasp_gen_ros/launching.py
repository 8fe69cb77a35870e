"""What the launch files have in common; needs launch, which a ROS 2 installation brings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(get_package_share_directory("grasp_gen_ros")) / "config"
DELAY = 2.0  # seconds until a node that has ended is started again
# Arguments that are parameters of grasp_generator; their defaults are its own.
PARAMETERS = {
    "generator": "network that proposes hands",
    "refiner": "clean-up of its grasps, or none",
    "ranking": "what scores them",
    "num_grasps": "grasps per cloud",
    "device": "auto, cpu, cuda or cuda:N",
    "hand": "MANO hand file, empty for the shipped generic hand",
    "side": "right or left hand",
}
# The others: default, description.
ARGUMENTS = {
    "cloud_topic": ("object_cloud", "PointCloud2 of the segmented object"),
    "scene_topic": ("", "PointCloud2 of a whole scene, which starts scene_segmenter; empty: none"),
    "namespace": ("", "of all nodes"),
    "use_sim_time": ("false", "take the time from /clock"),
    "params_file": ("", "YAML file of parameters; arguments that are given win over it"),
    "log_level": ("info", "of the nodes: debug, info, warn, error or fatal"),
    "respawn": ("false", "start nodes again that have ended"),
    "bag": ("", "bag to play; empty: none"),
    "rviz": ("false", "start RViz"),
}

Given = Mapping[str, str]


def describe(
    file: str,
    start: Callable[[Given], list[LaunchDescriptionEntity]],
    **more: tuple[str, str],
) -> LaunchDescription:
    """What a launch file of the package does.

    Args:
        file: its path; where it is the one that was asked for, unknown arguments are refused.
        start: makes what is to be started of the arguments' values.
        more: default and description of arguments of its own, or with defaults of its own.

    Raises:
        ValueError: if an argument isn't known, which launch itself overlooks.
    """
    known = {name: (_defaults()[name], what) for name, what in PARAMETERS.items()}
    known |= ARGUMENTS | more
    if any(Path(word).name == Path(file).name for word in sys.argv):
        given = [word.partition(":=")[0] for word in sys.argv if ":=" in word]
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"argument {unknown[0]!r}, accepted are {', '.join(sorted(known))}")

    def begin(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return start({name: LaunchConfiguration(name).perform(context) for name in known})

    arguments = [
        DeclareLaunchArgument(name, default_value=str(default), description=what)
        for name, (default, what) in known.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=begin)])


def generator(given: Given) -> list[LaunchDescriptionEntity]:
    """grasp_generator, and what the arguments ask for beside it.

    Raises:
        ValueError: if an argument needs a package that isn't installed, or the bag isn't there.
    """
    parameters = {
        # Texts stay texts, "7" too; of all else the node itself says what is wrong.
        name: text(given[name]) if isinstance(default, str) else yaml.safe_load(given[name])
        for name, default in _defaults().items()
        if name in PARAMETERS and given[name] != str(default)
    }
    topics = {"object_cloud": given["cloud_topic"]}
    started = [node("grasp_generator", given, "generate.yaml", parameters, topics)]
    if given["scene_topic"]:
        topics = {"scene_cloud": given["scene_topic"]}
        started.append(node("scene_segmenter", given, "segment.yaml", {}, topics))
    if given["bag"]:
        _need("ros2bag", "bag")
        if not Path(given["bag"]).exists():
            raise ValueError(f"argument 'bag': {given['bag']!r} isn't there, accepted is a bag")
        clock = ["--clock"] if _is_true(given["use_sim_time"]) else []
        play = ["ros2", "bag", "play", given["bag"], *clock]
        started.append(ExecuteProcess(cmd=play, output="screen"))
    if _is_true(given["rviz"]):
        _need("rviz2", "rviz")
        arguments = ["-d", str(CONFIG / "grasps.rviz")]
        rviz = Node(package="rviz2", executable="rviz2", arguments=arguments, output="screen")
        started.append(rviz)
    return started


def node(
    executable: str,
    given: Given,
    file: str | None,
    parameters: dict[str, object],
    topics: dict[str, str],
) -> Node:
    """A node of the package.

    Args:
        executable: its name.
        given: the launch arguments' values.
        file: of its parameters, in config/.
        parameters: that win over files.
        topics: new names, by those that the node knows.
    """
    files = [str(CONFIG / file)] if file else []
    if given["params_file"]:
        files.append(given["params_file"])
    clock = {"use_sim_time": _is_true(given["use_sim_time"])}
    return Node(
        package="grasp_gen_ros",
        executable=executable,
        namespace=given["namespace"] or None,
        output="screen",
        respawn=_is_true(given["respawn"]),
        respawn_delay=DELAY,
        parameters=[*files, clock | parameters],
        remappings=list(topics.items()),
        ros_arguments=["--log-level", given["log_level"]],
    )


def text(value: str) -> ParameterValue:
    """A parameter that is a text, whatever it looks like."""
    return ParameterValue(value, value_type=str)


def _defaults() -> dict[str, object]:
    """The parameters of grasp_generator."""
    return yaml.safe_load((CONFIG / "generate.yaml").read_text())["/**"]["ros__parameters"]


def _need(package: str, argument: str) -> None:
    try:
        get_package_prefix(package)
    except PackageNotFoundError as error:
        raise ValueError(
            f"argument {argument!r} needs the ROS 2 package {package}, which isn't installed"
        ) from error


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1")
