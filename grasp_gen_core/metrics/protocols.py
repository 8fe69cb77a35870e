"""Protocols: all numbers of a set of grasps, exact, or the way a paper's own scripts measure them.

`exact` takes each metric as its file defines it. The others reproduce how published tables came
about, flaws included, so that our rows can stand beside published ones like for like. What each
flaw does to the numbers: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.diversity import CLUSTERS, diversity, scipy_diversity
from grasp_gen_core.metrics.grasp_success import FAILURES, HELD, ClosingTest
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.high_quality_ratio import high_quality_ratio
from grasp_gen_core.metrics.hold_worst_axis import HoldTest
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.quality_index import quality_index
from grasp_gen_core.metrics.sim_displacement import SimTest, Simulated, has_bullet
from grasp_gen_core.objects.convex import convex_parts
from grasp_gen_core.objects.distance import build_scene, signed_distance

PARTS_TOLERANCE = 0.05  # share by which the convex parts may differ in volume
COARSE_PITCH = 0.005  # metres, GraspTTA's voxels
OBLIQUE = np.array([0.44, 0.62, 0.65])  # a ray that runs along no face
TOLERANCE = 1e-7  # of a determinant in square metres

Numbers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Args:
        name: as `--protocol` takes it.
        measure: hands and their object to per-grasp numbers, each (B,).
        notes: what the reader of an object's numbers must know of how it was measured.
        spread: hands of all objects and a seed to entropy and cluster size, None where the paper
            has none. Of `exact` it also gives `cluster_size_cm`.
    """

    name: str
    measure: Callable[[HandMeshes, trimesh.Trimesh], Numbers]
    notes: Callable[[trimesh.Trimesh], list[str]]
    spread: Callable[[np.ndarray, np.ndarray | None, int], dict[str, float]] | None


def measure_exact(hands: HandMeshes, mesh: trimesh.Trimesh) -> Numbers:
    """DESIGN's definitions, one file each in this folder."""
    distance = torch.from_numpy(signed_distance(mesh, hands.vertices))
    held = HoldTest(mesh, hands.cells)(hands.vertices)
    pushed = displace(SimTest, hands, mesh)
    volume = penetration_volume_cm3(hands.vertices, hands.faces, mesh)
    return {
        "penetration_volume_cm3": volume,
        "penetration_depth_cm": penetration_depth_cm(distance).numpy(),
        "contact_ratio_pct": contact_ratio_pct(distance).numpy(),
        "contact_fingers": contact_fingers(distance, torch.from_numpy(hands.parts)).numpy(),
        "sim_displacement_cm": pushed.displacement_cm,
        "sim_drift_cm": pushed.drift_cm,
        "sim_unstable": pushed.unstable,
        "hold_worst_axis_cm": held.displacement_cm,
        "hold_drift_cm": held.drift_cm,
        "hold_unstable": held.unstable,
        "quality_index": quality_index(volume, pushed.displacement_cm),
        **close(hands, mesh),
    }


def close(hands: HandMeshes, mesh: trimesh.Trimesh) -> Numbers:
    """Whether hands get hold when they close, and why not, as 0 and 1; NaN without MANO vectors."""
    names = {"grasp_success": HELD} | {f"grasp_{name}": code for code, name in FAILURES.items()}
    if hands.hand is None:
        return dict.fromkeys(names, np.full(len(hands), np.nan))
    outcome = ClosingTest(mesh, hands.hand)(hands.mano).outcome
    return {name: (outcome == code).astype(float) for name, code in names.items()}


def displace(
    test: Callable[[trimesh.Trimesh], SimTest], hands: HandMeshes, mesh: trimesh.Trimesh
) -> Simulated:
    """The displacement test's numbers, all NaN where Bullet isn't installed."""
    if has_bullet():
        return test(mesh)(hands.vertices, hands.faces)
    return Simulated(*np.full((3, len(hands.vertices)), np.nan))


