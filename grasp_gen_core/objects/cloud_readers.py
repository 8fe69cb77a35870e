"""Points of .pcd, .xyz, .npy and .npz files, in every dialect that programs write.

Each reader takes a file and gives its (N, 3) numbers as they stand there, and where the camera
stood, if that is told. Whatever a file announces has arrived, or it is an InputError.
docs/files.md says which libraries were tried.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.readers import plain_text
from grasp_gen_core.types import read_npz

NPZ_FIELDS = ("points", "object_points")
Seen = tuple[np.ndarray, np.ndarray | None]
AXES = ("x", "y", "z")
PCD_TYPES = {"I": "1248", "U": "1248", "F": "48"}
UNKNOWN_VIEWPOINT = (0, 0, 0, 1, 0, 0, 0)  # what programs write that know of none
LZF_RATIO = 100  # bytes that one packed byte can stand for are fewer


def read_npy_cloud(path: Path) -> Seen:
    """The array, mapped: more than the file holds is refused before anything is allocated."""
    return np.array(np.lib.format.open_memmap(path, mode="r")), None


def read_npz_cloud(path: Path) -> Seen:
    """`points` or `object_points`; nothing else is read."""
    arrays = read_npz(path)
    name = next((name for name in NPZ_FIELDS if name in arrays), None)
    if name is None:
        raise InputError(f"holds neither of {' and '.join(NPZ_FIELDS)}")
    return arrays[name], None


def read_xyz(path: Path) -> Seen:
    """Lines that start with three numbers, after lines of words, and perhaps a count, that don't.

    Numbers are parted by blanks, commas or semicolons; where blanks or semicolons part them, commas
    may stand for decimal points. `#`, `//` and `%` start comments.
    """
    text = re.sub(r"(?:#|//|%).*", "", plain_text(path.read_bytes())).replace('"', "")
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip(" \t,;")]
    ways = (_split, _split_decimal_commas)
    starts = ((i, way) for i, (_, line) in enumerate(lines) for way in ways if way(line))
    first, split = next(starts, (0, None))
    if split is None:
        raise InputError("no line starts with three numbers x y z")
    counts = [int(line) for _, line in lines[:first] if re.fullmatch(r"\s*\d+\s*", line)]
    rows = []
    for number, line in lines[first:]:
        row = split(line)
        if row is None:
            raise InputError(f"line {number} is {line.strip()!r:.40}, accepted are x y z first")
        rows.append(row)
    if counts and counts[-1] != len(rows):
        raise InputError(f"truncated or damaged: {len(rows)} of {counts[-1]} points announced")
    return np.array(rows), None


def _split(line: str) -> list[float] | None:
    """Three numbers with decimal points, or None."""
    if "," not in line and ";" not in line:
        return _numbers(line.split(None, 3))
    words = re.split(r"\s*[,;]\s*|\s+", line.strip())
    return None if _split_decimal_commas(line) else _numbers(words)


def _split_decimal_commas(line: str) -> list[float] | None:
    """Three numbers with decimal commas, or None."""
    words = re.split(r"\s*;\s*|\s+", line.strip())
    decimal = sum("," in word.rstrip(",") for word in words[:3])
    return _numbers([word.replace(",", ".") for word in words]) if decimal else None


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(words[i]) for i in range(3)]
    except (ValueError, IndexError):
        return None


def read_pcd(path: Path) -> Seen:
    """Point Cloud Library's format, with fields of any types in any order.

    WIDTH times HEIGHT where POINTS is left out. VIEWPOINT's translation is where the camera stood,
    unless it is the default, which programs write that know of none.
    """
    data = path.read_bytes()
    header, start = _pcd_header(data)
    try:
        names, kinds = header["FIELDS"], header["TYPE"]
        sizes, counts = header["SIZE"], [int(n) for n in header.get("COUNT", ["1"] * len(names))]
        area = int(header["WIDTH"][0]) * int(header["HEIGHT"][0]) if "WIDTH" in header else None
        points = int(header["POINTS"][0]) if "POINTS" in header else area
        encoding = header["DATA"][0].lower()
        columns = list(zip(names, kinds, sizes, counts, strict=True))
        if points is None or points < 0 or min(counts) < 0:
            raise ValueError("POINTS, or WIDTH and HEIGHT")
        for name, kind, size, count in columns:
            if size not in PCD_TYPES.get(kind, "") or (name in AXES and count != 1):
                raise ValueError(f"{name}: {count} of type {kind} and size {size}")
        if any(names.count(axis) != 1 for axis in AXES):
            raise ValueError(f"FIELDS {' '.join(names)}, accepted are such with x y z")
        viewpoint = [float(x) for x in header.get("VIEWPOINT", UNKNOWN_VIEWPOINT)]
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"damaged header: {error}") from error
    kinds = [(f"{kind.lower()}{size}", count) for _, kind, size, count in columns]
    places = [names.index(axis) for axis in AXES]
    body = memoryview(data)[start:]
    if encoding == "ascii":
        xyz = _ascii_columns(body, points, counts, places)
    elif encoding in ("binary", "binary_compressed"):
        packed = encoding == "binary_compressed"
        xyz = _binary_columns(body, points, kinds, places, packed)
    else:
        raise InputError(f"DATA {encoding}, accepted are ascii, binary and binary_compressed")
    told = len(viewpoint) == 7 and tuple(viewpoint) != UNKNOWN_VIEWPOINT
    seen = np.array(viewpoint[:3]) if told and np.isfinite(viewpoint).all() else None
    return np.stack([column.astype(np.float64) for column in xyz], axis=1), seen


def organised(path: Path) -> tuple[int, int] | None:
    """HEIGHT and WIDTH of a .pcd that `read_pcd` takes, None if it is a mere list of points."""
    header, _ = _pcd_header(path.read_bytes())
    width, height = (int(header.get(key, ["1"])[0]) for key in ("WIDTH", "HEIGHT"))
    points = int(header.get("POINTS", [width * height])[0])
    return (height, width) if height > 1 and height * width == points else None


def _pcd_header(data: bytes) -> tuple[dict[str, list[str]], int]:
    """The header's values by key, and where the data start."""
    header, start = {}, 0
    while start < len(data) and "DATA" not in header:
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        words = data[start : min(end, start + 4096)].decode("latin1").split("#")[0].split()
        key, *values = words or [""]
        header[key.removeprefix("\xef\xbb\xbf").upper()] = values
        start = end + 1
    header.setdefault("FIELDS", header.get("COLUMNS", []))  # its name in version 0.5
    return header, start


