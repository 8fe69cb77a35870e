"""Planes and objects of scenes whose geometry is known."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.camera import KINECT, DepthCamera
from grasp_gen_core.objects.procedural.scenes import make_scene
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.perception import FIRST_OBJECT, PLANE, segment
from grasp_gen_core.perception.files import back_project

MAP = np.array([836419.8, 818050.7, 4.88])  # metres, such as surveyors have them


def found(seen, owner, number) -> float:
    """Intersection over union of an object with the segment that is most like it."""
    ious = [
        ((seen.labels == label) & (owner == number)).sum()
        / ((seen.labels == label) & (owner >= 0) | (owner == number)).sum()
        for label in seen.numbers
    ]
    return max(ious, default=0.0)


@pytest.mark.parametrize("lean", [0.0, 0.6, 2.5])
@pytest.mark.parametrize("eye", [(0.7, 0.1, 0.35), (0.5, -0.3, 0.9)])
def test_the_plane_is_exact_whatever_way_the_camera_is_held(look, table, box, eye, lean):
    thing = box((0.06, 0.08, 0.12), (0, 0, 0))
    points, pose, owner = look([table, thing], eye, lean)
    seen = segment(points)
    np.testing.assert_allclose(seen.plane.normal, pose[2, :3], atol=1e-4)
    assert seen.plane.offset == pytest.approx(-pose[2, 3], abs=1e-4)
    assert len(seen.numbers) == 1 and found(seen, owner, 1) > 0.9
    on = owner == 0
    assert (seen.labels[on] == PLANE).mean() > 0.97


@pytest.mark.parametrize("camera", [DepthCamera(), KINECT], ids=["stereo", "structured light"])
def test_noise_moves_the_plane_by_less_than_its_own_steps(look, table, box, camera):
    things = [box((0.07, 0.07, 0.1), (0, -0.15, 0)), box((0.1, 0.06, 0.06), (0.05, 0.15, 0))]
    points, pose, owner = look([table, *things], camera=camera, seed=3)
    seen = segment(points)
    assert np.degrees(np.arccos(min(seen.plane.normal @ pose[2, :3], 1))) < 0.3
    assert abs(seen.plane.offset + pose[2, 3]) < 0.001
    assert len(seen.numbers) == 2
    assert min(found(seen, owner, 1), found(seen, owner, 2)) > 0.75


def test_without_a_table_objects_are_told_apart_by_themselves(look):
    balls = [
        trimesh.creation.icosphere(4, 0.05).apply_translation((0, y, 0.1)) for y in (-0.1, 0.1)
    ]
    points, _, owner = look(balls)
    seen = segment(points)
    assert seen.plane is None and len(seen.numbers) == 2
    assert min(found(seen, owner, 0), found(seen, owner, 1)) > 0.95
    assert not (seen.labels == PLANE).any()


def test_a_single_face_is_no_table(look, box):
    seen = segment(look([box((0.05, 0.2, 0.28), (0, 0, 0))])[0])
    assert seen.plane is None and len(seen.numbers) == 1


def test_an_empty_table_has_no_objects(look, table):
    seen = segment(look([table])[0])
    assert seen.plane is not None and not len(seen.numbers)
    assert set(np.unique(seen.labels)) <= {0, PLANE}


def test_the_table_supports_not_the_floor_nor_the_wall(look, table, box):
    floor = trimesh.creation.box((6, 6, 0.01)).apply_translation((0, 0, -0.75))
    wall = trimesh.creation.box((0.1, 6, 3)).apply_translation((-0.5, 0, 0))
    points, pose, owner = look([table, floor, wall, box((0.05, 0.05, 0.1), (0, 0, 0))])
    seen = segment(points)
    np.testing.assert_allclose(seen.plane.normal, pose[2, :3], atol=1e-3)
    assert seen.plane.offset == pytest.approx(-pose[2, 3], abs=1e-3)
    assert len(seen.numbers) == 1 and found(seen, owner, 3) > 0.9


def test_up_chooses_among_planes(look, box):
    """A box's front, larger than its top, faces the camera; up says which supports."""
    big = box((0.5, 0.8, 0.5), (-0.3, 0, -0.5))
    points, pose, _ = look([big, box((0.06, 0.06, 0.1), (-0.3, 0, 0))], eye=(0.9, 0, 0.5))
    up = pose[:3, :3].T @ [0.1, 0, 1]  # not quite
    seen = segment(points, up=up)
    np.testing.assert_allclose(seen.plane.normal, pose[2, :3], atol=1e-3)
    assert seen.plane.offset == pytest.approx(-pose[2, 3], abs=1e-3)
    assert segment(points, up=pose[:3, :3].T @ [0, 1, 0]).plane is None


