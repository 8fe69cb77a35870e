"""CHOIR stage by stage for a batch of hands, and its fit by other solvers, and grasp by grasp.

    python benchmarks/choir_speed.py [DATASET] [--num 32] [--loop 4] [--device auto]

Hands are a dataset's held-out grasps of one object, with the noise of CHOIR's benchmark. The first
table is the refiner (its parts on all hands at once, as a whole one by one) and the generator in
their parts. In the second all solvers get what the true hands' own CHOIR says, and are compared
with the true joints. The paper's loop is Adam (150 iterations a stage) on Eq. 9 and on Eq. 10-12;
its learning rate isn't given: 0.01.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from grasp_gen_core.contact import choir
from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.generators import load_generator
from grasp_gen_core.generators.joint_diffusion import (
    CONTACTS,
    DRAWS,
    REFINING_STEPS,
    SHAPE_WEIGHT,
    fold,
    normalise_field,
)
from grasp_gen_core.generators.layers.frames import hands_in_frame, in_four_frames
from grasp_gen_core.hand import ManoHand, rotations
from grasp_gen_core.metrics.joint_error import mpjpe_mm
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.pipeline import MAX_POINTS
from grasp_gen_core.refiners import quick
from grasp_gen_core.refiners.choir_fit import fit_contact, fit_field
from grasp_gen_core.runtime import select_device, tune_allocator
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

DATA = Path(__file__).parents[1] / "training" / "data"
ITERATIONS, RATE = 150, 1e-2
NEIGHBOURS = 5  # object points for each vertex in Eq. 10


class Scene:
    """Held-out grasps of one object, true and noisy, about the object's middle.

    Args:
        folder: of the dataset.
        num: hands.
        device: of all tensors.
    """

    def __init__(self, folder: Path, num: int, device: torch.device) -> None:
        data, self.hand = GraspDataset.load(folder), ManoHand().to(device)
        held_out = np.flatnonzero(data.split == "validation")
        number = held_out[np.bincount(data.object_index)[held_out].argmax()]
        mesh = data.mesh(int(number))
        mano = np.resize(data.mano[data.object_index == number], (num, 61))
        surface, outward = sample_surface(mesh, MAX_POINTS, 0)
        centre = surface.mean(axis=0)
        mesh.apply_translation(-centre)
        self.points = torch.from_numpy(surface - centre).float().to(device)
        self.normals = torch.from_numpy(outward).float().to(device)
        self.grid = DistanceGrid.from_mesh(mesh).to(device)
        true = torch.from_numpy(mano)
        true[:, TRANSL] -= torch.from_numpy(centre).float()
        self.noisy = perturb(true, torch.Generator().manual_seed(0)).to(device)
        self.true = true.to(device)
        self.vertices, self.joints = self.hand(self.true)

    def error(self, mano: Tensor) -> float:
        """Mean joint error of the first hands, millimetres."""
        joints = self.hand(mano)[1].cpu().numpy()
        return float(mpjpe_mm(joints, self.joints[: len(mano)].cpu().numpy()).mean())

    # The paper's objectives; hands are independent, so that a batch's may be summed.

    def first(self, field: Tensor, start: Tensor) -> Callable[[Tensor], Tensor]:
        """Eq. 9 of hands (B, 61)."""

        def loss(mano: Tensor) -> Tensor:
            apart = choir.hand_field(self.hand(mano)[0][:, self.hand.regions.anchors]) - field
            pose = (mano - start)[:, HAND_POSE].norm(dim=1)
            shape = mano[:, BETAS].square().sum(dim=1).add(1e-12).sqrt()
            return (1000 * apart.square().mean(dim=1) + 1e-4 * shape + 1e-8 * pose).sum()

        return loss

    def second(self, contact: Tensor, start: Tensor) -> Callable[[Tensor], Tensor]:
        """Eq. 10-12 of one hand (1, 61)."""
        turn, place = rotations.to_matrix(start[:, GLOBAL_ORIENT]), start[:, TRANSL]

        def loss(mano: Tensor) -> Tensor:
            vertices = self.hand(mano)[0][0]
            nearest = torch.cdist(vertices, self.points).topk(NEIGHBOURS, largest=False)
            touch = (contact[0, :, None] * nearest.values.square()).sum()
            first = nearest.indices[:, 0]
            depth = ((self.points[first] - vertices) * self.normals[first]).sum(dim=1).clamp(min=0)
            turned = (rotations.to_matrix(mano[:, GLOBAL_ORIENT]) - turn).norm()
            pose = 1e-2 * turned + 1e-1 * (mano[:, TRANSL] - place).norm()
            shape = mano[:, BETAS].norm()
            return 10 * touch + 1000 * depth.square().sum() + 0.5 * pose + 1e-4 * shape

        return loss


def adam(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The hands (B, 61) after the paper's iterations."""
    mano = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([mano], lr=RATE)
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        loss(mano).backward()
        optimiser.step()
    return mano.detach()


