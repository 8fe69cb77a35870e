"""What the tests in MuJoCo share: a free object of convex parts, and runs that may diverge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import trimesh

from grasp_gen_core.objects.convex import convex_parts, inertia

if TYPE_CHECKING:
    import mujoco

GRAVITY = 9.81
AXES = np.vstack([np.eye(3), -np.eye(3)])
HAND, OBJECT = 1, 2  # bits of what touches each other
# How much stiffer friction is than the normal force. At MuJoCo's 1 what is well held creeps out of
# the hand within a second; at 30 random hands hold, too.
IMPRATIO = 3.0
# Finding contacts is most of the work: it is done anew once things have moved so far, metres; what
# turns moves as a point 5 cm from the axis.
STALE, LEVER = 1e-4, 0.05


class SimObject:
    """A free body of the convex parts of a mesh, with the mesh's own centre of mass and inertia.

    Args:
        mesh: watertight, metres.
        mass: kilograms.
        friction: sliding, torsional and rolling coefficients of its contacts.

    Attributes:
        centre: (3,) of mass, metres.

    Raises:
        InputError: if the mesh isn't watertight.
    """

    def __init__(
        self, mesh: trimesh.Trimesh, mass: float, friction: tuple[float, float, float]
    ) -> None:
        self.mass, self.friction = mass, friction
        self.centre, self.principal, self.moments = inertia(mesh, mass)
        # As files in memory MuJoCo keeps what it makes of them; of bare vertices it makes the hulls
        # anew for each hand. The header counts vertices, normals, texture coordinates and faces.
        parts = [np.float32(part.vertices - self.centre) for part in convex_parts(mesh).parts]
        files = [np.int32([len(part), 0, 0, 0]).tobytes() + part.tobytes() for part in parts]
        self.files = {f"{sha256(file).hexdigest()}.msh": file for file in files}

    def add_to(self, spec: mujoco.MjSpec, time_step: float) -> None:
        """Add it as the body "object", and set how contacts of all bodies act.

        Friction is that of the object, whatever touches it.
        """
        import mujoco

        spec.compiler.usethread = False  # starting threads costs more than they save
        spec.option.timestep = time_step
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.impratio = IMPRATIO
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        # Else a run that diverged starts anew, and looks as if the object had been held.
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        body = spec.worldbody.add_body(name="object", pos=self.centre)
        body.add_freejoint()
        body.explicitinertial = True
        body.ipos = [0, 0, 0]  # unless told, MuJoCo takes `pos` once more
        body.mass, body.inertia = self.mass, self.moments
        body.iquat = quaternion(self.principal)
        spec.assets = self.files
        for index, file in enumerate(self.files):
            spec.add_mesh(name=f"part{index}", file=file)
            body.add_geom(
                name=f"part{index}",
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=f"part{index}",
                mass=0.0,
                contype=OBJECT,
                conaffinity=HAND,
                condim=4,
                friction=self.friction,
                solref=[0.01, 1.0],
                priority=1,
            )


def stepper(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[], None]:
    """What makes a step, its first with new contacts; the object's place is last in the state."""
    import mujoco

    reach, since = np.full(model.nv, LEVER * model.opt.timestep), np.inf
    reach[-6:-3] = model.opt.timestep

    def step() -> None:
        nonlocal since
        if since <= STALE:
            mujoco.mj_forwardSkip(model, data, mujoco.mjtStage.mjSTAGE_POS, 1)
            mujoco.mj_implicit(model, data)
        else:
            mujoco.mj_step(model, data)
            since = 0.0
        moved = reach * data.qvel
        since += sqrt(moved @ moved)

    return step


@contextmanager
def quiet() -> Iterator[None]:
    """What diverges is told by `diverged`, not by lines on stderr and a log file here."""
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(None)


def diverged(data: mujoco.MjData) -> bool:
    """Whether the engine lost what it simulates since the last reset."""
    import mujoco

    bad = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC)
    return any(data.warning[number].number for number in bad)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat(scalar_first=True)
