"""Pictures checked against geometry: what must be seen where, in which colour."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.render import (
    CAPTION,
    TILE,
    Cell,
    View,
    export_glb,
    hand_axes,
    render_grasps,
    render_hands,
    render_scene,
    smooth,
    touching_parts,
    write_sheet,
)
from grasp_gen_core.types import GraspSet

FRONT = View((0, -1, 0), (0, 0, 1))
RED, BLUE = (255, 0, 0), (0, 0, 255)


def ball(colour, position=(0, 0, 0), radius=0.05):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    mesh.apply_translation(position)
    mesh.visual.vertex_colors = colour
    return mesh


def inked(image):
    return (image < 250).any(axis=-1)


def reddish(image):
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return red > 1.3 * np.maximum(green, blue)


def bluish(image):
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return blue > 1.2 * np.maximum(red, green)


@pytest.fixture(scope="module")
def plate():
    """A thin box just below the palm of the rest pose."""
    plate = trimesh.creation.box((0.16, 0.01, 0.10))
    plate.apply_translation((0.03, -0.026, 0.0))
    return plate


@pytest.fixture(scope="module")
def grasps(plate):
    """Two hands at rest over the plate; only what a picture needs is more than zeros."""
    hand = ManoHand()
    mano = torch.zeros(2, 61)
    mano[1, 59] = 0.03  # the second does not touch
    vertices, joints = (tensor.numpy() for tensor in hand(mano))
    points, _ = trimesh.sample.sample_surface(plate, 1500, seed=0)
    near = [trimesh.proximity.closest_point(plate, v)[1].min() for v in vertices]
    assert near[0] < 0.004 < 0.012 < near[1]
    distance = np.linalg.norm(points[None, :, None] - vertices[:, None, ::3], axis=-1).min(-1)
    return GraspSet(
        mano=mano.numpy(),
        vertices=vertices,
        faces=hand.faces.numpy(),
        joints=joints,
        points=points.astype(np.float32),
        contact=(1 - distance / 0.008).clip(0, 1).astype(np.float32),
        score=np.array([0.9, 0.5], np.float32),
        side="right",
        wrist_pose=np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)),
        approach=np.tile(np.array([0, -1, 0], np.float32), (2, 1)),
        pregrasp=mano.numpy(),
        squeeze=mano.numpy(),
        retreat=np.zeros((2, 3), np.float32),
    )


def test_ball_is_a_framed_disc():
    image = render_scene([ball(RED)], size=200, view=FRONT)
    assert image.shape == (200, 200, 3) and image.dtype == np.uint8
    disc = inked(image)
    # The frame is 6 % wider than what it shows.
    assert disc.mean() == pytest.approx(np.pi / 4 / 1.06**2, rel=0.02)
    rows, columns = np.nonzero(disc)
    assert rows.mean() == pytest.approx(99.5, abs=1) and columns.mean() == pytest.approx(
        99.5, abs=1
    )
    assert (image[~disc] > 250).all() and reddish(image)[disc].mean() > 0.98
    upper, lower = image[40:100], image[100:160]
    assert upper.mean() > lower.mean(), "the light comes from above"


def test_left_is_left_and_near_hides_far():
    balls = [ball(RED, (-0.2, 0, 0)), ball(BLUE, (0.2, 0, 0))]
    for view, left in ((FRONT, reddish), (View((0, 1, 0), (0, 0, 1)), bluish)):
        image = render_scene(balls, size=100, view=view)
        assert left(image)[:, :50].sum() > 100 and left(image)[:, 50:].sum() == 0
    image = render_scene(balls, size=100, view=View((1, 0, 0), (0, 0, 1)))
    assert bluish(image).sum() > 100 and reddish(image).sum() == 0
    image = render_scene(balls[::-1], size=100, view=View((0, 0, 1), (-1, 0, 0)))
    assert reddish(image)[:50].sum() > 100 and reddish(image)[50:].sum() == 0


def test_things_close_by_cast_soft_shadows():
    floor = trimesh.creation.box((0.4, 0.4, 0.01)).subdivide().subdivide().subdivide().subdivide()
    floor.visual.vertex_colors = (200, 200, 200)
    top = View((0, 0, 1), (0, 1, 0))
    alone = render_scene([floor], size=100, view=top).astype(int)
    # The ball hovers over the right half, just beside the middle.
    shaded = render_scene([floor, ball(RED, (0.1, 0, 0.06), 0.04)], size=100, view=top).astype(int)
    change = np.where(reddish(shaded), 0, (alone - shaded).sum(-1))
    assert change[:, 60:].max() > 60 and abs(change[:, :30]).max() < 20


def test_cloud_is_drawn_as_balls():
    points, _ = trimesh.sample.sample_surface(ball(RED), 2000, seed=0)
    cloud = trimesh.PointCloud(points, colors=np.tile((*BLUE, 255), (2000, 1)))
    image = render_scene([cloud], size=200, view=FRONT)
    drawn = inked(image)
    assert bluish(image)[drawn].mean() > 0.98
    assert 0.8 < drawn.mean() / (np.pi / 4 / 1.06**2) < 1.01, "a disc with few gaps"
    assert render_scene([trimesh.PointCloud([[0, 0, 0.0]], colors=[[*BLUE, 255]])]).min() == 0


def test_a_veil_tints_what_is_behind_it_alone():
    red, veil = ball(RED), trimesh.creation.box((0.3, 0.01, 0.3))
    veil.visual.vertex_colors = [*BLUE, 100]
    before, behind = (
        render_scene([red, veil.copy().apply_translation((0, y, 0))], 100, FRONT).astype(int)
        for y in (-0.1, 0.1)
    )
    middle, corner = np.s_[50:51, 50:51], np.s_[20:21, 20:21]
    assert reddish(before[middle]).all() and reddish(behind[middle]).all()
    assert (before[middle] - behind[middle])[0, 0, 2] > 40  # of the veil's blue
    for image in (before, behind):  # white shines through
        assert bluish(image[corner]).all() and image[corner][0, 0, 0] > 120


@pytest.mark.parametrize("with_mesh", [True, False])
def test_contact_sheet(tmp_path, grasps, plate, with_mesh):
    path = tmp_path / "sheet.png"
    render_grasps(grasps, path, plate if with_mesh else None, count=4, views=6)
    image = np.array(Image.open(path))
    assert image.shape == (2 * (TILE + CAPTION), 6 * TILE, 3)
    first, second = np.split(image, 2)
    for row in (first, second):
        assert inked(row[:CAPTION, :TILE]).sum() > 50, "caption"
        for tile in np.split(row[CAPTION:], 6, axis=1):
            covered = np.nonzero(inked(tile))
            extent = [np.ptp(axis) for axis in covered]
            assert max(extent) > 0.9 * TILE, "hand and object fill the tile"
        assert bluish(row).sum() > 3000, "object"
        skin = (row[..., 0] > 150) & (row[..., 0] > 1.15 * row[..., 2]) & ~reddish(row)
        assert skin.sum() > 10000
    pressed = [((r[..., 0] > 120) & (r[..., 1] < 0.4 * r[..., 0])).sum() for r in (first, second)]
    assert pressed[0] > 30 and pressed[1] == 0
    # The first view sees the back of the hand, the third its palm, behind the plate.
    back, palm = (first[CAPTION:, i * TILE : (i + 1) * TILE] for i in (0, 2))
    assert bluish(palm).sum() > 1.5 * bluish(back).sum()


def test_hands_alone(tmp_path, grasps):
    render_hands(grasps.vertices, grasps.faces, tmp_path / "hands.png", labels=["flat"])
    image = np.array(Image.open(tmp_path / "hands.png"))
    assert image.shape == (2 * (TILE + CAPTION), 4 * TILE, 3)
    assert inked(image[:CAPTION]).any()
    back, palm = (image[CAPTION : CAPTION + TILE, i * TILE : (i + 1) * TILE] for i in (0, 2))
    # Thumb (towards +z) left when looking at the right hand's back, fingers up.
    thumb = [np.nonzero(inked(tile)[TILE // 3 : 2 * TILE // 3])[1] for tile in (back, palm)]
    middle = [np.median(np.nonzero(inked(tile)[: TILE // 6])[1]) for tile in (back, palm)]
    assert middle[0] - thumb[0].min() > 1.2 * (thumb[0].max() - middle[0])
    assert thumb[1].max() - middle[1] > 1.2 * (middle[1] - thumb[1].min())


@pytest.mark.parametrize("with_mesh", [True, False])
def test_glb_round_trip(tmp_path, grasps, plate, with_mesh):
    path = tmp_path / "grasps.glb"
    export_glb(grasps, path, plate if with_mesh else None)
    scene = trimesh.load(path)
    assert set(scene.graph.nodes_geometry) == {"object_1", "object_2", "grasp_1", "grasp_2"}

    transform, name = scene.graph["grasp_1"]
    hand = scene.geometry[name]
    # glTF has y up: what is up in the object's frame, z, is up there; x stays.
    up, right = transform[:3, :3] @ (0, 0, 1), transform[:3, :3] @ (1, 0, 0)
    np.testing.assert_allclose([up, right], [(0, 1, 0), (1, 0, 0)], atol=1e-12)
    np.testing.assert_allclose(transform[:3, 3], 0)
    exact = trimesh.Trimesh(grasps.vertices[0], grasps.faces, process=False)
    assert trimesh.proximity.closest_point(exact, hand.vertices)[1].mean() < 0.0005
    red = hand.visual.vertex_colors[:, 1] < 60
    touching = trimesh.proximity.closest_point(plate, hand.vertices)[1] < 0.005
    assert red.any() and touching[red].all()
    hand.merge_vertices(merge_norm=True, merge_tex=True)
    assert hand.is_watertight, "the wrist is closed"

    thing = scene.geometry[scene.graph["object_1"][1]]
    assert isinstance(thing, trimesh.Trimesh if with_mesh else trimesh.PointCloud)
    np.testing.assert_allclose(thing.bounds, plate.bounds, atol=1e-6 if with_mesh else 2e-3)
    beside = scene.graph["grasp_2"][0]
    np.testing.assert_allclose(beside, scene.graph["object_2"][0])
    assert beside[0, 3] > np.ptp(grasps.vertices[0, :, 0])


def test_a_guess_is_translucent_about_what_was_seen(tmp_path, grasps, plate):
    guessed = replace(grasps, shapes=(plate, plate.copy().apply_scale(2)))
    render_grasps(guessed, tmp_path / "guess.png", count=1, views=1)
    render_grasps(grasps, tmp_path / "plain.png", count=1, views=1)
    pictures = [np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("guess", "plain")]
    assert (pictures[0] != pictures[1]).any()
    export_glb(guessed, tmp_path / "grasps.glb", count=1)
    scene = trimesh.load(tmp_path / "grasps.glb")
    assert set(scene.graph.nodes_geometry) == {"grasp_1", "object_1", "guess_1"}
    guess = scene.geometry[scene.graph["guess_1"][1]]
    np.testing.assert_allclose(guess.bounds, plate.bounds, atol=1e-6)
    material = guess.visual.material
    assert material.alphaMode == "BLEND" and 0 < material.baseColorFactor[3] < 255


def test_errors_say_what_is_accepted(tmp_path, grasps):
    for draw in (render_grasps, export_glb):
        with pytest.raises(ValueError, match="count: 0, accepted is 1 or more"):
            draw(grasps, tmp_path / "x", count=0)
        with pytest.raises(ValueError, match="absent.*cannot be written"):
            draw(grasps, tmp_path / "absent" / "x", count=1)
    with pytest.raises(ValueError, match="views: 7, accepted are 1 to 6"):
        render_grasps(grasps, tmp_path / "x", views=7)


def test_needs_no_display_and_no_gl(tmp_path):
    """The same picture with every way to a screen or an OpenGL driver closed."""
    code = (
        "import sys, numpy as np, trimesh; from grasp_gen_core.render import render_scene;"
        "np.save(sys.argv[1], render_scene([trimesh.creation.box((1, 1, 1))], 64));"
        "import os; maps = open('/proc/self/maps').read(); assert '_dri.so' not in maps, maps"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    env |= {"LIBGL_DRIVERS_PATH": str(tmp_path), "__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy"], env=env, check=True)
    here = render_scene([trimesh.creation.box((1, 1, 1))], 64)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), here)


def test_hand_axes_are_the_wrists(grasps):
    """MANO's axes turned with the hand; a left hand's are the mirrored right one's."""
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.5, 0.9]))[:3, :3]
    joints = grasps.joints @ turn.T
    axes = hand_axes(joints)
    np.testing.assert_allclose(axes @ axes.swapaxes(1, 2), np.tile(np.eye(3), (2, 1, 1)), atol=1e-6)
    # The knuckles lie some degrees off the axes of MANO's rest pose.
    assert (np.einsum("bij,ij->bj", axes, turn) > 0.97).all()
    flip = np.array([1, -1, 1])
    np.testing.assert_allclose(hand_axes(joints * flip), axes * flip[:, None], atol=1e-6)