def lbfgs(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The hands (B, 61), all as one problem, after as many iterations."""
    mano = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([mano], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        (value := loss(mano)).backward()
        return value

    optimiser.step(closure)
    return mano.detach()


def measured(name: str, call: Callable[[], object], count: int, device: torch.device):
    """What a call makes, and its row; timed after a warm-up."""
    call()
    made, seconds = time_s(call, device)
    return made, {"stage": name, "hands": count, "s": seconds, "ms a hand": 1e3 * seconds / count}


def stages(scene: Scene, device: torch.device) -> list[dict]:
    """Rows of refinement and of synthesis in their parts."""
    net, hand, num = load_generator("joint_diffusion", scene.hand), scene.hand, len(scene.true)
    rows = []

    def stage(name: str, call: Callable[[], object]):
        made, row = measured(name, call, num, device)
        rows.append(row)
        return made

    turn, centre, local = in_four_frames(scene.points)
    turns, centres = (x[:DRAWS].repeat_interleave(num, dim=0) for x in (turn, centre))
    start = hands_in_frame(scene.noisy.repeat(DRAWS, 1), turns, centres, hand)
    thing, noisy = stage(
        "refine: representation",
        lambda: (
            normalise_field(choir.object_field(local[:DRAWS])).repeat_interleave(num, dim=0),
            normalise_field(net.field_of(start)),
        ),
    )

    def draw(thing: Tensor, noisy: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
        tokens = (
            net.object_encoder(fold(thing))
            if noisy is None
            else net.pair_encoder(fold(thing, noisy))
        )
        rng = torch.Generator().manual_seed(0)
        noise = torch.randn(len(thing), choir.SIDE**3 + CONTACTS, generator=rng).to(thing)
        return net.draw(thing, noisy, tokens, noise, steps)

    field, contacts = stage("refine: sampling", lambda: draw(thing, noisy, REFINING_STEPS))
    fitted = stage(
        "refine: fit to distances", lambda: fit_field(field, hand, start, shape=None).mano
    )
    best = slice(num)
    touching = stage(
        "refine: fit to contact",
        lambda: net.touch(fitted[best], contacts[best], turns[best], centres[best], scene.grid),
    )
    stage(
        "refine: quick",
        lambda: quick.refine(touching, scene.points, scene.grid, hand=hand),
    )
    stage("refine: all", lambda: net.refine(scene.noisy, scene.points, scene.grid))
    frame = torch.arange(num, device=device) % 4
    thing = stage(
        "generate: representation", lambda: normalise_field(choir.object_field(local))[frame]
    )
    field, contacts = stage(
        "generate: sampling", lambda: draw(thing, None, int(net.sampling.steps))
    )
    fitted = stage(
        "generate: fit to distances", lambda: fit_field(field, hand, shape=SHAPE_WEIGHT).mano
    )
    stage(
        "generate: fit to contact",
        lambda: net.touch(fitted, contacts, turn[frame], centre[frame], scene.grid),
    )
    rng = torch.Generator().manual_seed(0)
    stage("generate: all", lambda: net.sample(scene.points, num, rng, scene.normals, scene.grid))
    return rows


def solvers(scene: Scene, loop: int, device: torch.device) -> list[dict]:
    """Rows of the fit to the true hands' own CHOIR."""
    hand, num = scene.hand, len(scene.true)
    few = [slice(i, i + 1) for i in range(min(loop, num))]
    rows = []

    def solver(name: str, call: Callable[[], Tensor], count: int = num) -> Tensor:
        made, row = measured(name, call, count, device)
        rows.append(row | {"MPJPE [mm]": scene.error(made)})
        return made

    wanted = choir.encode(
        scene.points, scene.vertices, hand.faces, hand.regions, scene.points.new_zeros(3)
    )
    field, noisy = wanted.hand_field, scene.noisy
    contact = choir.dense_contact(wanted.contacts, scene.vertices, hand.regions)
    solver("ours, distances, cold", lambda: fit_field(field, hand).mano)
    near = solver("ours, distances, noisy", lambda: fit_field(field, hand, noisy).mano)
    solver("ours, contact", lambda: fit_contact(near, contact, hand, scene.grid))
    flat = torch.zeros_like(noisy)
    for name, solve in (("Adam", adam), ("L-BFGS", lbfgs)):
        for kind, start in (("cold", flat), ("noisy", noisy)):
            loss = scene.first(field, start)
            solver(f"{name}, distances, {kind}, batch", partial(solve, start, loss))
    placed = solver(
        "Adam, distances, noisy, one by one",
        lambda: torch.cat([adam(noisy[i], scene.first(field[i], noisy[i])) for i in few]),
        len(few),
    )
    solver(
        "Adam, contact, one by one",
        lambda: torch.cat([adam(placed[i], scene.second(contact[i], placed[i])) for i in few]),
        len(few),
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?", default=DATA)
    parser.add_argument("--num", type=int, default=32, help="hands at once")
    parser.add_argument("--loop", type=int, default=4, help="hands fitted one by one")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    tune_allocator()
    device = select_device(arguments.device)
    scene = Scene(arguments.dataset, arguments.num, device)
    tables = stages(scene, device), solvers(scene, arguments.loop, device)
    for rows in tables:
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))
        print()
    print(f"{device}, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
