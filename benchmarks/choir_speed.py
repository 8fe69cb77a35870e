"""CHOIR stage by stage for a batch of noisy hands, and its fit grasp by grasp as in the paper.

    python benchmarks/choir_speed.py [DATASET] [--num 32] [--loop 4] [--device auto]

Hands are a dataset's held-out grasps of one object, with the noise of CHOIR's benchmark. Both fits
get what the true hands' own CHOIR says, and are compared with the true joints. The paper's loop is
Adam (150 iterations a stage) on Eq. 9 and on Eq. 10-12, its learning rate isn't given: 0.01.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import roma
import torch
from torch import Tensor

from grasp_gen_core.contact import choir
from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.generators import load_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.joint_error import mpjpe_mm
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.pipeline import MAX_POINTS
from grasp_gen_core.refiners.choir_fit import fit_contact, fit_field
from grasp_gen_core.runtime import select_device, tune_allocator
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE, TRANSL

ROOT = Path(__file__).parents[1]
ITERATIONS, RATE = 150, 1e-2
NEIGHBOURS = 5  # object points for each vertex in Eq. 10


def adam(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The hands (B, 61) after the paper's iterations."""
    mano = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([mano], lr=RATE)
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        loss(mano).backward()
        optimiser.step()
    return mano.detach()


def first_stage(field: Tensor, hand: ManoHand, start: Tensor) -> Tensor:
    """Eq. 9 by Adam, one hand (1, 61)."""
    anchors = hand.regions.anchors

    def loss(mano: Tensor) -> Tensor:
        apart = choir.hand_field(hand(mano)[0][:, anchors]) - field
        pose = (mano - start)[:, HAND_POSE].norm()
        return 1000 * apart.square().mean() + 1e-4 * mano[:, BETAS].norm() + 1e-8 * pose

    return adam(start, loss)


def second_stage(
    mano: Tensor, contact: Tensor, hand: ManoHand, points: Tensor, normals: Tensor
) -> Tensor:
    """Eq. 10-12 by Adam, one hand (1, 61)."""
    turn, place = roma.rotvec_to_rotmat(mano[:, GLOBAL_ORIENT]), mano[:, TRANSL]

    def loss(changed: Tensor) -> Tensor:
        vertices = hand(changed)[0][0]
        nearest = torch.cdist(vertices, points).topk(NEIGHBOURS, largest=False)
        touch = (contact[0, :, None] * nearest.values.square()).sum()
        first = nearest.indices[:, 0]
        depth = ((points[first] - vertices) * normals[first]).sum(dim=1).clamp(min=0)
        turned = (roma.rotvec_to_rotmat(changed[:, GLOBAL_ORIENT]) - turn).norm()
        pose = 1e-2 * turned + 1e-1 * (changed[:, TRANSL] - place).norm()
        shape = changed[:, BETAS].norm()
        return 10 * touch + 1000 * depth.square().sum() + 0.5 * pose + 1e-4 * shape

    return adam(mano, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?", default=ROOT / "training" / "data")
    parser.add_argument("--num", type=int, default=32, help="hands at once")
    parser.add_argument("--loop", type=int, default=4, help="hands fitted one by one")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    tune_allocator()
    device, num = select_device(arguments.device), arguments.num
    hand = ManoHand().to(device)
    data = GraspDataset.load(arguments.dataset)
    held_out = np.flatnonzero(data.split == "validation")
    number = held_out[np.bincount(data.object_index)[held_out].argmax()]
    mesh = data.mesh(int(number))
    mano = np.resize(data.mano[data.object_index == number], (num, 61))
    surface, outward = sample_surface(mesh, MAX_POINTS, 0)
    points, normals = torch.from_numpy(surface).to(device), torch.from_numpy(outward).to(device)
    # The basis points' middle is at the object's: everything in that frame.
    centre = points.mean(dim=0)
    points = points - centre
    mesh.apply_translation(-centre.cpu().numpy())
    grid = DistanceGrid.from_mesh(mesh).to(device)
    true = torch.from_numpy(mano).to(device)
    true[:, TRANSL] -= centre
    noisy = perturb(true.cpu(), torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        vertices, joints = hand(true)

    def error(mano: Tensor) -> str:
        with torch.no_grad():
            found = hand(mano)[1].cpu().numpy()
        return f"{mpjpe_mm(found, joints[: len(mano)].cpu().numpy()).mean():.2f}"

    rows = []

    def stage(name: str, call: Callable[[], object], count: int = num, fitted: bool = False):
        call()  # warm-up
        made, seconds = time_s(call, device)
        of = {"MPJPE [mm]": error(made) if fitted else ""}
        rows.append(
            {"stage": name, "hands": count, "s": seconds, "ms a hand": 1e3 * seconds / count, **of}
        )
        return made

    with torch.no_grad():
        wanted = stage(
            "representation",
            lambda: choir.encode(points, vertices, hand.faces, hand.regions, points.new_zeros(3)),
        )
        contact = choir.dense_contact(wanted.contacts, vertices, hand.regions)
        net = load_generator("joint_diffusion", hand)
        rng = torch.Generator().manual_seed(0)
        stage("JointDiffusion.sample, whole", lambda: net.sample(points, num, rng, normals, grid))
        stage("JointDiffusion.refine, whole", lambda: net.refine(noisy, points, grid))
        stage(
            "fit to distances, cold", lambda: fit_field(wanted.hand_field, hand).mano, fitted=True
        )
        near = stage(
            "fit to distances, noisy",
            lambda: fit_field(wanted.hand_field, hand, noisy).mano,
            fitted=True,
        )
        stage("fit to contact", lambda: fit_contact(near, contact, hand, grid), fitted=True)
    few = range(min(arguments.loop, num))

    def one_by_one() -> Tensor:
        return torch.cat(
            [first_stage(wanted.hand_field[i : i + 1], hand, noisy[i : i + 1]) for i in few]
        )

    def contact_one_by_one() -> Tensor:
        return torch.cat(
            [
                second_stage(placed[i : i + 1], contact[i : i + 1], hand, points, normals)
                for i in few
            ]
        )

    placed = stage("Adam, distances, noisy", one_by_one, len(few), fitted=True)
    stage("Adam, contact", contact_one_by_one, len(few), fitted=True)
    print(f"{device}, {torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
