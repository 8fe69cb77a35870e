"""Grasps that were judged: hands as the pipeline refines them, and what became of each on the true
mesh. The evaluator (`grasp_gen_core.ranking.evaluator`) learns from them.

Objects are of the families, with seeds that nothing else uses, and each is seen in one way. What is
kept is made once, on all cores, in one file; so is what the evaluator is told of each hand.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING
from zlib import crc32

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.placing import bring_in
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.score_order import best, spearman
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.convex import cache_folder
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT
from grasp_gen_core.objects.views import ObjectView, view_object
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.ranking.evaluator import NO_FAMILY, Evaluator, Expected
from grasp_gen_core.ranking.evidence import HAND_NUMBERS, PLACE_NUMBERS, PLACES, Evidence
from grasp_gen_training.data import Batches, load
from grasp_gen_training.kept import keep
from grasp_gen_training.module import NetworkTraining
from grasp_gen_training.shapes import shape_mesh

if TYPE_CHECKING:
    from grasp_gen_core.types import GraspSet

VERSION = 8  # of the records: one more when other code here makes others
FIRST_SEED = 200_000
VIEWS = ("camera", "full", "camera", "mask50", "camera", "mask90")  # in turn
POINTS = 4096  # of a view, as in evaluation
HANDS = 16  # of each object, of all that were refined
PITCH = 0.001  # metres between the lines of the volume
RECORD = np.dtype(
    [
        ("mano", "<f4", 61),
        ("score", "<f4"),
        ("success", "<f4"),
        ("volume_cm3", "<f4"),
        ("displacement_cm", "<f4"),
    ]
)
PLACE_SIZE = PLACES * PLACE_NUMBERS


def judged_names(count: int, held_out: bool = False) -> list[str]:
    """Names "family:seed/view" of `count` objects, of the families held out of training or others.

    What is at a place doesn't depend on how many there are.
    """
    families = [f for f in FAMILIES if (f in HELD_OUT) == held_out]
    turns = (divmod(i, len(families)) for i in range(count))
    return [
        f"{families[f]}:{FIRST_SEED + turn}/{VIEWS[(turn + f) % len(VIEWS)]}" for turn, f in turns
    ]


def seen(name: str) -> tuple[ObjectView, int]:
    """What a name's view shows, and the seed of all that happens to it."""
    name, _, view = name.partition("/")
    seed = crc32(name.encode()) % 2**20
    return view_object(shape_mesh(name), view, POINTS, seed), seed


@lru_cache(maxsize=1)
def pipeline() -> GraspPipeline:
    return GraspPipeline(device="cpu", ranking="formula")


def judge(name: str) -> np.ndarray:
    """(HANDS,) RECORDs, hands in the view's frame; all NaN where too little is seen."""
    rows, hand = np.zeros(HANDS, RECORD), pipeline().hand
    try:
        view, seed = seen(name)
        grasps = propose(view.points, seed)
    except InputError:
        for field in RECORD.names:
            rows[field] = np.nan
        return rows
    mesh = shape_mesh(name.partition("/")[0])
    turn, shift = view.pose[:3, :3], view.pose[:3, 3]
    there = torch.from_numpy(turn).float(), torch.from_numpy(shift).float()
    vertices, faces = grasps.vertices @ turn.T + shift, hand.closed_faces.numpy()
    mano = hand.move(torch.from_numpy(grasps.mano), *there).numpy()
    rows["mano"], rows["score"] = grasps.mano, grasps.score
    rows["success"] = ClosingTest(mesh, hand)(mano).outcome == HELD
    rows["volume_cm3"] = penetration_volume_cm3(vertices, faces, mesh, PITCH)
    rows["displacement_cm"] = SimTest(mesh, drift=False)(vertices, faces).displacement_cm
    return rows


