"""Contact sheet of random grasps of a dataset.

python -m training.dataset_picture training/data docs/pictures/training_grasps.png
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import trimesh
from PIL import Image

from grasp_gen_core.data.dataset import GraspDataset
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.render import OBJECT, SKIN, View, render_scene

COLUMNS, ROWS, TILE = 6, 4, 220
VIEW = View(np.array([0.4, -1.0, 0.5]), np.array([0.0, 0.0, 1.0]))


def main(folder: str, picture: str) -> None:
    """One tile a grasp, each of another object."""
    data, hand, rng = GraspDataset.load(folder), ManoHand(), np.random.default_rng(0)
    chosen = rng.choice(len(data.objects), COLUMNS * ROWS, replace=len(data.objects) < 24)
    tiles = []
    for number in chosen:
        grasp = rng.choice(np.flatnonzero(data.object_index == number))
        with torch.no_grad():
            vertices, _ = hand(torch.from_numpy(data.mano[grasp : grasp + 1]))
        skin = trimesh.Trimesh(vertices[0].numpy(), hand.faces.numpy(), process=False)
        skin.visual.vertex_colors = (255 * SKIN).astype(np.uint8)
        mesh = data.mesh(number)
        mesh.visual.vertex_colors = (255 * OBJECT).astype(np.uint8)
        tiles.append(render_scene([skin, mesh], TILE, VIEW))
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
