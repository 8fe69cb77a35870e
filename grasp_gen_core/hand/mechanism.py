"""A MANO hand as a mechanism: rigid segments, hinges and motors, as a MuJoCo model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import trimesh
from scipy.spatial import ConvexHull, cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand.layer import ManoHand
from grasp_gen_core.hand.regions import FIRST_JOINT, PARTS
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.types import MANO_SIZE

if TYPE_CHECKING:
    import mujoco

JOINTS = 15  # besides the wrist
HINGES = ("flexion", "deviation", "twist")
# What fingers were found to bear at most while turning taps and jars' caps (Purves & Berme, 1980,
# J. Biomed. Eng. 2(4), 285-289): 1.0 N m at the knuckle and 0.6 at the next joint, sideways as
# much as in flexion. The last joint's, and the thumb's, are taken to be alike.
TORQUE = (1.0, 0.6, 0.3)  # N m, from the knuckle on
STRETCH = 0.1  # radians that a motor is off its target where it turns as strongly as it can
SETTLING = 0.01  # seconds in which a free joint comes to its target
ARMATURE = 1e-4  # kg m^2 that muscles and tendons add to a joint
DENSITY = 1100.0  # kg/m^3 of flesh and bone
# A cell may stick out of the skin, but not near creases, where skin stretches as a joint bends.
STICKS_OUT, CREASE = 0.001, 0.9  # metres; share of the skin's weight that is the segment's own
FEWEST_FACES, CELL_DEPTH = 24, 0.006  # of a patch that is cut on; metres below it


class Segment(NamedTuple):
    """The skin that one joint carries.

    Attributes:
        name: of its body, such as "index1", the joint nearest the palm.
        parent: number of the segment that it hangs on, -1 for the wrist.
        skin: numbers of its vertices; neighbours share those of their border.
        cells: its patches of skin, the hulls of which, with what lies below, are its convex cells;
            one that is the whole segment is a hull without more.
    """

    name: str
    parent: int
    skin: np.ndarray
    cells: list[np.ndarray]


class Mechanism:
    """Hands of one file and side, of any shape, as rigid segments at the shape's own rest joints.

    Each of MANO's 15 finger joints is three hinges about the axes that `HandRegions.joint_axes`
    has: flexion, then deviation, then twist. Together they make every rotation, so that any MANO
    pose is reached exactly; only their ranges are approximate, the smallest that hold all poses
    within the hand's limits.

    Args:
        hand: the hand model.

    Attributes:
        segments: 16, in the order of MANO's joints.
        range: (15, 3, 2) radians, of the hinges.
        torque: (15, 3) N m, the most that the motors of the hinges give.
    """

    def __init__(self, hand: ManoHand) -> None:
        self.hand = hand
        axes = hand.regions.joint_axes.double().cpu().numpy()
        # The third axis points against the right-handed frame's.
        self._frame = axes * [[1.0], [1.0], [-1.0]]
        self._axes = axes
        low, high = hand.regions.limits.unbind(-1)
        share = torch.cartesian_prod(*[torch.linspace(0, 1, 5, device=low.device)] * 3)
        corners = hand.regions.to_pose(low + (high - low) * share[:, None])
        angles = self.angles(corners.cpu().numpy())
        self.range = np.stack([angles.min(axis=0), angles.max(axis=0)], axis=-1)
        self.torque = np.tile(np.array(TORQUE)[:, None], (5, 3))
        skin, _ = self._rest(np.zeros(10))
        faces, weights = (x.cpu().numpy() for x in (hand.closed_faces, hand.model.lbs_weights))
        self.segments = _segments(skin.tobytes(), faces.tobytes(), weights.tobytes())

    def angles(self, hand_pose: np.ndarray) -> np.ndarray:
        """(B, 15, 3) hinges' angles, radians, of MANO's joint rotations (B, 45), axis-angle."""
        from scipy.spatial.transform import Rotation

        turns = Rotation.from_rotvec(np.reshape(hand_pose, (-1, 3))).as_matrix()
        frame = np.tile(self._frame, (len(hand_pose), 1, 1))
        found = Rotation.from_matrix(frame @ turns @ frame.mT).as_euler("XYZ")
        return found.reshape(-1, JOINTS, 3) * [1.0, 1.0, -1.0]

    def pose(self, angles: np.ndarray) -> np.ndarray:
        """(B, 45) MANO's joint rotations, axis-angle, of hinges' angles (B, 15, 3), radians."""
        from scipy.spatial.transform import Rotation

        turns = Rotation.from_euler("XYZ", np.reshape(angles * [1.0, 1.0, -1.0], (-1, 3)))
        frame = np.tile(self._frame, (len(angles), 1, 1))
        return (
            Rotation.from_matrix(frame.mT @ turns.as_matrix() @ frame).as_rotvec().reshape(-1, 45)
        )

    def spec(self, betas: np.ndarray) -> mujoco.MjSpec:
        """A model of the hand of a shape (10,), its wrist fixed where MANO has it at rest.

        Bodies and joints are named like "index1" and "index1_flexion", a motor like its joint,
        sites at the fingertips "index_tip". Motors take target angles in radians. Gravity doesn't
        pull at the hand, and its segments don't touch each other (`contype` 1, `conaffinity` 2).
        """
        import mujoco

        spec = mujoco.MjSpec()
        spec.modelname = f"{self.hand.side}_hand"
        spec.compiler.usethread = False  # starting threads costs more than they save
        spec.compiler.degree = False
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        skin, joints = self._rest(betas)
        surface = trimesh.Trimesh(skin, self.hand.closed_faces.cpu().numpy(), process=False)
        below = _below(surface)
        bodies: list = []
        for number, segment in enumerate(self.segments):
            holder = bodies[segment.parent] if number else spec.worldbody
            start = joints[segment.parent] if number else np.zeros(3)
            body = holder.add_body(name=segment.name, pos=joints[number] - start, gravcomp=1.0)
            bodies.append(body)
            _weigh(body, skin[segment.skin] - joints[number])
            for index, cell in enumerate(segment.cells):
                points = _cell(skin, below, cell, whole=len(segment.cells) == 1)
                name = f"{segment.name}_cell{index}"
                spec.add_mesh(name=name, uservert=np.ravel(points - joints[number]))
                body.add_geom(
                    name=name,
                    type=mujoco.mjtGeom.mjGEOM_MESH,
                    meshname=name,
                    mass=0.0,
                    contype=1,
                    conaffinity=2,
                    rgba=[0.9, 0.7, 0.6, 1.0],
                )
            if number:
                self._add_hinges(spec, body, number - 1)
        for finger, first in enumerate(FIRST_JOINT):
            place = joints[16 + finger] - joints[first + 2]
            bodies[first + 2].add_site(name=f"{PARTS[finger]}_tip", pos=place, size=[0.002] * 3)
        return spec

    def write(self, betas: np.ndarray, path: str | Path) -> None:
        """Write the model of a shape (10,) as MJCF, its meshes in a folder beside, NAME_meshes.

        Raises:
            InputError: if the file or the folder can't be written.
        """
        path, spec = Path(path), self.spec(betas)
        folder = path.with_name(f"{path.stem}_meshes")
        spec.compiler.meshdir, spec.modelfiledir = folder.name, str(path.parent)
        try:
            folder.mkdir(exist_ok=True)
            for mesh in spec.meshes:
                hull = trimesh.convex.convex_hull(np.reshape(mesh.uservert, (-1, 3)))
                (folder / f"{mesh.name}.stl").write_bytes(hull.export(file_type="stl"))
                mesh.uservert, mesh.file = [], f"{mesh.name}.stl"
            path.write_text(spec.to_xml())
        except OSError as error:
            raise InputError(f"{path}: can't be written: {error}") from error

    def _add_hinges(self, spec: mujoco.MjSpec, body, joint: int) -> None:
        import mujoco

        for hinge, kind in enumerate(HINGES):
            name, torque = f"{body.name}_{kind}", self.torque[joint, hinge]
            body.add_joint(
                name=name,
                axis=self._axes[joint, hinge],
                range=self.range[joint, hinge],
                limited=True,
                armature=ARMATURE,
                damping=SETTLING * torque / STRETCH,
            )
            motor = spec.add_actuator(
                name=name,
                target=name,
                trntype=mujoco.mjtTrn.mjTRN_JOINT,
                forcelimited=True,
                forcerange=[-torque, torque],
            )
            motor.set_to_position(kp=torque / STRETCH)

    def _rest(self, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Skin (778, 3) and joints (21, 3) of the flat hand of a shape (10,), metres."""
        flat = torch.zeros(1, MANO_SIZE, device=self.hand.faces.device)
        flat[0, :10] = torch.as_tensor(betas)
        with torch.no_grad():
            skin, joints = self.hand(flat)
        return skin[0].double().cpu().numpy(), joints[0].double().cpu().numpy()


