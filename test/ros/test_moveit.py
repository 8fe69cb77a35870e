"""Grasps as MoveIt takes them, where its messages are installed."""

import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")
pytest.importorskip("moveit_msgs.msg", reason="needs moveit_msgs, which MoveIt brings")

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from shape_msgs.msg import Mesh
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from grasp_gen_ros.moveit import collision_object, moveit_grasp
from grasp_gen_ros.msg import Grasp, GraspArray, ManoHand


def test_what_moveit_takes():
    turned = Quaternion(x=0.6, w=0.8)
    grasp = Grasp(
        header=Header(frame_id="base"),
        id="object_3_grasp_0",
        object="object_3",
        wrist_pose=Pose(position=Point(x=0.1, y=0.2, z=0.3), orientation=turned),
        pregrasp_wrist_pose=Pose(position=Point(x=0.1, y=0.2, z=0.38), orientation=turned),
        retreat=Vector3(x=0.06, z=0.08),
        score=0.75,
        pregrasp=ManoHand(side="left"),
    )
    made = moveit_grasp(grasp, lambda hand: JointTrajectory(joint_names=[hand.side]))
    assert made.id == "object_3_grasp_0" and made.allowed_touch_objects == ["object_3"]
    assert made.grasp_pose.header.frame_id == "base" and made.grasp_pose.pose == grasp.wrist_pose
    assert made.grasp_quality == 0.75
    approach, retreat = made.pre_grasp_approach, made.post_grasp_retreat
    assert approach.desired_distance == pytest.approx(0.08)
    assert approach.direction.vector.z == pytest.approx(-1)
    assert approach.direction.header.frame_id == retreat.direction.header.frame_id == "base"
    assert retreat.desired_distance == pytest.approx(0.1)
    assert (retreat.direction.vector.x, retreat.direction.vector.z) == pytest.approx((0.6, 0.8))
    assert made.pre_grasp_posture.joint_names == ["left"]
    assert not moveit_grasp(grasp).grasp_posture.joint_names


def test_the_object_that_the_planning_scene_takes():
    header, shape = Header(frame_id="base"), Mesh(vertices=[Point(x=0.1)])
    grasps = GraspArray(header=header, grasps=[Grasp(object="object_3")], shape=shape)
    made = collision_object(grasps)
    assert (made.id, made.header, made.meshes) == ("object_3", header, [shape])
    assert made.operation == made.ADD and made.pose == made.mesh_poses[0] == Pose()
