"""The `scene_segmenter` node: a scene's cloud or depth image in, the objects on its table out."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import segment
from grasp_gen_core.runtime import tune_allocator
from grasp_gen_core.types import Observation
from grasp_gen_ros.conversions import read_observation
from grasp_gen_ros.frames import Frames
from grasp_gen_ros.markers import scene_markers
from grasp_gen_ros.msg import ObjectClouds
from grasp_gen_ros.parameters import declare
from grasp_gen_ros.processes import run_node
from grasp_gen_ros.qos import publisher, subscribe
from grasp_gen_ros.refusal import Refusal
from grasp_gen_ros.scenes import object_clouds, read_depth

KEPT = 30  # depth images that a mask may still be made of
REPEAT = 5.0  # seconds before the same warning is logged again


class SceneSegmenter(Node):
    """Tells apart what stands on a table, in the newest scene, while somebody listens.

    Raises:
        InputError: if TF is asked for and isn't installed.
        ParameterException: if a parameter has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("scene_segmenter")
        viewpoint = "Where the camera stood, x y z in the cloud's frame; empty if that isn't known."
        up = "What is up, x y z in the scene's frame; empty: where the camera is above."
        region = "Where to look: lowest x y z, highest x y z; empty: everywhere."
        declare(self, "viewpoint", [], viewpoint)
        declare(self, "up", [], up)
        declare(self, "region", [], region, length=6)
        self._frames = Frames(self, target=False)
        self._info: CameraInfo | None = None
        # A mask comes later than the image that it was made of.
        self._images: deque[Image] = deque(maxlen=KEPT)
        self._mask: Image | None = None
        self._due: Callable[[], None] | None = None  # the newest scene, until it is looked at
        self._objects = publisher(self, ObjectClouds, "object_clouds")
        self._markers = publisher(self, MarkerArray, "object_markers")
        group = MutuallyExclusiveCallbackGroup()
        for kind, topic, callback in (
            (PointCloud2, "scene_cloud", self._on_cloud),
            (Image, "depth_image", self._on_depth),
            (CameraInfo, "camera_info", partial(setattr, self, "_info")),
            (Image, "mask", self._on_mask),
        ):
            subscribe(self, kind, topic, callback, group)
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._work, clock=clock, callback_group=group)
        topics = map(self.resolve_topic_name, ("scene_cloud", "depth_image"))
        self.get_logger().info(f"ready: takes scenes from {' and '.join(topics)}")

    def _on_cloud(self, cloud: PointCloud2) -> None:
        self._due = partial(self._look, cloud.header, partial(self._read_cloud, cloud))
        self._work()

    def _on_depth(self, image: Image) -> None:
        self._images.append(image)
        if not self.count_publishers(self.resolve_topic_name("mask")):
            self._take(image, None)
        elif self._mask is not None and self._mask.header.stamp == image.header.stamp:
            self._take(image, self._mask)

    def _on_mask(self, mask: Image) -> None:
        self._mask = mask
        for image in self._images:
            if image.header.stamp == mask.header.stamp:
                self._take(image, mask)

    def _take(self, image: Image, mask: Image | None) -> None:
        self._due = partial(self._look, image.header, partial(self._read_depth, image, mask))
        self._work()

    def _work(self) -> None:
        """Look at the newest scene, if that wasn't done and somebody listens."""
        outputs = (self._objects, self._markers)
        if self._due is None or not any(out.get_subscription_count() for out in outputs):
            return
        look, self._due = self._due, None
        try:
            look()
        except (InputError, Refusal) as error:
            text = f"scene refused: {error}"
            self.get_logger().warning(text, throttle_duration_sec=REPEAT)
        except Exception:  # a bug; the next scene may be well
            self.get_logger().error(traceback.format_exc())

    def _read_cloud(self, cloud: PointCloud2) -> Observation:
        sensor = self._frames.sensor(cloud.header.frame_id, cloud.header.stamp)
        told = self.get_parameter("viewpoint").value or []
        return read_observation(cloud, (), told if sensor is None else sensor)

    def _read_depth(self, image: Image, mask: Image | None) -> Observation:
        if self._info is None:
            topic = self.resolve_topic_name("camera_info")
            raise InputError(f"depth_image: no camera_info has come on {topic} yet")
        return Observation(read_depth(image, self._info, mask), viewpoint=np.zeros(3))

    def _look(self, header: Header, read: Callable[[], Observation]) -> None:
        scene = read()
        up = self._frames.up(header.frame_id, header.stamp)
        if up is None:
            up = self.get_parameter("up").value or None
        region = self.get_parameter("region").value
        corners = np.reshape(region, (2, 3)) if region else None
        seen = segment(scene.points, scene.viewpoint, up, corners)
        self._objects.publish(object_clouds(seen, header))
        self._markers.publish(scene_markers(seen, header))
        text = f"{len(seen.numbers)} objects, " + ("a plane" if seen.plane else "no plane")
        self.get_logger().info(text, throttle_duration_sec=REPEAT)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 2 for parameters that aren't accepted."""
    return run_node("scene_segmenter", spin, args)


def spin() -> None:
    """Serve until the context is shut down."""
    tune_allocator()
    executor = MultiThreadedExecutor(num_threads=3)  # TF comes in while a transform is waited for
    executor.add_node(SceneSegmenter())
    executor.spin()


if __name__ == "__main__":
    sys.exit(main())
