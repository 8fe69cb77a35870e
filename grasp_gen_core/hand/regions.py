"""Hand tables computed from a hand file's own geometry: parts, anchors, contact zones, joints.

Nothing here names a vertex: the official MANO file and the shipped hand both work.
"""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from torch import nn

PARTS = ("thumb", "index", "middle", "ring", "little", "palm")
FIRST_JOINT = (13, 1, 4, 10, 7)  # MANO's first joint of thumb, index, middle, ring, little
ANCHORS = {"distal": 3, "middle": 1, "proximal": 1, "palm": 7}  # 5 x 5 + 7 = 32
OPEN_FLEXION = 0.45  # share of a grasp's flexion that the hand has before
SPARSE = 384  # vertices that stand for all where many hands are tried

# Degrees: flexion, deviation (of the fingers towards the little finger, of the thumb out of the
# palm's front), twist (negative opposes the thumb). After the ranges of motion of
# American Academy of Orthopaedic Surgeons; the carpometacarpal ones include opposition.
_FINGER_LIMITS = [
    [(-15, 90), (-18, 18), (-8, 8)],
    [(0, 105), (-2, 2), (-2, 2)],
    [(0, 75), (-2, 2), (-2, 2)],
]
_THUMB_LIMITS = [
    [(-25, 40), (-45, 20), (-45, 15)],
    [(-10, 55), (-8, 8), (-15, 8)],
    [(-15, 75), (-2, 2), (-2, 2)],
]