def notes_exact(mesh: trimesh.Trimesh) -> list[str]:
    """Whether the convex parts that the physics engines get miss the object's volume."""
    ratio = convex_parts(mesh).volume_ratio
    if abs(ratio - 1) <= PARTS_TOLERANCE:
        return []
    return [f"convex parts hold {100 * ratio:.0f} % of the mesh's volume"]


def no_notes(mesh: trimesh.Trimesh) -> list[str]:
    """The papers' scripts check nothing."""
    return []


def measure_dvqvae(hands: HandMeshes, mesh: trimesh.Trimesh) -> Numbers:
    """Volume against the object's convex hull; contact is any volume shared with the hull."""
    volume = penetration_volume_cm3(hands.vertices, hands.faces, mesh.convex_hull)
    moved = displace(SimTest.as_published, hands, mesh).displacement_cm
    return {
        "penetration_volume_cm3": volume,
        "contact_ratio_pct": 100.0 * (volume > 0),
        "sim_displacement_cm": moved,
        "quality_index": quality_index(volume, moved),
    }


def measure_fastgrasp(hands: HandMeshes, mesh: trimesh.Trimesh) -> Numbers:
    """Volume from 5 mm voxels of the object's surface, as GraspTTA's."""
    distance = torch.from_numpy(signed_distance(mesh, hands.vertices))
    return {
        "penetration_volume_cm3": surface_voxel_volume_cm3(hands, mesh, COARSE_PITCH),
        "contact_ratio_pct": contact_ratio_pct(distance).numpy(),
        "sim_displacement_cm": displace(SimTest.as_published, hands, mesh).displacement_cm,
    }


def measure_grasptta(hands: HandMeshes, mesh: trimesh.Trimesh) -> Numbers:
    """As FastGrasp's, and a depth whose inside test drops small triangles."""
    return {
        **measure_fastgrasp(hands, mesh),
        "penetration_depth_cm": tolerant_depth_cm(hands.vertices, mesh),
    }


def surface_voxel_volume_cm3(hands: HandMeshes, mesh: trimesh.Trimesh, pitch: float) -> np.ndarray:
    """(B,) volume of the voxels of the object's surface, `pitch` metres, centred in the hand.

    GraspTTA's and FastGrasp's way at 5 mm: what of the hand is inside the object, off its surface,
    doesn't count.
    """
    points = mesh.voxelized(pitch).points.astype(np.float32)
    inside = [
        int(build_scene(hand, hands.faces).compute_occupancy(points, nsamples=3).numpy().sum())
        for hand in hands.vertices
    ]
    return 1e6 * pitch**3 * np.array(inside, dtype=float)


def tolerant_depth_cm(vertices: np.ndarray, mesh: trimesh.Trimesh) -> np.ndarray:
    """(B,) deepest hand vertex "inside" by a ray test with an absolute tolerance, in metres.

    Triangles of which twice the area, seen along the ray, is below 1e-7 square metres are dropped,
    and a tenth of that is added to all others': rays slip through the cracks that this opens, and
    vertices far outside count as inside. Depth is the distance to the object's nearest vertex.
    """
    deepest = np.zeros(len(vertices))
    nearest = cKDTree(mesh.vertices)
    triangles = torch.from_numpy(mesh.triangles.astype(np.float32))
    for index, hand in enumerate(vertices):
        inside = _tolerant_inside(torch.from_numpy(hand.astype(np.float32)), triangles).numpy()
        if inside.any():
            deepest[index] = nearest.query(hand[inside])[0].max()
    return 100 * deepest