def propose(points: np.ndarray, seed: int) -> GraspSet:
    """HANDS hands: all that the pipeline refines, and not their better half alone."""
    pipe = pipeline()
    scene = pipe.look_at(points, seed, None)
    mano = pipe.propose(scene, HANDS // 2, torch.Generator().manual_seed(seed))
    return pipe.finish(pipe.promising(mano, scene, HANDS), scene, seed, HANDS)


def tell(task: tuple[str, np.ndarray], known: bool = False) -> np.ndarray:
    """(HANDS, PLACE_SIZE + HAND_NUMBERS) evidence of judged hands, see `Evidence`; NaN likewise.

    Args:
        task: the object's name, and its records.
        known: whether the object is taken for what it is.
    """
    name, rows = task
    if np.isnan(rows["success"]).any():
        return np.full((HANDS, PLACE_SIZE + HAND_NUMBERS), np.nan)
    pipe, (view, seed) = pipeline(), seen(name)
    field = None
    if known:
        mesh = shape_mesh(name.partition("/")[0]).copy()
        field = DistanceGrid.from_mesh(mesh.apply_transform(np.linalg.inv(view.pose)))
    scene = pipe.look_at(view.points, seed, field)
    mano = bring_in(rows["mano"], pipe.hand, scene.frame)
    with torch.no_grad():
        evidence = pipe.evidence(mano, scene)
    return torch.cat([evidence.places.flatten(1), evidence.hands], dim=1).numpy()


class Judged(Dataset):
    """Judged hands by object, in batches of objects.

    Args:
        names: of the objects, see `judged_names`.
        quiet: no progress bars.
        known: whether the evaluator is told of the objects as they are.
    """

    def __init__(self, names: list[str], quiet: bool = False, known: bool = False) -> None:
        folder = cache_folder() / "judged"
        path = folder / f"{crc32(repr((VERSION, HANDS, names)).encode()):08x}.npy"
        shape = (len(names), HANDS)
        rows = list(enumerate(names))
        made = keep(path, shape, RECORD, judge, rows, "judged hands", quiet, slow=True)
        records = np.load(made, mmap_mode="r")
        tasks = [(i, (name, records[i])) for i, name in enumerate(names)]
        shape += (PLACE_SIZE + HAND_NUMBERS,)
        path = path.with_name(f"{path.stem}_{'known' if known else 'evidence'}.npy")
        make = partial(tell, known=known)
        made = keep(path, shape, "<f2", make, tasks, "evidence", quiet, slow=True)
        self.evidence = np.load(made, "r")
        self.known = np.flatnonzero(~np.isnan(records["success"]).any(axis=1))
        self.names, self.records = names, records
        families = [name.partition(":")[0] for name in names]
        self.family = np.array(
            [NO_FAMILY if f in HELD_OUT else FAMILIES.index(f) for f in families]
        )

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, batch: tuple[np.ndarray, int]) -> dict[str, torch.Tensor]:
        """What `Evaluator.loss` takes, of the objects with the numbers `batch[0]`."""
        rows = self.known[batch[0]]
        places, hands = np.split(self.evidence[rows].astype(np.float32), [PLACE_SIZE], axis=2)
        places = places.reshape(*places.shape[:2], PLACES, PLACE_NUMBERS)
        told = {"places": places, "hands": hands}
        told |= {name: self.records[rows][name] for name in Expected._fields}
        told["family"] = self.family[rows]
        return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in told.items()}


class JudgedData(lightning.LightningDataModule):
    """Training and validation samples; whole families are held out.

    Args:
        batch: objects in a batch.
        objects, held_out: numbers of objects.
        quiet: no progress bars.
        known: whether the evaluator is told of the objects as they are.
    """

    def __init__(
        self,
        batch: int,
        objects: int,
        held_out: int,
        quiet: bool = False,
        known: bool = False,
    ) -> None:
        super().__init__()
        self.batch = batch
        self.validation = Judged(judged_names(held_out, True), quiet, known)
        self.training = Judged(judged_names(objects), quiet, known)
        self.measured = self

    def train_dataloader(self) -> DataLoader:
        return load(self.training, Batches(len(self.training), self.batch, shuffled=True), 0)

    def val_dataloader(self) -> DataLoader:
        return load(self.validation, Batches(len(self.validation), self.batch, False), 0)


class EvaluatorTraining(NetworkTraining):
    """The evaluator's training; validation orders the hands of held-out objects.

    Args:
        generator: the evaluator; it's calibrated at last, on what its members say of the families
            that they left out.
        hand: not used.
        lr, steps: of the optimiser.
        measured: the judged hands.
    """

    def __init__(
        self, generator: Evaluator, hand: ManoHand, lr: float, steps: int, measured: JudgedData
    ) -> None:
        super().__init__(generator, lr, steps)
        self.measured = measured
        batch = measured.training[np.arange(len(measured.training)), 0]
        generator.standardise(Evidence(*(batch[name] for name in Evidence._fields)))

    def measure(self) -> dict[str, float]:
        """Rank correlation with the quality index, and the first five's index and success."""
        scores, numbers = [], []
        for i in range(len(self.measured.validation)):
            batch = self.measured.validation[np.array([i]), 0]
            evidence = Evidence(*(batch[k][0].to(self.device) for k in Evidence._fields))
            with torch.no_grad():
                scores.append(self.generator.chance(evidence).cpu().numpy())
            true = Expected(*(batch[name][0] for name in Expected._fields))
            numbers.append(
                {"quality_index": true.quality_index.numpy(), "success": true.success.numpy()}
            )
        first = {f"best5_{name}": value for name, value in best(scores, numbers, 5).items()}
        return first | {"spearman": spearman(scores, [one["quality_index"] for one in numbers])}

    def finish(self) -> None:
        """Calibrate the evaluator."""
        data = self.measured.training
        calibrate(self.generator.eval(), [data[np.array([i]), 0] for i in range(len(data))])


def calibrate(evaluator: Evaluator, batches: list[dict[str, torch.Tensor]]) -> None:
    """Calibrate on batches of one object each, by the members that left out its family."""
    found, true = [], []
    for batch in batches:
        evidence = Evidence(*(batch[k][0].to(evaluator.calibration) for k in Evidence._fields))
        unaware = evaluator.unaware(batch["family"])[:, 0]
        with torch.no_grad():
            found.append(torch.stack([one[unaware].mean(dim=0) for one in evaluator(evidence)]))
        true.append(torch.stack([batch[name][0] for name in Expected._fields]).to(found[-1]))
    evaluator.calibrate(*(Expected(*torch.cat(one, dim=1)) for one in (found, true)))