def _truncated(points: int) -> InputError:
    return InputError(f"truncated: less than the {points} points of its header")


def _ascii_columns(
    body: memoryview, points: int, counts: list[int], places: list[int]
) -> list[np.ndarray]:
    words, width = bytes(body).split(), sum(counts)
    if len(words) < points * width:
        raise _truncated(points)
    columns = [words[sum(counts[:i]) : points * width : width] for i in places]
    return [np.array([float(word) for word in column]) for column in columns]


def _binary_columns(
    body: memoryview, points: int, kinds: list[tuple[str, int]], places: list[int], packed: bool
) -> list[np.ndarray]:
    """Points one after the other, or packed, column by column."""
    widths = [np.dtype(kind).itemsize * count for kind, count in kinds]
    size = points * sum(widths)
    if not packed:
        if len(body) < size:
            raise _truncated(points)
        rows = np.frombuffer(body, np.uint8, size).reshape(points, sum(widths))
        starts = [sum(widths[:i]) for i in places]
        columns = [
            np.ascontiguousarray(rows[:, start : start + widths[i]])
            for i, start in zip(places, starts, strict=True)
        ]
    else:
        short = len(body) < 8
        length, unpacked = (0, 0) if short else struct.unpack_from("<II", body)
        if short or len(body) < 8 + length or unpacked != size or size > LZF_RATIO * length:
            raise _truncated(points)
        raw = np.frombuffer(_unpacked(bytes(body[8 : 8 + length]), size), np.uint8)
        columns = [raw[points * sum(widths[:i]) :][: points * widths[i]] for i in places]
    return [
        column.reshape(-1).view("<" + kinds[i][0])
        for column, i in zip(columns, places, strict=True)
    ]


def _unpacked(data: bytes, size: int) -> bytearray:
    """LZF (M. Lehmann, liblzf): runs of bytes as they are, and references to what came before."""
    out, i = bytearray(), 0
    while i < len(data):
        control = data[i]
        i += 1
        if control < 32:
            out += data[i : i + control + 1]
            i += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[i]
            i += 1
        back = ((control & 31) << 8) + data[i] + 1
        i, length = i + 1, length + 2
        if back > len(out) or len(out) + length > size:
            raise InputError("damaged, its packed data don't unpack")
        if back >= length:
            out += out[len(out) - back : len(out) - back + length]
        else:  # it repeats what it writes
            run = out[-back:]
            out += (run * (length // back + 1))[:length]
    if len(out) != size:
        raise InputError(f"truncated: {len(out)} of {size} bytes unpacked")
    return out
