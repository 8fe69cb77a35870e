"""Vertices and faces of .ply files: text and binary, polygons, strips, lists of any type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.readers import Surface, polygons

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
TYPES |= {"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2"}
TYPES |= {"uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"}
TYPES |= {"int64": "i8", "uint64": "u8"}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")
List = tuple[np.ndarray, np.ndarray]  # lengths, and all numbers one after the other


@dataclass
class Element:
    """`count` rows of properties: (name, type, type of the length in front of a list or "")."""

    name: str
    count: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)


def read_ply(data: bytes) -> Surface:
    """(V, 3) float64 vertices and (F, 3) int64 faces, those of strips among them.

    Raises:
        InputError: if the header is damaged, or the file holds less than that says.
    """
    elements, order, start = _header(data)
    if sum(one.count for one in elements) > len(data) - start:  # before anything is allocated
        raise InputError(f"truncated: less than the {_announced(elements)} of its header")
    # Numbers in text are taken one by one from here on.
    body = data[start:].split() if not order else memoryview(data)[start:]
    read, place, columns = _text if not order else _binary, 0, {}
    for one in elements:
        columns[one.name] = {name: ([], []) if length else [] for name, _, length in one.properties}
        if not one.count:
            continue
        try:
            columns[one.name], place = read(one, body, place, order)
        except (IndexError, EOFError) as error:
            raise InputError(f"truncated: less than the {_announced(elements)}") from error
    if not {"x", "y", "z"} <= columns.get("vertex", {}).keys():
        raise InputError("no element vertex with x, y and z")
    vertices = np.stack([np.asarray(columns["vertex"][axis], np.float64) for axis in "xyz"], axis=1)
    counts, corners = _corners(columns, "face")
    triangles = _unrolled(*_corners(columns, "tristrips"))
    counts = np.concatenate([counts, np.full(len(triangles), 3)])
    return polygons(vertices, counts, np.concatenate([corners, triangles.ravel()]))


def has_faces(data: bytes) -> bool:
    """Whether the header of a .ply announces a face or a strip."""
    return any(one.count for one in _header(data)[0] if one.name in ("face", "tristrips"))


def _header(data: bytes) -> tuple[list[Element], str, int]:
    """The elements, the byte order ("" of text), and where the header ends."""
    first = re.match(rb"(?:\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r)", data)
    newline = first[1] if first else b"\n"
    # The first byte of the data may look like a line's end: it ends as the first line does.
    end = re.search(rb"[\r\n][ \t]*end_header[ \t]*(?:%b|\n)" % newline, data)
    if first is None or end is None:
        raise InputError("empty" if not data else "no header, accepted is ply ... end_header")
    elements, order = [], None
    for line in data[: end.start()].decode("latin1").splitlines()[1:]:
        match line.split():
            case ["format", name, *_] if name in ORDERS:
                order = ORDERS[name]
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count)))
            case ["property", "list", length, kind, name] if elements and kind in TYPES:
                if TYPES.get(length, "f")[0] == "f":
                    raise InputError(f"damaged header: {line!r:.60}")
                elements[-1].properties.append((name, TYPES[kind], TYPES[length]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append((name, TYPES[kind], ""))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise InputError(f"damaged header: {line!r:.60}")
    names = [one.name for one in elements]
    twice = any(len({p[0] for p in one.properties}) < len(one.properties) for one in elements)
    if order is None or twice or len(set(names)) < len(names):
        raise InputError("damaged header: no format, or a name twice")
    if any(one.count and not one.properties for one in elements):
        raise InputError("damaged header: an element without properties")
    return elements, order, end.end()


def _announced(elements: list[Element]) -> str:
    return " and ".join(f"{one.count} {one.name} rows" for one in elements) + " announced"


def _text(one: Element, words: list[bytes], place: int, _: str) -> tuple[dict, int]:
    """The columns of an element in text, and the place of the next word."""
    if not any(length for *_, length in one.properties):
        end = place + one.count * len(one.properties)
        if end > len(words):
            raise EOFError
        columns, step = {}, len(one.properties)
        for i, (name, *_) in enumerate(one.properties):
            if name in ("x", "y", "z"):
                columns[name] = [float(word) for word in words[place + i : end : step]]
        return columns, end

    def take(kind: str, count: int, place: int) -> tuple[list, int]:
        if not 0 <= count <= len(words) - place:
            raise EOFError
        number = float if kind[0] == "f" else int
        return [number(word) for word in words[place : place + count]], place + count

    return _row_by_row(one, take, place)


def _binary(one: Element, body: memoryview, place: int, order: str) -> tuple[dict, int]:
    """The columns of a binary element, and where the next one starts.

    All at once if the first row's lists are as long as all others'.
    """
    kinds, first, names = [], place, []
    for name, kind, length in one.properties:
        size = 0
        if length:
            size = _numbers(body, order + length, 1, first)[0]
            kinds.append((f"{name} length", order + length))
            if not 0 <= size <= len(body):
                raise EOFError
        kinds.append((name, order + kind, (int(size),)) if length else (name, order + kind))
        first += np.dtype([kinds[-1]]).itemsize + (np.dtype(length).itemsize if length else 0)
        names += [name] if length else []
    row = np.dtype(kinds)
    end = place + one.count * row.itemsize
    if end <= len(body):
        table = np.frombuffer(body, row, one.count, place)
        lengths = {name: table[f"{name} length"] for name in names}
        if all((some == some[0]).all() for some in lengths.values()):
            columns = {name: table[name] for name, _, length in one.properties if not length}
            lists = {name: (some.astype(np.int64), table[name].ravel())
                     for name, some in lengths.items()}  # fmt: skip
            return columns | lists, end
    elif not names:
        raise EOFError

    def take(kind: str, count: int, place: int) -> tuple[list, int]:
        values = _numbers(body, order + kind, count, place)
        return values, place + count * np.dtype(kind).itemsize

    return _row_by_row(one, take, place)


def _numbers(body: memoryview, kind: str, count: int, place: int) -> list:
    if not 0 <= place <= place + count * np.dtype(kind).itemsize <= len(body):
        raise EOFError
    return np.frombuffer(body, kind, count, place).tolist() if count else []


def _row_by_row(one: Element, take, place: int) -> tuple[dict, int]:
    """Columns whose lists differ in length; `take` gives numbers and the place after them."""
    columns = {name: ([], []) if length else [] for name, _, length in one.properties}
    for _ in range(one.count):
        for name, kind, length in one.properties:
            if length:
                (count,), place = take(length, 1, place)
                if count < 0:
                    raise EOFError
                values, place = take(kind, count, place)
                columns[name][0].append(count)
                columns[name][1].extend(values)
            else:
                (value,), place = take(kind, 1, place)
                columns[name].append(value)
    return columns, place


def _corners(columns: dict, element: str) -> List:
    """The lists of vertex numbers of an element; none where it isn't there or is empty."""
    lists = [column for name, column in columns.get(element, {}).items() if name in CORNERS]
    if element in columns and not lists:
        raise InputError(f"element {element} without {' or '.join(CORNERS)}")
    lengths, numbers = lists[0] if lists else ([], [])
    return np.asarray(lengths, np.int64), np.asarray(numbers, np.int64)


def _unrolled(lengths: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(F, 3) triangles of strips, which -1 parts; every other one turns the other way."""
    found = [np.zeros((0, 3), np.int64)]
    for strip in np.split(numbers, np.cumsum(lengths)):
        for part in np.split(strip, np.flatnonzero(strip == -1)):
            found.append(strip_triangles(part[part != -1]))
    return np.concatenate(found)


def strip_triangles(strip: np.ndarray) -> np.ndarray:
    """(F, 3) triangles of a strip (n,), without those that a repeated vertex collapses."""
    if len(strip) < 3:
        return np.zeros((0, 3), np.int64)
    faces = np.lib.stride_tricks.sliding_window_view(np.asarray(strip, np.int64), 3).copy()
    faces[1::2] = faces[1::2, [1, 0, 2]]
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)]
