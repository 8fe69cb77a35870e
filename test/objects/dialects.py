"""One shape, and one cloud, in the dialects of each format that programs write."""

from __future__ import annotations

import json
import re
import struct

import numpy as np

# An L-shaped prism: six sides of four corners, two concave lids of six; exact in binary fractions.
OUTLINE = np.array([[2, 0], [2, 1], [1, 1], [1, 2], [0, 2], [0, 0]]) / 16
CORNERS = np.array([[*xy, z] for z in (0, 0.125) for xy in OUTLINE])
SIDES = [[i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6)]
POLYGONS = [[5, 4, 3, 2, 1, 0], [6, 7, 8, 9, 10, 11], *SIDES]
VOLUME, AREA = 3 / 256 / 8, 2 * 3 / 256 + 8 / 16 / 8
TRIANGLES = np.array(
    [[p[a], p[b], p[c]] for p in SIDES for a, b, c in ((0, 1, 2), (0, 2, 3))]
    + [[5, 2, 1], [5, 1, 0], [5, 4, 3], [5, 3, 2]]
    + [[11, 7, 8], [11, 6, 7], [11, 9, 10], [11, 8, 9]]
)
CLOUD = np.random.default_rng(0).integers(-100, 100, (200, 3)) / 1024  # exact in float32


def rows(array, form="%.10g", sep=" ") -> str:
    return "\n".join(sep.join(form % x for x in row) for row in array) + "\n"


def obj(
    polygons=POLYGONS, v="v ", f="f ", sep=" ", tail="", index="%d", end="\n", corners=CORNERS
) -> bytes:
    text = "".join(v + sep.join(f"{x:+.17g}" for x in c) + tail + end for c in corners)
    text += "".join(f + sep.join(index % (i + 1) for i in p) + tail + end for p in polygons)
    return text.encode()


def obj_blocks(start: int) -> bytes:
    """Each polygon after corners of its own, counted from the end, or from 1."""
    text, count = "vn 0 0 1\n", 0
    for p in POLYGONS:
        text += "".join("v {:.10g} {:.10g} {:.10g}\n".format(*CORNERS[i]) for i in p)
        count += len(p)
        numbers = range(-len(p), 0) if start < 0 else range(count - len(p) + 1, count + 1)
        text += "f " + " ".join(f"{i}//-1" for i in numbers) + "\n"
    return text.encode()


OBJS = {
    "plain": obj(),
    "tabs": obj(v="v\t", f="f\t", sep="\t"),
    "mixed": obj(v="v \t", f="f\t ", sep=" \t ", tail=" \t"),
    "bom": b"\xef\xbb\xbf" + obj(),
    "crlf": obj(end="\r\n"),
    "cr": obj(end="\r"),
    "indented": obj(v="  v ", f="  f "),
    "comments": b"# made by hand\n" + obj(tail=" # and so on"),
    "continued": obj(sep=" \\\n"),
    "continued_crlf": obj(sep=" \\\r\n", end="\r\n"),
    "relative_blocks": obj_blocks(-1),
    "absolute_blocks": obj_blocks(1),
    "textures": b"vt 0 0\nvn 0 0 1\n" + obj(index="%d/1/1"),
    "no_normals": b"vt 0 0\n" + obj(index="%d/1/"),
    "colours": re.sub(rb"(?m)^(v .*)$", rb"\1 0.5 0.5 0.5", obj()),
    "latin1": "# gr\xf6\xdfe\ng T\xfcr\n".encode("latin1") + obj(),
    "lines_and_groups": b"mtllib a.mtl\no a\ng b\ns 1\nusemtl c\n" + obj() + b"l 1 2\np 1\n",
    "faces_first": b"".join(
        sorted(obj().splitlines(keepends=True), key=lambda line: line[:1] == b"v")
    ),
}


def off(head="OFF\n{} {} 0\n", corner="", face="", corners=CORNERS, polygons=POLYGONS) -> bytes:
    text = head.format(len(corners), len(polygons))
    text += "".join(" ".join(f"{x:.17g}" for x in c) + corner + "\n" for c in corners)
    text += "".join(" ".join(map(str, [len(p), *p])) + face + "\n" for p in polygons)
    return text.encode()


