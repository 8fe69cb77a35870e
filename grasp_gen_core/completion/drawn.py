"""Objects that a network draws for what a camera saw of one (JHOD's, beyond its paper)."""

from __future__ import annotations

import numpy as np
import torch
import trimesh

from grasp_gen_core.completion import PITCH, Belief, as_seen
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.jhod import JHOD
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import OPEN

DRAWS = 6
ASKED = 512  # seen points that say how well a drawn object agrees with them


class Drawn:
    """Several objects for one cloud; the one that agrees best with what was seen is believed.

    Args:
        network: that draws.
    """

    def __init__(self, network: JHOD) -> None:
        self.network = network

    def __call__(self, points: np.ndarray, normals: np.ndarray, seed: int) -> Belief:
        """A cloud from all around has nothing to guess."""
        seen = as_seen(points, normals, seed)
        if np.linalg.norm(normals.mean(axis=0)) <= OPEN:
            return seen
        shapes = self.shapes(points, normals, seed)
        if not shapes:
            return seen
        field = DistanceGrid.from_mesh(shapes[0], pitch=PITCH).union(seen.field)
        return Belief(field, tuple(shapes))

    @torch.no_grad()
    def shapes(
        self, points: np.ndarray, normals: np.ndarray, seed: int, count: int = DRAWS
    ) -> list[trimesh.Trimesh]:
        """Up to `count` objects in the frame of the points, that which agrees best first."""
        net, rng = self.network, torch.Generator().manual_seed(seed)
        cloud, outward = (torch.from_numpy(x).to(net.order) for x in (points, normals))
        latent, rotation, centre = net.complete(cloud, outward, count, rng)
        few = cloud[torch.randperm(len(cloud), generator=rng)[:ASKED].to(cloud.device)]
        local = (few - centre[:, None]) @ rotation
        apart = net.shapes.field(net.shapes.decode(latent), local).abs().mean(dim=1)
        found = []
        for i in apart.argsort(stable=True).tolist():
            try:
                mesh = net.shapes.mesh(latent[i], PITCH)
            except InputError:  # no object at all
                continue
            turn = np.eye(4)
            turn[:3, :3], turn[:3, 3] = rotation[i].cpu().numpy(), centre[i].cpu().numpy()
            found.append(mesh.apply_transform(turn))
        return found