@lru_cache(maxsize=4)
def _segments(skin: bytes, faces: bytes, weights: bytes) -> list[Segment]:
    """A hand's segments, their skin cut into cells; kept, as that takes a second.

    Args:
        skin: (778, 3) float64, the hand of mean shape at rest, metres.
        faces: (1552, 3) int64, closed.
        weights: (778, 16) float32, of skinning.
    """
    places, faces = np.frombuffer(skin).reshape(-1, 3), np.frombuffer(faces, int).reshape(-1, 3)
    weights = np.frombuffer(weights, np.float32).reshape(-1, 1 + JOINTS)
    surface = trimesh.Trimesh(places, faces, process=False)
    owner = weights[faces].sum(axis=1).argmax(axis=1)
    segments = []
    for joint in range(1 + JOINTS):
        own, name, parent = faces[owner == joint], "wrist", -1
        for finger, first in zip(PARTS, FIRST_JOINT, strict=False):
            if first <= joint < first + 3:
                name, parent = f"{finger}{joint - first + 1}", 0 if joint == first else joint - 1
        cells = _cut(own, surface, weights[:, joint] > CREASE)
        segments.append(Segment(name, parent, np.unique(own), cells))
    return segments


def _cut(own: np.ndarray, skin: trimesh.Trimesh, firm: np.ndarray) -> list[np.ndarray]:
    """Vertex numbers of the patches that a segment's faces are halved into until cells fit.

    Args:
        own: (F, 3) the segment's faces.
        skin: the hand at rest, metres.
        firm: (778,) vertices away from creases.
    """
    from scipy.cluster.vq import kmeans2

    nearest, cells, waiting = cKDTree(skin.vertices), [], [own]
    below = _below(skin)
    while waiting:
        patch = waiting.pop()
        used = np.unique(patch)
        points = _cell(skin.vertices, below, used, whole=patch is own)
        hull = trimesh.convex.convex_hull(points).subdivide().subdivide().vertices
        out = hull[firm[nearest.query(hull)[1]]]
        fits = not len(out) or signed_distance(skin, out).max() <= STICKS_OUT
        if fits or len(patch) < FEWEST_FACES:
            cells.append(used)
            continue
        _, half = kmeans2(skin.vertices[patch].mean(axis=1), 2, minit="++", seed=0)
        waiting += [patch[half == 0], patch[half == 1]]
    return cells