OFFS = {
    "plain": off(),
    "one_line": off("OFF {} {} 0\n"),
    "glued": off("OFF{} {} 0\n"),
    "headless": off("{} {} 0\n"),
    "two_counts": off("OFF\n{} {}\n"),
    "lower": off("off\n{} {} 0\n"),
    "bom": b"\xef\xbb\xbf" + off(),
    "comments": off("# a\nOFF # b\n# c\n\n{} {} 0\n\n", "  # d", "\t# e"),
    "crlf": off().replace(b"\n", b"\r\n"),
    "tabs": off().replace(b" ", b"\t"),
    "coloured_faces": off(face=" 3 0.5 0.5 0.5"),
    "off_with_colours": off(corner=" 200 100 50"),
    "coff": off("COFF\n{} {} 0\n", " 200 100 50 255"),
    "coff_floats": off("COFF\n{} {} 0\n", " 0.5 0.5 0.5 1.0", " 255 0 0"),
    "noff": off("NOFF\n{} {} 0\n", " 0 0 1"),
    "cnoff": off("CNOFF\n{} {} 0\n", " 0 0 1 0.5 0.5 0.5 1"),
    "stoff": off("STOFF\n{} {} 0\n", " 0.5 0.5"),
    "stcnoff": off("STCNOFF\n{} {} 0\n", " 0 0 1 200 100 50 255 0.5 0.5"),
    "4off": off("4OFF\n{} {} 0\n", corners=np.hstack([2 * CORNERS, np.full((12, 1), 2)])),
    "noff_3": off("nOFF 3\n{} {} 0\n"),
}


def ply(
    form="ascii", xyz="float", count="uchar", index="int", name="vertex_indices", more="", tail=b"",
    polygons=POLYGONS, corners=CORNERS,
) -> bytes:  # fmt: skip
    """All polygons; `more` faces carry three floats, as texture coordinates are."""
    code = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
    code |= {"float": "f4", "double": "f8", "int32": "i4", "uint8": "u1", "float32": "f4"}
    head = f"ply\nformat {form} 1.0\ncomment by hand\nobj_info none\nelement vertex 12\n"
    head += "".join(f"property {xyz} {axis}\n" for axis in "xyz")
    head += f"element face 8\nproperty list {count} {index} {name}\n{more}end_header\n"
    extra = [3, 0.0, 0.5, 1.0] if more else []
    if form == "ascii":
        body = rows(corners) + "".join(
            " ".join(map(str, [len(p), *p, *extra])) + "\n" for p in polygons
        )
        return head.encode() + body.encode() + tail
    order = "<" if "little" in form else ">"
    body = corners.astype(order + code[xyz]).tobytes()
    for p in polygons:
        body += np.array(len(p), order + code[count]).tobytes()
        body += np.array(p, order + code[index]).tobytes()
        body += np.array(3, "u1").tobytes() + np.zeros(3, order + "f4").tobytes() if more else b""
    return head.encode() + body + tail


def ply_strips(form="binary_little_endian") -> bytes:
    """The sides as one strip, then the lids, parted by -1 as VTK and Stanford's scans are."""
    strip = [11, 5, *[i for k in range(6) for i in (6 + k, k)]]
    lids = [i for t in TRIANGLES[12:] for i in (-1, *t)]
    numbers = strip + lids
    head = f"ply\nformat {form} 1.0\nelement vertex 12\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    if form == "ascii":
        return (head + rows(CORNERS) + " ".join(map(str, [len(numbers), *numbers]))).encode()
    order = "<" if "little" in form else ">"
    body = CORNERS.astype(order + "f4").tobytes()
    return head.encode() + body + np.array([len(numbers), *numbers], order + "i4").tobytes()