def _tolerant_inside(points: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """(P,) bool by the parity of crossings with (T, 3, 3) triangles (Moeller and Trumbore 1997)."""
    direction = torch.tensor(OBLIQUE / np.linalg.norm(OBLIQUE), dtype=torch.float32)
    corner = triangles[:, 0]
    first, second = triangles[:, 1] - corner, triangles[:, 2] - corner
    normal = torch.cross(direction.expand_as(second), second, dim=1)
    determinant = (first * normal).sum(dim=1)
    kept = determinant.abs() >= TOLERANCE
    corner, first, second, normal, determinant = (
        x[kept] for x in (corner, first, second, normal, determinant)
    )
    determinant = determinant + TOLERANCE / 10
    inside = []
    for part in points.split(64):
        start = part[:, None] - corner
        u = (start * normal).sum(dim=2) / determinant
        turned = torch.cross(start, first.expand_as(start), dim=2)
        v = (turned @ direction) / determinant
        along = (turned * second).sum(dim=2) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (along > TOLERANCE)
        inside.append(hit.sum(dim=1) % 2 == 1)
    return torch.cat(inside)


def spread_exact(joints: np.ndarray, mano: np.ndarray | None, seed: int) -> dict[str, float]:
    """FastGrasp's protocol: the 21 joints whitened; cluster size also in centimetres."""
    flat = joints.reshape(len(joints), -1)
    whitened = diversity(flat, whiten=True, seed=seed)
    plain = diversity(100 * flat, whiten=False, seed=seed)
    return {**whitened._asdict(), "cluster_size_cm": plain.cluster_size}


def spread_fastgrasp(joints: np.ndarray, mano: np.ndarray | None, seed: int) -> dict[str, float]:
    """The 21 joints whitened, by scipy's k-means."""
    return scipy_diversity(joints.reshape(len(joints), -1), whiten=True, seed=seed)._asdict()


def spread_dvqvae(joints: np.ndarray, mano: np.ndarray | None, seed: int) -> dict[str, float]:
    """The 61 MANO parameters as they are: metres, radians and shape in one distance."""
    if mano is None:
        raise InputError(
            "mano: the dvqvae protocol clusters MANO parameters, which these grasps lack"
        )
    return scipy_diversity(mano.astype(float), whiten=False, seed=seed)._asdict()


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("exact", measure_exact, notes_exact, spread_exact),
        Protocol("dvqvae", measure_dvqvae, no_notes, spread_dvqvae),
        Protocol("grasptta", measure_grasptta, no_notes, None),
        Protocol("fastgrasp", measure_fastgrasp, no_notes, spread_fastgrasp),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: if there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol: {name!r}, accepted are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def summarise(
    numbers: Numbers, joints: np.ndarray, mano: np.ndarray | None, protocol: Protocol, seed: int
) -> dict:
    """One number (or curve) for each metric over all grasps.

    Args:
        numbers: per-grasp numbers of all objects, each (B,).
        joints: (B, 21, 3) in the objects' frames, metres.
        mano: (B, 61) or None.
        protocol: which measured them.
        seed: of the clustering.

    Returns:
        Means (of `*_unstable` the share, as `*_unstable_pct`), median and standard deviation of the
        displacement, entropy and cluster size (None below 20 grasps), the high-quality ratio (None
        without displacements). Of what some grasp lacks, NaN: nothing leaves the means unseen.
    """
    summary = {
        name: float(np.mean(values))
        for name, values in numbers.items()
        if not name.endswith("_unstable")
    }
    moved = numbers["sim_displacement_cm"]
    summary["sim_displacement_median_cm"] = float(np.median(moved))
    summary["sim_displacement_std_cm"] = float(np.std(moved))
    for name, values in numbers.items():
        if name.endswith("_unstable"):
            summary[f"{name}_pct"] = 100 * float(np.mean(values))
    if protocol.spread:
        few = len(joints) < CLUSTERS
        nothing = {"entropy": None, "cluster_size": None}
        summary |= nothing if few else protocol.spread(joints, mano, seed)
    summary["high_quality_ratio"] = (
        None
        if np.isnan(moved).all()
        else high_quality_ratio(numbers["penetration_volume_cm3"], moved)
    )
    return summary
