"""Evaluation: all metrics of grasps made for every object of a folder, or of a file's grasps."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
import trimesh
from tqdm import tqdm

from grasp_gen_core import defaults
from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_accuracy import (
    contact_f1_pct,
    contact_maps,
    contact_precision_pct,
    contact_recall_pct,
)
from grasp_gen_core.metrics.fid import fid, get_extractor, grasp_views
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.joint_error import mpjpe_mm, r_mpjpe_mm
from grasp_gen_core.metrics.protocols import Numbers, get_protocol, summarise
from grasp_gen_core.metrics.score_order import order_numbers
from grasp_gen_core.metrics.sim_displacement import NEEDS_BULLET, has_bullet
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.meshes import load_mesh, mesh_files, solid
from grasp_gen_core.objects.views import VIEWS, view_object
from grasp_gen_core.parallel import Workers
from grasp_gen_core.pipeline import OPTIONS, GraspPipeline
from grasp_gen_core.runtime import select_device
from grasp_gen_core.synthesis.optimise import Target
from grasp_gen_core.types import SIDES, read_npz

POINTS = 4096  # of an object's view; the pipeline thins them evenly
FID_REFERENCE = 200  # grasps of the reference dataset whose pictures are compared with
VERSIONS = ("grasp-gen", "mujoco", "open3d", "pybullet", "scikit-learn", "torch")
AT_ONCE = 10  # grasps that one process measures, at most

# Hands to take pictures of: vertices, closed faces, joints, and their object.
Seen = tuple[np.ndarray, np.ndarray, np.ndarray, trimesh.Trimesh]


TASKS = ("generate", "refine")
SPLITS = ("objects", "hands")


@dataclass(frozen=True)
class Settings:
    """What is evaluated, and how.

    Args:
        task: "generate" grasps for objects, or "refine" a dataset's grasps after noise was put on
            them, and compare with what they were (CHOIR's perturbed-grasp benchmark).
        generator, refiner, device, hand, side, reposition, sampling, contact, completion,
            ranking: see GraspPipeline.
        split: what of a dataset was held out of training: "objects", or unusual "hands" on objects
            of training (CHOIR's split by subject).
        num: grasps for each object.
        view: one of `objects.views.VIEWS`.
        seed: same seed, same numbers.
        protocol: one of `metrics.protocols.PROTOCOLS`.
        reference: dataset folder whose grasps' pictures `fid` compares with, None for no `fid`.
        inception: file of Inception weights for `fid`, None for the built-in extractor.
    """

    task: str = "generate"
    generator: str = defaults.GENERATOR
    refiner: str = defaults.REFINER
    device: str = "auto"
    hand: str | None = None
    side: str = "right"
    reposition: str | None = None
    sampling: tuple[tuple[str, float], ...] = ()
    contact: str = "distance"
    completion: str = defaults.COMPLETION
    ranking: str = defaults.RANKING
    split: str = "objects"
    num: int = 20
    view: str = "full"
    seed: int = 0
    protocol: str = "exact"
    reference: str | None = None
    inception: str | None = None


@dataclass
class Item:
    """What one process evaluates at a time.

    Args:
        name: of the object.
        mesh: the object, metres.
        notes: on its mesh.
        mano: (B, 61) grasps of it, to put noise on; None where grasps are to be generated.
    """

    name: str
    mesh: trimesh.Trimesh
    notes: list[str]
    mano: np.ndarray | None = None


@dataclass
class Measured:
    """One object's grasps and their numbers.

    Args:
        name: of the object.
        mesh: the object, metres.
        hands: the grasps, in the mesh's frame.
        numbers: per-grasp numbers, each (B,).
        notes: what the reader of the numbers must know of the object.
        seconds: of the generating call, or None.
        features: (3B, D) of the grasps' pictures, or None.
    """

    name: str
    mesh: trimesh.Trimesh
    hands: HandMeshes
    numbers: Numbers
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    features: np.ndarray | None = None


@dataclass
class Evaluation:
    """All objects' grasps, and the results as `results.json` holds them."""

    objects: list[Measured]
    results: dict
    seconds: float | None = None  # median of the generating calls; no part of the results, which
    # are the same for the same seed


def evaluate(
    folder: str | Path, settings: Settings, ray_address: str | None = None, quiet: bool = False
) -> Evaluation:
    """Generate or refine grasps of every object of a folder, and measure them.

    Objects, then portions of their grasps, are spread over processes of one torch thread each; how
    many makes no difference. On a GPU this process makes the grasps of one object after the other.

    Args:
        folder: mesh files, metres, all of them solids, or repairable; to refine, a dataset, of
            which the objects for validation are taken, or all where it names none.
        settings: what to evaluate.
        ray_address: of a Ray cluster to spread over instead; the package must be installed there.
        quiet: no progress bar.

    Raises:
        InputError: if a name isn't known, or a file isn't accepted.
    """
    get_protocol(settings.protocol)
    if settings.view not in VIEWS:
        raise InputError(f"view: {settings.view!r}, accepted are {', '.join(VIEWS)}")
    if settings.task not in TASKS:
        raise InputError(f"task: {settings.task!r}, accepted are {', '.join(TASKS)}")
    if settings.split not in SPLITS:
        raise InputError(f"split: {settings.split!r}, accepted are {', '.join(SPLITS)}")
    device = select_device(settings.device)
    _pipeline(settings)  # names and files that aren't accepted are refused before the work
    items = _held_out_grasps(folder, settings) if settings.task == "refine" else _meshes(folder)
    references = _reference_grasps(settings.reference, settings.seed) if settings.reference else []
    extractor = get_extractor(settings.inception).name if references else None
    make = partial(_make_object, settings)
    with Workers(os.cpu_count() or 1, ray_address=ray_address) as workers:
        here = device.type == "cuda" and ray_address is None
        made = map(make, items) if here else workers.run(make, items)
        made = list(tqdm(made, "make", len(items), unit="object", disable=quiet))
        _measure(workers, settings.protocol, made, quiet)
        result = assemble(made, settings.protocol, settings.seed)
        result.seconds = float(np.median([one.seconds for one in made]))
        if references:
            looks = workers.run(partial(_look, settings.inception), references)
            looks = list(tqdm(looks, "reference", len(references), disable=quiet))
            shown = np.concatenate([one.features for one in made])
            result.results["summary"]["fid"] = fid(shown, np.concatenate(looks))
    result.results["config"] = {
        **asdict(settings),
        "device": device.type,
        "fid_extractor": extractor,
        **result.results["config"],
    }
    return result


def score(
    grasps: str | Path,
    mesh: str | Path,
    protocol: str = "exact",
    reference: str | Path | None = None,
    hand: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Evaluation:
    """Measure the grasps of a file, whoever made them, on all cores.

    Args:
        grasps: .npz with `vertices`, `faces` and `joints`; a hand of any topology.
        mesh: file of their object, metres, in the same frame.
        protocol: one of `metrics.protocols.PROTOCOLS`.
        reference: .npz of as many hands they should equal, for joint errors and contact accuracy.
        hand: MANO file that tells the fingers of hands of its topology.
        seed: of the clustering.
        quiet: no progress bar.

    Raises:
        InputError: if a file isn't accepted.
    """
    measures = get_protocol(protocol)
    model = ManoHand(hand, _side(grasps))
    given = load_mesh(mesh)
    centre = given.bounds.mean(axis=0)
    given.apply_translation(-centre)
    body, repairs = solid(given, str(mesh))
    hands = HandMeshes.load(grasps, model, centre)
    wanted = None if reference is None else HandMeshes.load(reference, model, centre)
    against = {} if wanted is None else _against(hands, wanted, body, str(reference))
    notes = [*hands.notes, *repairs, *measures.notes(body)]
    one = Measured(Path(mesh).stem, body, hands, against, notes)
    with Workers(os.cpu_count() or 1) as workers:
        _measure(workers, protocol, [one], quiet)
    result = assemble([one], protocol, seed)
    result.results["config"] = {
        "grasps": str(grasps),
        "mesh": str(mesh),
        "reference": None if reference is None else str(reference),
        "protocol": protocol,
        "seed": seed,
        **result.results["config"],
    }
    return result


def _measure(workers: Workers, protocol: str, objects: list[Measured], quiet: bool) -> None:
    """Add the protocol's per-grasp numbers of all objects' hands, measured portion by portion."""
    portions = [
        [one.hands[i : i + AT_ONCE] for i in range(0, len(one.hands), AT_ONCE)] for one in objects
    ]
    pairs = zip(objects, portions, strict=True)
    tasks = [(hands, one.mesh) for one, some in pairs for hands in some]
    results = workers.run(partial(_measure_portion, protocol), tasks)
    total = sum(len(one.hands) for one in objects)
    with tqdm(desc="measure", total=total, unit="grasp", disable=quiet) as bar:
        for one, some in zip(objects, portions, strict=True):
            found = []
            for hands in some:
                found.append(next(results))
                bar.update(len(hands))
            every = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
            one.numbers = every | one.numbers


def _side(grasps: str | Path) -> str:
    """Of a file's hands, right where it doesn't say."""
    arrays = read_npz(grasps)
    side = str(arrays["side"]) if "side" in arrays else "right"
    return side if side in SIDES else "right"


def _measure_portion(protocol: str, task: tuple[HandMeshes, trimesh.Trimesh]) -> Numbers:
    """Per-grasp numbers of some hands on their object; runs in a process of its own."""
    return get_protocol(protocol).measure(*task)


def _against(
    hands: HandMeshes, reference: HandMeshes, mesh: trimesh.Trimesh, source: str
) -> Numbers:
    """Per-grasp numbers against reference hands."""
    if reference.vertices.shape != hands.vertices.shape:
        raise InputError(
            f"{source}: vertices of shape {reference.vertices.shape}, accepted is that of the "
            f"grasps, {hands.vertices.shape}"
        )
    maps = contact_maps(hands.vertices, reference.vertices, hands.faces, mesh)
    return {
        "mpjpe_mm": mpjpe_mm(hands.joints, reference.joints),
        "r_mpjpe_mm": r_mpjpe_mm(hands.joints, reference.joints),
        "contact_f1_pct": contact_f1_pct(*maps),
        "contact_precision_pct": contact_precision_pct(*maps),
        "contact_recall_pct": contact_recall_pct(*maps),
    }


def assemble(measured: list[Measured], protocol: str, seed: int) -> Evaluation:
    """`results.json` of measured objects: per grasp, per object, over all, and the config.

    Without Bullet what needs it is null, and the notes say so.
    """
    names = list(measured[0].numbers)
    numbers = {n: np.concatenate([one.numbers[n] for one in measured]) for n in names}
    joints = np.concatenate([one.hands.joints for one in measured])
    with_mano = all(one.hands.mano is not None for one in measured)
    mano = np.concatenate([one.hands.mano for one in measured]) if with_mano else None
    notes = {one.name: one.notes for one in measured if one.notes}
    versions = {name: _version(name) for name in VERSIONS}
    if not has_bullet():
        versions["pybullet"] = None
        notes["all objects"] = [f"{NEEDS_BULLET}; what builds on it is left empty"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty|All-NaN|Degrees of freedom")
        summary = summarise(numbers, joints, mano, get_protocol(protocol), seed)
        if scored := all(one.hands.score is not None for one in measured):
            scores = [one.hands.score for one in measured]
            summary |= order_numbers(scores, [one.numbers for one in measured])
        means = {
            one.name: _numbers({n: np.nanmean(v) for n, v in one.numbers.items()})
            for one in measured
        }
    results = {
        "per_grasp": [
            {"object": one.name, "index": i, **_numbers({n: v[i] for n, v in columns.items()})}
            for one in measured
            for columns in [one.numbers | ({"score": one.hands.score} if scored else {})]
            for i in range(len(one.hands))
        ],
        "per_object": means,
        "summary": _numbers(summary),
        "config": {
            "notes": notes,
            "versions": versions,
        },
    }
    return Evaluation(measured, results)


def _numbers(named: dict) -> dict:
    """As JSON has them: what couldn't be measured is null."""
    return {name: _number(value) for name, value in named.items()}


def _number(value):
    if isinstance(value, dict):
        return _numbers(value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # such as the package itself where ROS 2 built it
        return None


@lru_cache(maxsize=2)
def _pipeline(settings: Settings) -> tuple[GraspPipeline, ManoHand]:
    """The pipeline, and the hand of its side."""
    pipeline = GraspPipeline(**{name: getattr(settings, name) for name in OPTIONS})
    return pipeline, ManoHand(settings.hand, settings.side)


def _meshes(folder: str | Path) -> list[Item]:
    """The objects of a folder."""
    files, items = mesh_files(folder), []
    unique = len({path.stem for path in files}) == len(files)
    for path in files:
        mesh, repairs = solid(load_mesh(path), str(path))
        items.append(Item(path.stem if unique else path.name, mesh, repairs))
    return items


def _held_out_grasps(folder: str | Path, settings: Settings) -> list[Item]:
    """Objects of a dataset, each with some of its held-out grasps, drawn evenly.

    Those for validation, or as many of the others as have unusual hands, drawn evenly.

    Raises:
        InputError: if hands are left, or the dataset holds none out.
    """
    if settings.side != "right":
        raise InputError(f"side: {settings.side!r}, accepted is right, as a dataset's hands are")
    data = GraspDataset.load(folder)
    known = data.split != "validation"
    rng, items, chosen = np.random.default_rng(settings.seed), [], np.ones(len(data), bool)
    if settings.split == "hands":
        chosen = data.unusual & known[data.object_index]
        if not chosen.any():
            raise InputError(f"{folder}: no hands of unusual shape, accepted are --split objects")
        objects = rng.permutation(np.unique(data.object_index[chosen]))
        objects = np.sort(objects[: np.count_nonzero(~known) or None])
    else:
        objects = np.flatnonzero(known if known.all() else ~known)
    for number in objects:
        grasps = np.flatnonzero(chosen & (data.object_index == number))
        drawn = np.sort(rng.permutation(grasps)[: settings.num])
        mesh, repairs = solid(data.mesh(int(number)), data.objects[number])
        items.append(Item(data.objects[number], mesh, repairs, data.mano[drawn]))
    return items


def _make_object(settings: Settings, item: Item) -> Measured:
    """One object's grasps, and their numbers against those that they should equal, if any do."""
    mesh = item.mesh
    pipeline, hand = _pipeline(settings)
    view = view_object(mesh, settings.view, POINTS, settings.seed)
    known = settings.view == "mesh"
    turn, shift = view.pose[:3, :3], view.pose[:3, 3]
    there = torch.from_numpy(turn).float(), torch.from_numpy(shift).float()
    if item.mano is not None:
        # Each object's grasps have noise of their own, whatever else is evaluated.
        rng = torch.Generator().manual_seed(settings.seed + crc32(item.name.encode()))
        noisy = perturb(torch.from_numpy(item.mano), rng)
        noisy = hand.move(noisy, there[0].T, -there[0].T @ there[1])

    def make() -> Hands:
        field = Target.from_mesh(mesh, pipeline.device).field if known else None
        if item.mano is None:
            grasps = pipeline(view.points, settings.num, settings.seed, field=field)
        elif settings.refiner == "none":
            return _surfaces(hand, noisy)
        else:
            grasps = pipeline.refine_hands(view.points, noisy.numpy(), settings.seed, field=field)
        return Hands(grasps.mano, grasps.vertices, grasps.joints, grasps.score)

    made, seconds = time_s(make, pipeline.device)
    arrays = {
        "vertices": made.vertices @ turn.T + shift,
        "joints": made.joints @ turn.T + shift,
        "faces": hand.faces.numpy(),
        "mano": hand.move(torch.from_numpy(made.mano), *there).numpy(),
    }
    if item.mano is None:
        arrays["score"] = made.score
    hands = HandMeshes.from_arrays(arrays, hand, item.name)
    numbers, notes = {}, item.notes + get_protocol(settings.protocol).notes(mesh)
    if item.mano is not None:
        true = _surfaces(hand, torch.from_numpy(item.mano))._asdict()
        truth = HandMeshes.from_arrays(true | {"faces": arrays["faces"]}, hand, item.name)
        numbers = _against(hands, truth, mesh, item.name)
    seen = (hands.vertices, hands.faces, hands.joints, mesh)
    features = _look(settings.inception, seen) if settings.reference else None
    return Measured(item.name, mesh, hands, numbers, notes, seconds, features)


class Hands(NamedTuple):
    """`mano` (B, 61), `vertices` (B, 778, 3) and `joints` (B, 21, 3) of hands, metres, and their
    `score` (B,) if they have one."""

    mano: np.ndarray
    vertices: np.ndarray
    joints: np.ndarray
    score: np.ndarray | None = None


def _surfaces(hand: ManoHand, mano: torch.Tensor) -> Hands:
    with torch.no_grad():
        return Hands(*(array.numpy() for array in (mano, *hand(mano))))


def _look(inception: str | None, task: Seen) -> np.ndarray:
    """(3B, D) features of pictures of the grasps."""
    return get_extractor(inception)(grasp_views(*task))


def _reference_grasps(folder: str, seed: int) -> list[Seen]:
    """Some grasps of a dataset, drawn evenly, by object."""
    data = GraspDataset.load(folder)
    count = min(FID_REFERENCE, len(data))
    drawn = np.random.default_rng(seed).choice(len(data), count, replace=False)
    hand, tasks = ManoHand(), []
    for index in np.unique(data.object_index[drawn]):
        mano = data.mano[drawn[data.object_index[drawn] == index]]
        vertices, joints = (x.numpy() for x in hand(torch.from_numpy(mano)))
        tasks.append((vertices, hand.closed_faces.numpy(), joints, data.mesh(int(index))))
    return tasks
