"""Distances against closed forms, and the cloud grid against exact distances."""

import numpy as np
import pytest
import torch
import trimesh
from torch.nn import functional

from grasp_gen_core.objects.distance import DistanceGrid, closest_surface, signed_distance
from grasp_gen_core.objects.frame import FieldInFrame, Frame
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import sample_surface

HALF = np.array([0.03, 0.05, 0.08])  # of the box, metres
RADIUS = 0.05  # of the sphere, metres


def box_distance(points):
    beyond = np.abs(points) - HALF
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0)


def sphere_distance(points):
    return np.linalg.norm(points, axis=-1) - RADIUS


@pytest.fixture(scope="module")
def box():
    return trimesh.creation.box(2 * HALF)


@pytest.fixture(scope="module")
def sphere():
    return trimesh.creation.icosphere(5, RADIUS)


def random_points(n=4000, reach=0.12):
    return np.random.default_rng(0).uniform(-reach, reach, (n, 3)).astype(np.float32)


def test_signed_distance_of_a_box_is_its_closed_form(box):
    points = random_points().reshape(40, 100, 3)
    np.testing.assert_allclose(signed_distance(box, points), box_distance(points), atol=1e-6)


def test_signed_distance_survives_a_hole(sphere):
    """A scan with missing faces still has an inside."""
    torn = trimesh.Trimesh(sphere.vertices, sphere.faces[40:])
    points = random_points()
    clear = np.abs(sphere_distance(points)) > 0.002
    inside = signed_distance(torn, points)[clear] < 0
    assert np.mean(inside == (sphere_distance(points)[clear] < 0)) > 0.999


def test_signed_distance_follows_a_mesh_changed_in_place():
    mesh = trimesh.creation.box(2 * HALF)
    assert signed_distance(mesh, np.zeros((1, 3))) == pytest.approx(-0.03, abs=1e-6)
    mesh.apply_translation([1, 0, 0])
    assert signed_distance(mesh, np.zeros((1, 3))) == pytest.approx(0.97, abs=1e-6)