LITTLE, BIG = "binary_little_endian", "binary_big_endian"
PLYS = {
    "ascii": ply(),
    "ascii_double": ply(xyz="double"),
    "ascii_crlf": ply().replace(b"\n", b"\r\n"),
    "ascii_extra_list": ply(more="property list uchar float texcoord\n"),
    "ascii_trailing": ply(tail=b"\n\n"),
    "mixed_little": ply(LITTLE),
    "mixed_big": ply(BIG),
    "mixed_double": ply(LITTLE, xyz="double"),
    "mixed_extra_list": ply(LITTLE, more="property list uchar float texcoord\n"),
    "trailing": ply(LITTLE, tail=b"\0" * 7),
    "vertex_index": ply(LITTLE, name="vertex_index"),
    "crlf_header": ply(LITTLE).replace(b"\n", b"\r\n", 11),
    "mixed_header": ply(LITTLE).replace(b"\n", b"\r\n", 10),
    "new_names": ply(LITTLE, "float32", "uint8", "int32"),
    **{f"count_{kind}": ply(LITTLE, count=kind) for kind in ("char", "short", "int", "uint")},
    **{f"index_{kind}": ply(BIG, index=kind) for kind in ("char", "uchar", "ushort", "uint")},
    "strips_little": ply_strips(),
    "strips_big": ply_strips(BIG),
    "strips_ascii": ply_strips("ascii"),
}


def stl_binary(head=b"", tail=b"", attribute=0) -> bytes:
    body = b"".join(
        np.array([0, 0, 0, *CORNERS[t].ravel()], "<f4").tobytes() + struct.pack("<H", attribute)
        for t in TRIANGLES
    )
    return head.ljust(80, b" ") + struct.pack("<I", len(TRIANGLES)) + body + tail


def stl_ascii(name="part", solids=1) -> bytes:
    text = ""
    for some in np.array_split(TRIANGLES, solids):
        text += f"solid {name}\n"
        for triangle in some:
            text += "  facet normal 0 0 0\n    outer loop\n"
            text += "".join("      vertex {:e} {:e} {:e}\n".format(*CORNERS[i]) for i in triangle)
            text += "    endloop\n  endfacet\n"
        text += f"endsolid {name}\n"
    return text.encode()


STLS = {
    "binary": stl_binary(),
    "binary_solid": stl_binary(b"solid facet made by CAD"),
    "binary_trailing": stl_binary(tail=b"\0\0\0"),
    "binary_colours": stl_binary(b"COLOR=abcd", attribute=0x8000),
    "ascii": stl_ascii(),
    "ascii_nameless": stl_ascii(""),
    "ascii_solids": stl_ascii(solids=3),
    "ascii_upper": stl_ascii().upper(),
    "ascii_crlf": stl_ascii().replace(b"\n", b"\r\n"),
    "ascii_tabs": stl_ascii().replace(b"    ", b"\t"),
    "ascii_bom": b"\xef\xbb\xbf" + stl_ascii(),
}


def glb(positions, indices=None, node=None, accessor=None, mode=4, **extra) -> bytes:
    """One mesh; `node` and `accessor` are what its node and its positions have beside."""
    chunk, views, accessors = b"", [], []
    codes = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
    for array, kind in ((positions, "VEC3"), (indices, "SCALAR")):
        if array is not None:
            data = np.ascontiguousarray(array)
            stride = -data.itemsize * 3 % 4 if kind == "VEC3" else 0  # columns start at fours
            raw = np.pad(data.view("u1").reshape(len(data), -1), ((0, 0), (0, stride))).tobytes()
            view = {"buffer": 0, "byteOffset": len(chunk), "byteLength": len(raw)}
            if stride:
                view["byteStride"] = data.itemsize * 3 + stride
            views.append(view)
            accessors.append(
                {
                    "bufferView": len(views) - 1,
                    "componentType": codes[data.dtype.str[1:]],
                    "count": len(data),
                    "type": kind,
                }
            )
            chunk += raw + b"\0" * (-len(raw) % 4)
    accessors[0] |= accessor or {}
    primitive = {"attributes": {"POSITION": 0}, "mode": mode}
    if indices is not None:
        primitive["indices"] = 1
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **(node or {})}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(chunk)}],
        **extra,
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    whole = struct.pack("<I4s", len(text), b"JSON") + text
    whole += struct.pack("<I4s", len(chunk), b"BIN\0") + chunk
    return struct.pack("<4sII", b"glTF", 2, 12 + len(whole)) + whole


