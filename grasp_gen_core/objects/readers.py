"""Vertices and faces of .obj, .off and .stl files, in every dialect that programs write.

Each reader takes a file's bytes and gives (V, 3) float64 vertices and (F, 3) int64 faces, as they
stand there. Whatever a file announces has arrived, or it is an InputError. docs/files.md says which
libraries were tried.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from grasp_gen_core.errors import InputError

Surface = tuple[np.ndarray, np.ndarray]
FLAT = 1e-9  # a corner turns the wrong way if by more than this share of its polygon's area


def read_obj(data: bytes) -> Surface:
    """Wavefront: lines `v` and `f`, indices from 1, or from the last vertex so far if negative."""
    vertices, corners, counts = [], [], []
    text = re.sub("#.*", "", plain_text(data)).replace("\\\n", " ")
    for line in text.split("\n"):
        key, *values = line.split() or [""]
        if key == "v":
            vertices.append([float(x) for x in values[:3]])
            if len(values) < 3:
                raise InputError(f"damaged, vertex {len(vertices)} has {len(values)} coordinates")
        elif key in ("f", "fo"):
            numbers = [int(value.partition("/")[0]) for value in values]
            if len(numbers) < 3 or 0 in numbers:
                raise InputError(
                    f"damaged, face {len(counts) + 1} is {' '.join(values)!r:.60}, accepted are "
                    "three vertices or more, counted from 1"
                )
            corners += [i - 1 if i > 0 else len(vertices) + i for i in numbers]
            counts.append(len(numbers))
    return polygons(vertices, counts, corners)


def read_off(data: bytes) -> Surface:
    """Geomview's text: [ST][C][N][4]OFF or nOFF 3, counts, a line for each vertex and face."""
    lines = [line for line in re.sub("#.*", "", plain_text(data)).split("\n") if line.strip()]
    head = re.match(r"\s*((?:ST)?C?N?)(4?)(n?)OFF(?![A-Za-z])", lines[0] if lines else "")
    head = head or re.match(r"\s*((?:st)?c?n?)(4?)()off(?![a-z])", lines[0] if lines else "")
    if head:
        lines[0] = lines[0][head.end() :]
        if lines[0].split()[:1] == ["BINARY"]:
            raise InputError("OFF BINARY, accepted is OFF in text")
    lines = [line.split() for line in lines if line.strip()]
    if head and head[3]:  # the number of dimensions, on a line of its own or before the counts
        if lines and lines[0].pop(0) != "3":
            raise InputError("nOFF of other than 3 dimensions, accepted are 3")
        lines = [line for line in lines if line]
    if not lines or not all(re.fullmatch(r"\d+", word) for word in lines[0][:2]):
        raise InputError("damaged header, accepted is OFF, then the numbers of vertices and faces")
    vertex_count, face_count = (int(word) for word in lines.pop(0)[:2])
    if len(lines) < vertex_count + face_count:
        raise InputError(
            f"truncated: {len(lines)} lines for {vertex_count} vertices and {face_count} faces"
        )
    size = 4 if head and head[2] else 3
    rows = [[float(word) for word in line[:size]] for line in lines[:vertex_count]]
    vertices = np.array(rows).reshape(vertex_count, size)
    if size == 4:
        vertices = vertices[:, :3] / vertices[:, 3:]
    corners, counts = [], []
    for line in lines[vertex_count : vertex_count + face_count]:
        count = int(line[0])
        numbers = [int(word) for word in line[1 : count + 1]]
        if len(numbers) != count:
            raise InputError(f"truncated, face {len(counts)} has {len(numbers)} of {count} corners")
        corners += numbers
        counts.append(count)
    return polygons(vertices, counts, corners)


