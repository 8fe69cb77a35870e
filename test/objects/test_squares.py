"""What a cloud's squares hide, against a ray caster that knows nothing of clouds."""

import numpy as np
import open3d as o3d
import pytest
import trimesh

from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.squares import Squares


@pytest.fixture(scope="module")
def cloud(even_cloud):
    """A mug's points and normals, sides of squares of which some are large, a ray caster."""
    points, normals = even_cloud(make_object("mug", 1))
    points, normals = points.astype(float), normals.astype(float)
    rng = np.random.default_rng(0)
    sides = 0.004 * np.where(rng.random(len(points)) < 0.02, 8, rng.uniform(0.5, 2, len(points)))
    squares = Squares(points, normals, sides)
    corners = [
        squares.axes[1] * a + squares.axes[2] * b for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
    ]
    corners = points[:, None] + np.stack(corners, axis=1) * (sides**2 / 4)[:, None, None]
    faces = 4 * np.arange(len(points))[:, None, None] + [[0, 1, 2], [0, 2, 3]]
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.float32(corners.reshape(-1, 3)), np.uint32(faces.reshape(-1, 3)))
    lengths = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    np.testing.assert_allclose(lengths, np.tile(sides[:, None], 4), rtol=1e-5)
    return points, normals, squares, scene


def blocked(scene, starts, ways):
    return scene.test_occlusions(np.concatenate([starts, ways], axis=1, dtype=np.float32)).numpy()


@pytest.mark.parametrize("direction", [[1, 0, 0], [0.3, -0.8, 0.5], [-0.5, 0.1, -0.86]])
def test_squares_hide_the_sky(cloud, direction):
    points, normals, squares, scene = cloud
    direction = trimesh.unitize(direction)
    cosine = normals @ direction
    clear = np.abs(cosine) > 0.2  # others skim their own neighbours
    starts, lift = points[clear], 0.001 / np.abs(cosine[clear])
    found = squares.hide_along(direction, starts, lift)
    for hidden, way in zip(found, (direction, -direction), strict=True):
        way = np.broadcast_to(way, starts.shape)
        truth = blocked(scene, starts + lift[:, None] * way, way)
        assert 0.1 < truth.mean() < 0.95
        assert np.mean(hidden != truth) < 0.001


@pytest.mark.parametrize("eye", [[0.3, 0.2, 0.4], [0.02, -0.01, 2.0], [0.0, 0.16, 0.0]])
def test_squares_hide_from_an_eye(cloud, eye):
    points, normals, squares, scene = cloud
    starts = points + 0.002 * trimesh.unitize(eye - points)
    truth = blocked(scene, starts, eye - starts)
    assert 0.2 < truth.mean() < 0.9
    assert np.mean(squares.hide_from(np.array(eye), starts) != truth) < 0.001
