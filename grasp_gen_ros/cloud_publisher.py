"""Publishes an object's cloud, from a file or from a mug before a virtual depth camera."""

from __future__ import annotations

import sys

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.clouds import load_object
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.types import Observation
from grasp_gen_ros.conversions import make_cloud
from grasp_gen_ros.parameters import SEEDS, declare
from grasp_gen_ros.processes import run_node

MESH_POINTS = 4096


def demo_object(path: str = "", seed: int = 0) -> Observation:
    """What the publisher shows.

    Args:
        path: mesh or cloud file; empty for a mug, of which the camera sees one side.
        seed: of the mug's shape, the view and its noise, or of the mesh's samples.

    Returns:
        Of the mug in a frame that stands at the camera, z up.

    Raises:
        InputError: if the file can't be read.
    """
    if path:
        return load_object(path, MESH_POINTS, seed)
    mesh = make_object("mug", seed)
    camera_pose = random_view(mesh, seed)
    points = DepthCamera().capture(mesh, camera_pose, seed)
    mesh.apply_translation(-camera_pose[:3, 3])
    return Observation(points @ camera_pose[:3, :3].T, viewpoint=np.zeros(3), mesh=mesh)


class ObjectCloudPublisher(Node):
    """Publishes the same points once a period, each time with a new stamp.

    Raises:
        InputError: if the file can't be read.
        ParameterException: if a parameter has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("object_cloud_publisher")
        path = declare(self, "cloud", "", "Mesh or cloud file; empty for a mug.", read_only=True)
        seed = declare(self, "seed", 0, "Of mug, view and samples.", SEEDS, read_only=True)
        period = declare(self, "period", 1.0, "Seconds.", (0.01, 3600.0), read_only=True)
        self._frame = declare(self, "frame_id", "camera", "Of the cloud.", read_only=True)
        self._points = demo_object(path, seed).points
        self._publisher = self.create_publisher(PointCloud2, "object_cloud", 1)
        self.create_timer(period, self._publish)
        topic = self._publisher.topic_name
        self.get_logger().info(
            f"{path or 'demo mug'}: {len(self._points)} points in frame {self._frame} on {topic}"
        )

    def _publish(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame)
        self._publisher.publish(make_cloud(self._points, header))


def main(args: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 2 for a file that can't be read or wrong parameters."""
    return run_node("object_cloud_publisher", lambda: rclpy.spin(ObjectCloudPublisher()), args)


if __name__ == "__main__":
    sys.exit(main())
