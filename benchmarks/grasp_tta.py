"""GraspTTA on held-out objects: ContactNet's maps, and the adaptation over its steps.

    python benchmarks/grasp_tta.py [DATASET] [--most 8] [--num 8] [--steps 0 5 10 20 30 50]
        [--picture PNG]

The first table compares contact maps with the data's (correlation over an object's points, mean
over grasps): of hands as the data have them, and with the noise that training put on them;
ContactNet's maps, and for comparison the hands' own. The second adapts GraspCVAE's proposals, which
the pipeline would refine: decoders' weights, and in their place what the decoder gives (the hand's
pose), by the same losses. The picture has maps as the paper's Fig. 1: the data's, ContactNet's of
the true and of the noisy hand, and the hand's.
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
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor
from tqdm import tqdm

from grasp_gen_core.contact.maps import contact_map
from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.generators import load_generator, load_network
from grasp_gen_core.generators.grasp_cvae import object_contact
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.contact_fingers import contact_fingers
from grasp_gen_core.metrics.contact_ratio import contact_ratio_pct
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.metrics.time_s import time_s
from grasp_gen_core.objects.distance import signed_distance
from grasp_gen_core.objects.meshes import solid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.pipeline import GraspPipeline
from grasp_gen_core.refiners import grasp_tta, quick
from grasp_gen_core.render import Cell, hand_axes, orbit, smooth, write_sheet
from grasp_gen_core.runtime import tune_allocator

DATA = Path(__file__).parents[1] / "training" / "data"
POINTS = 2048
MAPS = 10  # grasps of an object whose maps are compared
POSE_RATE = 0.02  # Adam's for poses; the best of 0.005 to 0.03
PITCH = 0.001  # metres between the lines of the volume
DARK, BRIGHT, EDGE = np.array([0.13, 0.16, 0.36]), np.array([1.0, 0.93, 0.35]), 0.004
PICTURED, TILE = 3, 200


def correlation(one: Tensor, other: Tensor) -> float:
    """Mean over rows (B, N) of Pearson's."""
    one, other = (x - x.mean(dim=1, keepdim=True) for x in (one, other))
    return float(torch.cosine_similarity(one, other, dim=1).mean())


