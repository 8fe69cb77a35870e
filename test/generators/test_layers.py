"""Blocks that generators share."""

import numpy as np
import torch
import trimesh

from grasp_gen_core.contact.maps import nearest
from grasp_gen_core.generators.layers.frames import in_principal_frame, principal_frame
from grasp_gen_core.generators.layers.losses import is_inside
from grasp_gen_core.generators.layers.pointnet import PointNet


def test_principal_frame_is_a_rotation_that_follows_the_cloud(cloud, turn):
    points = torch.stack([cloud(0), cloud(1)])
    flip = torch.tensor([0, 3])
    rotation, centre = principal_frame(points, flip)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    shift = torch.tensor([0.3, -0.1, 0.2])
    turned, moved = principal_frame(points @ turn.T + shift, flip)
    torch.testing.assert_close(turned, turn @ rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(moved, centre @ turn.T + shift)


def test_the_four_flips_are_the_four_turns_of_the_axes(cloud):
    frames, _ = principal_frame(cloud(0).expand(4, -1, -1), torch.arange(4))
    for i in range(4):
        between = frames[0].T @ frames[i]
        torch.testing.assert_close(between.abs(), torch.eye(3), atol=1e-5, rtol=0)
    assert len({tuple((frames[0].T @ f).diagonal().sign().tolist()) for f in frames}) == 4


def test_a_batch_in_its_frame_is_the_same_scene(hand, batch):
    """What lies between points and hands stays; the clouds' means become the origin."""
    view, surface, mano = in_principal_frame(batch, hand)
    before = torch.cdist(batch["surface"], hand(batch["mano"])[0])
    torch.testing.assert_close(torch.cdist(surface, hand(mano)[0]), before, atol=1e-5, rtol=0)
    torch.testing.assert_close(view.mean(dim=1), torch.zeros(4, 3), atol=1e-6, rtol=0)


def test_pointnet_ignores_order_and_repetition():
    net = PointNet((16, 32)).eval()
    points = torch.randn(2, 50, 3)
    shuffled = points[:, torch.randperm(50)]
    torch.testing.assert_close(net(points), net(shuffled))
    torch.testing.assert_close(net(points), net(torch.cat([points, points], dim=1)))


def test_pointnet_is_a_maximum_over_points_and_so_is_its_gradient():
    net, points = PointNet((16, 32, 64)).double(), torch.randn(6, 50, 3).double()
    plainly = net.norm(net.last(net.point_layers(10 * points.mT)).max(dim=2).values)
    weights, found = list(net.parameters()), net(points)
    torch.testing.assert_close(found, plainly)
    gradients = (torch.autograd.grad(x.square().sum(), weights) for x in (found, plainly))
    torch.testing.assert_close(*gradients)


def test_nearest_is_the_smallest_distance_and_so_is_its_gradient():
    points, vertices = torch.randn(2, 30, 3), torch.randn(2, 50, 3, requires_grad=True)
    plainly, (found, _) = torch.cdist(points, vertices).amin(dim=2), nearest(points, vertices)
    torch.testing.assert_close(found, plainly)
    gradients = (torch.autograd.grad(x.square().sum(), vertices)[0] for x in (found, plainly))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_inside_test_agrees_with_trimesh(hand):
    vertices, _ = hand(torch.zeros(1, 61))
    solid = trimesh.Trimesh(vertices[0].numpy(), hand.closed_faces.numpy(), process=False)
    points = trimesh.sample.volume_mesh(solid, 300)[:150]
    outside = solid.sample(150) + 0.02 * np.random.default_rng(0).normal(size=(150, 3))
    points = np.concatenate([points, outside]).astype(np.float32)
    truth = solid.contains(points)
    query = torch.from_numpy(points)[None]
    _, index = nearest(query, vertices)
    ours = is_inside(query, vertices, index, hand.closed_faces)[0].numpy()
    assert (ours == truth).mean() > 0.95
