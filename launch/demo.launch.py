"""The grasp generator with an object to grasp (a mug, or your file) and RViz."""

from launch import LaunchDescription, LaunchDescriptionEntity

from grasp_gen_ros.launching import Given, describe, generator, node, text


def start(given: Given) -> list[LaunchDescriptionEntity]:
    cloud = {"cloud": text(given["cloud"])}
    topics = {"object_cloud": given["cloud_topic"]}
    return [*generator(given), node("object_cloud_publisher", given, None, cloud, topics)]


def generate_launch_description() -> LaunchDescription:
    return describe(
        __file__,
        start,
        cloud=("", "mesh or cloud file, empty for a procedural mug"),
        rviz=("true", "start RViz"),
    )
