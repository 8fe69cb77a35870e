"""RViz markers: the hands as meshes, coloured by contact."""

from __future__ import annotations

import numpy as np
import torch
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from grasp_gen_core.contact.maps import contact_map
from grasp_gen_core.perception import PLANE, Segmentation
from grasp_gen_core.perception.picture import colour
from grasp_gen_core.render import GUESSED, PRESSED, SKIN
from grasp_gen_core.types import GraspSet

FAINT = 0.15  # opacity of all hands but the best, and of what is guessed
SHOWN = 2000  # points of an object, or of the plane
DOT = 0.004  # metres across a point


def grasp_markers(grasps: GraspSet, header: Header, count: int) -> MarkerArray:
    """The best `count` grasps: the best hand opaque, the others faint, each with its score; of an
    object that was seen in part, also what it may look like, translucent.

    The first marker deletes what was shown before.
    """
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    shown = min(count, len(grasps))
    middle = grasps.points.mean(axis=0)  # distances near it, in float32, are exact enough
    points, vertices = (
        torch.from_numpy((part - middle).astype(np.float32))
        for part in (grasps.points, grasps.vertices[:shown])
    )
    contact = contact_map(vertices, points.expand(shown, -1, -1)).numpy()[..., None]
    colours = (1 - contact) * SKIN + contact * PRESSED
    for i in range(shown):
        opacity = FAINT if i else 1.0
        surface = (grasps.vertices[i], grasps.faces, colours[i])
        array.markers.append(_surface("hands", i, *surface, header, opacity))
        text, wrist = f"#{i + 1}  {grasps.score[i]:.2f}", grasps.wrist_pose[i, :3, 3]
        words = _words("scores", i, wrist, text, header, opacity)
        array.markers.append(words)
    for shape in grasps.shapes[:1]:
        surface = (shape.vertices, shape.faces, np.tile(GUESSED, (len(shape.vertices), 1)))
        array.markers.append(_surface("guess", 0, *surface, header, FAINT))
    return array


def _surface(
    ns: str,
    index: int,
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray,
    header: Header,
    opacity: float,
) -> Marker:
    # One message object per vertex, shared by its triangles: six times fewer objects to make.
    corners = [Point(x=x, y=y, z=z) for x, y, z in vertices.tolist()]
    shades = [ColorRGBA(r=r, g=g, b=b, a=opacity) for r, g, b in colours.tolist()]
    order = faces.ravel().tolist()
    return Marker(
        header=header,
        ns=ns,
        id=index,
        type=Marker.TRIANGLE_LIST,
        action=Marker.ADD,
        pose=Pose(),
        scale=Vector3(x=1.0, y=1.0, z=1.0),
        color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=opacity),
        points=[corners[k] for k in order],
        colors=[shades[k] for k in order],
    )


def _words(
    ns: str, index: int, position: np.ndarray, text: str, header: Header, opacity: float = 1.0
) -> Marker:
    x, y, z = position.tolist()
    return Marker(
        header=header,
        ns=ns,
        id=index,
        type=Marker.TEXT_VIEW_FACING,
        action=Marker.ADD,
        pose=Pose(position=Point(x=x, y=y, z=z)),
        scale=Vector3(z=0.02),
        color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=opacity),
        text=text,
    )


def scene_markers(seen: Segmentation, header: Header) -> MarkerArray:
    """The plane's points in grey, each object's in its colour with its id above.

    The first marker deletes what was shown before.
    """
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for number in (PLANE, *seen.numbers):
        points = seen.object(number).astype(np.float64)
        if not len(points):
            continue
        points = points[:: 1 + len(points) // SHOWN]
        red, green, blue = colour(number)
        dots = Marker(
            header=header,
            ns="objects",
            id=number,
            type=Marker.POINTS,
            action=Marker.ADD,
            scale=Vector3(x=DOT, y=DOT),
            color=ColorRGBA(r=float(red), g=float(green), b=float(blue), a=1.0),
            points=[Point(x=x, y=y, z=z) for x, y, z in points.tolist()],
        )
        array.markers.append(dots)
        if number != PLANE:
            up = np.array([0, 0, 1]) if seen.plane is None else seen.plane.normal
            top = points.mean(axis=0) + up * (0.03 + np.ptp(points @ up) / 2)
            array.markers.append(_words("ids", number, top, str(number), header))
    return array
