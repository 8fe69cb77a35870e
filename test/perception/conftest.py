"""Scenes of exactly known geometry."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.camera import DepthCamera, look_at
from grasp_gen_core.perception.files import back_project

IDEAL = DepthCamera(noise=0)


@pytest.fixture(scope="session")
def look():
    """What an ideal camera sees of meshes: points (H, W, 3), its pose, whose each pixel is."""

    def photograph(meshes, eye=(0.7, 0.1, 0.6), lean=0.0, camera=IDEAL, seed=0):
        pose = look_at(np.array(eye), np.array([0, 0, 0.03]))
        pose = pose @ trimesh.transformations.rotation_matrix(lean, (0, 0, 1))
        depth, faces = camera.photograph(trimesh.util.concatenate(meshes), pose, seed)
        owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
        owner = np.where((depth > 0) & (faces >= 0), owner[faces], -1)
        return back_project(depth, camera.matrix), pose, owner

    return photograph


@pytest.fixture(scope="session")
def table():
    return trimesh.creation.box((0.9, 1.1, 0.03)).apply_translation((0, 0, -0.015))


@pytest.fixture(scope="session")
def box():
    """A box on the table: size and the middle of its foot."""

    def made(size, foot):
        return trimesh.creation.box(size).apply_translation(np.add(foot, (0, 0, size[2] / 2)))

    return made
