"""Vertices and faces of .glb files: the scene's meshes where its nodes put them.

By hand since trimesh takes normalized positions for lengths (docs/files.md). Specification: Khronos
glTF 2.0 and KHR_mesh_quantization.
"""

from __future__ import annotations

import base64
import json
import struct

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.ply import strip_triangles
from grasp_gen_core.objects.readers import Surface

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
TRIANGLES, STRIP, FAN = 4, 5, 6  # modes of a primitive; the lower ones are points and lines
UNREAD = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
# A few nodes that name each other can announce a scene without end.
MOST_NODES, MOST_VERTICES = 100_000, 20_000_000


def read_glb(data: bytes) -> Surface:
    """All triangles of the scene, in its frame.

    Raises:
        InputError: if the file is damaged, shorter than it says, or its geometry is compressed.
    """
    tree, chunk = _chunks(data)
    required = tree.get("extensionsRequired", [])
    for name in required:
        if name in UNREAD or name.startswith("EXT_mesh_gpu"):
            raise InputError(f"its geometry needs {name}, accepted is glTF without compression")
    buffers = [_buffer(one, chunk) for one in tree.get("buffers", [])]
    scenes, nodes = tree.get("scenes", []), tree.get("nodes", [])
    named = {child for node in nodes for child in node.get("children", [])}
    roots = [i for i in range(len(nodes)) if i not in named]
    roots = scenes[tree.get("scene", 0)].get("nodes", []) if scenes else roots
    to_do, read = [(i, np.eye(4)) for i in reversed(roots)], {}
    vertices, faces, start, seen = [], [], 0, 0
    while to_do:
        index, pose = to_do.pop()
        seen += 1
        if seen + len(to_do) > MOST_NODES or start > MOST_VERTICES:
            raise InputError(
                f"damaged or too large, accepted are {MOST_NODES} nodes, none within itself, and "
                f"{MOST_VERTICES} vertices"
            )
        node = nodes[index]
        pose = pose @ _matrix(node)
        to_do += [(child, pose) for child in reversed(node.get("children", []))]
        for part in range(len(tree["meshes"][node["mesh"]]["primitives"]) if "mesh" in node else 0):
            if (node["mesh"], part) not in read:
                primitive = tree["meshes"][node["mesh"]]["primitives"][part]
                read[node["mesh"], part] = _primitive(tree, buffers, primitive)
            points, triangles = read[node["mesh"], part]
            vertices.append(points @ pose[:3, :3].T + pose[:3, 3])
            mirrored = np.linalg.det(pose[:3, :3]) < 0
            faces.append((triangles[:, ::-1] if mirrored else triangles) + start)
            start += len(points)
    if not faces:
        raise InputError("empty or damaged, accepted are meshes with faces")
    return np.concatenate(vertices), np.concatenate(faces)


def _chunks(data: bytes) -> tuple[dict, bytes]:
    """The JSON, and the binary chunk after it."""
    magic, version, length = struct.unpack_from("<4sII", data.ljust(12, b"\0"))
    if magic != b"glTF" or version != 2:
        raise InputError("no header, accepted is binary glTF 2.0")
    if len(data) < length:
        raise InputError(f"truncated: {len(data)} of {length} bytes")
    found, place = {}, 12
    while place + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, place)
        found.setdefault(kind, data[place + 8 : place + 8 + size])
        if len(found[kind]) > length - place - 8 or place + 8 + size > length:
            raise InputError("truncated, a chunk ends after the file")
        place += 8 + size
    return json.loads(found[b"JSON"]), found.get(b"BIN\0", b"")


def _buffer(one: dict, chunk: bytes) -> bytes:
    uri = one.get("uri")
    if uri is not None and not uri.startswith("data:"):
        raise InputError(f"its geometry lies in another file, {uri!r:.60}; accepted is one file")
    data = chunk if uri is None else base64.b64decode(uri.partition(",")[2])
    if len(data) < one["byteLength"]:
        raise InputError(f"truncated: {len(data)} of {one['byteLength']} bytes of a buffer")
    return data


