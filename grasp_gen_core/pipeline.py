"""Cloud -> generator -> refiner -> ranking -> GraspSet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from grasp_gen_core import defaults, refiners
from grasp_gen_core.completion import Belief, Seen, get_completion
from grasp_gen_core.contact import choir
from grasp_gen_core.contact.energies import misfit, walls_within
from grasp_gen_core.contact.maps import contact_map
from grasp_gen_core.contact.squeeze import squeeze
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators import load_generator, load_repositioner
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.hand.placing import bring_in, bring_out
from grasp_gen_core.metrics.contact_seen import contact_seen
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.clouds import evenly
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.frame import FieldInFrame, Frame
from grasp_gen_core.objects.sampling import OPEN, origin_may_be_camera, outward_normals
from grasp_gen_core.objects.sight import sees
from grasp_gen_core.perception import upwards
from grasp_gen_core.ranking import get_evaluator
from grasp_gen_core.ranking.collision import FREE, Obstacles, Surroundings, way
from grasp_gen_core.ranking.evidence import Evidence, gather
from grasp_gen_core.ranking.formula import score_grasps
from grasp_gen_core.runtime import few_threads, select_device, version
from grasp_gen_core.scene import Scene
from grasp_gen_core.stopping import Stop, heed, stopped_by
from grasp_gen_core.types import (
    BETAS,
    GLOBAL_ORIENT,
    HAND_POSE,
    TRANSL,
    GraspSet,
    Observation,
    check_mano,
    check_side,
    lean,
    retreat,
)

MOST = 1024  # grasps in a call
FARTHEST = 1.0  # metres between the object and a hand that is to be refined
MAX_POINTS = 2048  # a larger cloud is thinned: enough for 15 cm at 4 mm
# Promising proposals that are refined for each grasp returned, of which ranking keeps the best: of
# objects seen from all around, and in part, where more of them are wrong.
REFINED, REFINED_OF_PART = 2, 3
# Grasps made between looks at whether to stop. More at once isn't faster on a CPU; a GPU gets as
# many as it has room for, whose decoders grasp_tta trains one by one.
PORTION, GPU_PORTION = 32, 256
BACK_OFF = 0.08  # metres between pre-grasp and grasp
# Where the object may be several, a finger that closes on nothing costs more than one that closes
# too early: hands act on a surface that lies so many standard deviations deeper than the mean.
# Of 0, 0.3, 0.5, 0.6 and 1 about the best on held-out families.
LEAN = 0.5
BEHIND = 30  # cost of coming from where nobody saw the object, beside that of a misfit
CUT = 0.3  # cost of a square centimetre of walls within a hand, beside that of a misfit
BLOCKED = 1e3  # cost of a metre in what stands around a hand, beside that of a misfit
UNREACHABLE = 1e-3  # score of a grasp that can't be reached, at most


# What a command's and an evaluation's settings hand to the pipeline.
OPTIONS = ("generator", "refiner", "device", "hand", "side", "reposition", "sampling", "contact")
OPTIONS += ("completion", "ranking")
CONTACTS = ("distance", "gaussians")


class GraspPipeline:
    """Ranked hands for an object's cloud.

    Args:
        generator: one of `generators.NAMES`, or a folder of trained weights.
        refiner: one of `refiners.NAMES`, "none", or a folder of weights of a system that refines.
        device: "auto", "cpu", "cuda" or "cuda:N".
        hand: MANO file; None takes $GRASP_GEN_HAND, else the shipped generic hand.
        side: "right" or "left".
        reposition: a generator that puts the proposed hands in new places before refinement.
        sampling: options of the generator's sampling by name, see its `sampling_class`.
        contact: what contact maps follow from: the "distance" to the hand, or CHOIR's "gaussians".
        completion: how what isn't seen is guessed, one of `completion.NAMES`.
        ranking: what scores grasps, one of `ranking.NAMES`, or a folder of an evaluator's weights.

    Attributes:
        timings: seconds of the last call by stage.

    Raises:
        InputError: if a name, an option, the device or the hand file isn't accepted.
    """

    def __init__(
        self,
        generator: str = defaults.GENERATOR,
        refiner: str = defaults.REFINER,
        device: str = "auto",
        hand: str | Path | None = None,
        side: str = "right",
        reposition: str | None = None,
        sampling: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        contact: str = "distance",
        completion: str = defaults.COMPLETION,
        ranking: str = defaults.RANKING,
    ) -> None:
        if contact not in CONTACTS:
            raise InputError(f"contact: {contact!r}, accepted are {', '.join(CONTACTS)}")
        self.device = select_device(device)
        self.portion = PORTION if self.device.type == "cpu" else GPU_PORTION
        self.side = check_side(side)
        # Everything works on right hands; left ones are mirror images of both cloud and hand.
        self.hand = ManoHand(hand, "right").to(self.device)
        self.generator = load_generator(generator, self.hand, sampling=dict(sampling))
        self.refine = None
        if refiner != "none":
            self.refine = refiners.get_refiner(refiner, self.hand, self.generator)
        self.reposition = load_repositioner(reposition, self.hand) if reposition else None
        self.contact = contact
        self.complete = get_completion(completion, self.hand, self.generator)
        self.made_by = {"generator": str(generator), "refiner": str(refiner)}
        self.evaluator = get_evaluator(ranking, self.hand)
        self.made_by |= {"completion": completion, "ranking": str(ranking), "version": version()}
        self.timings: dict[str, float] = {}

    @few_threads()
    def __call__(
        self,
        points: np.ndarray | Observation,
        num: int = 32,
        seed: int = 0,
        stop: Stop | None = None,
        field: DistanceGrid | None = None,
        scene: Surroundings | None = None,
        up: np.ndarray | None = None,
        progress: Callable[[str, GraspSet | None], None] | None = None,
    ) -> GraspSet:
        """Grasps for one object.

        Args:
            points: (N, 3) the object's points, full or partial, in metres, in any frame, or an
                Observation, which also says where the camera stood, or the points' normals.
            num: grasps wanted.
            seed: same seed, device and version: same grasps.
            stop: asked now and then; true ends the call with CancelledError.
            field: signed distance to the object where it is known, in the frame of the points,
                which then lies near the object; else it follows from the points.
            scene: what stands around the object, in the frame of the points. Grasps say then
                whether they are `collision_free` on their way from pre-grasp to grasp, in
                `metrics`, and those that aren't come last.
            up: (3,) against gravity, in the frame of the points; None: across the scene's plane.
            progress: told which stage begins (generate, refine, rank), and the best grasp so far
                where there is one; refine begins with each portion of the hands.

        Returns:
            `num` grasps, best first, in the frame of the points: moved points get the same grasps,
            moved.

        Raises:
            InputError: if the points or the number aren't accepted.
            CancelledError: if it was stopped.
        """
        if not 1 <= num <= MOST:
            raise InputError(f"num: {num}, accepted are 1 to {MOST} grasps")
        with stopped_by(stop):
            seen = self.look_at(points, seed, field, scene, up)
            rng = torch.Generator().manual_seed(seed)
            if progress is not None:
                progress("generate", None)
            mano = self.propose(seen, num, rng)
            times = REFINED_OF_PART if seen.toward.any() else REFINED
            mano = self.promising(mano, seen, num * times)
            self._lap("generate")
            return self.finish(mano, seen, seed, num, progress)

    @few_threads()
    def refine_hands(
        self,
        points: np.ndarray | Observation,
        mano: np.ndarray,
        seed: int = 0,
        stop: Stop | None = None,
        field: DistanceGrid | None = None,
        up: np.ndarray | None = None,
    ) -> GraspSet:
        """Grasps made of hands that were seen or planned, such as a hand tracker's.

        Args:
            points, seed, stop, field, up: as of a call.
            mano: (B, 61) hands of the pipeline's side, in the frame of the points.

        Returns:
            B grasps in the order of the hands.

        Raises:
            InputError: if the points or the hands aren't accepted, or there is no refiner.
            CancelledError: if it was stopped.
        """
        if self.refine is None:
            raise InputError(f"refiner: none, accepted are {', '.join(refiners.NAMES)}")
        given = check_mano(mano)
        if not 1 <= len(given) <= MOST:
            raise InputError(f"mano: {len(given)} hands, accepted are 1 to {MOST}")
        with stopped_by(stop):
            scene = self.look_at(points, seed, field, up=up)
            away = np.linalg.norm(given[:, TRANSL] - scene.frame.origin, axis=1).max()
            if away > FARTHEST:
                raise InputError(
                    f"mano: a hand {away:.2f} m from the object, accepted are {FARTHEST} m: "
                    "both have to be in one frame"
                )
            return self.finish(bring_in(given, self.hand, scene.frame), scene, seed)

    def look_at(
        self,
        given: np.ndarray | Observation,
        seed: int,
        field: DistanceGrid | None,
        around: Surroundings | None = None,
        up: np.ndarray | None = None,
    ) -> Scene:
        """What the stages need to know of an object."""
        up = upwards(up)
        if up is None and around is not None and around.plane is not None:
            up = around.plane.normal
        self.timings, self._clock = {}, time.perf_counter()
        seen = given if isinstance(given, Observation) else Observation(given)
        points, notes = clean_points(seen.points)
        known = seen.normals is not None and len(points) == len(seen.points)
        frame = Frame.of(points, mirrored=self.side == "left")
        local = frame.into(points)
        chosen = evenly(local, MAX_POINTS, seed)
        points, local = points[chosen], local[chosen]
        eye = seen.viewpoint
        if eye is None and origin_may_be_camera(points):
            eye = np.zeros(3)
        # In its own frame the origin is amid the cloud, where no camera is.
        eye = None if eye is None else frame.into(np.asarray(eye))
        if known:
            normals = frame.turn_into(seen.normals[chosen])
        else:
            normals = outward_normals(local, eye)
        if eye is not None and not sees(local, normals, eye):
            eye = None
        if field is None:
            before = frame.into(around.neighbours) if around and len(around.neighbours) else None
            belief = self.complete(Seen(local, normals, eye, before), seed)
        else:
            belief = Belief(FieldInFrame(field, frame))
        cloud, outward = (torch.from_numpy(one).to(self.device) for one in (local, normals))
        # Whether it's all around is asked on the host: no wait for the device.
        toward = outward.mean(dim=0) * float(np.linalg.norm(normals.mean(axis=0)) > OPEN)
        whole = None
        if belief.shapes and not (self.generator.knows_surface or self.generator.draws_objects):
            whole = belief.whole(local, MAX_POINTS, seed).to(self.device)
        notes = list(dict.fromkeys([*seen.notes, *notes]))  # a file's are found twice
        obstacles = None if around is None else Obstacles(around, frame, self.device)
        grid = belief.field.to(self.device)
        taken_for = (toward, whole, grid, grid.leaning(LEAN), belief.shapes, belief.objects)
        scene = Scene(points, frame, cloud, outward, *taken_for, obstacles, up, notes)
        self._lap("cloud")
        return scene

    def finish(
        self,
        mano: Tensor,
        scene: Scene,
        seed: int,
        num: int | None = None,
        progress: Callable[[str, GraspSet | None], None] | None = None,
    ) -> GraspSet:
        """The hands (B, 61) refined and scored: the `num` best of them, or all in their order."""

        def tell(stage: str, hands: Tensor) -> None:
            if progress is not None:
                progress(stage, self.rank(hands, scene, 1))

        if self.refine is not None:
            portions, around = [], scene.obstacles and scene.obstacles.inside
            # Last digits depend on what is computed together, and refinement makes millimetres of
            # them: hands that somebody gave are refined each by itself.
            for portion in mano.split(1 if num is None else self.portion * REFINED_OF_PART):
                heed()
                tell("refine", torch.cat(portions) if portions else mano)
                portions.append(self.refine(portion, scene.cloud, scene.surface, around))
            mano = torch.cat(portions)
        heed()
        self._lap("refine")
        tell("rank", mano)
        grasps = self.rank(mano, scene, num)
        self._lap("rank")
        grasps.info = self.made_by | {
            "seed": seed,
            "device": str(self.device),
            "seconds": dict(self.timings),
            "notes": scene.notes,
        }
        return grasps

    def rank(self, mano: Tensor, scene: Scene, num: int | None) -> GraspSet:
        """The hands (B, 61) scored: the `num` best of them, or all in their order."""
        with torch.no_grad():
            vertices, joints = self.hand(mano)
            score, metrics = self.score(mano, vertices, joints, scene)
            if scene.obstacles is not None:
                depth = self.blocked(mano, scene.obstacles)
                metrics |= {"collision_cm": 100 * depth, "collision_free": depth <= FREE}
                # Below all that are free, the least blocked first.
                last = UNREACHABLE * torch.exp(-depth / FREE)
                score = torch.where(depth <= FREE, score.clamp(min=UNREACHABLE), last)
            order = torch.arange(len(mano), device=mano.device)
            if num is not None:
                order = score.argsort(descending=True, stable=True)[:num]
            metrics = {name: value[order] for name, value in metrics.items()}
            chosen = vertices[order]
            metrics["contact_seen"] = contact_seen(scene.grid(chosen), chosen, scene.cloud)
            metrics = {name: value.cpu().numpy() for name, value in metrics.items()}
            return self.assemble(mano[order], scene, score[order], metrics)

    def propose(self, scene: Scene, num: int, rng: torch.Generator) -> Tensor:
        """(num * generator.proposals, 61) unrefined hands.

        Half of them for the whole of what was drawn, by generators that don't know it otherwise.
        """
        surface = (scene.normals, scene.surface) if self.generator.knows_surface else ()
        surface += (scene.objects,) if self.generator.draws_objects else ()
        portions = []
        for first in range(0, num, self.portion):
            heed()
            count = min(self.portion, num - first) * self.generator.proposals
            half = 0 if scene.whole is None else count // 2
            with torch.no_grad():
                portions.append(self.generator.sample(scene.cloud, count - half, rng, *surface))
                if half:
                    portions.append(self.generator.sample(scene.whole, half, rng))
        mano = torch.cat(portions)
        if not (self.hand.is_generic or self.generator.knows_surface):
            # Shape components mean something else in another hand's file: take its mean shape.
            mano = self.hand.reshape(mano, torch.zeros_like(mano[:, BETAS]))
        if self.reposition is not None:
            with torch.no_grad():
                mano = self.reposition(mano, scene.cloud)
        return mano

    def promising(self, mano: Tensor, scene: Scene, num: int) -> Tensor:
        """(num, 61) the hands that need least refinement, those from behind or blocked last."""
        with torch.no_grad():
            vertices, joints = self.hand(mano)
            cost = misfit(vertices, scene.surface, self.hand.regions)
            fingers, palm = walls_within(joints, scene.surface, self.hand.regions)
            cost += CUT * (fingers + 5 * palm)
            cost += BEHIND * (self.approach(mano) @ scene.toward).clamp(min=0)
            if scene.obstacles is not None:
                cost = cost + BLOCKED * (self.blocked(mano, scene.obstacles) - FREE).clamp(min=0)
        return mano[cost.argsort(stable=True)[:num]]

    def blocked(self, mano: Tensor, obstacles: Obstacles) -> Tensor:
        """(B,) metres that hands (B, 61) are in obstacles on their way from pre-grasp to grasp."""
        deepest = mano.new_zeros(len(mano))
        for stage in way(self.pregrasp(mano), mano):
            heed()
            deepest = torch.maximum(deepest, obstacles.depth(self.hand(stage)[0]))
        return deepest

    def evidence(self, mano: Tensor, scene: Scene) -> Evidence:
        """What the evaluator is told of hands (B, 61) in the scene's frame."""
        vertices, joints = self.hand(mano)
        formula = self.formula(mano, vertices, joints, scene)
        return self._evidence(mano, vertices, joints, scene, *formula)

    def _evidence(
        self,
        mano: Tensor,
        vertices: Tensor,
        joints: Tensor,
        scene: Scene,
        score: Tensor,
        metrics: dict[str, Tensor],
    ) -> Evidence:
        seen = (scene.cloud, scene.normals, scene.grid, scene.surface)
        return gather(mano, vertices, joints, self.hand, *seen, score, metrics)

    def score(
        self, mano: Tensor, vertices: Tensor, joints: Tensor, scene: Scene
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores (B,) of hands, and what the formula makes its own of."""
        score, metrics = self.formula(mano, vertices, joints, scene)
        if self.evaluator is not None:
            known = self._evidence(mano, vertices, joints, scene, score, metrics)
            score = self.evaluator.chance(known)
        return score, metrics

    def formula(
        self, mano: Tensor, vertices: Tensor, joints: Tensor, scene: Scene
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The formula's scores (B,) of hands, and the metrics behind them."""
        return score_grasps(
            vertices,
            joints,
            self.approach(mano),
            self.hand,
            scene.grid,
            scene.normals,
            scene.cloud.mean(dim=0),
        )

    def approach(self, mano: Tensor) -> Tensor:
        """(B, 3) direction out of the palm."""
        return rotations.to_matrix(mano[:, GLOBAL_ORIENT]) @ self.hand.regions.palm_axis

    def pregrasp(self, mano: Tensor) -> Tensor:
        """(B, 61) the same hands with fingers opened, backed off against the approach."""
        opened = self.hand.regions.opened(mano[:, HAND_POSE])
        transl = mano[:, 58:] - BACK_OFF * self.approach(mano)
        return torch.cat([mano[:, :13], opened, transl], dim=1)

    def contact_map(self, vertices: Tensor, cloud: Tensor) -> Tensor:
        """(B, N) contact in [0, 1] of a cloud's points (N, 3) with hands (B, 778, 3)."""
        if self.contact == "distance":
            return contact_map(cloud, vertices)
        regions = self.hand.regions
        every = cloud.expand(len(vertices), -1, -1)
        weights = choir.contact_weights(every, vertices, self.hand.faces)
        contacts = choir.fit_gaussians(vertices, weights, regions)
        return choir.object_contact(cloud, contacts, vertices, regions)

    def assemble(
        self, mano: Tensor, scene: Scene, score: Tensor, metrics: dict[str, np.ndarray]
    ) -> GraspSet:
        """A GraspSet in the caller's frame, of hands (B, 61) in the scene's."""
        frame, (vertices, joints) = scene.frame, self.hand(mano)
        contact = self.contact_map(vertices, scene.cloud)
        vertices, joints = (frame.out(part.cpu().numpy()) for part in (vertices, joints))
        placed = bring_out(mano, self.hand, frame)
        wrist_pose = np.tile(np.eye(4), (len(mano), 1, 1))
        wrist_pose[:, :3, :3] = Rotation.from_rotvec(placed[:, GLOBAL_ORIENT]).as_matrix()
        wrist_pose[:, :3, 3] = joints[:, 0]
        approach = frame.turn_out(self.approach(mano).cpu().numpy())
        faces = self.hand.faces.flip(1) if frame.mirrored else self.hand.faces
        return GraspSet(
            mano=lean(placed),
            vertices=lean(vertices),
            faces=faces.cpu().numpy(),
            joints=lean(joints),
            points=lean(scene.points),
            contact=contact.cpu().numpy(),
            score=score.cpu().numpy(),
            side=self.side,
            wrist_pose=lean(wrist_pose),
            approach=approach.astype(np.float32),
            pregrasp=lean(bring_out(self.pregrasp(mano), self.hand, frame)),
            squeeze=lean(bring_out(squeeze(self.hand, mano, scene.surface), self.hand, frame)),
            retreat=retreat(approach, scene.up).astype(np.float32),
            metrics=metrics,
            shapes=tuple(frame.mesh_out(shape) for shape in scene.shapes),
        )

    def _lap(self, stage: str) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.timings[stage], self._clock = now - self._clock, now