class HandRegions(nn.Module):
    """Parts, anchors, contact zones and joint axes of one hand at rest.

    Args:
        template: (778, 3) rest surface, metres.
        faces: (1538, 3) outward triangles.
        weights: (778, 16) skinning weights.
        joints: (16, 3) rest joints, metres.
        side: "right" or "left".

    Attributes (buffers):
        parts: (778,) long, index into PARTS.
        tips: (5,) fingertip vertices: thumb, index, middle, ring, little.
        palmar: (778,) bool, surface that faces what the hand holds.
        anchors: (32,) vertices on the palmar side (CHOIR's hand anchors): five for each finger
            (three on the distal pad), seven on the palm.
        nearest_anchor: (778,) long, the anchor nearest to each vertex at rest.
        sparse: (384,) vertices spread evenly over the surface, the anchors first.
        index_side: (3,) vertices on the index finger's radial side, which a key is pressed against.
        zones: (778,) long, contact zone 0..4 = fingertip pads thumb to little, 5 = palm, -1 = none
            (GraspTTA, Fig. 5).
        joint_axes: (15, 3, 3) rows flexion, deviation, twist of MANO joints 1-15, rest frame.
        limits: (15, 3, 2) their ranges in radians.
        bones: (20, 2) joint numbers (of 21) at each bone's ends; bone_radius: (20,) metres.
    """

    def __init__(
        self,
        template: np.ndarray,
        faces: np.ndarray,
        weights: np.ndarray,
        joints: np.ndarray,
        side: str,
    ) -> None:
        super().__init__()
        self.sign = hand_sign(side)
        normals = trimesh.Trimesh(template, faces, process=False).vertex_normals
        share = [weights[:, j : j + 3].sum(axis=1) for j in FIRST_JOINT]
        parts = np.argmax([*share, weights[:, 0]], axis=0)
        tips, tip_points = find_tips(template, weights, joints)
        axes = joint_frames(joints, tip_points, side)

        # The pulp's direction of each vertex: its bone's palmar axis, blended as the skin is.
        palm = palm_direction(joints, side)
        facing = weights @ np.vstack([palm, axes[:, 1]])
        facing /= np.linalg.norm(facing, axis=1, keepdims=True)
        toward = (normals * facing).sum(axis=1)
        palmar = toward > 0.35

        last = np.array(FIRST_JOINT) + 2
        zones = np.full(len(template), -1)
        zones[(parts == 5) & palmar & in_front_of_wrist(template, joints)] = 5
        for finger, joint in enumerate(last):
            zones[palmar & (weights[:, joint] > 0.6)] = finger

        bones, radius = [], []
        for finger, first in enumerate(FIRST_JOINT):
            chain = [0, first, first + 1, first + 2, 16 + finger]
            bones += list(zip(chain[:-1], chain[1:], strict=True))
            ends = np.vstack([joints[first : first + 3], tip_points[finger]])
            for i, joint in enumerate((0, first, first + 1, first + 2)):
                if joint == 0:
                    radius.append(0.010)  # metacarpals lie inside the palm
                    continue
                owned = template[weights[:, joint] > 0.8]
                radius.append(0.85 * np.median(axis_distance(owned, ends[i - 1], ends[i])))

        limits = np.array([*[_FINGER_LIMITS] * 4, _THUMB_LIMITS], dtype=float).reshape(15, 3, 2)
        anchors = choose_anchors(template, weights, parts, palmar, toward, joints)
        apart = np.linalg.norm(template[:, None] - template[anchors], axis=2)
        tables = {
            "parts": parts,
            "tips": tips,
            "palmar": palmar,
            "anchors": anchors,
            "nearest_anchor": apart.argmin(axis=1),
            "sparse": farthest_points(template, anchors, SPARSE),
            "index_side": index_side(template, normals, weights, joints),
            "zones": zones,
            "joint_axes": axes.astype(np.float32),
            "limits": np.radians(limits).astype(np.float32),
            "bones": np.array(bones),
            "bone_radius": np.array(radius, dtype=np.float32),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(table)))

    @property
    def palm_axis(self) -> torch.Tensor:
        """(3,) direction out of the palm at rest: the middle finger's palmar axis."""
        return self.sign * self.joint_axes[3, 1]

    @property
    def finger_axis(self) -> torch.Tensor:
        """(3,) direction of the middle finger at rest."""
        return self.sign * self.joint_axes[3, 2]

    def to_angles(self, hand_pose: torch.Tensor) -> torch.Tensor:
        """(B, 45) axis-angle to (B, 15, 3) flexion, deviation, twist in radians."""
        return torch.einsum("jax,bjx->bja", self.joint_axes, hand_pose.view(-1, 15, 3))

    def to_pose(self, angles: torch.Tensor) -> torch.Tensor:
        """(B, 15, 3) flexion, deviation, twist in radians to (B, 45) axis-angle."""
        return torch.einsum("jax,bja->bjx", self.joint_axes, angles).flatten(1)

    def opened(self, hand_pose: torch.Tensor) -> torch.Tensor:
        """(B, 45) axis-angle with the fingers opened, as before a grasp."""
        angles = self.to_angles(hand_pose)
        return self.to_pose(torch.cat([OPEN_FLEXION * angles[..., :1], angles[..., 1:]], dim=2))

    def within_limits(self, free: torch.Tensor) -> torch.Tensor:
        """(B, 45) any numbers to (B, 15, 3) angles in radians between the joints' limits."""
        low, high = self.limits.unbind(-1)
        return low + (high - low) * torch.sigmoid(free.view(-1, 15, 3))


