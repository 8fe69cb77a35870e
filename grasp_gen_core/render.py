"""Pictures and 3D files of hands on objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand.layer import close_wrist
from grasp_gen_core.shading import VEIL, Part, Scene, View, is_veil
from grasp_gen_core.types import GraspSet

TILE, CAPTION, LINE = 300, 24, 18  # pixels; a caption has a further line's height for each
SKIN, PRESSED = np.array([0.90, 0.70, 0.60]), np.array([0.80, 0.09, 0.10])
OBJECT, TOUCHED = np.array([0.47, 0.62, 0.80]), np.array([1.00, 0.66, 0.10])
GUESSED = np.array([0.55, 0.60, 0.66])
GLB_NODES = ("grasp", "object", "guess")

Y_UP = trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0))  # from z up, as glTF has it

# In MANO's axes (right hand: fingers -x, palm -y, thumb +z): back, thumb side, palm, fingertips.
HAND_VIEWS = (
    View((0, 1, 0), (-1, 0, 0)),
    View((0, 0.3, 1), (-1, 0, 0)),
    View((0, -1, 0), (-1, 0, 0)),
    View((-1, 0.3, 0.2), (0, 1, 0)),
)


def render_scene(parts: Sequence[Part], size: int = TILE, view: View = HAND_VIEWS[0]) -> np.ndarray:
    """One picture of coloured meshes and point clouds, framed so that they fill it.

    Args:
        parts: meshes with vertex colours, shaded with their `vertex_normals`, and point clouds,
            drawn as small balls; metres. What is translucent is a veil before the rest.
        size: width and height in pixels.
        view: where the camera stands.

    Returns:
        (size, size, 3) uint8 on a white background.
    """
    return Scene(parts).picture(size, view)


def render_grasps(
    grasps: GraspSet,
    path: str | Path,
    mesh: trimesh.Trimesh | None = None,
    count: int = 4,
    views: int = 4,
) -> None:
    """Write a contact sheet as PNG: a row per grasp, best first, seen from several sides.

    The first view looks at the back of the hand, the third at its palm, the object's z axis up, the
    fourth from the top. Hand and object are coloured by their contact. Of an object that was seen
    in part, the first of `grasps.shapes` is a veil about its points.

    Args:
        grasps: what to draw.
        path: PNG file to write.
        mesh: the object's surface; without it `grasps.points` are drawn.
        count: rows at most.
        views: columns, 1 to 6.

    Raises:
        InputError: if there is no grasp, count or views are out of range, or path can't be written.
    """
    write_sheet([[cell] for cell in grasp_cells(grasps, mesh, count, views)], path)


def grasp_cells(
    grasps: GraspSet, mesh: trimesh.Trimesh | None = None, count: int = 4, views: int = 4
) -> list[Cell]:
    """The best grasps, coloured by their contact: what `render_grasps` writes.

    Args:
        grasps: what to draw.
        mesh: the object's surface; without it `grasps.points` are drawn.
        count: grasps at most.
        views: of each, 1 to 6.

    Raises:
        InputError: if there is no grasp, or count or views are out of range.
    """
    _check_count(len(grasps), count)
    if not 1 <= views <= len(ORBIT):
        raise InputError(f"views: {views}, accepted are 1 to {len(ORBIT)}")
    grasps, mesh, _ = _near(grasps, mesh)
    body = None if mesh is None else smooth(mesh, edge=0.004)
    return [
        Cell(
            f"#{i + 1}  score {grasps.score[i]:.2f}",
            _grasp_parts(grasps, i, body),
            orbit(grasps.wrist_pose[i, :3, :3])[:views],
        )
        for i in range(min(count, len(grasps)))
    ]


def hand_cells(
    vertices: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
    mesh: trimesh.Trimesh | None = None,
    count: int = 4,
) -> list[Cell]:
    """Hands of any origin, coloured where they are near the object, each from around.

    Args:
        vertices: (B, V, 3) metres, the object's frame.
        faces: (F, 3) closed surface.
        joints: (B, 21, 3) MANO's 16 joints, then the tips.
        mesh: the object's surface, where it's known.
        count: hands at most.

    Raises:
        InputError: if there is no hand, or count is out of range.
    """
    _check_count(len(vertices), count)
    centre = vertices.mean(axis=(0, 1))
    vertices, joints = vertices - centre, joints - centre
    body = None if mesh is None else smooth(_moved(mesh, -centre), edge=0.004)
    cells = []
    for i, axes in enumerate(hand_axes(joints[:count])):
        if body is None:
            parts = [hand_mesh(vertices[i], faces)]
        else:
            parts = touching_parts(vertices[i], faces, body)
        cells.append(Cell(f"#{i + 1}", parts, orbit(axes)[:4]))
    return cells


def render_hands(
    vertices: np.ndarray,
    faces: np.ndarray,
    path: str | Path,
    labels: Sequence[str] = (),
    views: Sequence[View] = HAND_VIEWS,
) -> None:
    """Write hands alone as PNG: a row per hand, seen from back, thumb side, palm and fingertips.

    Args:
        vertices: (B, V, 3) or (V, 3) hand surfaces in MANO's axes, metres.
        faces: (F, 3) triangles.
        path: PNG file to write.
        labels: a text per row.
        views: the columns.

    Raises:
        InputError: if path can't be written.
    """
    hands = np.asarray(vertices).reshape(-1, *np.shape(vertices)[-2:])
    labels = [*labels, *[""] * (len(hands) - len(labels))]
    rows = [[Cell(t, [hand_mesh(v, faces)], views)] for t, v in zip(labels, hands, strict=True)]
    write_sheet(rows, path)


def export_glb(
    grasps: GraspSet, path: str | Path, mesh: trimesh.Trimesh | None = None, count: int = 8
) -> None:
    """Write the best grasps as a GLB scene.

    The skin is subdivided once, for looks; the exact vertices are in `grasps`. Numbers are ranks:
    nodes `grasp_1` (the best) and `object_1`, then `grasp_2`, ... Where an object was seen in part,
    `guess_1`, ..., translucent, are the first of `grasps.shapes`. Each grasp has its own copy of
    the object and stands beside the one before, so that viewers without a node switch show each of
    them. glTF's y axis is up: the scene is the object's frame turned by -90 degrees about x, its z
    axis up. The first grasp stands in place.

    Args:
        grasps: what to write.
        path: GLB file to write.
        mesh: the object's surface; without it `grasps.points` are written.
        count: grasps at most.

    Raises:
        InputError: if there is no grasp, count is out of range, or path can't be written.
    """
    _check_count(len(grasps), count)
    grasps, mesh, centre = _near(grasps, mesh)
    body = None if mesh is None else smooth(mesh, edge=0.004)
    shown = min(count, len(grasps))
    hands = grasps.vertices[:shown].reshape(-1, 3)
    width = 1.1 * np.ptp(np.concatenate([hands, grasps.points])[:, 0])
    scene = trimesh.Scene()
    for i in range(shown):
        place = centre + (i * width, 0, 0)
        place = Y_UP @ trimesh.transformations.translation_matrix(place)
        for name, part in zip(GLB_NODES, _grasp_parts(grasps, i, body), strict=False):
            if is_veil(part):
                part.visual = _veil_material()
            scene.add_geometry(part, node_name=f"{name}_{i + 1}", transform=place)
    _write(path, scene.export(file_type="glb", include_normals=True))


def _veil_material() -> trimesh.visual.TextureVisuals:
    """glTF mixes no vertex colours: one translucent colour for all of a mesh."""
    colour = np.append(GUESSED, VEIL)
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=colour, alphaMode="BLEND", doubleSided=True
    )
    return trimesh.visual.TextureVisuals(material=material)


def _near(
    grasps: GraspSet, mesh: trimesh.Trimesh | None
) -> tuple[GraspSet, trimesh.Trimesh | None, np.ndarray]:
    """Surfaces and points near the origin, for single precision, and how far they were moved."""
    centre = np.zeros(3)
    if grasps.points.dtype == np.float64:
        centre = grasps.points.mean(axis=0)
    vertices, points = grasps.vertices - centre, grasps.points - centre
    shapes = tuple(_moved(shape, -centre) for shape in grasps.shapes)
    grasps = replace(grasps, vertices=vertices, points=points, shapes=shapes)
    return grasps, _moved(mesh, -centre), centre


def _moved(mesh: trimesh.Trimesh | None, shift: np.ndarray) -> trimesh.Trimesh | None:
    return None if mesh is None else mesh.copy().apply_translation(shift)


def _check_count(there: int, count: int) -> None:
    if not there:
        raise InputError("grasps: none in the set, at least one is needed to draw")
    if count < 1:
        raise InputError(f"count: {count}, accepted is 1 or more")


def _write(path: str | Path, data: bytes) -> None:
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


# Degrees around the object's z axis, counted from the back of the hand, and above its xy plane.
ORBIT = ((0, 15), (90, 15), (180, 15), (30, 75), (-90, 15), (180, -50))


def orbit(axes: np.ndarray) -> list[View]:
    """Views around the object, starting where the camera sees the back of the hand.

    Args:
        axes: (3, 3) columns MANO's x, y, z on the hand, see `hand_axes`.
    """
    # The thumb's side decides when the back of the hand points straight up.
    back = axes[:, 1] + 0.3 * axes[:, 2]
    azimuth, elevation = np.radians(ORBIT).T
    azimuth = azimuth + np.arctan2(back[1], back[0])
    level = np.cos(elevation)
    directions = np.stack(
        [level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    return [View(direction, (0, 0, 1)) for direction in directions]


def hand_axes(joints: np.ndarray) -> np.ndarray:
    """What MANO's axes are for posed hands of any origin, told by their joints.

    Args:
        joints: (B, 21, 3) MANO's 16 joints, then the tips.

    Returns:
        (B, 3, 3) columns x (away from the fingers), y (out of the back), z (to the thumb's side):
        a rotation on right hands, mirrored on left ones.
    """
    fingers = trimesh.unitize(joints[:, 4] - joints[:, 0])
    thumbwards = joints[:, 1] - joints[:, 7]
    thumbwards = thumbwards - (thumbwards * fingers).sum(axis=1, keepdims=True) * fingers
    thumbwards = trimesh.unitize(thumbwards)
    back = np.cross(fingers, thumbwards)
    # The thumb's knuckle lies before the palm, by 20 mm or more in all shipped grasps.
    before = ((joints[:, 14] - joints[:, 4]) * back).sum(axis=1, keepdims=True)
    return np.stack([-fingers, np.where(before < 0, back, -back), thumbwards], axis=2)


def touching_parts(
    vertices: np.ndarray, faces: np.ndarray, body: trimesh.Trimesh
) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    """A hand (V, 3), (F, 3) and an object, coloured where they're near each other."""
    hand, thing = hand_mesh(vertices, faces, body.vertices), body.copy()
    distance, _ = cKDTree(hand.vertices).query(body.vertices, distance_upper_bound=0.010)
    _paint(thing, _blend(OBJECT, TOUCHED, (0.010 - distance) / 0.008))
    return hand, thing


def _grasp_parts(grasps: GraspSet, index: int, body: trimesh.Trimesh | None) -> list[Part]:
    """Hand and object of one grasp, coloured by contact, and as a veil what its back may be."""
    contact, guess = grasps.contact[index], []
    if body is None:
        thing, surface = trimesh.PointCloud(grasps.points), grasps.points
        for shape in grasps.shapes[:1]:
            guess = [smooth(shape)]
            guess[0].visual.vertex_colors = [*np.round(255 * GUESSED).astype(int), 100]
    else:
        thing, surface = body.copy(), body.vertices
        distance, near = cKDTree(grasps.points).query(surface, k=min(4, len(contact)))
        weight = 1 / (distance.reshape(len(surface), -1) + 1e-4)
        contact = (weight * contact[near.reshape(weight.shape)]).sum(1) / weight.sum(1)
    _paint(thing, _blend(OBJECT, TOUCHED, contact))
    return [hand_mesh(grasps.vertices[index], grasps.faces, surface), thing, *guess]


def hand_mesh(
    vertices: np.ndarray, faces: np.ndarray, touching: np.ndarray | None = None
) -> trimesh.Trimesh:
    """A hand in skin colour, redder near the `touching` points, its wrist closed."""
    # One round of Loop subdivision moves the skin by 0.2 mm and rounds the outline.
    vertices, faces = trimesh.remesh.subdivide_loop(vertices, faces, 1)
    hand = trimesh.Trimesh(vertices, close_wrist(faces), process=False)
    pressed = np.zeros(len(hand.vertices))
    if touching is not None:
        # Touching vertices lie up to half a point spacing from the nearest point.
        pressed = (0.010 - cKDTree(touching).query(hand.vertices)[0]) / 0.008
    _paint(hand, _blend(SKIN, PRESSED, pressed))
    return smooth(hand)


def _blend(start: np.ndarray, end: np.ndarray, amount: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[:, None]
    return start + (end - start) * amount


def _paint(part: Part, colours: np.ndarray) -> None:
    part.visual.vertex_colors = np.round(255 * colours).astype(np.uint8)


def smooth(mesh: trimesh.Trimesh, edge: float = np.inf) -> trimesh.Trimesh:
    """The mesh with smooth normals except at creases, and no edge longer than `edge` metres."""
    shaded = trimesh.graph.smooth_shade(mesh, angle=np.radians(45), facet_minarea=50)
    if edge == np.inf:
        return shaded
    # Short edges give per-vertex colours their resolution; normals are refined along.
    rows = np.hstack([shaded.vertices, shaded.vertex_normals])
    rows, faces = trimesh.remesh.subdivide_to_size(rows, shaded.faces, edge, max_iter=20)
    normals = trimesh.unitize(rows[:, 3:])
    return trimesh.Trimesh(rows[:, :3], faces, vertex_normals=normals, process=False)


class Cell(NamedTuple):
    """Part of a row of a sheet: one scene from some sides, a label of one line or more above."""

    label: str
    parts: Sequence[Part]
    views: Sequence[View]


def write_sheet(rows: Sequence[Sequence[Cell]], path: str | Path, tile: int = TILE) -> None:
    """Rows of cells as PNG.

    Args:
        rows: cells from left to right.
        path: PNG file to write.
        tile: width and height of a picture in pixels.

    Raises:
        InputError: if path can't be written.
    """
    import io

    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=15)
    caption = CAPTION + LINE * max(cell.label.count("\n") for row in rows for cell in row)
    height, columns = caption + tile, max(sum(len(cell.views) for cell in row) for row in rows)
    sheet = Image.new("RGB", (columns * tile, len(rows) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        column = 0
        for cell in row:
            pen.text((column * tile + 10, i * height + 5), cell.label, (70, 74, 82), font=font)
            scene = Scene(cell.parts)
            for view in cell.views:
                picture = Image.fromarray(scene.picture(tile, view))
                sheet.paste(picture, (column * tile, i * height + caption))
                column += 1
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    _write(path, buffer.getvalue())
