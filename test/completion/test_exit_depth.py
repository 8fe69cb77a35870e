"""The network that says how thick objects are: its quantiles, and that it learns from views."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.completion import Seen, get_completion
from grasp_gen_core.completion.backs import ByExitDepth
from grasp_gen_core.completion.exit_depth import THICKEST, ExitDepth, ExitDepthConfig
from grasp_gen_core.generators import load_network
from grasp_gen_core.generators.layers.unet import quantile
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import build_scene, signed_distance
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.sampling import outward_normals, sample_surface
from grasp_gen_core.objects.sight import SIZE
from grasp_gen_core.objects.views import view_object


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def small(hand) -> ExitDepth:
    torch.manual_seed(0)
    return ExitDepth(hand, ExitDepthConfig(widths=(8, 8, 8), bins=12, dropout=0.0)).eval()


def test_quantiles_invert_the_cumulative_histogram(small):
    logits = torch.randn(12, 5, 5, generator=torch.Generator().manual_seed(1))
    share = torch.linspace(0.01, 0.99, 7)[:, None, None].expand(7, 5, 5).contiguous()
    found = quantile(logits, small.edges, share).numpy()
    edges, chance = small.edges.numpy(), torch.softmax(logits, dim=0).numpy()
    for row in range(5):
        for column in range(5):
            total = np.r_[0, chance[:, row, column].cumsum()]
            expected = np.interp(share[:, row, column], total, edges)
            np.testing.assert_allclose(found[:, row, column], expected, atol=2e-4)
    assert found.min() >= 0 and found.max() <= THICKEST


def test_it_learns_one_view_by_heart(hand):
    """A slab that is 0.5 thick on one side and 1.5, and hollow, on the other."""
    torch.manual_seed(0)
    net = ExitDepth(hand, ExitDepthConfig(widths=(8, 8, 8), dropout=0.0))
    first = torch.full((1, SIZE, SIZE), -0.2)
    hit = torch.zeros(1, SIZE, SIZE)
    hit[:, 16:48, 8:56] = 1
    left = torch.arange(SIZE).expand(1, SIZE, SIZE) < 32
    depth = torch.where(hit > 0, first, torch.nan)
    depth[:, 30:34, 40:44] = torch.nan  # lost
    batch = {
        "depth": depth,
        "radius": torch.tensor([0.06]),
        "middle": torch.tensor([0.5]),
        "hit": hit,
        "filled": left.float(),
        "first": first,
        "last": first + torch.where(left, 0.5, 1.5),
    }
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        optimiser.zero_grad()
        net.loss(batch)["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        found = net(depth, batch["radius"], batch["middle"])
        middle = quantile(found.thickness[0], net.edges, torch.full((1, SIZE, SIZE), 0.5))
    inner = hit.bool().clone()
    inner[:, :, 30:34] = False  # but for the step
    assert (middle - (batch["last"] - first))[inner].abs().mean() < 0.12
    assert ((found.filled > 0) == left)[inner].float().mean() > 0.97
    lost = inner & depth.isnan()
    assert (found.hit[lost] > 0).all() and (found.front[lost] + 0.2).abs().max() < 0.1
    assert ((found.hit > 0) == (hit > 0))[depth.isnan()].float().mean() > 0.98


@pytest.fixture(scope="module")
def shipped(hand) -> ByExitDepth:
    return ByExitDepth(load_network("exit_depth", hand), get_completion("symmetry", hand))


def seen(family: str, seed: int):
    """What a camera saw about its middle, normals, the eye, and the mesh there."""
    mesh = make_object(family, seed)
    view = view_object(mesh, "camera", 2048, seed)
    middle = view.points.mean(axis=0)
    normals = outward_normals(view.points, np.zeros(3))
    mesh = mesh.copy().apply_transform(np.linalg.inv(view.pose)).apply_translation(-middle)
    return (view.points - middle).astype(np.float32), normals, -middle, mesh


def test_the_mean_over_backs_is_nearer_to_the_truth_than_symmetry(hand, shipped):
    """Of families that no training has seen, over all that was asked."""
    off = {"exit_depth": [], "symmetry": []}
    for family, seed in (("kettle", 7), ("flashlight", 8), ("flashlight", 9)):
        points, normals, eye, mesh = seen(family, seed)
        asked = np.random.default_rng(0).uniform(*mesh.bounds, (4000, 3)).astype(np.float32)
        true = signed_distance(mesh, asked)
        for name, way in (("exit_depth", shipped), ("symmetry", get_completion("symmetry", hand))):
            field = way(Seen(points, normals, eye), 0).field
            off[name].append(np.abs(field(torch.from_numpy(asked)).numpy() - true).mean())
    assert np.mean(off["exit_depth"]) < np.mean(off["symmetry"]), off


def test_backs_differ_where_one_view_does_not_tell_how_thick_a_box_is(shipped):
    """All but face-on, the sides' few pixels lost: it may be a card, and it may be a box."""
    points, normals, eye, mesh = seen("box", 550008)
    backs = shipped.draw(Seen(points, normals, eye), 0)
    thickness = backs.last - backs.front
    assert (
        np.nanmedian(thickness, axis=(1, 2)).max() > 2 * np.nanmedian(thickness, axis=(1, 2)).min()
    )
    rays = np.concatenate([np.broadcast_to(eye, points.shape), points - eye], axis=1)
    crossed = build_scene(mesh.vertices, mesh.faces).list_intersections(rays.astype(np.float32))
    last = np.zeros(len(points))
    np.maximum.at(last, crossed["ray_ids"].numpy(), crossed["t_hit"].numpy())
    last *= np.linalg.norm(points - eye, axis=1)
    places, _ = backs.sight.project(points)
    column, row = np.rint(places).astype(int).T.clip(0, SIZE - 1)
    among = backs.last[:, row, column]
    assert ((among.min(axis=0) <= last) & (last <= among.max(axis=0))).mean() > 0.6


def test_the_same_seed_draws_the_same_backs(shipped):
    points, normals, eye, _ = seen("mug", 3)
    given = Seen(points, normals, eye)
    one, again, other = (shipped.draw(given, seed).last for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_isnt_a_cameras_view_is_guessed_otherwise(hand):
    points, normals, _, _ = seen("box", 4)
    believed = get_completion("exit_depth", hand)(Seen(points, normals), 0)
    symmetric = get_completion("symmetry", hand)(Seen(points, normals), 0)
    assert torch.equal(believed.field.values, symmetric.field.values)


def test_an_object_goes_on_behind_what_stands_before_it(shipped):
    """A box of which a bar hides a stripe: there it is solid, and isn't without the bar."""
    mesh = trimesh.creation.box((0.16, 0.12, 0.05))
    eye = np.array([0.05, 0.05, 0.6])
    points, normals = sample_surface(mesh, 6000)
    facing = np.einsum("nd,nd->n", eye - points, normals) > 0
    points, normals = points[facing], normals[facing]
    gone = np.abs(points[:, 0]) < 0.045
    at = np.stack(np.meshgrid(np.linspace(-0.045, 0.045, 41), np.linspace(-0.1, 0.1, 90)), axis=-1)
    flat = np.column_stack([at.reshape(-1, 2), np.full(at[..., 0].size, 0.03)])
    bar = eye + 0.9 * (flat - eye)
    inner = torch.from_numpy(points[gone] * [1, 0.8, 1] - [0, 0, 0.006]).float()
    given = Seen(points[~gone], normals[~gone], eye)
    inside = [
        (shipped(given._replace(before=before), 0).field(inner) < 0).float().mean()
        for before in (None, bar)
    ]
    assert inside[0] < 0.5 and inside[1] > 0.9
