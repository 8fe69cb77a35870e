"""What a request wants grasped: an object's cloud, or one object of a scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import FIRST_OBJECT, Segmentation, segment
from grasp_gen_core.ranking.collision import Surroundings
from grasp_gen_core.types import Observation
from grasp_gen_ros.conversions import place, read_observation
from grasp_gen_ros.frames import Frames
from grasp_gen_ros.msg import ObjectClouds, ResultCode
from grasp_gen_ros.parameters import declare
from grasp_gen_ros.qos import subscribe
from grasp_gen_ros.refusal import Refusal
from grasp_gen_ros.scenes import read_scene
from grasp_gen_ros.srv import GenerateGrasps, RefineGrasps


class Target(NamedTuple):
    """An object to be grasped.

    Attributes:
        header: frame of all that follows, stamp of the cloud.
        seen: what is known of it.
        around: what a hand must not touch; None where that isn't known.
        up: (3,) against gravity, where the node is told; None: across the plane, if there is one.
        name: of the object.
    """

    header: Header
    seen: Observation
    around: Surroundings | None
    up: np.ndarray | None
    name: str


class Targets:
    """Finds what requests mean, in their clouds or in the newest that came by topic.

    Args:
        node: whose parameters viewpoint, up and frames say what a request doesn't.

    Attributes:
        cloud, scene: the newest, None before the first.
    """

    def __init__(self, node: Node) -> None:
        viewpoint = "Where the camera stood, x y z in the cloud's frame; empty if that isn't known."
        up = "What is up, x y z in the cloud's frame; empty: across a scene's plane."
        declare(node, "viewpoint", [], viewpoint)
        declare(node, "up", [], up)
        self._node = node
        self._frames = Frames(node, target=True)
        self.cloud: PointCloud2 | None = None
        self.scene: ObjectClouds | None = None
        group = MutuallyExclusiveCallbackGroup()
        subscribe(node, ObjectClouds, "object_clouds", self._on_scene, group)

    def _on_scene(self, scene: ObjectClouds) -> None:
        self.scene = scene

    def find(self, asked: GenerateGrasps.Request | RefineGrasps.Request) -> Target:
        """The object that a request, or an action's goal, means.

        Raises:
            InputError: if the cloud, the viewpoint or the object isn't accepted.
            Refusal: NOTHING_YET if the newest is meant and there is none; NO_TRANSFORM.
        """
        of_scene = not isinstance(asked, RefineGrasps.Request) and bool(
            asked.object_id or asked.object_point
        )
        given = asked.cloud
        if given == PointCloud2():
            given = self.scene if of_scene else self.cloud
        if given is None:
            topic = self._node.resolve_topic_name("object_clouds" if of_scene else "object_cloud")
            text = f"cloud: empty, and none has come on {topic} yet"
            raise Refusal(ResultCode.NOTHING_YET, text)
        frame, stamp = given.header.frame_id, given.header.stamp
        up = self._frames.up(frame, stamp)
        if up is None:
            up = self._node.get_parameter("up").value or None
        target, pose = self._frames.target(frame, stamp)
        header, around, name = Header(frame_id=target, stamp=stamp), None, "object"
        if isinstance(given, ObjectClouds):
            scene = read_scene(given)
        else:
            seen = read_observation(given, asked.viewpoint, self._viewpoint(frame, stamp))
            scene = segment(seen.points, seen.viewpoint, up) if of_scene else None
        if scene is not None:
            number = chosen(scene, asked)
            scene = scene if pose is None else scene.moved(pose)
            seen = Observation(scene.object(number), viewpoint=scene.viewpoint)
            around, name = Surroundings.of(scene, number), f"object_{number}"
        elif pose is not None:
            seen = seen.moved(pose)
        if up is not None and pose is not None:
            up = pose[:3, :3] @ up
        return Target(header, seen, around, up, name)

    def _viewpoint(self, frame: str, stamp: Time) -> np.ndarray | list[float]:
        """Where the camera stood, for a request that doesn't say; empty where that isn't known."""
        sensor = self._frames.sensor(frame, stamp)
        return self._node.get_parameter("viewpoint").value or [] if sensor is None else sensor


def chosen(scene: Segmentation, asked: GenerateGrasps.Request) -> int:
    """The label of the object that a request means."""
    if asked.object_id and asked.object_point:
        raise InputError("object_id, object_point: both are given, accepted is one of them")
    if asked.object_point:
        try:
            return scene.at(place(asked.object_point[0]))
        except InputError as error:
            raise InputError(f"object_point: {error}") from error
    numbers = np.unique(scene.labels[scene.labels >= FIRST_OBJECT]).tolist()
    if asked.object_id not in numbers:
        known = ", ".join(map(str, numbers)) or "none: no object was found"
        raise InputError(f"object_id: {asked.object_id}, accepted are {known}")
    return asked.object_id
