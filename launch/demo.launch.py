"""The grasp generator with an object to grasp (a mug, or your file) and RViz."""

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description() -> LaunchDescription:
    share = get_package_share_directory("grasp_gen_ros")
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "cloud",
                default_value="",
                description="mesh or cloud file, empty for a procedural mug",
            ),
            DeclareLaunchArgument("rviz", default_value="true", description="start RViz"),
            # Its other arguments (generator, num_grasps, ...) are taken here too.
            IncludeLaunchDescription(
                f"{share}/launch/generate.launch.py",
                launch_arguments={"rviz": LaunchConfiguration("rviz")}.items(),
            ),
            Node(
                package="grasp_gen_ros",
                executable="object_cloud_publisher",
                output="screen",
                parameters=[
                    {"cloud": ParameterValue(LaunchConfiguration("cloud"), value_type=str)}
                ],
                remappings=[("object_cloud", LaunchConfiguration("cloud_topic"))],
            ),
        ]
    )
