"""Which part of DVQ-VAE is at fault: its grasps with the ground truth swapped in stage by stage,
and how many entries of its codebooks are in use.

    python benchmarks/dvqvae_stages.py [DATASET] [--generator FOLDER] [--num 20] [--most 10]

DATASET is a folder of `grasp-gen synthesize` (default: the shipped one), whose grasps are the
ground truth: those held out for validation, or all where none are. No refiner takes part.
"""

from __future__ import annotations

import argparse
import platform
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.generators import load_generator
from grasp_gen_core.generators.dvqvae import DVQVAE, Posture
from grasp_gen_core.generators.layers.frames import in_principal_frame
from grasp_gen_core.hand import PARTS, ManoHand, rotations
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.protocols import measure_exact
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.runtime import tune_allocator
from grasp_gen_core.types import BETAS, GLOBAL_ORIENT, HAND_POSE

DATA = Path(__file__).parents[1] / "training" / "data"
POINTS = 512
COUNTED = 400  # objects whose grasps' codes are counted
SHOWN = (
    "penetration_volume_cm3",
    "sim_displacement_cm",
    "contact_ratio_pct",
    "contact_fingers",
    "quality_index",
)


def localise(
    hand: ManoHand, points: torch.Tensor, mano: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The object's points (B, N, 3) and hands (B, 61), each in one of its principal frames."""
    batch = {"view": points.expand(len(mano), -1, -1), "mano": mano}
    batch |= {"surface": batch["view"], "flip": torch.arange(len(mano)) % 4}
    view, _, truth = in_principal_frame(batch, hand)
    return view, truth


def encode(
    net: DVQVAE, hand: ManoHand, view: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Object features (B, F), codes (B, 6, W), and entries of the parts (B, 6) and object (B,)."""
    vertices, _ = hand(truth)
    feature = net.type_encoder(view)
    codes, entries, _ = net.hand_codes(
        net.encode_parts(vertices - vertices.mean(dim=1, keepdim=True))
    )
    return feature, codes, entries, net.object_codes(feature[:, None])[1][:, 0]


def stages(
    net: DVQVAE, hand: ManoHand, view: torch.Tensor, truth: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Hands (B, 61) by what is not ground truth."""
    centre = hand(truth)[0].mean(dim=1)
    feature, codes, _, index = encode(net, hand, view, truth)
    decoded = net.decode_posture(codes, feature)
    turn = rotations.to_matrix(truth[:, GLOBAL_ORIENT])
    true_posture = Posture(truth[:, BETAS], turn, truth[:, HAND_POSE])
    # Decoded fingers on the true wrist, the vertices' mean where it was.
    turned = torch.cat([decoded.betas, truth[:, GLOBAL_ORIENT], decoded.pose, 0 * centre], dim=1)
    turned[:, 58:] = centre - hand(turned)[0].mean(dim=1)
    drawn = net.prior.sample(index, torch.Generator().manual_seed(0), net.sampling)
    sampled = net.decode_posture(net.hand_codes.look_up(drawn), feature)
    rng = torch.Generator().manual_seed(0)
    rough = centre + 0.5 * net.config.rough * torch.randn(centre.shape, generator=rng)
    return {
        "nothing (data)": truth,
        "posture": turned,
        "position": net.place_twice(true_posture, view, rough).mano,
        "posture, position": net.place_twice(decoded, view, rough).mano,
        "prior, posture, position": net.place_twice(sampled, view, rough).mano,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?", default=DATA)
    parser.add_argument("--generator", default="dvqvae", help="folder of other weights")
    parser.add_argument("--num", type=int, default=20, help="grasps of an object")
    parser.add_argument("--most", type=int, default=10, help="objects")
    arguments = parser.parse_args()
    tune_allocator()
    hand = ManoHand()
    net = load_generator(arguments.generator, hand)
    data = GraspDataset.load(arguments.dataset)
    held_out = np.flatnonzero(data.split == "validation")
    numbers = held_out if len(held_out) else np.arange(len(data.objects))
    chosen = np.random.default_rng(0).permutation(numbers)[: arguments.most]

    rows, used = [], [set() for _ in (*PARTS, "object")]
    for number in tqdm(chosen, unit="object", leave=False):
        mesh, _ = solid(data.mesh(int(number)), data.objects[number])
        mano = torch.from_numpy(data.mano[data.object_index == number][: arguments.num])
        points = torch.from_numpy(sample_surface(mesh, POINTS, 0)[0]).float()
        with torch.no_grad():
            view, truth = localise(hand, points, mano)
            found = stages(net, hand, view, truth)
            true_vertices, _ = hand(truth)
        # Each grasp is measured where the truth was found, on the mesh as it lies there.
        for name, changed in found.items():
            rotation = rotations.to_matrix(mano[:, GLOBAL_ORIENT]) @ rotations.to_matrix(
                truth[:, GLOBAL_ORIENT]
            ).transpose(1, 2)
            shift = hand(mano)[1][:, 0] - (rotation @ hand(truth)[1][:, 0, :, None])[..., 0]
            vertices, joints = (x.detach() for x in hand(hand.move(changed, rotation, shift)))
            arrays = {"vertices": vertices.numpy(), "joints": joints.numpy()}
            arrays["faces"] = hand.closed_faces.numpy()
            values = measure_exact(HandMeshes.from_arrays(arrays, hand), mesh)
            row = {metric: np.nanmean(values[metric]) for metric in SHOWN}
            apart = (hand(changed)[0] - true_vertices).norm(dim=2).mean()
            rows.append({"decoded": name, **row, "vertices_mm": 1000 * float(apart)})
    print(pd.DataFrame(rows).groupby("decoded", sort=False).mean().round(2).to_string())

    counted = np.random.default_rng(0).permutation(len(data.objects))[:COUNTED]
    for number in tqdm(counted, unit="object", leave=False):
        mano = torch.from_numpy(data.mano[data.object_index == number])
        points = torch.from_numpy(sample_surface(data.mesh(int(number)), POINTS, 0)[0]).float()
        with torch.no_grad():
            _, _, entries, index = encode(net, hand, *localise(hand, points, mano))
        for part, column in enumerate(torch.cat([entries, index[:, None]], dim=1).T.tolist()):
            used[part].update(column)
    counts = ", ".join(f"{n} {len(one)}" for n, one in zip((*PARTS, "object"), used, strict=True))
    print(f"\nentries in use of {net.config.entries}, {len(counted)} objects: {counts}")
    print(f"\n{platform.processor() or platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
