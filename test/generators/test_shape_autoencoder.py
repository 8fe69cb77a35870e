"""The object's autoencoder: its symmetry, what it learns of three shapes, its meshes."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor

from grasp_gen_core.generators import build_generator
from grasp_gen_core.generators.shape_autoencoder import (
    SPREAD,
    ShapeAutoencoder,
    farthest,
    truncate,
    with_vertices_apart,
)

SMALL = {"tokens": 16, "channels": 8, "width": 64, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture
def net(hand) -> ShapeAutoencoder:
    torch.manual_seed(0)
    return build_generator("shape_autoencoder", hand, SMALL)


def test_the_order_of_points_makes_no_difference(net):
    points = 0.05 * torch.randn(2, 300, 3)
    shuffled = points[:, torch.randperm(300)]
    with torch.no_grad():
        tokens = net.encode(points)
        torch.testing.assert_close(net.encode(shuffled), tokens, atol=1e-5, rtol=1e-5)
    assert tokens.shape == (2, 16, 8)
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3
    # Places are points of the cloud, features have mean 0 and variance 1.
    places, features = net.places(tokens), tokens[..., 3:]
    apart = (places[:, :, None] - points[:, None]).norm(dim=-1).amin(dim=2)
    assert apart.max() < 1e-6
    torch.testing.assert_close(features.mean(dim=2), torch.zeros(2, 16), atol=1e-5, rtol=0)
    one = torch.ones(2, 16)
    torch.testing.assert_close(features.var(dim=2, correction=0), one, atol=2e-2, rtol=0)


def test_places_are_spread_as_an_independent_implementation_spreads_them():
    points = 0.05 * torch.randn(1, 200, 3)
    chosen = farthest(points, 12)[0].numpy()
    there = points[0].numpy()
    first = np.linalg.norm(there - there.mean(axis=0), axis=1).argmax()
    expected = [first]
    while len(expected) < 12:
        expected.append(cKDTree(there[expected]).query(there)[0].argmax())
    assert chosen.tolist() == expected


def test_the_order_of_latent_points_makes_no_difference(net):
    tokens, points = torch.randn(1, 16, 8), 0.05 * torch.randn(1, 50, 3)
    shuffled = tokens[:, torch.randperm(16)]
    with torch.no_grad():
        one, other = (net.field(net.decode(each), points) for each in (tokens, shuffled))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_field_has_no_jumps(net):
    """Where other latent points become the nearest ones, too."""
    tokens = torch.randn(1, 16, 8)
    way = torch.linspace(-0.1, 0.1, 20001)[None, :, None] * torch.tensor([1.0, 0.5, 0.2])
    with torch.no_grad():
        found = net.field(net.decode(tokens), way)[0]
    steps = found.diff().abs()
    assert steps.max() < 20 * steps.median() + 1e-6


def test_distances_are_truncated_smoothly():
    distance = torch.tensor([-1.0, -0.001, 0.0, 0.001, 1.0])
    expected = torch.tensor([-0.02, -0.001, 0.0, 0.001, 0.02])
    torch.testing.assert_close(truncate(distance), expected, atol=2e-6, rtol=0)


def sphere_field(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.04


def torus_field(points: Tensor) -> Tensor:
    ring = points[..., :2].norm(dim=-1) - 0.06
    return torch.stack([ring, points[..., 2]], dim=-1).norm(dim=-1) - 0.01


def shell_field(points: Tensor) -> Tensor:
    """A bowl 4 mm thick, open above."""
    shell = (points.norm(dim=-1) - 0.05).abs() - 0.002
    return torch.maximum(shell, points[..., 2])


def around() -> torch.Tensor:
    """Latent points (16, 8) in the corners of a box of 16 cm."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).repeat(2, 1)
    return torch.cat([corners * 0.08 / SPREAD, torch.zeros(16, 5)], dim=1)


@pytest.mark.parametrize(
    "field, volume",
    [
        (sphere_field, 4 / 3 * np.pi * 0.04**3),
        (torus_field, 2 * np.pi**2 * 0.06 * 0.01**2),
        (shell_field, 2 / 3 * np.pi * (0.052**3 - 0.048**3)),
    ],
)
def test_meshes_are_watertight_and_of_the_fields_volume(net, field, volume):
    net.field = lambda _, points: field(points)
    mesh = net.mesh(around())
    assert mesh.is_volume and mesh.body_count == 1
    assert mesh.volume == pytest.approx(volume, rel=0.02)
    assert field(torch.from_numpy(mesh.vertices)).abs().max() < 1e-3


def test_specks_are_left_out_and_hollows_kept(net):
    def field(points):
        speck = (points - torch.tensor([0.0, 0.0, 0.08])).norm(dim=-1) - 0.005
        return torch.minimum((points.norm(dim=-1) - 0.04).abs() - 0.01, speck)

    net.field = lambda _, points: field(points)
    mesh = net.mesh(around())
    assert mesh.is_volume and mesh.body_count == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (0.05**3 - 0.03**3), rel=0.02)


def test_no_object_is_one_clear_line(net):
    net.field = lambda _, points: torch.full(points.shape[:2], 0.1)
    with pytest.raises(ValueError, match="decode to no object"):
        net.mesh(around())


def test_surfaces_that_touch_themselves_stay_closed_in_files(tmp_path):
    """Two balls that share a vertex, as marching leaves them: a reader merges what coincides."""
    ball = trimesh.creation.icosphere(2, 0.03)
    top = ball.vertices[:, 2].argmax()
    other = ball.copy().apply_transform(np.diag([1.0, 1, -1, 1]))
    other.apply_translation([0, 0, 2 * ball.vertices[top, 2]])
    pair = trimesh.Trimesh(
        np.concatenate([ball.vertices, other.vertices]),
        np.concatenate([ball.faces, other.faces + len(ball.vertices)]),
        process=False,
    )
    apart = with_vertices_apart(pair.copy())
    moved = np.linalg.norm(apart.vertices - pair.vertices, axis=1)
    assert (moved > 0).sum() == 2 and moved.max() < 2e-5
    apart.export(tmp_path / "pair.ply")
    assert len(trimesh.load_mesh(tmp_path / "pair.ply").vertices) == len(pair.vertices)
    assert apart.is_watertight