def _below(skin: trimesh.Trimesh) -> np.ndarray:
    """(V, 3) where cells end below the skin's vertices, metres."""
    return skin.vertices - CELL_DEPTH * skin.vertex_normals


def _cell(skin: np.ndarray, below: np.ndarray, used: np.ndarray, whole: bool) -> np.ndarray:
    """Points whose convex hull a cell is: its skin and, of a part of a segment, below it."""
    return skin[used] if whole else np.concatenate([skin[used], below[used]])


def _weigh(body, points: np.ndarray) -> None:
    """Give a body the mass and inertia of the hull of its skin (N, 3), in its own frame."""
    inner = points.mean(axis=0)  # makes a tetrahedron with each of the hull's faces
    corners = points[ConvexHull(points).simplices] - inner
    masses = DENSITY / 6 * np.abs(np.linalg.det(corners))
    sums = corners.sum(axis=1)
    mass, centre = masses.sum(), masses @ sums / (4 * masses.sum())
    rows = np.concatenate([corners, sums[:, None]], axis=1)
    moments = np.einsum("f,fki,fkj->ij", masses / 20, rows, rows) - mass * np.outer(centre, centre)
    inertia = np.trace(moments) * np.eye(3) - moments
    body.explicitinertial = True
    body.mass, body.ipos = mass, inner + centre
    body.fullinertia = [*np.diag(inertia), inertia[0, 1], inertia[0, 2], inertia[1, 2]]
