"""Scenes between ROS messages and the core: depth images, and objects on a plane."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Vector3
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from grasp_gen_core.errors import InputError
from grasp_gen_core.perception import FIRST_OBJECT, Segmentation
from grasp_gen_core.perception.files import MILLIMETRES, of_depth
from grasp_gen_core.perception.plane import Plane
from grasp_gen_ros.conversions import make_cloud, place, read_points
from grasp_gen_ros.msg import ObjectCloud, ObjectClouds
from grasp_gen_ros.msg import Plane as PlaneMessage

DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}  # millimetres, millimetres, metres
MASKS = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2", "32SC1": "i4"}
ROUNDING = 1e-3  # of a unit vector's length


def read_depth(image: Image, info: CameraInfo, mask: Image | None = None) -> np.ndarray:
    """Points of a depth image, in its camera's optical frame.

    Args:
        image: 16UC1 or mono16 in millimetres, or 32FC1 in metres; 0 and NaN where nothing is seen.
        info: of its camera, in the same size.
        mask: of the same size, 0 where not to look; None: everywhere.

    Returns:
        (H, W, 3) metres, NaN where nothing is seen or not looked.

    Raises:
        InputError: if an encoding, a size or the camera's matrix isn't accepted.
    """
    depth = _pixels(image, "depth_image", DEPTHS)
    if (info.height, info.width) != depth.shape:
        raise InputError(
            f"camera_info: of {info.width} x {info.height} pixels, accepted are the depth "
            f"image's {image.width} x {image.height}"
        )
    if image.encoding == "32FC1":
        depth = depth * MILLIMETRES
    if mask is not None:
        looked_at = _pixels(mask, "mask", MASKS)
        if looked_at.shape != depth.shape:
            raise InputError(
                f"mask: of {mask.width} x {mask.height} pixels, accepted are the depth image's "
                f"{image.width} x {image.height}"
            )
        depth = np.where(looked_at != 0, depth, 0)
    return of_depth(depth, info.k.reshape(3, 3), "camera_info").points


def _pixels(image: Image, topic: str, kinds: dict[str, str]) -> np.ndarray:
    """(H, W) values of an image of one channel."""
    if image.encoding not in kinds:
        raise InputError(f"{topic}: of {image.encoding!r}, accepted are {', '.join(kinds)}")
    kind = np.dtype(kinds[image.encoding]).newbyteorder(">" if image.is_bigendian else "<")
    if image.step < image.width * kind.itemsize or len(image.data) != image.height * image.step:
        raise InputError(
            f"{topic}: {len(image.data)} bytes in rows of {image.step}, accepted are "
            f"{image.height} rows of at least {image.width * kind.itemsize}"
        )
    shape, steps = (image.height, image.width), (image.step, kind.itemsize)
    return np.ndarray(shape, kind, image.data, 0, steps).astype(kind.newbyteorder("="))


def object_clouds(seen: Segmentation, header: Header) -> ObjectClouds:
    """The message for a scene."""
    message = ObjectClouds(header=header)
    for number in seen.numbers:
        cloud = make_cloud(seen.object(number), header)
        message.objects.append(ObjectCloud(id=number, cloud=cloud))
    if seen.plane is not None:
        normal = Vector3(**dict(zip("xyz", seen.plane.normal.tolist(), strict=True)))
        message.plane = [PlaneMessage(normal=normal, offset=seen.plane.offset)]
    if seen.viewpoint is not None:
        message.viewpoint = [Point(**dict(zip("xyz", map(float, seen.viewpoint), strict=True)))]
    return message


def read_scene(message: ObjectClouds) -> Segmentation:
    """What `object_clouds` was made of, of the points those of objects.

    Raises:
        InputError: if there is no object, a cloud isn't accepted, an id is under 2, or the plane or
            the viewpoint isn't finite.
    """
    if not message.objects:
        raise InputError("object_clouds: holds no object")
    if (low := min(one.id for one in message.objects)) < FIRST_OBJECT:
        raise InputError(f"object_clouds: id {low}, accepted are {FIRST_OBJECT} and more")
    clouds = [read_points(one.cloud) for one in message.objects]
    ids = np.array([one.id for one in message.objects], np.int32)
    plane, viewpoint = None, None
    for one in message.plane:
        normal = np.array([one.normal.x, one.normal.y, one.normal.z])
        if not (abs(np.linalg.norm(normal) - 1) < ROUNDING and np.isfinite(one.offset)):
            raise InputError(
                f"object_clouds: plane {normal.tolist()}, {one.offset}, accepted are a unit vector "
                "and metres"
            )
        plane = Plane(normal, one.offset)
    for one in message.viewpoint:
        viewpoint = place(one)
        if not np.isfinite(viewpoint).all():
            raise InputError(f"object_clouds: viewpoint {viewpoint.tolist()}, accepted are metres")
    labels = np.repeat(ids, [len(cloud) for cloud in clouds])
    return Segmentation(np.concatenate(clouds), labels, plane, viewpoint)