def test_closest_surface_of_a_box_is_its_closed_form(box):
    points = random_points().reshape(40, 100, 3)
    found, normals = closest_surface(box, points)
    assert found.shape == normals.shape == points.shape
    # Outside it's the point clamped to the box; inside the nearest face's foot.
    expected, inside = np.clip(points, -HALF, HALF), box_distance(points) < 0
    axis = (np.abs(points) - HALF).argmax(-1)
    rows = (*np.nonzero(inside), axis[inside])
    expected[rows] = (np.sign(points) * HALF)[rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Off edges and corners the face is known: that of the only coordinate beyond.
    faced = inside | ((np.abs(points) > HALF).sum(-1) == 1)
    outward = np.eye(3)[axis] * np.sign(points)
    assert faced.mean() > 0.3
    np.testing.assert_allclose(normals[faced], outward[faced], atol=1e-6)


def test_closest_surface_is_as_far_as_the_distance():
    mug = make_object("mug", 3)
    points = random_points()
    found, normals = closest_surface(mug, points)
    exact = signed_distance(mug, points)
    np.testing.assert_allclose(np.linalg.norm(points - found, axis=1), np.abs(exact), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    # Where a point lies over its face, the normal leads to it from outside and away from inside.
    side = ((points - found) * normals).sum(1)
    over = np.abs(side) > 0.99 * np.abs(exact)
    assert over.mean() > 0.3
    np.testing.assert_array_equal(side[over] > 0, exact[over] > 0)


def test_mesh_grid_value_and_gradient(sphere):
    grid = DistanceGrid.from_mesh(sphere, pitch=0.0025, margin=0.04)
    points = torch.tensor(random_points(reach=0.05).reshape(40, 100, 3), requires_grad=True)
    distance = grid(points)
    np.testing.assert_allclose(
        distance.detach().numpy(), sphere_distance(points.detach().numpy()), atol=4e-4
    )
    distance.sum().backward()
    near = points.detach().norm(dim=-1) > 0.02  # the centre has no direction
    outward = torch.nn.functional.normalize(points.detach(), dim=-1)
    assert (points.grad * outward).sum(-1)[near].min() > 0.95


def test_grid_leads_home_from_outside_its_box(sphere):
    grid = DistanceGrid.from_mesh(sphere, margin=0.01)
    point = torch.tensor([[0.5, 0.0, 0.0], [0.3, -0.4, 0.2]], requires_grad=True)
    distance = grid(point)
    assert distance[0].item() == pytest.approx(0.45, abs=1e-3)
    distance.sum().backward()
    assert (point.grad * point.detach()).sum(-1).min() > 0
    # One step down the gradient per metre of distance arrives at the surface.
    assert grid(point - distance[:, None] * point.grad)[0].item() == pytest.approx(0, abs=5e-3)


def test_grid_gradient_is_that_of_finite_differences(box):
    grid = DistanceGrid.from_mesh(box, pitch=0.005).double()
    # Away from cell faces, where the trilinear function has kinks.
    cells = np.random.default_rng(1).integers(2, 10, (20, 3)) + 0.5
    step = (grid.upper - grid.lower) / (torch.tensor(grid.values.shape[:1:-1]) - 1)
    points = (grid.lower + torch.tensor(cells) * step).requires_grad_()
    assert torch.autograd.gradcheck(grid, (points,), eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("objects", [1, 3])
def test_between_the_nodes_and_beyond_is_what_grid_sample_gives(objects):
    rng = np.random.default_rng(0)
    lower, upper = np.array([-0.1, -0.2, 0.0]), np.array([0.1, 0.1, 0.15])
    grid = DistanceGrid(rng.standard_normal((objects, 5, 8, 6)), lower, upper)
    points = torch.from_numpy(rng.uniform(-0.3, 0.3, size=(4, 200, 3))).float().requires_grad_()
    scaled = (points - grid.lower) / (grid.upper - grid.lower) * 2 - 1
    found = functional.grid_sample(
        grid.values, scaled[None, None], padding_mode="border", align_corners=True
    )[0, :, 0]
    beyond = (points - points.clamp(grid.lower, grid.upper)).norm(dim=-1)
    expected, distance = found + beyond, grid.each(points)
    torch.testing.assert_close(distance, expected, atol=1e-5, rtol=0)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    slopes = [torch.autograd.grad((weight * x).sum(), points)[0] for x in (distance, expected)]
    torch.testing.assert_close(*slopes, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("shape", "exact"), [("box", box_distance), ("sphere", sphere_distance)])
def test_cloud_grid_matches_the_exact_distance(shape, exact, request, even_cloud):
    points, normals = even_cloud(request.getfixturevalue(shape))
    grid = DistanceGrid.from_cloud(points, normals)
    probes = random_points(20000, reach=0.07)  # within the grid
    error = grid(torch.tensor(probes)).numpy() - exact(probes)
    near = np.abs(exact(probes)) < 0.005
    assert np.abs(error[near]).mean() < 3e-4
    assert np.abs(error).max() < 4e-3  # the corners of the box
    clear = np.abs(exact(probes)) > 0.002
    assert np.all((error + exact(probes) > 0)[clear] == (exact(probes) > 0)[clear])


def test_cloud_grid_keeps_a_mug_hollow(even_cloud):
    """Walls of 2.5 to 5 mm, points 4 mm apart: wall solid, inside free."""
    mug = make_object("mug", 3)
    grid = DistanceGrid.from_cloud(*even_cloud(mug))
    probes = random_points(20000, reach=0.05)
    exact = signed_distance(mug, probes)
    estimate = grid(torch.tensor(probes)).numpy()
    clear = np.abs(exact) > 0.0015
    assert np.mean((estimate > 0)[clear] == (exact > 0)[clear]) > 0.99
    assert estimate[np.linalg.norm(probes[:, :2], axis=1) < 0.02].max() > 0.01


@pytest.mark.parametrize("size", [(1.9, 1.9, 1.9), (2.0, 0.01, 0.01), (2.0, 1.9, 0.003)])
def test_a_large_clouds_grid_gets_coarser(size):
    """Nodes and, in a box padded by half its longest side, waves are bounded; distances hold."""
    points, normals = sample_surface(trimesh.creation.box(size), 2048)
    grid = DistanceGrid.from_cloud(points, normals)
    counts = np.array(grid.values.shape[2:])
    assert counts.prod() <= 500_000 and (counts + counts.max() // 2).prod() <= 8_000_000
    probes = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * (np.array(size) / 2 + 0.3)
    beyond = np.abs(probes) - np.array(size) / 2
    exact = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    outside = exact > 0.05
    error = grid(torch.tensor(probes, dtype=torch.float32)).numpy() - exact
    assert np.abs(error[outside]).mean() < 0.02


def test_one_sided_cloud_claims_no_depth_it_has_not_seen():
    """One face of a box: solid right behind it, unknown and so free far behind."""
    spread = np.linspace(-0.05, 0.05, 40)
    y, z = (axis.ravel() for axis in np.meshgrid(spread, spread))
    points = np.stack([np.zeros_like(y), y, z], axis=1)
    grid = DistanceGrid.from_cloud(points, np.tile([1.0, 0, 0], (len(points), 1)), margin=0.12)
    along = torch.zeros(4, 3)
    along[:, 0] = torch.tensor([0.03, -0.005, -0.015, -0.1])
    front, shallow, deep, behind = grid(along).tolist()
    assert front == pytest.approx(0.03, abs=1e-3)
    assert shallow == pytest.approx(-0.005, abs=1e-3)
    assert -0.015 < deep < -0.005
    assert behind > 0.05
    assert grid.values.min() > -0.04


def test_union_is_the_nearer_of_two_objects():
    left = trimesh.creation.box((0.04, 0.04, 0.04)).apply_translation((-0.03, 0, 0))
    right = trimesh.creation.box((0.04, 0.04, 0.04)).apply_translation((0.03, 0, 0))
    one, two = (DistanceGrid.from_mesh(mesh, pitch=0.004, margin=0.08) for mesh in (left, right))
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 0.1 - 0.05
    expected = torch.minimum(one(points), two(points))
    torch.testing.assert_close(one.union(two)(points), expected, atol=0.002, rtol=0)


def test_of_several_objects_each_has_its_distance_and_the_field_is_the_mean(box):
    ball = trimesh.creation.icosphere(5, RADIUS)
    grid = DistanceGrid.from_meshes([box, ball])
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.07, 0.07, (40, 5, 3))).float()
    found = grid.each(points)
    expected = np.stack([box_distance(points.numpy()), sphere_distance(points.numpy())])
    assert found.shape == (2, 40, 5)
    np.testing.assert_allclose(found, expected, atol=0.002)
    torch.testing.assert_close(grid(points), found.mean(dim=0))
    beside = DistanceGrid.from_mesh(ball).beside([DistanceGrid.from_mesh(box)])
    np.testing.assert_allclose(beside.each(points), expected[::-1], atol=0.002)


def test_one_surface_for_all_that_an_object_may_be():
    balls = [trimesh.creation.icosphere(5, radius) for radius in (0.02, 0.03, 0.04)]
    grid = DistanceGrid.from_meshes(balls)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.06, 0.06, (200, 3))).float()
    centre = points.norm(dim=1)
    for deviations in (0, 0.5, -1):
        deeper = 0.03 - deviations * 0.01 * (2 / 3) ** 0.5
        found = grid.leaning(deviations).each(points)
        assert found.shape == (1, 200)
        torch.testing.assert_close(found[0], centre - deeper, atol=0.002, rtol=0)
    alone = DistanceGrid.from_mesh(balls[0])
    torch.testing.assert_close(alone.leaning(3)(points), alone(points))
    frame = Frame.of(np.random.default_rng(1).normal(size=(50, 3)), mirrored=True)
    there = torch.from_numpy(frame.into(points.numpy()))
    moved = FieldInFrame(grid, frame).leaning(0.5)(there)
    torch.testing.assert_close(moved, grid.leaning(0.5)(points), atol=2e-4, rtol=0)


