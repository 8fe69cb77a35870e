"""Grasps as MoveIt takes them, where moveit_msgs is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, Quaternion, Vector3, Vector3Stamped

from grasp_gen_ros.conversions import place
from grasp_gen_ros.msg import Grasp, GraspArray, ManoHand

if TYPE_CHECKING:
    from moveit_msgs.msg import CollisionObject
    from moveit_msgs.msg import Grasp as MoveItGrasp
    from trajectory_msgs.msg import JointTrajectory

LEAST = 0.5  # of a way, that has to be free at least


def moveit_grasp(
    grasp: Grasp, posture: Callable[[ManoHand], JointTrajectory] | None = None
) -> MoveItGrasp:
    """A moveit_msgs/Grasp; its pose is the wrist's, in MANO's axes.

    Args:
        grasp: of a GraspArray.
        posture: what the robot's fingers do for a human hand; None leaves both postures empty.

    Raises:
        ModuleNotFoundError: without moveit_msgs.
    """
    from moveit_msgs.msg import Grasp as MoveItGrasp
    from moveit_msgs.msg import GripperTranslation

    def translation(way: np.ndarray) -> GripperTranslation:
        length = float(np.linalg.norm(way))
        direction = Vector3(**dict(zip("xyz", (way / length).tolist(), strict=True)))
        return GripperTranslation(
            direction=Vector3Stamped(header=grasp.header, vector=direction),
            desired_distance=length,
            min_distance=LEAST * length,
        )

    to, start = grasp.wrist_pose.position, grasp.pregrasp_wrist_pose.position
    message = MoveItGrasp(
        id=grasp.id,
        grasp_pose=PoseStamped(header=grasp.header, pose=grasp.wrist_pose),
        grasp_quality=float(grasp.score),
        pre_grasp_approach=translation(place(to) - place(start)),
        post_grasp_retreat=translation(place(grasp.retreat)),
        allowed_touch_objects=[grasp.object],
    )
    if posture is not None:
        message.pre_grasp_posture = posture(grasp.pregrasp)
        message.grasp_posture = posture(grasp.squeeze)
    return message


def collision_object(grasps: GraspArray) -> CollisionObject:
    """What the planning scene takes the object for: a mesh, named as the grasps name it.

    Args:
        grasps: of an object that was seen in part, so that there is a shape.

    Raises:
        ModuleNotFoundError: without moveit_msgs.
    """
    from moveit_msgs.msg import CollisionObject

    return CollisionObject(
        header=grasps.header,
        id=grasps.grasps[0].object,
        pose=Pose(orientation=Quaternion(w=1.0)),
        meshes=[grasps.shape],
        mesh_poses=[Pose(orientation=Quaternion(w=1.0))],
        operation=CollisionObject.ADD,
    )
