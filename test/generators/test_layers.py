"""Blocks that generators share."""

import numpy as np
import torch
import trimesh

from grasp_gen_core.contact.maps import nearest
from grasp_gen_core.generators.layers.frames import in_principal_frame, principal_frame
from grasp_gen_core.generators.layers.losses import is_inside, out_of_touch
from grasp_gen_core.generators.layers.mano import from_mano, to_mano
from grasp_gen_core.generators.layers.pointnet import PointNet
from grasp_gen_core.generators.layers.sinusoids import sinusoids


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
    """Also of a box's corners, which look the same from both ends of each axis."""
    corners = torch.cartesian_prod(*torch.tensor([[-3.0, 3], [-2, 2], [-1, 1]]))
    for points in (cloud(0), corners):
        frames, _ = principal_frame(points.expand(4, -1, -1), torch.arange(4))
        torch.testing.assert_close(torch.linalg.det(frames), torch.ones(4))
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
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(points), net.features(points)[1])


def test_what_a_decoder_would_have_to_give_is_what_it_gave(hand):
    """And is finite for angles at the very end of their ranges: ln 999 of a sigmoid."""
    numbers = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    numbers[0, 19:] = 20
    found = from_mano(to_mano(numbers, hand), numbers, hand)
    torch.testing.assert_close(found[0, 19:], torch.full((45,), np.log(999)).float())
    torch.testing.assert_close(found[1:], numbers[1:], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[0, :19], numbers[0, :19], atol=1e-4, rtol=1e-4)


def test_times_are_sines_and_cosines_of_rates_from_one_to_a_ten_thousandth():
    time = np.array([0.0, 1.0, 999.0])
    phase = time[:, None] * np.exp([0.0, -4.6, -9.2])
    expected = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    np.testing.assert_allclose(sinusoids(torch.from_numpy(time), 6), expected, atol=1e-4)


def test_pads_that_reach_nothing_count_with_three_centimetres(hand):
    """One point, on the index finger's pad or nowhere near."""
    vertices, zones = hand(torch.zeros(2, 61))[0], hand.regions.zones
    tip = vertices[0, zones == 1][0]
    gaps = [(vertices[0, zones == finger] - tip).norm(dim=1).min() for finger in range(5)]
    expected = np.square(np.minimum(100 * np.array(gaps), 3)).mean()
    found = out_of_touch(torch.stack([tip, tip + 9])[:, None], vertices, hand)
    np.testing.assert_allclose(found, [expected, 9.0], rtol=1e-4)


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