def read_stl(data: bytes) -> Surface:
    """Stereolithography, binary if it is as long as its count says, whatever its first word is."""
    count = struct.unpack_from("<I", data, 80)[0] if len(data) >= 84 else 0
    beyond = len(data) - 84 - 50 * count
    if count and beyond >= 0:
        if beyond and beyond % 50 == 0:
            raise InputError(f"damaged, {beyond // 50} facets more than the {count} announced")
        facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
        corners = np.frombuffer(data, facet, count, 84)["corners"]
    else:
        text = plain_text(data).lower()
        if not re.match(r"\s*solid\b", text):
            raise InputError(
                f"truncated: {max(len(data) - 84, 0) // 50} of {count} facets"
                if count
                else "empty or damaged, accepted are meshes with faces"
            )
        count, words = len(re.findall(r"\bendfacet\b", text)), r"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)"
        corners = np.array(re.findall(words, text), float)
        started, ended = (len(re.findall(rf"(?m)^\s*{w}\b", text)) for w in ("facet", "endfacet"))
        if len(corners) != 3 * count or started != ended or "endsolid" not in text:
            raise InputError(
                f"truncated, {len(corners)} vertices for {started} facets, or no endsolid"
            )
    vertices = corners.reshape(-1, 3).astype(np.float64)
    return vertices, np.arange(len(vertices)).reshape(-1, 3)


def plain_text(data: bytes) -> str:
    """Text of any encoding whose digits are ASCII's, or of UTF-16 with its mark; \\n ends lines."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("latin1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def polygons(vertices: np.ndarray, counts: np.ndarray, corners: np.ndarray) -> Surface:
    """Polygons cut into triangles: fans, but where a polygon isn't convex.

    Args:
        vertices: (V, 3).
        counts: (P,) corners of each polygon; those of fewer than three are left out.
        corners: (sum of counts,) vertex numbers.

    Raises:
        InputError: if a number names no vertex.
    """
    vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
    counts, corners = np.asarray(counts, np.int64), np.asarray(corners, np.int64)
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(vertices):
        raise InputError("damaged, faces name vertices that are not there")
    starts = np.cumsum(counts) - counts
    faces, places = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(counts[counts >= 3]):
        chosen = np.flatnonzero(counts == size)
        some = corners[starts[chosen][:, None] + np.arange(size)]
        fan = np.stack([np.broadcast_to(some[:, :1], (len(some), size - 2)),
                        some[:, 1:-1], some[:, 2:]], axis=-1)  # fmt: skip
        for index in np.flatnonzero(~_convex(vertices, some)):
            fan[index] = _clipped(vertices, some[index], fan[index])
        faces.append(fan.reshape(-1, 3))
        places.append(np.repeat(chosen, size - 2))
    order = np.argsort(np.concatenate(places), kind="stable")  # as they stand in the file
    return vertices, np.concatenate(faces)[order]


def _convex(vertices: np.ndarray, some: np.ndarray) -> np.ndarray:
    """(P,) whether polygons of one size (P, n) turn one way at all of their corners."""
    if some.shape[1] == 3:
        return np.ones(len(some), bool)
    with np.errstate(all="ignore"):  # of vertices that aren't finite, refused elsewhere
        sides = np.roll(vertices[some], -1, axis=1) - vertices[some]
        turns = np.cross(sides, np.roll(sides, -1, axis=1))
        normal = _normal(vertices[some])
        area = np.linalg.norm(normal, axis=-1, keepdims=True)
        return ~((turns * normal[:, None]).sum(-1) < -FLAT * area**2).any(axis=1)


def _normal(points: np.ndarray) -> np.ndarray:
    """Newell's normal of polygons (..., n, 3), as long as twice their area."""
    near = points - points[..., :1, :]
    return np.cross(near, np.roll(near, -1, axis=-2)).sum(axis=-2)


def _clipped(vertices: np.ndarray, one: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """(n - 2, 3) triangles of a polygon (n,) cut in its plane; the fan if that can't be done."""
    from manifold3d import triangulate

    points = vertices[one] - vertices[one[0]]
    normal = _normal(points)
    drop = int(np.abs(normal).argmax())
    flat = points[:, [(drop + 1) % 3, (drop + 2) % 3]] * [np.sign(normal[drop]), 1]
    cut = np.asarray(triangulate([flat.astype(np.float64)]))
    return one[cut] if cut.shape == fan.shape else fan