QUANTIZED = {name: ["KHR_mesh_quantization"] for name in ("extensionsUsed", "extensionsRequired")}
CELLS = np.rint(CORNERS * 16).astype(int)  # 0, 1 or 2
INDEX = TRIANGLES.ravel().astype("<u2")
STRIP = np.array([11, 5, *[i for k in range(6) for i in (6 + k, k)]], "<u2")
for _triangle in TRIANGLES[12:]:  # joined by triangles of no area, an even number in between
    STRIP = np.append(STRIP, [STRIP[-1], _triangle[0], *_triangle]).astype("<u2")
    STRIP = np.append(STRIP, STRIP[-1]).astype("<u2")
GLBS = {
    "float": glb(CORNERS.astype("<f4"), INDEX),
    "index_uint": glb(CORNERS.astype("<f4"), INDEX.astype("<u4")),
    "index_ubyte": glb(CORNERS.astype("<f4"), INDEX.astype("u1")),
    "no_index": glb(CORNERS[TRIANGLES.ravel()].astype("<f4")),
    "short": glb(CELLS.astype("<i2"), INDEX, {"scale": [1 / 16] * 3}, **QUANTIZED),
    "ushort": glb(CELLS.astype("<u2"), INDEX, {"scale": [1 / 16] * 3}, **QUANTIZED),
    "byte": glb(CELLS.astype("i1"), INDEX, {"scale": [1 / 16] * 3}, **QUANTIZED),
    "matrix": glb(
        CELLS.astype("<u2"), INDEX, {"matrix": [0, 0.0625, 0, 0, -0.0625, 0, 0, 0, 0, 0, 0.0625]
                                     + [0, 7, 8, 9, 1]}, **QUANTIZED,
    ),
    "normalized_short": glb(
        (CELLS * 15000).astype("<i2"), INDEX, {"scale": [32767 / 15000 / 16] * 3},
        {"normalized": True}, **QUANTIZED,
    ),
    "normalized_ushort": glb(
        (CELLS * 30000).astype("<u2"), INDEX, {"scale": [65535 / 30000 / 16] * 3},
        {"normalized": True}, **QUANTIZED,
    ),
    "normalized_ubyte": glb(
        (CELLS * 100).astype("u1"), INDEX, {"scale": [255 / 1600] * 3},
        {"normalized": True}, **QUANTIZED,
    ),
    "strip": glb(CORNERS.astype("<f4"), STRIP, mode=5),
}  # fmt: skip


def pcd(
    points=CLOUD, kind="F", size=4, data="ascii", fields="x y z", counts=True, points_line=True,
    viewpoint="0 0 0 1 0 0 0", shape=None, head="# .PCD v0.7 - Point Cloud Data file format\n",
) -> bytes:  # fmt: skip
    """A .pcd; fields beside x y z are four unsigned bytes, `_` is a gap of three."""
    names = fields.split()
    kinds = {n: (kind, size, 1) if n in "xyz" else ("U", 4, 1) for n in names}
    kinds |= {n: ("U", 1, 3) for n in names if n == "_"}
    width, height = shape or (len(points), 1)
    text = head + "VERSION 0.7\nFIELDS " + fields + "\n"
    for number, key in ((1, "SIZE"), (0, "TYPE"), (2, "COUNT")):
        if key != "COUNT" or counts:
            text += key + " " + " ".join(str(kinds[n][number]) for n in names) + "\n"
    text += f"WIDTH {width}\nHEIGHT {height}\n"
    text += f"VIEWPOINT {viewpoint}\n" if viewpoint else ""
    text += f"POINTS {len(points)}\n" if points_line else ""
    text += f"DATA {data}\n"
    columns = []
    for name in names:
        letter, width, count = kinds[name]
        code = f"<{letter.lower()}{width}"
        values = points[:, "xyz".index(name)] if name in "xyz" else np.full(len(points), 7)
        columns.append(np.repeat(values[:, None], count, axis=1).astype(code))
    if data == "ascii":
        lines = zip(*(c.tolist() for c in columns), strict=True)
        body = "\n".join(" ".join(str(x) for part in line for x in part) for line in lines)
        return (text + body + "\n").encode()
    if data == "binary":
        raw = np.hstack([c.view("u1").reshape(len(points), -1) for c in columns]).tobytes()
        return text.encode() + raw
    raw = b"".join(c.tobytes() for c in columns)
    return text.encode() + packed(raw)