def test_the_middle_is_that_of_what_is_inside():
    place = np.array([0.02, -0.01, 0.03])
    ball = trimesh.creation.icosphere(4, 0.03).apply_translation(place)
    beside = trimesh.creation.icosphere(4, 0.03).apply_translation(place + [0.02, 0, 0])
    grid = DistanceGrid.from_mesh(ball)
    np.testing.assert_allclose(grid.middle(), place, atol=0.001)
    both = DistanceGrid.from_meshes([ball, beside])
    np.testing.assert_allclose(both.middle(), place + [0.01, 0, 0], atol=0.001)
    frame = Frame.of(np.random.default_rng(1).normal(size=(50, 3)), mirrored=True)
    there = frame.into(grid.middle().numpy()[None])[0]
    np.testing.assert_allclose(FieldInFrame(grid, frame).middle(), there, atol=1e-4)
    nothing = DistanceGrid(np.ones((3, 4, 5)), np.zeros(3), np.array([0.2, 0.4, 0.6]))
    np.testing.assert_allclose(nothing.middle(), [0.1, 0.2, 0.3], atol=1e-6)


def test_without_free_space_an_object_ends_where_that_begins(box):
    """The half of a box below a plane, by the distance to it where only the plane is near."""
    grid = DistanceGrid.from_mesh(box, pitch=0.004)
    height = 0.01
    half = grid.without((grid.nodes()[..., 2] > height).numpy())
    z = torch.linspace(-0.07, 0.07, 29)
    line = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], dim=1)
    near = (z - height).abs() < 0.02
    np.testing.assert_allclose(half(line)[near], (z - height)[near], atol=0.004)
    low = z < -0.03  # nearer to the box's side
    np.testing.assert_allclose(half(line)[low], grid(line)[low], atol=1e-6)
