"""Frames of the robot, where the node is told to look for them in TF."""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation

from grasp_gen_core.errors import InputError
from grasp_gen_ros.msg import ResultCode
from grasp_gen_ros.parameters import declare
from grasp_gen_ros.refusal import Refusal

PATIENCE = 1.0  # seconds for a transform that is late
LOOK = 0.02  # seconds between looks for it
UP = "Frame whose z axis is up, by TF; empty: not asked for."
SENSOR = "Frame at whose origin the camera is, by TF; empty: not asked for."
TARGET = "Frame of the grasps, by TF; empty for the cloud's."


class Frames:
    """Poses by TF, and the parameters that ask for them.

    Args:
        node: to which the parameters and the TF listener belong.
        target: whether there is a target_frame.

    Raises:
        InputError: if a parameter names a frame and tf2_ros isn't installed.
    """

    def __init__(self, node: Node, target: bool) -> None:
        self._up = declare(node, "up_frame", "", UP, read_only=True)
        self._sensor = declare(node, "sensor_frame", "", SENSOR, read_only=True)
        self._target = target and declare(node, "target_frame", "", TARGET, read_only=True)
        if self._up or self._sensor or self._target:
            try:
                from tf2_ros import Buffer, TransformListener
            except ModuleNotFoundError as error:
                raise InputError(
                    f"up_frame, sensor_frame, target_frame: need {error.name}, which a ROS 2 "
                    "installation brings"
                ) from error
            self._buffer = Buffer(node=node)
            self._listener = TransformListener(self._buffer, node)

    def up(self, frame: str, stamp: Stamp) -> np.ndarray | None:
        """(3,) unit vector of up_frame's z axis in a frame; None without up_frame."""
        pose = self.level(frame, stamp)
        return None if pose is None else pose[2, :3]

    def level(self, frame: str, stamp: Stamp) -> np.ndarray | None:
        """The pose (4, 4) of a frame in up_frame; None without up_frame."""
        return self._pose("up_frame", frame, self._up, stamp) if self._up else None

    def sensor(self, frame: str, stamp: Stamp) -> np.ndarray | None:
        """(3,) where sensor_frame is in a frame, metres; None without sensor_frame."""
        if not self._sensor:
            return None
        return self._pose("sensor_frame", self._sensor, frame, stamp)[:3, 3]

    def target(self, frame: str, stamp: Stamp) -> tuple[str, np.ndarray]:
        """The frame of the grasps, and the pose (4, 4) of a frame in it."""
        if not self._target:
            return frame, np.eye(4)
        return self._target, self._pose("target_frame", frame, self._target, stamp)

    def _pose(self, parameter: str, of: str, within: str, stamp: Stamp) -> np.ndarray:
        """(4, 4) pose of a frame in another.

        Raises:
            Refusal: NO_TRANSFORM, if TF doesn't tell within PATIENCE.
        """
        from tf2_ros import TransformException

        when, end = Time.from_msg(stamp), time.monotonic() + PATIENCE
        try:
            # Waiting itself, tf2 counts by a clock that may stand still.
            while not self._buffer.can_transform(within, of, when) and time.monotonic() < end:
                time.sleep(LOOK)
            found = self._buffer.lookup_transform(within, of, when).transform
        except TransformException as error:
            raise Refusal(
                ResultCode.NO_TRANSFORM,
                f"{parameter}: no transform between {of!r} and {within!r} within {PATIENCE:g} s: "
                f"{error}",
            ) from error
        q, t = found.rotation, found.translation
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
        pose[:3, 3] = t.x, t.y, t.z
        return pose
