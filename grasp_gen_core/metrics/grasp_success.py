"""Closing test: whether a hand that closes with limited strength gets and keeps hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.mechanism import JOINTS, STRETCH, Mechanism
from grasp_gen_core.hand.regions import FIRST_JOINT
from grasp_gen_core.metrics.mujoco_scene import (
    AXES,
    GRAVITY,
    HAND,
    OBJECT,
    SimObject,
    diverged,
    quaternion,
    quiet,
    stepper,
)
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL, check_mano

if TYPE_CHECKING:
    import mujoco

TIME_STEP = 0.004  # seconds
CLOSING, PRESSING, SETTLING = 0.3, 0.2, 0.2  # seconds to the grasp, to the squeeze, and there
HOLDING, LIFTING = 1.0, 0.5  # seconds under each direction of gravity, and of going up
LIFT = 0.1  # metres
# Without a squeeze, fingers that don't touch yet bend on beyond the grasp, at most so far and so
# fast; then what touches presses, the thumb about as strongly as the other fingers together.
BEND_ON, RATE = 0.3, 2.0  # radians, radians/s
THUMB_SHARE, FINGER_SHARE = 0.4, 0.12  # of the strength that a joint has
FEEL, LOOK = 5, 10  # steps between touches that are noticed, and between looks at the object
# What moves little enough under its weight is held, and isn't waited for: if it went on five times
# as fast as over the last two looks, it would stay within half of what is allowed.
LOOKS, FASTER, CLEARLY = 2, 5, 0.5
DRAG = 0.01  # seconds in which a free object comes to rest while the hand closes, as on a table
PUSHED = 0.05  # metres that closing may move it
STRAY = 0.001  # metres that an opened finger may reach deeper into the object than the closed one
FINGER_ANGLES, PLACE = slice(0, 3 * JOINTS), slice(3 * JOINTS, None)  # of the state


@dataclass(frozen=True)
class Preset:
    """What counts as success.

    Args:
        mass: of the object, kilograms.
        friction: sliding, torsional (metres) and rolling coefficients.
        moved: metres that the object may move in the closed hand.
        turned: degrees that it may turn there.
        overlap: metres that the opened hand may reach into the object.
        lift: whether it is also lifted from a table.
    """

    mass: float
    friction: tuple[float, float, float]
    moved: float
    turned: float
    overlap: float
    lift: bool


PRESETS = {
    "strict": Preset(0.1, (0.6, 0.02, 0.0001), 0.02, 15.0, 0.01, lift=True),
    # Of DexGraspBench (Chen et al. 2025, BODex), whose hands start outside of the object.
    "dexgraspbench": Preset(0.1, (0.6, 0.02, 0.0001), 0.05, 15.0, 0.01, lift=False),
}
HELD, PUSHED_AWAY, SLIPPED, COLLIDED = range(4)
FAILURES = {PUSHED_AWAY: "pushed_away", SLIPPED: "slipped", COLLIDED: "collided"}


class Closed(NamedTuple):
    """What became of B hands that closed.

    Attributes:
        outcome: (B,) HELD, PUSHED_AWAY while closing, SLIPPED under its weight, or COLLIDED at the
            start.
        moved_cm, turned_deg: (B,) the most that the object moved and turned in the closed hand; a
            run ends where that is too much, or clearly won't be. NaN where it didn't come to that.
        overlap_cm: (B,) how deep the opened hand is in the object at the start.
    """

    outcome: np.ndarray
    moved_cm: np.ndarray
    turned_deg: np.ndarray
    overlap_cm: np.ndarray


class ClosingTest:
    """MuJoCo simulation of one object and of hands that close around it.

    The hand is a `Mechanism` with its wrist fixed where the grasp has it, its fingers opened. They
    close to the grasp and press, the object being free and without weight. Then gravity acts along
    six axes, one second each, from the state that closing left. At last the object stands on a
    table under its lowest point, the hand closes again, and it is lifted by 10 cm, z being up.

    Args:
        mesh: the object, watertight, metres; its convex parts are made once.
        hand: the hand model, on the CPU.
        preset: one of PRESETS.

    Raises:
        InputError: if the mesh isn't watertight, or the preset isn't known.
    """

    def __init__(self, mesh: trimesh.Trimesh, hand: ManoHand, preset: str = "strict") -> None:
        if preset not in PRESETS:
            raise InputError(f"preset: {preset!r}, accepted are {', '.join(PRESETS)}")
        self.mesh, self.hand, self.preset = mesh, hand, PRESETS[preset]
        self.mechanism = Mechanism(hand)
        self.object = SimObject(mesh, self.preset.mass, self.preset.friction)
        self.bottom = float(mesh.bounds[0, 2])

    def __call__(self, mano: np.ndarray, squeeze: np.ndarray | None = None) -> Closed:
        """Close hands around the object and shake it.

        Args:
            mano: (B, 61) grasps in the object's frame, metres.
            squeeze: (B, 61) hands whose fingers are driven to after the grasp. Without, fingers
                bend on until they touch, and press.

        Raises:
            InputError: if the hands aren't accepted.
        """
        mano = check_mano(mano)
        if not len(mano):
            return Closed(np.empty(0, int), *np.empty((3, 0)))
        opened, overlap = self._opened(mano)
        ends = [mano] if squeeze is None else [mano, check_mano(squeeze, "squeeze")]
        poses = [opened, *(one[:, HAND_POSE] for one in ends)]
        ways = np.stack([self.mechanism.angles(pose).reshape(-1, 3 * JOINTS) for pose in poses])
        rows = []
        with quiet():
            for number, deep in enumerate(overlap):
                if deep > self.preset.overlap:
                    rows.append((COLLIDED, np.nan, np.nan))
                else:
                    rows.append(self._try(self._model(mano[number]), ways[:, number]))
        outcome, moved, turned = np.array(rows).reshape(-1, 3).T
        return Closed(outcome.astype(int), 100 * moved, turned, 100 * overlap)

    def _opened(self, mano: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poses (B, 45) of opened fingers, and how deep (m) these hands (B,) are in the object.

        Fingers that would open into the object, as one within a handle, stay closed.
        """
        closed, regions = torch.from_numpy(mano).float(), self.hand.regions
        opened = closed.clone()
        opened[:, HAND_POSE] = regions.opened(closed[:, HAND_POSE])
        stray = self._depth(opened) > np.maximum(self._depth(closed), STRAY)
        fingers = torch.from_numpy(stray[:, np.argsort(FIRST_JOINT)]).repeat_interleave(9, dim=1)
        opened[:, HAND_POSE] = torch.where(fingers, closed[:, HAND_POSE], opened[:, HAND_POSE])
        return opened[:, HAND_POSE].numpy(), self._depth(opened).max(axis=1)

    def _depth(self, mano: torch.Tensor) -> np.ndarray:
        """(B, 6) metres that the hand's parts reach into the object."""
        with torch.no_grad():
            vertices = self.hand(mano)[0].numpy()
        within = (vertices > self.mesh.bounds[0]) & (vertices < self.mesh.bounds[1])
        inside, depth = within.all(axis=2), np.zeros(vertices.shape[:2], np.float32)
        depth[inside] = np.maximum(-signed_distance(self.mesh, vertices[inside]), 0.0)
        parts = self.hand.parts.numpy()
        return np.stack([depth[:, parts == part].max(axis=1) for part in range(6)], axis=1)

    def _model(self, mano: np.ndarray) -> mujoco.MjModel:
        """The hand (61,) in its place, the object, and far below it the table."""
        import mujoco

        spec = self.mechanism.spec(mano[BETAS])
        wrist = spec.body("wrist")
        wrist.pos = wrist.pos + mano[TRANSL]
        wrist.quat = quaternion(Rotation.from_rotvec(mano[GLOBAL_ORIENT]).as_matrix())
        self.object.add_to(spec, TIME_STEP)
        place = [*self.object.centre[:2], self.bottom - 1.0]
        table = spec.worldbody.add_body(name="table", mocap=True, pos=place)
        table.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.5, 0.5, 0.05],
            pos=[0, 0, -0.05],
            contype=HAND,
            conaffinity=OBJECT,
        )
        return spec.compile()

    def _try(self, model: mujoco.MjModel, way: np.ndarray) -> tuple[int, float, float]:
        """Outcome, and the most that the object moved (m) and turned (degrees) in the hand.

        Args:
            way: (2 or 3, 45) the fingers' angles: opened, at the grasp, and squeezing.
        """
        import mujoco

        data, worst = mujoco.MjData(model), (0.0, 0.0)
        drag = self.object.mass / DRAG * np.array([1, 1, 1, 1e-3, 1e-3, 1e-3])  # levers of 3 cm
        model.dof_damping[PLACE], model.opt.gravity[:] = drag, 0.0
        if not self._close(model, data, way):
            return PUSHED_AWAY, np.nan, np.nan
        model.dof_damping[PLACE] = 0.0
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        for axis in AXES:
            mujoco.mj_setState(model, data, state, kind)
            model.opt.gravity[:] = GRAVITY * axis
            held, worst = self._hold(model, data, worst, np.zeros(round(HOLDING / TIME_STEP)))
            if not held:
                return SLIPPED, *worst
        if self.preset.lift:
            mujoco.mj_resetData(model, data)
            model.opt.gravity[:] = 0.0, 0.0, -GRAVITY
            data.mocap_pos[0, 2] = self.bottom
            if not self._close(model, data, way):
                return PUSHED_AWAY, *worst
            down = np.full(round(LIFTING / TIME_STEP), LIFT / LIFTING * TIME_STEP)
            held, worst = self._hold(model, data, worst, down)
            if not held:
                return SLIPPED, *worst
        return HELD, *worst

    def _close(self, model: mujoco.MjModel, data: mujoco.MjData, way: np.ndarray) -> bool:
        """Close the opened hand and press; whether the object stayed about where it was."""
        step = stepper(model, data)

        def drive(start: np.ndarray, end: np.ndarray, seconds: float) -> None:
            steps = round(seconds / TIME_STEP)
            for number in range(1, steps + 1):
                data.ctrl[:] = start + (end - start) * (number / steps)
                step()

        data.qpos[FINGER_ANGLES] = way[0]
        home = data.qpos[PLACE].copy()
        drive(way[0], way[1], CLOSING)
        grasp, end = way[1], way[-1]
        if len(way) == 2:
            grasp, end = self._bend_on(model, data, grasp)
        drive(grasp, end, PRESSING)
        drive(end, end, SETTLING)
        return _way(home, data.qpos[PLACE])[0] < PUSHED and not diverged(data)

    def _bend_on(
        self, model: mujoco.MjModel, data: mujoco.MjData, grasp: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bend joints until they, or what hangs on them, touch: angles (45,) then, and pressing."""
        import mujoco

        target = grasp.reshape(5, 3, 3).copy()
        for _ in range(round(BEND_ON / RATE / (FEEL * TIME_STEP))):
            touching = _touching(model, data)
            if touching[:, 0].all():
                break
            target[..., 0] += np.where(touching, 0.0, RATE * FEEL * TIME_STEP)
            data.ctrl[:] = target.ravel()
            mujoco.mj_step(model, data, FEEL)
        pressing = target.copy()
        share = np.array([[FINGER_SHARE]] * 4 + [[THUMB_SHARE]])  # MANO's last finger is the thumb
        pressing[..., 0] += np.where(_touching(model, data), STRETCH * share, 0.0)
        return target.ravel(), pressing.ravel()

    def _hold(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        worst: tuple[float, float],
        down: np.ndarray,
    ) -> tuple[bool, tuple[float, float]]:
        """Whether the object stays in the hand; what `worst` is then.

        Args:
            down: (S,) metres that the table goes down in each step.
        """
        step = stepper(model, data)
        home, allowed = data.qpos[PLACE].copy(), np.array([self.preset.moved, self.preset.turned])
        looks = np.split(down, range(LOOK, len(down), LOOK))
        ways = np.empty((len(looks), 2))
        for look, steps in enumerate(looks):
            data.mocap_pos[0, 2] -= steps.sum()
            for _ in steps:
                step()
            ways[look] = _way(home, data.qpos[PLACE])
            worst = max(worst[0], ways[look, 0]), max(worst[1], ways[look, 1])
            if not (ways[look] <= allowed).all():
                return False, worst
            # A lift is seen to its end.
            if not down.any() and _stays(ways[: look + 1] / allowed, len(looks) - 1 - look):
                break
        return not diverged(data), worst


def _touching(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(5, 3) whether each joint of MANO's fingers, or one that hangs on it, carries a contact."""
    bodies = model.geom_bodyid[data.contact.geom].min(axis=1)  # the hand's are the first
    joints = bodies[(bodies > 1) & (bodies <= 1 + JOINTS)] - 2
    touching = np.zeros((5, 3), bool)
    touching[joints // 3, joints % 3] = True
    return np.logical_or.accumulate(touching[:, ::-1], axis=1)[:, ::-1]


def _stays(ways: np.ndarray, left: int) -> bool:
    """Whether what was seen so far (L, 2), as shares of what is allowed, clearly stays within that.

    Args:
        left: looks to come.
    """
    if len(ways) <= LOOKS:
        return False
    speed = np.maximum(ways[-1] - ways[-1 - LOOKS], 0.0) / LOOKS
    return bool((ways.max(axis=0) + FASTER * speed * left < CLEARLY).all())


def _way(home: np.ndarray, place: np.ndarray) -> tuple[float, float]:
    """Metres and degrees between two places (7,), infinite where the engine lost the object."""
    if not np.isfinite(place).all():
        return np.inf, np.inf
    turn = 2 * np.arccos(min(1.0, abs(home[3:] @ place[3:])))
    return float(np.linalg.norm(place[:3] - home[:3])), float(np.degrees(turn))
