"""Objects that stay, move, hide, come and go, under numbers of their own."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.camera import DepthCamera, look_at
from grasp_gen_core.objects.procedural.scenes import TableScene
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.perception import Segmentation, segment
from grasp_gen_core.perception.files import MILLIMETRES, of_depth
from grasp_gen_core.perception.tracking import REMEMBERED, Tracker

PLACES = {"can": (0.0, 0.0), "box": (0.08, 0.0), "ball": (0.0, 0.12)}
SHAPES = {
    "can": trimesh.creation.cylinder(0.033, 0.1),
    "box": trimesh.creation.box((0.08, 0.06, 0.15)),
    "ball": trimesh.creation.icosphere(3, 0.03),
}


def scene(*names: str, seed: int = 0, **moved: tuple[float, float]) -> Segmentation:
    """These objects, labelled 2, 3, ... in this order, sampled anew."""
    clouds = []
    for name in names:
        points, _ = sample_surface(SHAPES[name], 2000, seed)
        clouds.append(points + [*(np.add(PLACES[name], moved.get(name, (0, 0)))), 0])
    labels = np.repeat(np.arange(2, 2 + len(names), dtype=np.int32), 2000)
    return Segmentation(np.concatenate([np.zeros((0, 3)), *clouds]), labels, None, None)


def numbers(tracker: Tracker, seen: Segmentation) -> list[int]:
    """Of the objects, in the order in which they were given."""
    tracked = tracker(seen)
    return [int(np.unique(tracked.labels[seen.labels == label]).item()) for label in seen.numbers]


def test_numbers_stay_whatever_the_order_and_the_noise():
    tracker = Tracker()
    assert numbers(tracker, scene("can", "box", "ball")) == [2, 3, 4]
    assert numbers(tracker, scene("ball", "can", "box", seed=1)) == [4, 2, 3]
    # Pushed a little, towards a neighbour.
    assert numbers(tracker, scene("box", "ball", "can", can=(-0.02, 0.01))) == [3, 4, 2]


def test_who_hides_is_remembered_for_a_while_and_numbers_are_not_given_twice():
    tracker = Tracker()
    numbers(tracker, scene("can", "box", "ball"))
    for _ in range(REMEMBERED):
        assert numbers(tracker, scene("ball")) == [4]
    assert numbers(tracker, scene("ball", "can")) == [4, 2]
    assert numbers(tracker, scene()) == []
    assert numbers(tracker, scene("box", "can")) == [5, 2]  # the box was away for too long


def test_what_is_put_elsewhere_is_new_and_so_is_what_comes():
    tracker = Tracker()
    assert numbers(tracker, scene("can", "ball")) == [2, 3]
    assert numbers(tracker, scene("can", "ball", ball=(0.2, 0))) == [2, 4]
    assert numbers(tracker, scene("box", "can")) == [5, 2]


def test_a_half_hidden_object_is_the_same_and_so_is_the_larger_part_of_one_that_was_split():
    tracker, whole = Tracker(), scene("box", "can")
    numbers(tracker, whole)
    height = whole.points[:, 2] + 0.01 * (whole.labels == 3)
    top = np.where((whole.labels == 2) & (height < 0.03), 0, whole.labels)
    hidden = replace(whole, labels=top.astype(np.int32))
    assert numbers(tracker, hidden) == [2, 3]
    assert numbers(tracker, whole) == [2, 3]
    split = np.where((whole.labels == 2) & (height < -0.04), 4, whole.labels)
    assert numbers(tracker, replace(whole, labels=split.astype(np.int32))) == [2, 3, 4]


def test_a_camera_that_moves():
    """In its own frame everything moves; in the table's nothing does."""
    still, tracker = scene("can", "box", "ball"), Tracker()
    tracker(still)
    pose = trimesh.transformations.euler_matrix(0.3, -0.5, 0.8)
    pose[:3, 3] = 0.2, -0.4, 0.9
    away = still.moved(np.linalg.inv(pose))
    assert tracker(away, pose).numbers == [2, 3, 4]
    np.testing.assert_array_equal(tracker(away, pose).labels, still.labels)
    assert tracker(away).numbers == [5, 6, 7]


@pytest.fixture
def table():
    """(H, W, 3) points of objects as a noisy camera sees them on a table, and whose they are."""

    def photograph(seed: int, **moved: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        objects = []
        for name, mesh in SHAPES.items():
            x, y = np.add(PLACES[name], moved.get(name, (0, 0)))
            objects.append(mesh.copy().apply_translation((x, y, -mesh.bounds[0, 2])))
        room = trimesh.creation.box((0.8, 1.0, 0.03)).apply_translation((0, 0, -0.015))
        camera = DepthCamera()
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        pose = look_at(np.array([0.7, 0.1, 0.6]), np.array([0, 0, 0.05]))
        depth, owner = TableScene(tuple(objects), room, camera, pose).photograph(seed)
        return of_depth(depth * MILLIMETRES, matrix, "K").points, owner

    return photograph


def test_segments_of_a_noisy_stream(table):
    tracker, known = Tracker(), None
    for seed in range(4):
        points, owner = table(seed, ball=(0.01 * seed, -0.01 * seed))
        tracked = tracker(segment(points, np.zeros(3)))
        assert len(tracked.numbers) == 3
        now = {n: int(np.bincount(owner[tracked.labels == n]).argmax()) for n in tracked.numbers}
        assert now == (known := known or now)
