"""Hold test: how far the object moves in a fixed hand under gravity along all six axes."""

from __future__ import annotations

import numpy as np
import trimesh

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.convex import convex_parts

GRAVITY = 9.81
AXES = np.vstack([np.eye(3), -np.eye(3)])
PALM_CELLS, PHALANX_CELLS = 12, 2  # 12 + 15 x 2 = 42 convex cells of the hand


class HoldTest:
    """MuJoCo simulation of one object in fixed hands.

    Args:
        mesh: the object, watertight, metres; convex parts of it are simulated.
        hand: the hand model; its skin is cut into 42 cells at rest, each a convex hull when posed.
        duration: seconds under each gravity direction.
        mass: kilograms.
        friction: sliding coefficient.
    """

    def __init__(
        self,
        mesh: trimesh.Trimesh,
        hand: ManoHand,
        duration: float = 1.0,
        mass: float = 0.3,
        friction: float = 1.0,
    ) -> None:
        self.cells = hand_cells(hand)
        self.parts = convex_parts(mesh)
        self.duration, self.mass, self.friction = duration, mass, friction
        self.centre = mesh.center_mass
        # A box's inertia: the object rarely turns far before it counts as lost.
        x, y, z = mesh.extents**2
        self.inertia = mass / 12 * np.array([y + z, x + z, x + y])

    def __call__(self, vertices: np.ndarray, lost: float = 0.05) -> np.ndarray:
        """Largest displacement of the object's centre over the six gravity directions.

        Args:
            vertices: (B, 778, 3) posed hands, metres.
            lost: metres from which the object counts as lost and the run ends.

        Returns:
            (B,) `hold_worst_axis_cm`, centimetres.
        """
        return np.array([100 * self._hold(hand, lost) for hand in vertices])

    def _hold(self, vertices: np.ndarray, lost: float) -> float:
        import mujoco

        model = self._model(vertices)
        data = mujoco.MjData(model)
        worst = 0.0
        for axis in AXES:
            mujoco.mj_resetData(model, data)
            model.opt.gravity[:] = GRAVITY * axis
            for _ in range(round(self.duration / model.opt.timestep)):
                mujoco.mj_step(model, data)
                moved = float(np.linalg.norm(data.qpos[:3] - self.centre))
                if not moved < lost:  # also when the simulation diverged to NaN
                    return lost
            worst = max(worst, moved)
        return worst

    def _model(self, vertices: np.ndarray):
        import mujoco

        spec = mujoco.MjSpec()
        spec.option.timestep = 0.004
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        contact = {
            "type": mujoco.mjtGeom.mjGEOM_MESH,
            "friction": [self.friction, 0.005, 0.0001],
            "condim": 4,
            "solref": [0.01, 1.0],
            "mass": 0.0,
        }
        for index, cell in enumerate(self.cells):
            spec.add_mesh(name=f"cell{index}", uservert=vertices[cell].astype(float).ravel())
            spec.worldbody.add_geom(meshname=f"cell{index}", contype=1, conaffinity=2, **contact)
        body = spec.worldbody.add_body(name="object", pos=self.centre)
        body.add_freejoint()
        body.explicitinertial = True
        body.mass, body.inertia = self.mass, self.inertia
        for index, part in enumerate(self.parts):
            local = (part.vertices - self.centre).ravel()
            spec.add_mesh(name=f"part{index}", uservert=local)
            body.add_geom(meshname=f"part{index}", contype=2, conaffinity=1, **contact)
        return spec.compile()


def hand_cells(hand: ManoHand) -> list[np.ndarray]:
    """Vertex numbers of 42 cells cut on the rest surface, each with its neighbours' border."""
    from scipy.cluster.vq import kmeans2

    faces = hand.closed_faces.cpu().numpy()
    template = hand.model.v_template.cpu().numpy()
    owner = hand.model.lbs_weights.argmax(dim=1).cpu().numpy()
    cells = []
    for joint in range(16):
        members = np.flatnonzero(owner == joint)
        count = PALM_CELLS if joint == 0 else PHALANX_CELLS
        _, label = kmeans2(template[members], count, minit="++", seed=0)
        for part in range(count):
            inside = members[label == part]
            cells.append(np.unique(faces[np.isin(faces, inside).any(axis=1)]))
    return cells
