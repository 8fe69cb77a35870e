"""Objects that a network draws for what a camera saw of one (JHOD's, beyond its paper)."""

from __future__ import annotations

import numpy as np
import torch
import trimesh

from grasp_gen_core.completion.belief import PITCH, Belief, Completion, Seen, as_seen, carved
from grasp_gen_core.errors import InputError
from grasp_gen_core.generators.jhod import JHOD, OBJECTS
from grasp_gen_core.generators.shape_autoencoder import Objects
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import OPEN
from grasp_gen_core.stopping import heed

FINE = 0.006  # metres between the lattice's points of meshes: they are farther off than that
ASKED = 512  # seen points that say how well a drawn object agrees with them


class Drawn:
    """Several objects for one cloud, all of them believed; which agrees best with it comes first.

    Args:
        network: that draws.
        otherwise: another way whose guess is believed.
    """

    def __init__(self, network: JHOD, otherwise: Completion | None = None) -> None:
        self.network, self.otherwise = network, otherwise

    def __call__(self, seen: Seen, seed: int) -> Belief:
        """A cloud from all around has nothing to guess."""
        believed = (self.otherwise or as_seen)(seen, seed)
        if np.linalg.norm(seen.normals.mean(axis=0)) <= OPEN:
            return believed
        objects, shapes = self.draw(seen.points, seen.normals, seed)
        field = believed.field
        if shapes and not self.otherwise:
            several = DistanceGrid.from_meshes(shapes[:OBJECTS], pitch=PITCH)
            field = carved(several, seen).union(field)
        return Belief(field, tuple(shapes), objects)

    @torch.no_grad()
    def draw(
        self, points: np.ndarray, normals: np.ndarray, seed: int, count: int = OBJECTS
    ) -> tuple[Objects, list[trimesh.Trimesh]]:
        """As many objects, and of those that have a surface meshes, that which agrees best first.

        Args:
            points, normals: (N, 3) what was seen.
            seed: same seed, same objects.
            count: of objects.
        """
        net, rng = self.network, torch.Generator().manual_seed(seed)
        cloud, outward = (torch.from_numpy(x).to(net.order) for x in (points, normals))
        latent, rotation, centre = objects = net.complete(cloud, outward, count, rng)
        few = cloud[torch.randperm(len(cloud), generator=rng)[:ASKED].to(cloud.device)]
        local = (few - centre[:, None]) @ rotation
        apart = net.shapes.field(net.shapes.decode(latent), local).abs().mean(dim=1)
        turns, middles, found = rotation.cpu().numpy(), centre.cpu().numpy(), []
        for i in apart.argsort(stable=True).cpu().tolist():
            heed()
            try:
                mesh = net.shapes.mesh(latent[i], FINE)
            except InputError:  # no object at all
                continue
            turn = np.eye(4)
            turn[:3, :3], turn[:3, 3] = turns[i], middles[i]
            found.append(mesh.apply_transform(turn))
        return objects, found
