"""The `scene_segmenter` node: a scene's cloud or depth image in, the objects on its table out."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import segment
from grasp_gen_core.perception.tracking import Tracker
from grasp_gen_core.stopping import Stop
from grasp_gen_core.types import Observation
from grasp_gen_ros.conversions import read_observation
from grasp_gen_ros.frames import Frames
from grasp_gen_ros.managed import REPEAT, Managed, spin
from grasp_gen_ros.markers import scene_markers
from grasp_gen_ros.msg import ObjectClouds, ResultCode
from grasp_gen_ros.parameters import declare
from grasp_gen_ros.processes import run_node
from grasp_gen_ros.qos import publisher, subscribe
from grasp_gen_ros.scenes import object_clouds, read_depth
from grasp_gen_ros.turns import Newest

KEPT = 30  # depth images that a mask may still be made of


class Scene(NamedTuple):
    """One that has come.

    Attributes:
        header: its frame and stamp.
        read: what gives its points.
    """

    header: Header
    read: Callable[[], Observation]


class SceneSegmenter(Managed):
    """Tells apart what stands on a table, in the newest scene, while somebody listens.

    Objects keep their ids as long as the node is configured and scenes come in one frame.

    Raises:
        InputError: if TF is asked for and isn't installed.
        ParameterException: if a parameter has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("scene_segmenter", makes="scenes", takes="scenes", calls=0)
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
        self._tracker, self._frame, self._found = Tracker(), "", 0
        self._objects = publisher(self, ObjectClouds, "object_clouds")
        self._markers = publisher(self, MarkerArray, "object_markers")
        self._newest = Newest(self._serve_newest, self._objects, self._markers)
        group = MutuallyExclusiveCallbackGroup()
        for kind, topic, callback in (
            (PointCloud2, "scene_cloud", self._on_cloud),
            (Image, "depth_image", self._on_depth),
            (CameraInfo, "camera_info", self._on_info),
            (Image, "mask", self._on_mask),
        ):
            subscribe(self, kind, topic, callback, group)

    def load(self) -> None:
        """Nothing is needed."""

    def unload(self) -> None:
        """Forget what was seen."""
        self._tracker, self._mask = Tracker(), None
        self._images.clear()

    def served(self) -> str:
        """Where scenes come from."""
        topics = map(self.resolve_topic_name, ("scene_cloud", "depth_image"))
        return f"scenes from {' and '.join(topics)}"

    def about(self) -> dict[str, object]:
        """What it saw last."""
        return {"objects": self._found}

    def _on_cloud(self, cloud: PointCloud2) -> None:
        self._take(Scene(cloud.header, partial(self._read_cloud, cloud)))

    def _on_info(self, info: CameraInfo) -> None:
        late, self._info = self._info is None and len(self._images), info
        if late:
            self._take_depth(self._images[-1])

    def _on_depth(self, image: Image) -> None:
        self._images.append(image)
        self._take_depth(image)

    def _take_depth(self, image: Image) -> None:
        if not self.count_publishers(self.resolve_topic_name("mask")):
            self._take_image(image, None)
        elif self._mask is not None and self._mask.header.stamp == image.header.stamp:
            self._take_image(image, self._mask)

    def _on_mask(self, mask: Image) -> None:
        self._mask = mask
        for image in self._images:
            if image.header.stamp == mask.header.stamp:
                self._take_image(image, mask)

    def _take_image(self, image: Image, mask: Image | None) -> None:
        self._take(Scene(image.header, partial(self._read_depth, image, self._info, mask)))

    def _serve_newest(self, scene: Scene, stop: Stop) -> None:
        self._state = "looking"
        self._counts["scenes_taken"] += 1
        try:
            self._look(scene)
            self._level = DiagnosticStatus.OK
        except Exception as error:
            code, text = self._explain(error)
            if code != ResultCode.BUG:
                self._counts["scenes_refused"] += 1
                self._level = DiagnosticStatus.WARN
            text = f"scene refused: {text}"
            self.get_logger().warning(text, throttle_duration_sec=REPEAT)
        finally:
            self._state = "idle"

    def _read_cloud(self, cloud: PointCloud2) -> Observation:
        sensor = self._frames.sensor(cloud.header.frame_id, cloud.header.stamp)
        told = self.get_parameter("viewpoint").value or []
        return read_observation(cloud, (), told if sensor is None else sensor)

    def _read_depth(self, image: Image, info: CameraInfo | None, mask: Image | None) -> Observation:
        if info is None:
            topic = self.resolve_topic_name("camera_info")
            raise InputError(f"depth_image: no camera_info has come on {topic} yet")
        return Observation(read_depth(image, info, mask), viewpoint=np.zeros(3))

    def _look(self, scene: Scene) -> None:
        start, header = time.perf_counter(), scene.header
        given = scene.read()
        pose = self._frames.level(header.frame_id, header.stamp)
        up = self._value("up") or None if pose is None else pose[2, :3]
        region = self._value("region")
        corners = np.reshape(region, (2, 3)) if region else None
        read = time.perf_counter()
        seen = segment(given.points, given.viewpoint, up, corners)
        if header.frame_id != self._frame:
            self._tracker, self._frame = Tracker(), header.frame_id
        seen = self._tracker(seen, pose)
        done = time.perf_counter()
        self._objects.publish(object_clouds(seen, header))
        self._markers.publish(scene_markers(seen, header))
        self._found, end = len(seen.numbers), time.perf_counter()
        self._seconds = {"read": read - start, "segment": done - read, "total": end - start}
        text = f"{self._found} objects, " + ("a plane" if seen.plane else "no plane")
        self.get_logger().info(text, throttle_duration_sec=REPEAT)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 2 for parameters that aren't accepted."""
    threads = 4  # TF comes in while a transform is waited for
    return run_node("scene_segmenter", partial(spin, SceneSegmenter, threads), args)


if __name__ == "__main__":
    sys.exit(main())
