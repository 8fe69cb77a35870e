"""Starts the grasp generator, and the scene segmenter, a bag or RViz if asked."""

from launch import LaunchDescription

from grasp_gen_ros.launching import describe, generator


def generate_launch_description() -> LaunchDescription:
    return describe(__file__, generator)
