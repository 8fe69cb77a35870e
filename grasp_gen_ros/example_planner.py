"""The shortest planner: takes an object cloud, asks for grasps, prints where the wrist goes."""

import rclpy
from rclpy.qos import qos_profile_sensor_data
from rclpy.wait_for_message import wait_for_message
from sensor_msgs.msg import PointCloud2

from grasp_gen_ros.client import GraspClient


def main() -> None:
    with rclpy.init():
        node = rclpy.create_node("example_planner")
        _, cloud = wait_for_message(
            PointCloud2, node, "object_cloud", qos_profile=qos_profile_sensor_data
        )
        best = GraspClient(node).generate(cloud, num=8).grasps[0]
        print(f"best of 8, score {best.score:.2f}, in frame {best.header.frame_id}")
        print(f"first go to  {best.pregrasp_wrist_pose.position}")
        print(f"then grasp at {best.wrist_pose.position}, {best.wrist_pose.orientation}")


if __name__ == "__main__":
    main()