def packed(raw: bytes) -> bytes:
    """Sizes and LZF, of literals and, where a run repeats, references back."""
    out, i = bytearray(), 0
    while i < len(raw):
        run = 1
        while run < 264 and i and i + run <= len(raw) and raw[i : i + run] == raw[i - 1 : i] * run:
            run += 1
        run -= 1
        if run >= 3:  # the byte before, again and again
            out += bytes([(run - 2) << 5, 0]) if run < 9 else bytes([7 << 5, run - 9, 0])
            i += run
        else:
            out += bytes([0, raw[i]])
            i += 1
    return struct.pack("<II", len(out), len(raw)) + bytes(out)


MILLI = np.rint(CLOUD * 1024).astype(int)
PCDS = {
    "ascii": pcd(),
    "ascii_no_points": pcd(points_line=False),
    "ascii_no_counts": pcd(counts=False),
    "ascii_double": pcd(size=8),
    "ascii_crlf": pcd().replace(b"\n", b"\r\n"),
    "ascii_tabs": pcd().replace(b" ", b"\t"),
    "ascii_no_viewpoint": pcd(viewpoint=None),
    "ascii_no_head": pcd(head=""),
    "ascii_gap": pcd(fields="x y z _ rgb"),
    "organised": pcd(shape=(20, 10), points_line=False),
    "binary": pcd(data="binary"),
    "binary_double": pcd(size=8, data="binary"),
    "binary_mixed": pcd(size=8, data="binary", fields="rgb x y _ z"),
    "binary_no_points": pcd(data="binary", points_line=False),
    "binary_trailing": pcd(data="binary") + b"\0" * 5,
    "compressed": pcd(data="binary_compressed"),
    "compressed_double": pcd(size=8, data="binary_compressed"),
    "compressed_mixed": pcd(size=8, data="binary_compressed", fields="rgb x y _ z"),
}
# Whole numbers, in kilometres as a test: millimetres would be refused.
WHOLE = MILLI % 2
INTEGER_PCDS = {
    f"{data}_{kind}{size}": pcd(WHOLE, kind, size, data)
    for data in ("ascii", "binary", "binary_compressed")
    for kind, size in (("I", 1), ("I", 2), ("I", 4), ("U", 1), ("U", 2), ("U", 4), ("I", 8))
}

TEXT = rows(CLOUD)
COLOURED = rows(np.hstack([CLOUD, np.full((200, 3), 128)]))
XYZS = {
    "plain": TEXT,
    "coloured": COLOURED,
    "cloudcompare": "//X Y Z R G B\n200\n" + COLOURED,
    "slashes": "//X Y Z\n" + TEXT,
    "hash": "# x y z\n" + TEXT,
    "hash_tail": TEXT.replace("\n", " # a\n"),
    "percent": "% x y z\n" + TEXT,
    "semicolon_head": "; x y z\n" + TEXT,
    "count": "200\n" + TEXT,
    "count_comment": "200\nwritten by hand\n" + TEXT,  # as molecules are
    "count_blank": "200\n\n" + TEXT,
    "commas": TEXT.replace(" ", ","),
    "commas_spaces": TEXT.replace(" ", ", "),
    "commas_end": TEXT.replace(" ", ",").replace("\n", ",\n"),
    "semicolons": TEXT.replace(" ", ";"),
    "semicolons_end": TEXT.replace("\n", ";\n"),
    "decimal_commas": TEXT.replace(".", ",").replace(" ", ";"),
    "tabs": TEXT.replace(" ", "\t"),
    "words": "x y z\n" + TEXT,
    "words_commas": "X,Y,Z,R,G,B\n" + COLOURED.replace(" ", ","),
    "quoted": '"x","y","z"\n' + TEXT.replace(" ", ","),
    "blank_lines": "\n\n" + TEXT.replace("\n", "\n\n"),
    "crlf": TEXT.replace("\n", "\r\n"),
    "cr": TEXT.replace("\n", "\r"),
    "indented": TEXT.replace("\n", " \n  "),
    "bom": "\ufeff" + TEXT,
    "bom_words": "\ufeffx y z\n" + TEXT,
    "exponents": rows(CLOUD, "%.8E"),
}
XYZS = {name: text.encode() for name, text in XYZS.items()} | {
    "utf16": TEXT.encode("utf-16"),
    "no_newline": TEXT.rstrip("\n").encode(),
}
