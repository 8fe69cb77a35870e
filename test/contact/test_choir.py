"""CHOIR against plain loops, numpy and scipy."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.stats import multivariate_normal

from grasp_gen_core.contact import choir
from grasp_gen_core.hand import ManoHand, vertex_normals


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def vertices(hand) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return hand(0.2 * torch.randn(2, 61, generator=rng))[0].detach()


@pytest.fixture(scope="module")
def points(vertices) -> torch.Tensor:
    """Many points around some finger vertices of the first hand, inside and outside the skin."""
    rng = torch.Generator().manual_seed(1)
    around = vertices[:1, 300:420:4]
    spread = 0.003 * torch.randn(20, *around.shape[1:], generator=rng)
    return (around + spread).reshape(1, -1, 3).expand(2, -1, -1)


def test_the_basis_is_a_cube_about_the_origin():
    grid = choir.basis()
    assert grid.shape == (16**3, 3)
    torch.testing.assert_close(grid.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    cube = grid.view(16, 16, 16, 3)
    torch.testing.assert_close(cube[3, 7, 11] - cube[2, 6, 10], torch.full((3,), 0.02))


def test_fields_are_the_distances_of_eq_1_and_2(hand, vertices):
    anchors, grid = vertices[:, hand.regions.anchors], choir.basis()
    field = choir.hand_field(anchors)
    for j in (0, 1, 31, 32, 777, 4095):
        truth = (grid[j] - anchors[:, j % 32]).norm(dim=1)
        torch.testing.assert_close(field[:, j], truth)
    ball = torch.from_numpy(trimesh.creation.icosphere(5, 0.05).vertices).float()
    distance = choir.object_field(ball.expand(2, -1, -1))
    truth = (grid.norm(dim=1) - 0.05).abs()
    torch.testing.assert_close(distance[1], truth, atol=1e-3, rtol=0)


def test_contact_weights_count_the_points_in_each_cone(hand, vertices, points):
    weights = choir.contact_weights(points, vertices, hand.faces)
    corners = vertices[0].double().numpy()[hand.faces.numpy()]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((778, 3))
    np.add.at(normals, hand.faces.numpy(), area[:, None])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(vertices, hand.faces)[0], normals, atol=1e-4)
    apart = points[0].double().numpy() - vertices[0].double().numpy()[:, None]
    length = np.linalg.norm(apart, axis=2)
    angle = np.degrees(np.arccos((apart * normals[:, None]).sum(axis=2) / length))
    truth = ((length <= 0.004) & (angle <= 120)).sum(axis=1)
    assert truth.max() > 5
    # Hands that are being fitted have a gradient; counts have none.
    fitted = vertices.clone().requires_grad_()
    assert torch.equal(choir.contact_weights(points, fitted, hand.faces), weights)
    # One in thousands may lie on the cone's very edge.
    assert (weights[0].numpy() != truth).mean() < 0.005


def test_gaussians_are_the_multisets_mean_and_covariance(hand, vertices, points):
    weights = choir.contact_weights(points, vertices, hand.faces)
    contacts = choir.fit_gaussians(vertices, weights, hand.regions)
    owner, anchors = hand.regions.nearest_anchor, vertices[0][hand.regions.anchors]
    touched = 0
    for anchor in range(32):
        mine = owner == anchor
        repeated = torch.repeat_interleave(vertices[0][mine], weights[0][mine], dim=0).double()
        if not len(repeated):
            assert (contacts[0, anchor] == 0).all()
            continue
        touched += 1
        mean = repeated.mean(dim=0) - anchors[anchor]
        torch.testing.assert_close(contacts[0, anchor, :3], mean.float(), atol=1e-6, rtol=1e-3)
        covariance = np.cov(repeated.numpy().T, bias=True) + 1e-6 * np.eye(3)
        factor = np.linalg.cholesky(covariance)[np.tril_indices(3)]
        np.testing.assert_allclose(contacts[0, anchor, 3:], factor, atol=2e-5)
    assert touched >= 3


def test_a_factor_counts_from_half_a_millimetre():
    """Networks' almost zeros are none: the least of the diagonal decides, not what is beside it."""
    contacts = torch.zeros(1, 3, 9)
    contacts[0, :, 4] = 0.7  # below the diagonal
    contacts[0, :, [3, 5, 8]] = torch.tensor([[0.51, 4, 4], [4, 0.49, 4], [4, 4, -0.6]])
    factor, touched = choir.factors(contacts / 1000)
    assert touched.tolist() == [[True, False, False]]
    expected = torch.tensor([[0.51, 0, 0], [0.7, 4, 0], [0, 0, 4]])
    torch.testing.assert_close(1000 * factor[0, 0], expected)
    torch.testing.assert_close(1000 * factor[0, 1:], torch.eye(3).expand(2, 3, 3))


