"""Build the shipped generic hand from the WebXR generic-hand model (MIT licence).

    npm pack @webxr-input-profiles/assets@1.0.20 && tar xzf webxr-input-profiles-assets-1.0.20.tgz
    python -m grasp_gen_core.hand.build_generic_hand \\
        package/dist/profiles/generic-hand/right.glb grasp_gen_core/hand/generic_hand_RIGHT.npz

The result has MANO's exact layout (778 vertices, 1538 faces, 16 joints, 10 shape components), so
that smplx's own MANO class loads it. A closed surface with a 16-vertex wrist loop left open has
F = 2 V - 2 - 16 faces, so that simplification to 778 vertices gives MANO's 1538 by itself.
"""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

import numpy as np
import trimesh
from scipy.optimize import nnls

from grasp_gen_core.hand.mano_file import PARENTS

VERTICES, WRIST_LOOP = 778, 16
WRIST = np.array([0.0957, 0.0064, 0.0062])  # MANO's wrist joint at rest, metres
TIP_IDS = {"thumb": 744, "index": 320, "middle": 443, "ring": 554, "pinky": 671}  # as in smplx
FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # MANO's joint order


def read_glb(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Vertices (V, 3), faces (F, 3), weights (V, 25), joint names, joint positions (25, 3)."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    header, binary = json.loads(data[20 : 20 + length]), data[28 + length :]

    def read(index: int) -> np.ndarray:
        accessor = header["accessors"][index]
        view = header["bufferViews"][accessor["bufferView"]]
        kind = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        values = np.frombuffer(
            binary, kind[accessor["componentType"]], accessor["count"] * width, start
        )
        return values.reshape(accessor["count"], width)

    primitive = header["meshes"][0]["primitives"][0]
    attributes = {name: read(index) for name, index in primitive["attributes"].items()}
    faces = read(primitive["indices"]).reshape(-1, 3).astype(int)
    skin = header["skins"][0]
    names = [header["nodes"][node]["name"] for node in skin["joints"]]
    # glTF matrices are column-major; the bind position is the inverse bind's inverse translation.
    inverse_binds = read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    positions = np.linalg.inv(inverse_binds.astype(float))[:, :3, 3]

    weights = np.zeros((len(attributes["POSITION"]), len(names)))
    scale = 255.0 if attributes["WEIGHTS_0"].dtype == np.uint8 else 1.0
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, attributes["JOINTS_0"]), attributes["WEIGHTS_0"] / scale)

    # Texture seams duplicate vertices: one vertex for each place.
    _, first, merged = np.unique(
        attributes["POSITION"].round(6), axis=0, return_index=True, return_inverse=True
    )
    faces = merged.reshape(-1)[faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    vertices = attributes["POSITION"][first].astype(float)
    return vertices, faces, weights[first], names, positions


def merge_joints(weights: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[int]]:
    """Weights (V, 16) over MANO's joints, and the source joint of each.

    Finger metacarpals join the wrist, tips the last joint, the thumb metacarpal is MANO's thumb 1.
    """
    source, target = ["wrist"], {"wrist": 0}
    for finger in FINGERS:
        long_name = finger if finger == "thumb" else f"{finger}-finger"
        bones = (
            ("metacarpal", "phalanx-proximal", "phalanx-distal")
            if finger == "thumb"
            else ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal")
        )
        for bone in bones:
            target[f"{long_name}-{bone}"] = len(source)
            source.append(f"{long_name}-{bone}")
        target[f"{long_name}-tip"] = len(source) - 1
        target.setdefault(f"{long_name}-metacarpal", 0)
    merged = np.zeros((len(weights), 16))
    for column, name in enumerate(names):
        merged[:, target[name]] += weights[:, column]
    return merged, [names.index(name) for name in source]


def simplify(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quadric edge collapse (Garland & Heckbert 1997): wrist loop first, then the interior."""
    vertices, faces = vertices.copy(), faces.copy()
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / areas
    planes = np.concatenate([normals, -(normals * corners[:, 0]).sum(1, keepdims=True)], axis=1)
    face_quadrics = planes[:, :, None] * planes[:, None, :] * areas[:, :, None]
    quadrics = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(quadrics, faces[:, corner], face_quadrics)

    while True:
        edges, counts = np.unique(
            np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0, return_counts=True
        )
        used = len(np.unique(faces))
        border = np.unique(edges[counts == 1])
        shrink_border = len(border) > WRIST_LOOP
        if not shrink_border and used == VERTICES:
            break
        on_border = np.isin(edges, border)
        candidates = edges[counts == 1] if shrink_border else edges[on_border.sum(1) < 2]
        ends = vertices[candidates]
        summed = quadrics[candidates].sum(axis=1)
        # A vertex of the wrist loop stays where it is; elsewhere the quadric's best point.
        fixed = np.isin(candidates, border)
        ridge = 1e-6 * np.trace(summed[:, :3, :3], axis1=1, axis2=2)[:, None, None] * np.eye(3)
        middle = ends.mean(axis=1)
        shift = np.linalg.solve(
            summed[:, :3, :3] + ridge,
            -(summed[:, :3, 3] + np.einsum("nij,nj->ni", summed[:, :3, :3], middle))[..., None],
        )[..., 0]
        target = middle + shift
        if not shrink_border:
            target = np.where(fixed[:, :1], ends[:, 0], target)
            target = np.where(fixed[:, 1:], ends[:, 1], target)
        else:
            target = middle
        homogeneous = np.concatenate([target, np.ones((len(target), 1))], axis=1)
        cost = np.einsum("ni,nij,nj->n", homogeneous, summed, homogeneous)
        # Short edges first among equals: keeps triangles well shaped.
        cost = cost + 1e-9 * ((ends[:, 0] - ends[:, 1]) ** 2).sum(axis=1)
        for index in np.argsort(cost):
            collapsed = collapse(vertices, faces, candidates[index], target[index], shrink_border)
            if collapsed is not None:
                keep = candidates[index][0]
                vertices[keep], quadrics[keep] = target[index], summed[index]
                faces = collapsed
                break
    keep, faces = np.unique(faces, return_inverse=True)
    return vertices[keep], faces.reshape(-1, 3)


def collapse(
    vertices: np.ndarray, faces: np.ndarray, edge: np.ndarray, target: np.ndarray, border: bool
) -> np.ndarray | None:
    """Faces after the edge's second end became its first, or None if that breaks the surface."""
    keep, drop = edge
    touching_keep, touching_drop = (faces == keep).any(axis=1), (faces == drop).any(axis=1)
    shared = np.intersect1d(faces[touching_keep], faces[touching_drop])
    if len(shared) - 2 != (1 if border else 2):  # link condition
        return None
    around = (touching_keep ^ touching_drop).nonzero()[0]
    before = vertices[faces[around]]
    moved = np.where(((faces[around] == keep) | (faces[around] == drop))[..., None], target, before)
    old = np.cross(before[:, 1] - before[:, 0], before[:, 2] - before[:, 0])
    new = np.cross(moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0])
    lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
    longest = np.linalg.norm(moved - np.roll(moved, 1, axis=1), axis=2).max(axis=1)
    flips = (old * new).sum(axis=1) < 0.3 * lengths
    slivers = np.linalg.norm(new, axis=1) < 0.12 * longest**2
    if (flips | slivers).any():
        return None
    faces = np.where(faces == drop, keep, faces)
    return faces[~(touching_keep & touching_drop)]


def joint_regressor(vertices: np.ndarray, joints: np.ndarray, near: int = 30) -> np.ndarray:
    """(16, 778) non-negative rows summing to one that give the joints to a nanometre.

    Spread evenly over the nearest vertices: a joint then stays inside when the shape changes.
    """
    regressor = np.zeros((len(joints), len(vertices)))
    for row, joint in enumerate(joints):
        nearest = np.argsort(np.linalg.norm(vertices - joint, axis=1))[:near]
        exact = 1e6 * np.vstack([vertices[nearest].T, np.ones(near)])
        system = np.vstack([exact, np.eye(near)])
        wanted = np.concatenate([1e6 * joint, [1e6], np.full(near, 1 / near)])
        regressor[row, nearest] = nnls(system, wanted)[0]
    return regressor


def shape_components(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, tips: dict[str, np.ndarray]
) -> np.ndarray:
    """(778, 3, 10) displacements in metres, each one standard deviation of adult hands.

    Deviations follow hand anthropometry (Garrett 1971; Greiner 1991): hand length 5 %, digit
    length 5 %, breadth 5 %, depth 7 %, palm length 4 %.
    """
    first = {finger: 1 + 3 * index for index, finger in enumerate(FINGERS)}
    span = {f: weights[:, j : j + 3].sum(1, keepdims=True) for f, j in first.items()}
    along, across = {}, {}
    for finger, joint in first.items():
        # The thumb's length varies from its proximal phalanx on; its metacarpal is palm.
        base = joints[joint]
        axis = (tips[finger] - base) / np.linalg.norm(tips[finger] - base)
        stretch = ((vertices - base) @ axis).clip(0)[:, None] * axis
        along[finger] = span[finger] * stretch
        # Radius about the bone's own line, segment by segment.
        chain = np.vstack([joints[joint : joint + 3], tips[finger]])
        nearest = np.stack([closest_on_segment(vertices, *chain[i : i + 2]) for i in range(3)])
        distance = np.linalg.norm(vertices - nearest, axis=2)
        axis_point = nearest[distance.argmin(0), np.arange(len(vertices))]
        across[finger] = span[finger] * (vertices - axis_point)
    fingers = ("index", "middle", "ring", "pinky")

    wrist, knuckles = joints[0], joints[[1, 4, 7, 10]].mean(axis=0)
    palm_axis = (knuckles - wrist) / np.linalg.norm(knuckles - wrist)
    reach = ((vertices - wrist) @ palm_axis).clip(0, (knuckles - wrist) @ palm_axis)
    on_plane = weights @ joints  # the bones' own height, so that a curved hand thickens evenly
    lateral = np.zeros_like(vertices)
    lateral[:, 2] = vertices[:, 2] - wrist[2]
    depth = np.zeros_like(vertices)
    depth[:, 1] = vertices[:, 1] - on_plane[:, 1]
    palm = 1 - sum(span[f] for f in fingers)

    components = [
        0.05 * (vertices - wrist),  # overall size
        0.05 * sum(along[f] for f in fingers),  # finger length
        0.05 * lateral,  # breadth
        0.07 * depth,  # thickness
        0.04 * reach[:, None] * palm_axis,  # palm length
        0.05 * along["thumb"],  # thumb length
        0.07 * sum(across.values()),  # finger thickness
        0.07 * palm * depth,  # palm thickness
        0.03 * (along["ring"] - along["index"]),  # index to ring ratio (2D:4D)
        0.05 * along["pinky"],  # little finger length
    ]
    return np.stack(components, axis=-1)


def closest_on_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(V, 3) nearest points of the segment."""
    axis = end - start
    ratio = ((points - start) @ axis / (axis @ axis)).clip(0, 1)
    return start + ratio[:, None] * axis


def build(source: Path) -> dict[str, np.ndarray]:
    """All arrays of a MANO file from the generic-hand .glb."""
    vertices, faces, weights, names, joints = read_glb(source)
    weights, joint_source = merge_joints(weights, names)
    to_mano = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])  # (x, y, z) -> (y, x, -z)
    vertices, joints = vertices @ to_mano.T, joints @ to_mano.T
    shift = WRIST - joints[joint_source[0]]
    vertices, joints = vertices + shift, joints + shift
    tips = {
        f: joints[names.index(f"{f}-tip" if f == "thumb" else f"{f}-finger-tip")] for f in FINGERS
    }
    joints = joints[joint_source]

    whole = trimesh.Trimesh(vertices, faces, process=False)
    at_end = whole.triangles_center[:, 0] > vertices[:, 0].max() - 0.01
    cap = (whole.face_normals[:, 0] > 0.9) & at_end
    small, small_faces = simplify(vertices, faces[~cap])

    closest, _, triangle = trimesh.proximity.closest_point(whole, small)
    barycentric = trimesh.triangles.points_to_barycentric(whole.triangles[triangle], closest)
    small_weights = np.einsum("nk,nkj->nj", barycentric.clip(0), weights[whole.faces[triangle]])
    fourth = np.sort(small_weights, axis=1)[:, -4:-3]
    small_weights[small_weights < fourth] = 0  # at most four influences a vertex, as in MANO
    small_weights /= small_weights.sum(axis=1, keepdims=True)

    order = fingertip_order(small, small_weights, joints)
    small, small_weights = small[order], small_weights[order]
    small_faces = np.argsort(order)[small_faces]
    return {
        "v_template": small,
        "f": small_faces.astype(np.uint32),
        "weights": small_weights,
        "J_regressor": joint_regressor(small, joints),
        "J": joints,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(16)], dtype=np.uint32),
        "shapedirs": shape_components(small, joints, small_weights, tips),
        "posedirs": np.zeros((VERTICES, 3, 135)),
        "hands_components": np.eye(45),
        "hands_mean": np.zeros(45),
    }


def fingertip_order(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Order of the vertices that puts the fingertips at smplx's MANO fingertip numbers."""
    order = np.lexsort(vertices.round(4).T)
    for index, finger in enumerate(FINGERS):
        last = 3 + 3 * index
        axis = joints[last] - joints[last - 1]
        ahead = np.where(weights[:, last] > 0.5, (vertices - joints[last]) @ axis, -np.inf)
        place = np.flatnonzero(order == ahead.argmax())[0]
        order[[place, TIP_IDS[finger]]] = order[[TIP_IDS[finger], place]]
    return order


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="right.glb of the generic-hand profile")
    parser.add_argument("target", type=Path, help="the .npz to write; its name must hold RIGHT")
    arguments = parser.parse_args()
    np.savez_compressed(arguments.target, **build(arguments.source))
