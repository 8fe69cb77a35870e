"""Starts the grasp generator, and RViz if asked."""

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(get_package_share_directory("grasp_gen_ros")) / "config"
ARGUMENTS = {
    "generator": "network that proposes hands",
    "refiner": "clean-up of its grasps, or none",
    "ranking": "what scores them",
    "num_grasps": "grasps per cloud",
    "device": "auto, cpu, cuda or cuda:N",
    "hand": "MANO hand file, empty for the shipped generic hand",
}


def generate_launch_description() -> LaunchDescription:
    parameters = CONFIG / "generate.yaml"
    defaults = yaml.safe_load(parameters.read_text())["/**"]["ros__parameters"]
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "cloud_topic",
                default_value="object_cloud",
                description="PointCloud2 of the segmented object",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="start RViz"),
            *[
                DeclareLaunchArgument(name, default_value=str(defaults[name]), description=text)
                for name, text in ARGUMENTS.items()
            ],
            Node(
                package="grasp_gen_ros",
                executable="grasp_generator",
                output="screen",
                parameters=[
                    str(parameters),
                    {
                        # Texts stay texts, "7" too; of all else the node itself says what is wrong.
                        name: ParameterValue(
                            LaunchConfiguration(name),
                            value_type=str if isinstance(defaults[name], str) else None,
                        )
                        for name in ARGUMENTS
                    },
                ],
                remappings=[("object_cloud", LaunchConfiguration("cloud_topic"))],
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(CONFIG / "grasps.rviz")],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