def map_rows(name: str, points: Tensor, mano: Tensor, net: torch.nn.Module) -> list[dict]:
    """How maps of true and of noisy hands agree with the true hands'."""
    hand, rows = net.hand, []
    few = points[:: len(points) // grasp_tta.POINTS].expand(len(mano), -1, -1)
    truth = object_contact(few, hand(mano)[0], hand)
    for kind, given in (("as in the data", mano), ("noisy", net.disturb(mano))):
        maps = net.contact(few, given), object_contact(few, hand(given)[0], hand)
        agree = {w: correlation(m, truth) for w, m in zip(("ContactNet", "own"), maps, strict=True)}
        rows.append({"family": name.split(":")[0], "hands": kind, **agree})
    return rows


def adapt_poses(mano: Tensor, points: Tensor, generator, contact_net, steps: int) -> Tensor:
    """The same losses, but the hands themselves change, as the decoder gives them."""
    adaptation = grasp_tta.Adaptation(mano, points, generator, contact_net)
    with torch.no_grad():
        decoded = generator.decoder(adaptation.known.inputs) + adaptation.known.shift
    decoded.requires_grad_()
    optimiser = torch.optim.Adam([decoded], lr=POSE_RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        adaptation.loss(adaptation.hands(decoded)).sum().backward()
        optimiser.step()
    return adaptation.hands(decoded).detach()


def measure(hand: ManoHand, mano: Tensor, mesh: trimesh.Trimesh) -> dict[str, float]:
    """Means of the metrics of hands (B, 61) in the mesh's frame."""
    vertices, faces = hand(mano)[0].numpy(), hand.closed_faces.numpy()
    distance = torch.from_numpy(signed_distance(mesh, vertices))
    values = {
        "volume [cm³]": penetration_volume_cm3(vertices, faces, mesh, PITCH),
        "depth [cm]": penetration_depth_cm(distance).numpy(),
        "displacement [cm]": SimTest(mesh)(vertices, faces).displacement_cm,
        "contact ratio [%]": contact_ratio_pct(distance).numpy(),
        "fingers": contact_fingers(distance, hand.parts).numpy(),
    }
    return {name: float(np.nanmean(value)) for name, value in values.items()}


def maps_of(points: Tensor, values: Tensor, body: trimesh.Trimesh) -> trimesh.Trimesh:
    """A body coloured by contact (N,) of points (N, 3): the brighter, the more."""
    shown, (_, near) = body.copy(), cKDTree(points.numpy()).query(body.vertices, k=4)
    return paint(shown, values.numpy()[near].mean(axis=1))


def paint(shown: trimesh.Trimesh, amount: np.ndarray) -> trimesh.Trimesh:
    colours = DARK + (BRIGHT - DARK) * amount[:, None]
    shown.visual.vertex_colors = np.round(255 * colours).astype(np.uint8)
    return shown


def picture_row(
    name: str, mesh: trimesh.Trimesh, points: Tensor, mano: Tensor, net: torch.nn.Module
) -> list[Cell]:
    """One grasp (1, 61) of a mesh: the data's map, ContactNet's two, the hand's."""
    hand, body = net.hand, smooth(mesh, EDGE)
    vertices, joints = hand(mano)
    skin = trimesh.Trimesh(vertices[0].numpy(), hand.closed_faces.numpy(), process=False)
    paint(skin, contact_map(vertices, points[None])[0].numpy())
    views = orbit(hand_axes(joints.numpy())[0])
    truth = object_contact(points[None], vertices, hand)
    shown, cells = maps_of(points, truth[0], body), []
    for word, given in (("this hand", mano), ("noisy", net.disturb(mano))):
        predicted = net.contact(points[None], given)
        label = f"ContactNet, {word}: {correlation(truth, predicted):.2f}"
        cells.append(Cell(label, [maps_of(points, predicted[0], body)], views[:3:2]))
    return [
        Cell(f"{name.split(':')[0]}: data", [shown], views[:3:2]),
        *cells,
        Cell("hand", [smooth(skin)], views[2:3]),
        Cell("both", [smooth(skin), shown], views[:1]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?", default=DATA)
    parser.add_argument("--most", type=int, default=8, help="objects")
    parser.add_argument("--num", type=int, default=8, help="hands adapted of each object")
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 5, 10, 20, 30, 50])
    parser.add_argument("--picture", type=Path, metavar="PNG")
    arguments = parser.parse_args()
    tune_allocator()
    torch.manual_seed(0)
    hand = ManoHand()
    net, generator = load_network("contact_net", hand), load_generator("grasp_cvae", hand)
    pipeline = GraspPipeline("grasp_cvae", "none", "cpu")
    data = GraspDataset.load(arguments.dataset)
    numbers = np.random.default_rng(0).permutation(np.flatnonzero(data.split == "validation"))

    def adapt(mano: Tensor, points: Tensor, steps: int) -> Tensor:
        generator.sampling = type(generator.sampling)(steps)
        return grasp_tta.refine(mano, points, None, generator=generator, contact_net=net)

    methods: dict[tuple[str, int], Callable] = {}
    for steps in arguments.steps:
        methods["weights", steps] = partial(adapt, steps=steps)
        if steps:
            poses = partial(adapt_poses, generator=generator, contact_net=net, steps=steps)
            methods["poses", steps] = poses
    maps, adapted, pictures = [], [], []
    for number in tqdm(numbers[: arguments.most], unit="object", leave=False):
        mesh, _ = solid(data.mesh(int(number)), data.objects[number])
        cloud = sample_surface(mesh, POINTS, 0)[0].astype(np.float32)
        points, name = torch.from_numpy(cloud), data.objects[number]
        true = torch.from_numpy(data.mano[data.object_index == number][:MAPS])
        with torch.no_grad():
            maps += map_rows(name, points, true, net)
            if arguments.picture and len(pictures) < PICTURED:
                pictures.append(picture_row(name, mesh, points, true[:1], net))
            scene = pipeline.look_at(cloud, 0, None)
            rng = torch.Generator().manual_seed(0)
            proposed = pipeline.propose(scene, arguments.num, rng)
            proposed = pipeline.promising(proposed, scene, arguments.num)
        for (what, steps), method in methods.items():
            made, seconds = time_s(partial(method, proposed, scene.cloud), pipeline.device)
            timed = {"s a grasp": seconds / len(made)}
            row = {"changed": what, "steps": steps, **measure(hand, made, mesh), **timed}
            adapted.append(row)
        if methods:
            made = quick.refine(proposed, scene.cloud, scene.grid, hand=hand)
            adapted.append({"changed": "quick", "steps": quick.STEPS, **measure(hand, made, mesh)})
    print(pd.DataFrame(maps).groupby(["family", "hands"], sort=False).mean().round(3).to_string())
    if adapted:
        table = pd.DataFrame(adapted).groupby(["changed", "steps"], sort=False).mean()
        print(f"\n{table.round(3).to_string()}")
    if pictures:
        write_sheet(pictures, arguments.picture, TILE)
    print(f"\n{torch.get_num_threads()} threads, {platform.machine()}, {date.today()}")


if __name__ == "__main__":
    main()
