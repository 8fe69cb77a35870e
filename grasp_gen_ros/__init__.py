"""The ROS 2 side: node, message conversions, markers and a planner-side client; rclpy only."""

from pkgutil import extend_path

# Messages and services are generated into a folder of the same name, beside or apart from this one.
__path__ = extend_path(__path__, __name__)