@pytest.mark.parametrize("gap", [0.02, 0.006, 0.001])
def test_boxes_side_by_side_are_two(look, table, box, gap):
    """A tall and a low one, their fronts not flush: where they meet the surface is concave."""
    tall, low = (0.07, 0.07, 0.14), (0.08, 0.08, 0.06)
    middle = (tall[1] + low[1]) / 2 + gap
    things = [box(tall, (0, 0, 0)), box(low, (0.03, middle, 0))]
    points, _, owner = look([table, *things], eye=(0.5, 0.45, 0.6))
    seen = segment(points)
    assert len(seen.numbers) == 2
    assert min(found(seen, owner, 1), found(seen, owner, 2)) > 0.8


def test_stacked_boxes_are_two(look, table, box):
    things = [box((0.2, 0.2, 0.07), (0, 0, 0)), box((0.09, 0.1, 0.09), (-0.02, 0, 0.07))]
    points, _, owner = look([table, *things])
    seen = segment(points)
    assert len(seen.numbers) == 2
    assert min(found(seen, owner, 1), found(seen, owner, 2)) > 0.85


def test_what_goes_on_behind_another_thing_is_one(look, table, box):
    behind, before = box((0.04, 0.24, 0.1), (-0.1, 0, 0)), box((0.05, 0.05, 0.2), (0.1, 0, 0))
    points, _, owner = look([table, behind, before], eye=(0.8, 0, 0.45))
    seen = segment(points)
    assert len(seen.numbers) == 2 and found(seen, owner, 1) > 0.85


def test_a_bowl_is_one_with_its_inside_and_its_floor(look, table):
    bowl = trimesh.creation.revolve(
        [(0, 0), (0.04, 0), (0.075, 0.06), (0.072, 0.06), (0.038, 0.004), (0, 0.004)]
    )
    points, _, owner = look([table, bowl])
    seen = segment(points)
    assert len(seen.numbers) == 1 and found(seen, owner, 1) > 0.9


def test_labels_keep_order_and_shape(look, table, box):
    points, _, _ = look([table, box((0.06, 0.08, 0.12), (0, 0, 0))])
    seen = segment(points)
    assert seen.labels.shape == points.shape[:2] and seen.labels.dtype == np.int32
    missing = np.isnan(points).any(axis=2)
    assert not seen.labels[missing].any()
    order = np.random.default_rng(0).permutation(points.shape[0] * points.shape[1])
    mixed = segment(points.reshape(-1, 3)[order])
    np.testing.assert_array_equal(mixed.labels, seen.labels.reshape(-1)[order])
    listed = points[~missing]
    assert not np.isnan(listed).any()
    np.testing.assert_array_equal(segment(listed).labels, seen.labels[~missing])
    np.testing.assert_array_equal(seen.object(FIRST_OBJECT), points[seen.labels == FIRST_OBJECT])


@pytest.mark.parametrize("shift", [np.zeros(3), MAP])
def test_a_moved_scene_has_a_moved_plane_and_the_same_objects(look, table, box, shift):
    points, pose, owner = look([table, box((0.06, 0.08, 0.12), (0, 0, 0))])
    turn = Rotation.random(random_state=4).as_matrix()
    seen = segment(points @ turn.T + shift, viewpoint=shift)
    np.testing.assert_allclose(seen.plane.normal, turn @ pose[2, :3], atol=5e-5)
    offset = -pose[2, 3] + seen.plane.normal @ shift
    assert seen.plane.offset == pytest.approx(offset, abs=1e-4)
    assert len(seen.numbers) == 1 and found(seen, owner, 1) > 0.9


def test_a_cloud_from_all_around_needs_no_camera(box):
    """All sides of the objects, around the origin: nobody says where a camera stood."""
    top = np.random.default_rng(0).uniform((-0.45, -0.55, 0), (0.45, 0.55, 0), (60000, 3))
    things = [box((0.06, 0.06, 0.14), (0, -0.2, 0)), box((0.1, 0.1, 0.08), (0.1, 0.2, 0))]
    sides = (sample_surface(thing, 7000, 0)[0] for thing in things)
    clouds = [top, *(points[points[:, 2] > 0.001] for points in sides)]
    owner = np.repeat([0, 1, 2], [len(cloud) for cloud in clouds])
    seen = segment(np.concatenate(clouds))
    assert seen.viewpoint is None
    np.testing.assert_allclose(seen.plane.normal, [0, 0, 1], atol=1e-3)
    assert len(seen.numbers) == 2
    assert min(found(seen, owner, 1), found(seen, owner, 2)) > 0.8


