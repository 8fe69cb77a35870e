"""Hold test: how far the object moves in a fixed hand under gravity along all six axes."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
import trimesh

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.mujoco_scene import (
    AXES,
    GRAVITY,
    HAND,
    OBJECT,
    SimObject,
    diverged,
    quiet,
    stepper,
)
from grasp_gen_core.metrics.sim_displacement import Simulated, thrown

MASS = 0.3  # kg, which makes no difference (MuJoCo's contacts scale with it)
FRICTION = (1.0, 0.005, 0.0001)
TIME_STEP = 0.004  # seconds; half of it holds the same grasps
CELLS = 96  # convex cells of a hand: fewer stick further out of the skin
CELL_DEPTH = 0.008  # metres that a cell reaches below the skin, about a finger's radius


class HandCells(NamedTuple):
    """Convex cells of hands of one topology.

    Attributes:
        faces: (F, 3) closed surface.
        patches: vertex numbers of each cell's patch of skin.
    """

    faces: np.ndarray
    patches: list[np.ndarray]

    def points(self, vertices: np.ndarray) -> list[np.ndarray]:
        """Points whose convex hull each cell is: its patch of a posed hand (V, 3) and below it."""
        skin = trimesh.Trimesh(vertices, self.faces, process=False)
        below = vertices - CELL_DEPTH * skin.vertex_normals
        return [np.concatenate([vertices[patch], below[patch]]) for patch in self.patches]


class HoldTest:
    """MuJoCo simulation of one object in fixed hands.

    Args:
        mesh: the object, watertight, metres; its convex parts are simulated, with the mesh's own
            centre of mass and inertia.
        cells: the hand's, from hand_cells() or cells_of().
        duration: seconds under each gravity direction.
        axes: (A, 3) directions that gravity takes in turn.

    Raises:
        InputError: if the mesh isn't watertight.
    """

    def __init__(
        self,
        mesh: trimesh.Trimesh,
        cells: HandCells,
        duration: float = 1.0,
        axes: np.ndarray = AXES,
    ) -> None:
        self.cells, self.duration, self.axes = cells, duration, axes
        self.object = SimObject(mesh, MASS, FRICTION)

    def __call__(self, vertices: np.ndarray, lost: float = 0.05) -> Simulated:
        """Largest displacement of the object's centre over the gravity directions.

        Args:
            vertices: (B, V, 3) posed hands, metres.
            lost: metres from which the object counts as lost and the run ends.

        Returns:
            `hold_worst_axis_cm` as `displacement_cm`, at most `lost`; the drift without gravity;
            and whether the object was thrown.
        """
        with quiet():
            rows = [self._hold(np.asarray(hand, float), lost) for hand in vertices]
        moved, drift, unstable = np.array(rows).reshape(-1, 3).T
        return Simulated(100 * moved, 100 * drift, unstable.astype(bool))

    def _hold(self, vertices: np.ndarray, lost: float) -> tuple:
        import mujoco

        model = self._model(vertices)
        data = mujoco.MjData(model)
        drift, unstable = self._run(model, data, np.zeros(3), lost)
        worst = 0.0
        for axis in self.axes:
            moved, fast = self._run(model, data, GRAVITY * np.asarray(axis), lost)
            worst, unstable = max(worst, moved), unstable or fast
            if worst >= lost:
                break
        return worst, drift, unstable

    def _run(self, model, data, gravity: np.ndarray, lost: float) -> tuple[float, bool]:
        """How far (m, at most `lost`) the centre went, and whether the object was thrown."""
        import mujoco

        mujoco.mj_resetData(model, data)
        model.opt.gravity[:] = gravity
        moved, distance, place, step = np.zeros(3), 0.0, data.qpos[:3], stepper(model, data)
        for _ in range(round(self.duration / TIME_STEP)):
            step()
            moved = place - self.object.centre
            distance = sqrt(moved @ moved)
            if not distance < lost:  # also when the simulation diverged to NaN
                distance = lost
                break
        fast = thrown(moved, float(np.linalg.norm(data.qvel[:3])), gravity)
        return distance, diverged(data) or fast

    def _model(self, vertices: np.ndarray):
        import mujoco

        spec = mujoco.MjSpec()
        self.object.add_to(spec, TIME_STEP)
        for index, points in enumerate(self.cells.points(vertices)):
            spec.add_mesh(name=f"cell{index}", uservert=points.ravel())
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=f"cell{index}",
                contype=HAND,
                conaffinity=OBJECT,
            )
        return spec.compile()


def hand_cells(hand: ManoHand) -> HandCells:
    """The cells of a MANO hand, cut on its rest surface."""
    return cells_of(hand.model.v_template.cpu().numpy(), hand.closed_faces.cpu().numpy())


def cells_of(vertices: np.ndarray, faces: np.ndarray) -> HandCells:
    """Cells of any hand: compact patches of its skin, which share their borders.

    Args:
        vertices: (V, 3) one posed hand, metres, best with its fingers spread.
        faces: (F, 3) its closed surface.
    """
    from scipy.cluster.vq import kmeans2

    faces = np.asarray(faces)
    centres = np.asarray(vertices, float)[faces].mean(axis=1)
    _, label = kmeans2(centres, min(CELLS, len(faces) // 8 + 1), minit="++", seed=0)
    skin = trimesh.Trimesh(vertices, faces, process=False)
    # Where fingers touch, a group holds a patch of each.
    inside = skin.face_adjacency[np.diff(label[skin.face_adjacency], axis=1)[:, 0] == 0]
    groups = trimesh.graph.connected_components(inside, nodes=np.arange(len(faces)), min_len=1)
    return HandCells(faces, [np.unique(faces[group]) for group in groups])
