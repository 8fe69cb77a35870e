"""Objects with hands on them, of nothing: JHOD's unconditional generation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from grasp_gen_core.contact.energies import misfit
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.jhod import JHOD
from grasp_gen_core.generators.layers.numbers import mano_of
from grasp_gen_core.hand.placing import bring_in
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.render import Cell, export_glb, grasp_cells, write_sheet
from grasp_gen_core.stopping import Stop, heed, stopped_by
from grasp_gen_core.types import GraspSet, Observation, write_shapes

POINTS = 2048  # of each object's surface
DRAWN = 3  # pairs that are drawn for each that is kept: those whose hand fits its object best
ROUNDS = 10  # of these, after which a network is no use
IN_A_ROW = 4  # cells of the picture
# What a file of grasps holds for each grasp; here also the points.
EACH = ("mano", "vertices", "joints", "contact", "score", "wrist_pose", "approach")
EACH += ("pregrasp", "squeeze", "retreat")


def imagine(
    pipeline: GraspPipeline, num: int, seed: int = 0, stop: Stop | None = None
) -> list[GraspSet]:
    """Objects, and a hand on each.

    Args:
        pipeline: whose generator draws both (JHOD), and whose refiner, if it has one, has a look at
            the hands.
        num: pairs wanted.
        seed: same seed, device and version: same pairs.
        stop: asked now and then; true ends the call with CancelledError.

    Returns:
        `num` sets of one grasp each, best first; its object is the one of its `shapes`, a
        watertight mesh, metres, about the origin.

    Raises:
        InputError: if the generator draws no objects, or hardly any that are whole.
        CancelledError: if it was stopped.
    """
    net = pipeline.generator
    if not isinstance(net, JHOD):
        raise InputError("generator: it draws no objects, accepted are jhod, and its weights")
    rng, found = torch.Generator().manual_seed(seed), []
    with stopped_by(stop):
        for _ in range(ROUNDS):
            heed()
            with torch.no_grad():
                latent, numbers = net.imagine(DRAWN * num, rng)
                mano = mano_of(numbers, net.hand)
                cost = fits(net, latent, mano)
            for i in cost.argsort(stable=True).tolist():
                heed()
                try:
                    mesh = net.shapes.mesh(latent[i])
                except InputError:  # no object at all
                    continue
                if mesh.body_count > 1:  # an object in pieces
                    continue
                found.append(grasp_of(pipeline, mesh, mano[i : i + 1].cpu().numpy(), seed))
                if len(found) == num:
                    return sorted(found, key=lambda one: -one.score[0])
    raise InputError(
        f"generator: {len(found)} of {ROUNDS * DRAWN * num} objects that it drew are whole, "
        f"accepted are {num}"
    )


def fits(net: JHOD, latent: torch.Tensor, mano: torch.Tensor) -> torch.Tensor:
    """(B,) how far hands (B, 61) are from touching their objects (B, K, C), or inside them."""
    vertices, state = net.hand(mano)[0], net.shapes.decode(latent)
    return misfit(vertices, lambda points: net.shapes.field(state, points), net.hand.regions)


def grasp_of(
    pipeline: GraspPipeline, mesh: trimesh.Trimesh, mano: np.ndarray, seed: int
) -> GraspSet:
    """The hand (1, 61) on an object, refined and scored, its object under `shapes`."""
    points, normals = sample_surface(mesh, POINTS, seed)
    seen = Observation(points, normals)
    scene = pipeline.look_at(seen, seed, DistanceGrid.from_mesh(mesh))
    given = bring_in(mano, pipeline.hand, scene.frame)
    return replace(pipeline.finish(given, scene, seed), shapes=(mesh,))


def save(grasps: Sequence[GraspSet], path: Path) -> None:
    """Write an .npz with the arrays of a file of grasps, `points` (B, N, 3) for each, and meshes.

    Args:
        grasps: of `imagine`.
        path: NAME.npz; objects lie beside it, NAME_shapes/0000.ply, in the order of the grasps.
    """
    arrays = {name: np.concatenate([getattr(one, name) for one in grasps]) for name in EACH}
    arrays["points"] = np.stack([one.points for one in grasps])
    first = grasps[0]
    info = {name: value for name, value in first.info.items() if name not in ("seconds", "notes")}
    arrays |= {"faces": first.faces, "side": first.side, "info": json.dumps(info)}
    for name in first.metrics:
        arrays[f"metric_{name}"] = np.concatenate([one.metrics[name] for one in grasps])
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    write_shapes((one.shapes[0] for one in grasps), path)


def render(grasps: Sequence[GraspSet], path: Path) -> None:
    """Write a picture of all pairs, each from the back of its hand and from the side."""
    cells = [grasp_cells(one, one.shapes[0], 1, 2)[0] for one in grasps]
    cells = [Cell(f"#{i + 1}", cell.parts, cell.views) for i, cell in enumerate(cells)]
    write_sheet([cells[i : i + IN_A_ROW] for i in range(0, len(cells), IN_A_ROW)], path)


def export(grasps: Sequence[GraspSet], folder: Path) -> None:
    """Write a scene 0000.glb, 0001.glb, ... for each pair."""
    folder.mkdir(exist_ok=True)
    for i, one in enumerate(grasps):
        export_glb(one, folder / f"{i:04d}.glb", one.shapes[0], 1)