def test_only_the_region_is_looked_at(look, table, box):
    things = [box((0.06, 0.06, 0.1), (0, y, 0)) for y in (-0.2, 0.2)]
    points, pose, owner = look([table, *things])
    left = np.nanmean(points[owner == 1], axis=0)
    seen = segment(points, region=(left - 0.17, left + 0.17))
    assert len(seen.numbers) == 1 and found(seen, owner, 1) > 0.85
    outside = (np.abs(points - left) > 0.17).any(axis=2)
    assert not seen.labels[outside].any()


@pytest.mark.parametrize(
    ("points", "more", "words"),
    [
        (np.zeros((0, 3)), {}, "0 finite ones"),
        (np.full((480, 640, 3), np.nan), {}, "0 finite ones"),
        (np.full((200, 3), np.inf), {}, "0 finite ones"),
        (np.random.default_rng(0).normal(size=(300, 3)) * 3e4, {}, "in metres"),
        (np.random.default_rng(0).normal(size=(63, 3)), {}, "at least 64"),
        (np.zeros((100, 2)), {}, r"\(N, 3\)"),
        (np.zeros((2, 2, 10, 3)), {}, r"\(N, 3\)"),
        (np.zeros((100, 3), complex), {}, "type complex128"),
        (np.ones((100, 3)), {"up": (0, 0, 0)}, "up: "),
        (np.ones((100, 3)), {"viewpoint": (0, np.nan, 0)}, "viewpoint: "),
        (np.ones((100, 3)), {"region": ((0, 0, 0), (1, -1, 1))}, "region: "),
    ],
)
def test_bad_input_is_refused(points, more, words):
    with pytest.raises(InputError, match=words):
        segment(points, **more)


def test_odd_clouds_are_no_scenes_but_no_errors_either():
    rng = np.random.default_rng(1)
    for points in (
        rng.normal(size=(64, 3)),
        np.ones((500, 3)),
        np.linspace(0, 1, 500)[:, None] * [1, 2, 3],
        np.concatenate([rng.normal(size=(500, 3)), [[1e300, 0, 0], [-1e8, 0, 0]]]),
    ):
        assert segment(points).labels.shape == (len(points),)


def test_random_tables_are_reproducible_and_physical():
    one, two = make_scene(5), make_scene(5)
    assert 1 <= len(one.objects) <= 8
    for mesh, again in zip(one.objects, two.objects, strict=True):
        np.testing.assert_array_equal(mesh.vertices, again.vertices)
        assert mesh.bounds[0, 2] > -1e-4  # nothing is in the table
    depth, owner = one.photograph()
    points = back_project(depth, one.camera.matrix)
    normal, offset = one.plane()
    height = points[(owner == 0) & (depth > 0)] @ normal - offset
    assert abs(np.median(height[np.abs(height) < 0.02])) < 0.003


def test_an_object_is_found_at_a_place(look, table, box):
    points, _, owner = look([table, box((0.06,) * 3, (0, 0.1, 0)), box((0.06,) * 3, (0, -0.1, 0))])
    seen = segment(points)
    for number in (1, 2):
        place = points[owner == number].mean(axis=0)
        label = seen.at(place)
        assert ((seen.labels == label) & (owner == number)).sum() > 0.9 * (owner == number).sum()
    with pytest.raises(InputError, match="nearest of 2 objects is 0.[0-9]+ m away"):
        seen.at(place + [0, 0, 0.3])
    with pytest.raises(InputError, match="accepted"):
        seen.at(np.full(3, np.nan))


def test_a_moved_scene_is_the_same(look, table, box):
    points, _, _ = look([table, box((0.06, 0.08, 0.12), (0, 0, 0))])
    seen, pose = segment(points), np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.3, -0.5, 1.1]).as_matrix()
    pose[:3, 3] = 0.2, -3.0, 1.5
    moved = seen.moved(pose)
    np.testing.assert_allclose(
        moved.plane.height(moved.points), seen.plane.height(points), atol=1e-12
    )
    middle = seen.object(FIRST_OBJECT).mean(axis=0)
    np.testing.assert_allclose(
        moved.object(FIRST_OBJECT).mean(axis=0), pose[:3, :3] @ middle + pose[:3, 3]
    )
    np.testing.assert_allclose(moved.viewpoint, pose[:3, 3], atol=1e-12)