def _matrix(node: dict) -> np.ndarray:
    """(4, 4) of a node in its parent: a matrix by columns, or scale, then rotation, then shift."""
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, :3] *= node.get("scale", (1, 1, 1))
    pose[:3, 3] = node.get("translation", (0, 0, 0))
    return pose


def _primitive(tree: dict, buffers: list[bytes], primitive: dict) -> Surface:
    """Vertices in the mesh's frame, and triangles."""
    if compressed := [name for name in primitive.get("extensions", {}) if name in UNREAD]:
        view = tree["accessors"][primitive["attributes"]["POSITION"]]
        if "bufferView" not in view:
            raise InputError(f"its geometry needs {compressed[0]}, accepted is glTF without it")
    mode = primitive.get("mode", TRIANGLES)
    if mode < TRIANGLES:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices = _accessor(tree, buffers, primitive["attributes"]["POSITION"], 3)
    if "indices" in primitive:
        numbers = _accessor(tree, buffers, primitive["indices"], 1)[:, 0].astype(np.int64)
    else:
        numbers = np.arange(len(vertices))
    if len(numbers) and numbers.max() >= len(vertices):
        raise InputError("damaged, faces name vertices that are not there")
    if mode == STRIP:
        return vertices, strip_triangles(numbers)
    if mode == FAN:
        rim = numbers[1:]
        first = np.full(max(len(rim) - 1, 0), numbers[:1].sum())
        return vertices, np.stack([first, rim[:-1], rim[1:]], axis=1)
    if len(numbers) % 3:
        raise InputError(f"damaged, {len(numbers)} corners of triangles")
    return vertices, numbers.reshape(-1, 3)


def _accessor(tree: dict, buffers: list[bytes], index: int, width: int) -> np.ndarray:
    """(count, width) float64 values; whole numbers that are normalized become shares of 1."""
    one = tree["accessors"][index]
    kind, count = np.dtype(COMPONENTS[one["componentType"]]), one["count"]
    if one["type"] != {1: "SCALAR", 3: "VEC3"}[width]:
        raise InputError(f"damaged, {one['type']} where there should be {width} numbers each")
    if "bufferView" in one:
        view = tree["bufferViews"][one["bufferView"]]
        offset = one.get("byteOffset", 0)
        values = _values(tree, buffers, one["bufferView"], offset, kind, count, width,
                         view.get("byteStride"))  # fmt: skip
    else:
        if count > sum(map(len, buffers)):  # of zeros, but for what `sparse` tells
            raise InputError(f"truncated: nothing there of {count} values announced")
        values = np.zeros((count, width))
    values = values.astype(np.float64)
    if "sparse" in one:
        sparse, number = one["sparse"], one["sparse"]["count"]
        at, new = sparse["indices"], sparse["values"]
        where = _values(tree, buffers, at["bufferView"], at.get("byteOffset", 0),
                        np.dtype(COMPONENTS[at["componentType"]]), number, 1)  # fmt: skip
        values[where[:, 0]] = _values(
            tree, buffers, new["bufferView"], new.get("byteOffset", 0), kind, number, width
        )
    if one.get("normalized") and kind.kind in "iu":
        values = np.maximum(values / np.iinfo(kind).max, -1)
    return values


def _values(
    tree: dict, buffers: list[bytes], view: int, offset: int, kind: np.dtype, count: int,
    width: int, stride: int | None = None,
) -> np.ndarray:  # fmt: skip
    """(count, width) numbers of a view of a buffer."""
    view = tree["bufferViews"][view]
    size = width * kind.itemsize
    stride, start = stride or size, view.get("byteOffset", 0)
    end = offset + (count - 1) * stride + size if count else 0
    if min(offset, start, count) < 0 or end > view["byteLength"] or stride < size:
        raise InputError(f"truncated: less than {count} values where an accessor announces them")
    data = buffers[view["buffer"]]
    if start + view["byteLength"] > len(data):
        raise InputError("truncated, a view ends after its buffer")
    shape, strides = (count, width), (stride, kind.itemsize)
    return np.ndarray(shape, kind, data, start + offset, strides)
