"""Publishes an object's cloud, from a file or from a mug before a virtual depth camera."""

from __future__ import annotations

import sys

import numpy as np
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.clouds import load_object
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.types import Observation
from grasp_gen_ros.conversions import make_cloud

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
    """

    def __init__(self) -> None:
        super().__init__("object_cloud_publisher")
        path = self.declare_parameter("cloud", "").value
        seed = self.declare_parameter("seed", 0).value
        period = self.declare_parameter("period", 1.0).value
        self._frame = self.declare_parameter("frame_id", "camera").value
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
    """Exit code 0 after Ctrl-C, 2 for a file that can't be read."""
    try:
        rclpy.init(args=args)
        rclpy.spin(ObjectCloudPublisher())
    except (InputError, ParameterException) as error:
        get_logger("object_cloud_publisher").fatal(str(error))
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
