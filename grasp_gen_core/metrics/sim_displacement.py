"""Simulation displacement: how far an object moves in a fixed hand within 35 steps of gravity."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.convex import (
    cached_parts,
    convex_parts,
    hull_within,
    inertia,
)

STEP = 1 / 240  # seconds
VHACD_RESOLUTION = 1000
MASS, FRICTION = 1.0, 3.0  # kg; Bullet multiplies the two bodies' coefficients: 9 acts
FAILED_CM = 10.0  # that an object moved which the engine lost, as the papers' code counts it
NEEDS_BULLET = "the displacement test needs Bullet: pip install 'grasp-gen[evaluate]'"


class Simulated(NamedTuple):
    """What became of B objects, each in its hand.

    Attributes:
        displacement_cm: (B,) how far the centre of mass moved; FAILED_CM where the engine lost it.
            NaN is what wasn't simulated.
        drift_cm: (B,) the same without gravity: what the overlap at the start pushes out.
        unstable: (B,) bool, the engine lost the object or threw it: gravity can't explain its
            motion.
    """

    displacement_cm: np.ndarray
    drift_cm: np.ndarray
    unstable: np.ndarray


class Engine(NamedTuple):
    """What the mended test and the published one set differently in Bullet.

    Attributes:
        patches: pieces that the hand's surface is cut into. Bullet keeps four contacts for a pair
            of shapes, so an object of one part would be held by four points in all.
        contact_distance: metres up to which a point counts among those four.
        margin: metres that the object's parts are thickened by; the hand's, read from a file, is 0.
        damping: share of the speed lost in a second.
        restitution: the object's; the hand's is 0, and so is their product.
        iterations: of the solver in a step.
    """

    patches: int
    contact_distance: float
    margin: float
    damping: float
    restitution: float
    iterations: int


# A wider margin holds what isn't touched; without one, thin hands let objects through. With one
# patch or a larger contact distance good grasps slip; more patches or iterations change nothing.
MENDED = Engine(
    patches=16,
    contact_distance=0.002,
    margin=0.0002,
    damping=0.0,
    restitution=0.0,
    iterations=50,
)
PUBLISHED = Engine(
    patches=1,
    contact_distance=0.02,
    margin=0.001,
    damping=0.04,
    restitution=0.5,
    iterations=150,
)
# For each triangle Bullet looks through all corners of a part: many are thinned out.
MANY, TOLERANCE = 40, 0.0002  # corners; metres that a part may lose, as much as the margin adds
BULLETS_MARGIN = 0.001  # metres, that a convex part has when it is made
THROWN = 0.2  # m/s more than gravity explains; good grasps and slipping ones stay below 0.1


class SimTest:
    """PyBullet simulation of one object in fixed hands (Hasson et al. 2019, Sec. 5.2).

    The hand is a concave triangle mesh read from a file, which Bullet gives no collision margin
    (one given from memory would have 1 mm). The object is made of convex parts, with the mesh's own
    centre of mass and inertia; Bullet would thicken them by 1 mm, here it is 0.2 mm. Free fall is
    n (n + 1) / 2 g dt^2 in n steps: 10.7 cm in 35, 2.9 % more than g t^2 / 2.

    Args:
        mesh: the object, watertight, metres.
        steps: of 1/240 s.
        gravity: m/s^2.
        drift: also run without gravity; else the drift is NaN, `unstable` tells only what is thrown
            under gravity, and a test takes half the time.
        lost: metres from which the object counts as lost and the run ends.

    Raises:
        InputError: if the mesh isn't watertight.
    """

    def __init__(
        self,
        mesh: trimesh.Trimesh,
        steps: int = 35,
        gravity: Sequence[float] = (0.0, 9.8, 0.0),
        drift: bool = True,
        lost: float = np.inf,
    ) -> None:
        self.steps, self.gravity, self.drift = steps, np.asarray(gravity, float), drift
        self.lost = lost
        self.engine = MENDED
        self.centre, axes, self.inertia = inertia(mesh, MASS)
        self.orientation = _quaternion(axes)
        hulls = [
            hull_within(part.vertices, TOLERANCE) if len(part.vertices) > MANY else part
            for part in convex_parts(mesh).parts
        ]
        self.parts = [((hull.vertices - self.centre) @ axes, hull.faces) for hull in hulls]

    @classmethod
    def as_published(cls, mesh: trimesh.Trimesh) -> SimTest:
        """The test as the papers' code runs it, flaws included.

        V-HACD parts at resolution 1000, fatter than the object; the mean of the vertices as its
        centre and a box's inertia; the hand as one body of at most four contacts a part; a failed
        simulation counts as 10 cm; drift isn't measured (NaN).
        """
        test = cls.__new__(cls)
        test.steps, test.gravity, test.lost = 35, np.array([0.0, 9.8, 0.0]), np.inf
        test.engine = PUBLISHED
        test.centre, test.orientation = mesh.vertices.mean(axis=0), (0.0, 0.0, 0.0, 1.0)
        test.inertia = None
        test.parts = [(p.vertices - test.centre, p.faces) for p in vhacd_parts(mesh)]
        return test

    def __call__(self, vertices: np.ndarray, faces: np.ndarray) -> Simulated:
        """Simulate the object in each hand.

        Args:
            vertices: (B, V, 3) posed hands, metres.
            faces: (F, 3) their closed surface.

        Raises:
            InputError: if pybullet isn't installed.
        """
        bullet = import_bullet()
        rows = []
        client = bullet.connect(bullet.DIRECT)
        try:
            with tempfile.TemporaryDirectory() as folder:
                write_obj(str(Path(folder) / "object.obj"), self.parts)
                for hand in np.asarray(vertices, float):
                    patches = _patches(hand, faces, self.engine.patches)
                    for index, patch in enumerate(patches):
                        used, local = np.unique(patch, return_inverse=True)
                        path = str(Path(folder) / f"hand{index}.obj")
                        write_obj(path, [(hand[used], local.reshape(-1, 3))])
                    rows.append(self._measure(bullet, client, Path(folder), len(patches)))
        finally:
            bullet.disconnect(physicsClientId=client)
        moved, drift, unstable = np.array(rows).reshape(-1, 3).T
        return Simulated(moved, drift, unstable.astype(bool))

    def _measure(self, bullet, client: int, folder: Path, patches: int) -> tuple:
        """Displacement (cm), drift (cm) and whether the object was thrown, in one hand."""
        world = {"physicsClientId": client}
        # All anew for each hand: Bullet's caches would make a result depend on the hands before.
        bullet.resetSimulation(**world)
        bullet.setPhysicsEngineParameter(
            enableFileCaching=0,
            numSolverIterations=self.engine.iterations,
            fixedTimeStep=STEP,
            contactBreakingThreshold=self.engine.contact_distance,
            deterministicOverlappingPairs=1,
            **world,
        )
        # Else Bullet reads each file once more, for pictures.
        look = bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=[0.01] * 3, **world)
        concave = bullet.GEOM_FORCE_CONCAVE_TRIMESH
        for index in range(patches):
            shape = _shape(bullet, folder / f"hand{index}.obj", world, flags=concave)
            body = bullet.createMultiBody(0, shape, look, **world)
            bullet.changeDynamics(body, -1, lateralFriction=FRICTION, restitution=0.0, **world)
        shapes = _shape(bullet, folder / "object.obj", world), look

        moved, speed = self._run(bullet, world, shapes, self.gravity)
        distance = distance_cm(moved)
        if self.engine is PUBLISHED:
            return distance, np.nan, not np.isfinite(moved).all()
        if not self.drift:
            return distance, np.nan, thrown(moved, speed, self.gravity)
        drifted, drift_speed = self._run(bullet, world, shapes, np.zeros(3))
        unstable = thrown(moved, speed, self.gravity) or thrown(drifted, drift_speed, np.zeros(3))
        return distance, distance_cm(drifted), unstable

    def _run(self, bullet, world: dict, shapes: tuple[int, int], gravity: np.ndarray) -> tuple:
        """How far (m) the centre of mass went, and its speed (m/s) at the end."""
        bullet.setGravity(*gravity, **world)
        body = bullet.createMultiBody(
            MASS, *shapes, basePosition=self.centre, baseOrientation=self.orientation, **world
        )
        bullet.changeDynamics(
            body,
            -1,
            lateralFriction=FRICTION,
            restitution=self.engine.restitution,
            linearDamping=self.engine.damping,
            angularDamping=self.engine.damping,
            collisionMargin=self.engine.margin,
            **world,
        )
        if self.inertia is not None:
            bullet.changeDynamics(body, -1, localInertiaDiagonal=self.inertia, **world)
        for _ in range(self.steps):
            bullet.stepSimulation(**world)
            position, _ = bullet.getBasePositionAndOrientation(body, **world)
            moved = np.subtract(position, self.centre)
            if np.linalg.norm(moved) >= self.lost:
                break
        velocity, _ = bullet.getBaseVelocity(body, **world)
        # The shape outlives the body: a margin left on it would change the next run's first step.
        bullet.changeDynamics(body, -1, collisionMargin=BULLETS_MARGIN, **world)
        bullet.removeBody(body, **world)
        return moved, float(np.linalg.norm(velocity))


def distance_cm(moved: np.ndarray) -> float:
    """How far a body went (3,), metres; FAILED_CM where the engine lost it."""
    distance = 100 * float(np.linalg.norm(moved))
    return distance if np.isfinite(distance) else FAILED_CM


def thrown(moved: np.ndarray, speed: float, gravity: np.ndarray) -> bool:
    """Whether a body that started at rest is faster than gravity's work explains, or not finite.

    Args:
        moved: (3,) metres.
        speed: m/s.
        gravity: (3,) m/s^2.
    """
    if not np.isfinite(moved).all():
        return True
    fall_speed = np.sqrt(2 * max(0.0, float(moved @ gravity)))
    return not speed <= fall_speed + THROWN


def import_bullet():
    """The pybullet module, without the line that it prints on stderr when it is loaded.

    Raises:
        InputError: if it isn't installed.
    """
    if "pybullet" in sys.modules:
        return sys.modules["pybullet"]
    import ctypes

    sys.stderr.flush()
    flush, kept = ctypes.CDLL(None).fflush, os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            import pybullet

            flush(None)
    except ImportError as error:
        raise InputError(NEEDS_BULLET) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    return pybullet


def has_bullet() -> bool:
    """Whether pybullet can be imported."""
    try:
        import_bullet()
    except InputError:
        return False
    return True


def vhacd_parts(mesh: trimesh.Trimesh) -> list[trimesh.Trimesh]:
    """Convex parts by Bullet's V-HACD at resolution 1000, cached on disk by the mesh's content."""
    import_bullet()
    return cached_parts("vhacd", mesh, (VHACD_RESOLUTION,), _run_vhacd)


def _run_vhacd(mesh: trimesh.Trimesh) -> list[trimesh.Trimesh]:
    with tempfile.TemporaryDirectory() as folder:
        source, result, log = (str(Path(folder) / name) for name in ("in.obj", "out.obj", "log"))
        write_obj(source, [(mesh.vertices, mesh.faces)])
        names = f"{source!r}, {result!r}, {log!r}"
        call = f"import pybullet; pybullet.vhacd({names}, resolution={VHACD_RESOLUTION})"
        # Its own process, because it fills stdout.
        subprocess.run([sys.executable, "-c", call], check=True, capture_output=True)
        groups = Path(result).read_text().split("o ")[1:]
    parts, before = [], 0
    for group in groups:
        rows = [line.split() for line in group.splitlines()[1:]]
        vertices = np.array([row[1:] for row in rows if row[:1] == ["v"]], float)
        faces = np.array([row[1:] for row in rows if row[:1] == ["f"]], int) - 1 - before
        parts.append(trimesh.Trimesh(vertices, faces, process=False))
        before += len(vertices)
    return parts


def write_obj(path: str, meshes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Vertices and faces of each mesh as an object of its own in one .obj file."""
    texts, before = [], 1
    for index, (vertices, faces) in enumerate(meshes):
        points, corners = np.ravel(vertices).tolist(), (np.ravel(faces) + before).tolist()
        texts.append(f"o part{index}\n")
        texts.append("v %.9g %.9g %.9g\n" * len(vertices) % tuple(points))
        texts.append("f %d %d %d\n" * len(faces) % tuple(corners))
        before += len(vertices)
    Path(path).write_text("".join(texts))


def _shape(bullet, path: Path, world: dict, **kind: int) -> int:
    """Bullet's number of the shape that a file holds."""
    return bullet.createCollisionShape(bullet.GEOM_MESH, fileName=str(path), **kind, **world)


def _patches(vertices: np.ndarray, faces: np.ndarray, count: int) -> list[np.ndarray]:
    """The faces of a hand (V, 3) in `count` compact groups."""
    from scipy.cluster.vq import kmeans2

    count = min(count, len(faces) // 8)
    if count <= 1:
        return [faces]
    _, label = kmeans2(vertices[faces].mean(axis=1), count, minit="++", seed=0)
    return [faces[label == group] for group in np.unique(label)]


def _quaternion(rotation: np.ndarray) -> tuple[float, ...]:
    """(x, y, z, w) of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    return tuple(Rotation.from_matrix(rotation).as_quat())