def test_parts_are_coloured_where_they_touch(grasps, plate):
    body = smooth(plate, edge=0.004)
    for near in (0, 1):
        hand, thing = touching_parts(grasps.vertices[near], grasps.faces, body)
        np.testing.assert_array_equal(thing.vertices, body.vertices)
        red = hand.visual.vertex_colors[:, 1] < 60
        yellow = thing.visual.vertex_colors[:, 0] > 200
        if near:
            assert not red.any() and not yellow.any()
        else:
            to_plate = trimesh.proximity.closest_point(plate, hand.vertices)[1]
            to_hand = trimesh.proximity.closest_point(hand, thing.vertices)[1]
            assert red.any() and to_plate[red].max() < 0.006
            assert yellow.any() and to_hand[yellow].max() < 0.006
            assert to_hand[~yellow].min() > 0.001


def test_cells_stand_side_by_side(tmp_path):
    top = View((0, 0, 1), (0, 1, 0))
    rows = [
        [Cell("two", [ball(RED)], [FRONT, top]), Cell("one", [ball(BLUE)], [FRONT])],
        [Cell("", [ball(BLUE)], [FRONT])],
    ]
    write_sheet(rows, tmp_path / "sheet.png", tile=50)
    image = np.array(Image.open(tmp_path / "sheet.png"))
    assert image.shape == (2 * (50 + CAPTION), 150, 3)
    first, second = np.split(image, 2)
    tiles = np.split(first[CAPTION:], 3, axis=1)
    assert [reddish(t).sum() > 1000 for t in tiles] == [True, True, False]
    assert bluish(tiles[2]).sum() > 1000 and bluish(second[CAPTION:, :50]).sum() > 1000
    assert not inked(second[:, 50:]).any() and not inked(second[:CAPTION]).any()
    captions = [inked(c).any() for c in np.split(first[:CAPTION], 3, axis=1)]
    assert captions == [True, False, True]
