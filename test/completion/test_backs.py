"""Fields behind what was seen, of shapes whose back is known."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.completion.backs import Backs, mixed
from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.distance import build_scene, signed_distance
from grasp_gen_core.objects.sight import SIZE, Sight

SHAPES = {
    "ball": trimesh.creation.icosphere(4, 0.04),
    "box": trimesh.creation.box((0.06, 0.09, 0.14)),
    "card": trimesh.creation.box((0.06, 0.09, 0.003)),
    "can": trimesh.creation.cylinder(0.035, 0.12, sections=64),
}
EYES = {"slanted": np.array([0.3, 0.25, 0.35]), "face on": np.array([0.01, 0.02, 0.5])}


def true_backs(mesh: trimesh.Trimesh, eye: np.ndarray, thinner: float = 0.0):
    """What is seen of a mesh, its normals, and the mesh's own back, and one that is thinner."""
    scene = build_scene(mesh.vertices, mesh.faces)
    points, normals = even_surface(mesh, 4096)

    def rays(directions: np.ndarray) -> np.ndarray:
        starts = np.broadcast_to(eye, directions.shape)
        return np.concatenate([starts, directions], axis=-1, dtype=np.float32)

    first = scene.cast_rays(rays(points - eye))["t_hit"].numpy()
    seen = first > 0.995
    sight = Sight.of(points[seen], eye)
    found = scene.list_intersections(rays(sight.rays().reshape(-1, 3)))
    front, last = np.full(SIZE**2, np.inf), np.full(SIZE**2, -np.inf)
    np.minimum.at(front, found["ray_ids"].numpy(), found["t_hit"].numpy())
    np.maximum.at(last, found["ray_ids"].numpy(), found["t_hit"].numpy())
    front, last = (x.reshape(SIZE, SIZE) for x in (front, last))
    hit = np.isfinite(front)
    front, last = np.where(hit, front, np.nan), np.where(hit, last, np.nan)
    every = np.stack([last, last - thinner * (last - front)])
    return points[seen], normals[seen], Backs(sight, hit, front, every)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eye", EYES)
def test_with_the_true_back_the_field_is_the_true_distance(shape, eye):
    mesh = SHAPES[shape]
    points, normals, backs = true_backs(mesh, EYES[eye])
    field = backs.field(points, normals)
    asked = np.random.default_rng(0).uniform(*(mesh.bounds * 1.3 + [[-0.01], [0.01]]), (5000, 3))
    true = signed_distance(mesh, asked)
    found = field.each(torch.from_numpy(asked).float())[0].numpy()
    error = np.abs(found - true)
    assert np.median(error) < 0.0015  # a pixel is 1.5 to 2.5 mm wide
    assert np.quantile(error, 0.98) < 0.005
    far = np.abs(true) > 0.004
    assert (np.sign(found) == np.sign(true))[far].mean() > 0.995


def test_a_thinner_back_is_another_field_before_the_same_front():
    mesh = SHAPES["box"]
    points, normals, backs = true_backs(mesh, EYES["face on"], 0.5)
    field = backs.field(points, normals)
    at = torch.tensor([[0.0, 0.0, z] for z in (0.08, 0.07, 0.03, -0.03, -0.07)])
    true, thin = field.each(at).numpy()
    np.testing.assert_allclose(true, [0.01, 0.0, -0.03, -0.03, 0.0], atol=0.0015)
    np.testing.assert_allclose(thin, [0.01, 0.0, -0.03, 0.03, 0.07], atol=0.003)
    np.testing.assert_allclose(field(at), (true + thin) / 2, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eye", EYES)
def test_shapes_are_closed_and_as_large_as_the_object(shape, eye):
    mesh = SHAPES[shape]
    _, _, backs = true_backs(mesh, EYES[eye], 0.5)
    whole, half = backs.shapes()
    assert whole.is_volume and half.is_volume  # closed, and all faces look outwards
    assert whole.volume == pytest.approx(mesh.volume, rel=0.06)  # of pixels' middles
    assert 0.42 < half.volume / whole.volume < 0.5  # rays spread


def test_draws_are_spread_evenly_and_alike_in_neighbouring_pixels():
    share = mixed(8, 0)
    assert share.min() > 0 and share.max() < 1
    assert np.abs(share.mean(axis=0) - 0.5).mean() < 0.06
    whole = share.mean(axis=(1, 2))
    assert (np.diff(whole) > 0).all()
    step = np.abs(np.diff(share, axis=2)).mean()
    assert step < 0.03 < share.std(axis=(1, 2)).mean()
    np.testing.assert_array_equal(share, mixed(8, 0))