def find_tips(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertex (5,) and place (5, 3) of each fingertip: furthest along the last bone."""
    tips = []
    for first in FIRST_JOINT:
        axis = joints[first + 2] - joints[first + 1]
        along = (template - joints[first + 2]) @ axis
        tips.append(np.where(weights[:, first + 2] > 0.5, along, -np.inf).argmax())
    return np.array(tips), template[tips]


def hand_sign(side: str) -> int:
    """1 for right hands, -1 for their mirror images."""
    return 1 if side == "right" else -1


def palm_direction(joints: np.ndarray, side: str) -> np.ndarray:
    """Unit vector out of the palm at rest."""
    normal = np.cross(joints[FIRST_JOINT[1]] - joints[0], joints[FIRST_JOINT[4]] - joints[0])
    return hand_sign(side) * normal / np.linalg.norm(normal)


def joint_frames(joints: np.ndarray, tips: np.ndarray, side: str) -> np.ndarray:
    """(15, 3, 3) orthonormal rows of joints 1-15: flexion axis, palmar axis, bone axis.

    Rotation about the first curls the finger towards the palm. Flexed fingers converge on the
    thumb's root, so that the flexion plane tilts with the knuckle's distance from the middle one.
    The thumb's pulp faces the little finger's side.
    """
    hand = hand_sign(side)
    palm = palm_direction(joints, side)
    ulnar = joints[FIRST_JOINT[4]] - joints[FIRST_JOINT[1]]
    ulnar = ulnar - (ulnar @ palm) * palm
    ulnar /= np.linalg.norm(ulnar)
    frames = np.zeros((15, 3, 3))
    for finger, first in enumerate(FIRST_JOINT):
        offset = max(0.0, (joints[first] - joints[FIRST_JOINT[2]]) @ ulnar)
        pulp = ulnar if finger == 0 else palm - offset / 0.13 * ulnar
        chain = np.vstack([joints[first : first + 3], tips[finger]])
        for i in range(3):
            bone = chain[i + 1] - chain[i]
            bone /= np.linalg.norm(bone)
            palmar = pulp - (pulp @ bone) * bone
            palmar /= np.linalg.norm(palmar)
            # The deviation's sign is mirrored so that the same angles mean the same on both hands.
            flexion = np.cross(bone, palmar)
            frames[first + i - 1] = [flexion, hand * palmar, hand * bone]
    return frames


def in_front_of_wrist(template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(778,) whether a vertex lies on the hand's side of the wrist, not on the forearm's."""
    forward = joints[FIRST_JOINT[2]] - joints[0]
    return (template - joints[0]) @ forward > 0.15 * forward @ forward


def axis_distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(N,) distances to the line through start and end."""
    axis = (end - start) / np.linalg.norm(end - start)
    return np.linalg.norm(np.cross(points - start, axis), axis=1)


def choose_anchors(
    template: np.ndarray,
    weights: np.ndarray,
    parts: np.ndarray,
    palmar: np.ndarray,
    toward: np.ndarray,
    joints: np.ndarray,
) -> np.ndarray:
    """(32,) anchors: five on each finger's palmar side, seven on the palm."""
    anchors: list[int] = []
    for first in FIRST_JOINT:
        for name, joint in zip(
            ("proximal", "middle", "distal"), (first, first + 1, first + 2), strict=True
        ):
            pad = np.flatnonzero((toward > 0.6) & (weights[:, joint] > 0.5))
            anchors += spread(template, pad, ANCHORS[name])
    palm = (parts == 5) & palmar & in_front_of_wrist(template, joints)
    return np.array(anchors + spread(template, np.flatnonzero(palm), ANCHORS["palm"]))


def farthest_points(template: np.ndarray, first: np.ndarray, count: int) -> np.ndarray:
    """(count,) vertices, the first ones given, each other as far as can be from those before."""
    chosen = list(first)
    apart = np.linalg.norm(template[:, None] - template[chosen], axis=2).min(axis=1)
    while len(chosen) < count:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(template - template[chosen[-1]], axis=1))
    return np.array(chosen)


def index_side(
    template: np.ndarray, normals: np.ndarray, weights: np.ndarray, joints: np.ndarray
) -> np.ndarray:
    """(3,) vertices along the thumb's side of the index finger's two outer phalanges."""
    radial = joints[FIRST_JOINT[1]] - joints[FIRST_JOINT[2]]
    facing = normals @ radial > 0.8 * np.linalg.norm(radial)
    outer = weights[:, FIRST_JOINT[1] + 1] + weights[:, FIRST_JOINT[1] + 2] > 0.8
    return np.array(spread(template, np.flatnonzero(facing & outer), 3))


def spread(template: np.ndarray, candidates: np.ndarray, count: int) -> list[int]:
    """Vertices nearest the centres of `count` clusters of the candidates."""
    from scipy.cluster.vq import kmeans2

    points = template[candidates]
    centres, _ = kmeans2(points, count, minit="++", seed=0)
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=0)
    return candidates[nearest].tolist()