def test_dense_contact_is_the_density_over_its_peak(hand, vertices, points):
    weights = choir.contact_weights(points, vertices, hand.faces)
    contacts = choir.fit_gaussians(vertices, weights, hand.regions)
    dense = choir.dense_contact(contacts, vertices, hand.regions)[0]
    owner, anchors = hand.regions.nearest_anchor, vertices[0][hand.regions.anchors]
    for vertex in range(0, 778, 7):
        row = contacts[0, owner[vertex]].double().numpy()
        if not row.any():
            assert dense[vertex] == 0
            continue
        factor = np.zeros((3, 3))
        factor[np.tril_indices(3)] = row[3:]
        density = multivariate_normal(row[:3], factor @ factor.T)
        place = (vertices[0, vertex] - anchors[owner[vertex]]).double().numpy()
        truth = density.pdf(place) / density.pdf(row[:3])
        assert dense[vertex].item() == pytest.approx(truth, abs=1e-3)
    # What touches most is what the Gaussians say touches.
    assert dense[weights[0] > 0].mean() > 5 * dense[weights[0] == 0].mean()


def test_object_contact_is_that_of_the_widened_gaussian_that_reaches_best(hand, vertices, points):
    weights = choir.contact_weights(points, vertices, hand.faces)
    contacts = choir.fit_gaussians(vertices, weights, hand.regions)
    found = choir.object_contact(points[0], contacts, vertices, hand.regions)
    anchors = vertices[0, hand.regions.anchors].double().numpy()
    truth = np.zeros(len(points[0]))
    for anchor, numbers in zip(anchors, contacts[0].double().numpy(), strict=True):
        if not numbers.any():
            continue
        factor = np.zeros((3, 3))
        factor[np.tril_indices(3)] = numbers[3:]
        covariance = factor @ factor.T + choir.CONE**2 * np.eye(3)
        density = multivariate_normal(anchor + numbers[:3], covariance)
        ratio = density.logpdf(points[0].numpy()) - density.logpdf(anchor + numbers[:3])
        truth = np.maximum(truth, np.exp(ratio))
    np.testing.assert_allclose(found[0], truth, atol=1e-3)
    assert found[0].max() > 0.5
    assert (choir.object_contact(points[0] + 1.0, contacts, vertices, hand.regions) < 1e-6).all()


def test_a_moved_scene_has_the_same_choir(hand, vertices, points):
    here = choir.encode(points, vertices, hand.faces, hand.regions, vertices.mean(dim=1))
    shift = torch.tensor([0.3, -0.5, 0.2])
    there = choir.encode(
        points + shift, vertices + shift, hand.faces, hand.regions, vertices.mean(dim=1) + shift
    )
    torch.testing.assert_close(there.hand_field, here.hand_field, atol=1e-6, rtol=0)
    torch.testing.assert_close(there.object_field, here.object_field, atol=1e-6, rtol=0)
    assert here.contacts.shape == (2, 32, 9)


def test_turned_contacts_are_those_of_the_turned_scene(hand, vertices, points):
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]]))
    centre = torch.zeros(3)
    here = choir.encode(points, vertices, hand.faces, hand.regions, centre)
    there = choir.encode(points @ turn.T, vertices @ turn.T, hand.faces, hand.regions, centre)
    turned = choir.turn_contacts(here.contacts, turn.expand(2, 3, 3))
    assert (turned != 0).any()
    # A point on a cone's edge may fall out of it when all is turned.
    same = ((turned - there.contacts).abs() < 1e-5).all(dim=2)
    assert same.float().mean() > 0.95
