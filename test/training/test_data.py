"""Training samples against the meshes they come from."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import grasp_gen_training.data
from grasp_gen_core.contact import choir
from grasp_gen_core.data.dataset import GraspDataset, object_mesh
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.distance import build_scene, signed_distance
from grasp_gen_training.data import (
    Batches,
    GraspData,
    GraspSamples,
    contact_file,
    divide,
    draw,
    make_contacts,
    make_material,
    mask,
    material_file,
    measured,
    open_material,
    right_hand,
    seen_points,
)

ROOT = Path(__file__).parents[2]
OBJECTS, CAMERAS, POINTS = ["mug:3", "bottle:1", "bowl:2", "can:5"], 3, 256


@pytest.fixture(scope="module")
def data() -> GraspDataset:
    """Random hands on four objects; the last one is for validation."""
    rng = np.random.default_rng(0)
    mano = rng.normal(0, 0.5, (200, 61)).astype(np.float32)
    split = np.array(["train", "train", "train", "validation"])
    index = rng.integers(4, size=200)
    kind = np.full(200, "power")
    return GraspDataset(OBJECTS, index, mano, kind, split, ROOT / "training" / "data")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def material(data) -> Path:
    return material_file(data, CAMERAS)


def metres(record, field):
    return record["origin"] + record["step"] * record[field].astype(float)


def samples(data, material, views):
    palm = ManoHand().regions.palm_axis.numpy()
    return GraspSamples(data, np.arange(len(OBJECTS)), material, views, POINTS, palm)


def occluded(mesh, eye, points):
    """Whether a ray from the eye meets the mesh more than 0.2 mm before each point."""
    rays = points - eye
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    both = np.concatenate([np.broadcast_to(eye, rays.shape), rays], axis=1, dtype=np.float32)
    hit = build_scene(mesh.vertices, mesh.faces).cast_rays(both)["t_hit"].numpy()
    return hit < np.linalg.norm(points - eye, axis=1) - 2e-4


@pytest.mark.parametrize("number", range(len(OBJECTS)))
def test_material_lies_on_the_surface_and_is_in_sight(data, material, number):
    mesh, record = data.mesh(number), open_material(material)[number]
    surface = metres(record, "surface")
    assert np.abs(signed_distance(mesh, surface)).max() < 2e-5
    np.testing.assert_allclose(surface.mean(0), mesh.triangles_center.T @ mesh.area_faces
                               / mesh.area, atol=0.03 * mesh.extents.max())  # fmt: skip
    for camera in range(CAMERAS):
        seen, eye = metres(record, "seen")[camera], record["eye"][camera]
        assert np.abs(signed_distance(mesh, seen)).max() < 5e-5
        assert not occluded(mesh, eye, seen).any()
        assert np.linalg.norm(record["forward"][camera]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["mug:3", "bowl:2"])
def test_seen_points_are_what_the_depth_camera_captures(name):
    mesh = object_mesh(name, ROOT)
    size = np.linalg.norm(mesh.extents)
    for seed in range(3):
        pose = random_view(mesh, seed)
        eye, forward = pose[:3, 3], pose[:3, 2]
        whole = DepthCamera().capture(mesh, pose, seed) @ pose[:3, :3].T + eye
        exact = seen_points(mesh, pose, np.random.default_rng(seed))
        drawn = measured(exact, eye, forward, np.random.default_rng(seed))
        # 1024 of its points: the same place and extent, but for chance.
        np.testing.assert_allclose(drawn.mean(0), whole.mean(0), atol=0.02 * size)
        np.testing.assert_allclose(drawn.std(0), whole.std(0), atol=0.015 * size)
        noise = (np.abs(signed_distance(mesh, points)) for points in (drawn, whole))
        assert np.divide(*map(np.median, noise)) == pytest.approx(1, abs=0.15)
        assert 2e-4 < np.linalg.norm(drawn - exact, axis=1).mean() < 3e-3


def test_masked_views_lie_on_one_side_or_are_thinned():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4096, 3))
    share, sided = [], 0
    for _ in range(300):
        kept = mask(points, rng)
        share.append(len(kept) / len(points))
        assert len(np.unique(kept, axis=0)) == len(kept)
        if share[-1] < 0.8:
            rest = points[~np.isin(points[:, 0], kept[:, 0])]
            normal = kept.mean(0) - rest.mean(0)
            cut = np.quantile(points @ normal, 1 - share[-1])
            sided += np.mean(kept @ normal > cut) > 0.95  # at random it is their share
    assert min(share) >= 0.099 and max(share) <= 1
    assert np.mean(share) == pytest.approx(0.55, abs=0.04)
    assert sided / np.sum(np.array(share) < 0.8) == pytest.approx(0.7, abs=0.1)


def test_views_of_a_batch(data, material):
    """Full clouds lie all around; masked and camera ones too lie on their own object."""
    rows = np.arange(40)
    for kind, most in (("full", 5e-3), ("masked", 5e-3), ("camera", 0.012)):
        batch = samples(data, material, {kind: 1.0})[rows, 5]
        assert batch["view"].shape == (40, POINTS, 3) and batch["view"].dtype == torch.float32
        assert batch["surface"].shape == (40, POINTS // 2, 3)
        assert torch.equal(batch["mano"], torch.from_numpy(data.mano[rows]))
        assert set(batch["flip"].tolist()) <= set(range(4))
        eyes = batch["eye"].numpy()
        if kind == "camera":  # as of one of the object's cameras
            for number, eye in zip(data.object_index, eyes, strict=False):
                assert (open_material(material)[number]["eye"] == eye).all(axis=1).any()
        else:
            assert np.isnan(eyes).all()
        noise = []
        for number, view, surface in zip(
            data.object_index, batch["view"], batch["surface"], strict=False
        ):
            mesh = data.mesh(int(number))
            assert np.abs(signed_distance(mesh, surface.numpy())).max() < 2e-5
            noise.append(np.abs(signed_distance(mesh, view.numpy())).max())
        assert max(noise) < most
        assert kind == "camera" or min(noise) < 2e-5 < 2e-3 < max(noise)  # some without noise


def test_others_are_grasps_of_the_same_object(data, material):
    palm, rows = ManoHand().regions.palm_axis.numpy(), np.arange(0, 40, 3)
    every = np.arange(len(OBJECTS))
    made = GraspSamples(data, every, material, {"full": 1.0}, POINTS, palm, others=6)
    others = made[rows, 5]["others"].numpy()
    assert others.shape == (len(rows), 6, 61)
    np.testing.assert_array_equal(others[:, 0], data.mano[rows])
    for row, grasps in zip(rows, others, strict=True):
        own = data.mano[data.object_index == data.object_index[row]]
        assert all((own == grasp).all(axis=1).any() for grasp in grasps)
        assert len(np.unique(grasps, axis=0)) > 2


def test_cameras_look_past_the_hand(data, material, monkeypatch):
    eyes = []
    monkeypatch.setattr(
        grasp_gen_training.data, "measured", lambda p, eye, *_: eyes.append(eye) or p
    )
    grasps = samples(data, material, {"camera": 1.0})
    grasps[np.arange(100), 0]
    chosen = 0
    for row, eye in enumerate(eyes):
        known = open_material(material)[data.object_index[row]]
        toward = np.concatenate([[eye], known["eye"]]) - known["origin"]
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        facing = toward @ grasps.approach[row] < 0.3
        assert facing[0] or not facing.any()
        chosen += facing.any() and not facing.all()
    assert chosen > 20  # the rule had something to choose


def test_cache_gives_the_same_and_follows_what_it_is_made_of(data, material, monkeypatch):
    table = open_material(material)
    for number, name in enumerate(OBJECTS):
        assert make_material(name, data.folder, CAMERAS) == table[number]
    assert list(material.parent.iterdir()) == [material]  # nothing unfinished stays

    def refuse(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(grasp_gen_training.data, "make_material", refuse)
    assert material_file(data, CAMERAS) == material  # not made again
    with pytest.raises(InterruptedError):
        material_file(data, CAMERAS + 1)
    with pytest.raises(InterruptedError):
        material_file(dataclasses.replace(data, objects=OBJECTS[::-1]), CAMERAS)


def test_contacts_are_those_of_the_surface(data, material):
    """Each object's own grasps, at its own points; and samples have their grasps' contacts."""
    data = dataclasses.replace(data, mano=data.mano * np.float32(0.1))  # near their objects
    path = contact_file(data, material)
    kept = np.load(path, allow_pickle=False)
    assert kept.shape == (len(data), 32, 9) and path == contact_file(data, material)
    hand = ManoHand()
    assert (kept != 0).any(axis=(1, 2)).mean() > 0.5
    for grasp in (0, len(data) - 1):
        mesh = data.mesh(int(data.object_index[grasp]))
        points = torch.from_numpy(mesh.sample(round(mesh.area / 1e-7), seed=1)).float()
        vertices, _ = hand(torch.from_numpy(data.mano[[grasp]]))
        truth = choir.encode(points, vertices, hand.faces, hand.regions, torch.zeros(3))
        # Points twenty times as dense, at other places.
        true, found = truth.contacts[0].numpy(), kept[grasp]
        touched, both = (true != 0).any(axis=1), ((true != 0) & (found != 0)).any(axis=1)
        assert ((found != 0).any(axis=1) != touched).sum() <= 2
        assert np.linalg.norm((found - true)[both, :3], axis=1).mean() < 1.5e-3  # patches are 10 mm
    palm = np.array([0, 0, 1.0])
    every = np.arange(len(OBJECTS))
    made = GraspSamples(data, every, material, {"full": 1.0}, POINTS, palm, contacts=path)
    rows = np.array([3, 1])
    np.testing.assert_array_equal(made[rows, 0]["contacts"], kept[rows])


def test_contacts_are_as_many_on_large_objects_as_on_small_ones(tmp_path):
    """Flat hands sink into boxes that differ in size alone: the same anchors touch."""
    vertices = ManoHand()(torch.zeros(1, 61))[0][0].numpy()
    low, high = vertices.min(axis=0) - 0.02, vertices.max(axis=0) + 0.02
    mano = np.zeros((12, 61), np.float32)
    mano[:, 59] = np.linspace(0.02, -0.02, 12)
    touched = []
    for name, margin in (("small.ply", 0.0), ("large.ply", 0.3)):
        bounds = [low - margin, high + margin]
        bounds[1][1] = vertices[:, 1].mean()
        trimesh.creation.box(bounds=bounds).export(tmp_path / name)
        contacts = make_contacts(tmp_path, (name, mano))
        touched.append((contacts != 0).any(axis=2))
    assert touched[0].sum() > 60
    assert (touched[0] != touched[1]).sum() < 0.03 * touched[0].sum()


def test_another_hand_has_contacts_of_its_own(data, material, tmp_path, monkeypatch):
    with np.load(GENERIC_HAND) as file:
        arrays = dict(file)
    arrays["shapedirs"] = arrays["shapedirs"] * 1.01
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    paths = []
    for file in (GENERIC_HAND, tmp_path / "MANO_RIGHT.npz"):
        monkeypatch.setenv("GRASP_GEN_HAND", str(file))
        right_hand.cache_clear()
        paths.append(contact_file(data, material))
    right_hand.cache_clear()
    assert paths[0] != paths[1]


def test_changed_mesh_files_are_noticed(tmp_path, data):
    meshes = tmp_path / "objects"
    meshes.mkdir()
    one = dataclasses.replace(data, objects=["thing.ply"], folder=tmp_path)
    made = []
    for name in ("can:1", "can:2"):
        object_mesh(name, tmp_path).export(meshes / "thing.ply")
        made.append(material_file(one, 1))
    assert made[0] != made[1]
    assert open_material(made[0])[0] != open_material(made[1])[0]


def test_batches_are_the_same_for_the_same_seed_and_any_workers(data, material, monkeypatch):
    monkeypatch.setattr(GraspDataset, "load", lambda folder: data)
    views = {"full": 0.4, "masked": 0.2, "camera": 0.4}

    def epochs(workers, seed):
        torch.manual_seed(seed)
        palm = ManoHand().regions.palm_axis.numpy()
        made = GraspData("", 32, views, palm, 64, CAMERAS, workers=workers)
        loader = made.train_dataloader()
        batches = [batch["view"] for _ in range(2) for batch in loader]
        assert len(batches) == 2 * len(loader)
        return torch.stack(batches), [batch["view"] for batch in made.val_dataloader()]

    first, held = epochs(0, 1)
    assert torch.equal(first, epochs(2, 1)[0]) and torch.equal(first, epochs(0, 1)[0])
    other, held_again = epochs(0, 2)
    assert not torch.equal(first, other) and not torch.equal(first[: len(first) // 2],
                                                             first[len(first) // 2 :])  # fmt: skip
    assert all(map(torch.equal, held, held_again))  # validation losses can be compared
    assert sum(map(len, held)) == np.sum(data.object_index == 3)


def test_every_grasp_comes_once_in_an_epoch():
    batches = Batches(10, 4, shuffled=True)
    shuffled, inorder = list(batches), list(Batches(10, 4, shuffled=False))
    assert len({int(i) for rows, _ in shuffled for i in rows}) == 8
    assert np.concatenate([rows for rows, _ in inorder]).tolist() == list(range(10))
    assert len({seed for _, seed in shuffled + inorder}) == 5
    second = list(batches)
    batches.set_epoch(1)  # as a resumed training does
    assert [seed for _, seed in batches] == [seed for _, seed in second]
    assert [seed for _, seed in shuffled] != [seed for _, seed in second]


def test_split_is_respected(data):
    training_objects, validation = divide(data, 0.5, 0)
    assert sorted(training_objects) == [0, 1, 2] and validation.tolist() == [3]
    unnamed = dataclasses.replace(data, split=np.full(4, "train"))
    first, second = divide(unnamed, 0.5, 0), divide(unnamed, 0.5, 1)
    assert len(first[0]) == len(first[1]) == 2 and sorted(np.concatenate(first)) == [0, 1, 2, 3]
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_unusual_hands_are_for_validation_alone(data, material, monkeypatch):
    mano = data.mano.copy()
    mano[::5, 0] = 4.0
    mixed = dataclasses.replace(data, mano=mano)
    monkeypatch.setattr(GraspDataset, "load", lambda folder: mixed)
    made = GraspData("", 8, {"full": 1.0}, np.array([0, 0, 1.0]), 64, CAMERAS)
    train, usual = data.object_index != 3, np.arange(len(data)) % 5 != 0
    assert np.array_equal(made.training.mano, mano[train & usual])
    assert np.array_equal(made.validation.mano, mano[~train])


def test_grasps_that_hold_are_learnt_from_and_all_validate(data, material, monkeypatch):
    holds = np.arange(len(data)) % 3 == 0
    monkeypatch.setattr(GraspDataset, "load", lambda folder: dataclasses.replace(data, holds=holds))
    settings = 8, {"full": 1.0}, np.array([0, 0, 1.0]), 64, CAMERAS
    made, train = GraspData("", *settings, holding=True), data.object_index != 3
    usual = ~data.unusual
    assert np.array_equal(made.training.mano, data.mano[train & usual & holds])
    assert np.array_equal(made.validation.mano, data.mano[~train])
    monkeypatch.setattr(GraspDataset, "load", lambda folder: data)
    with pytest.raises(ValueError, match="holding: unknown in"):
        GraspData("", *settings, holding=True)


def test_what_cannot_be_trained_on_is_named(data, material, monkeypatch):
    single = dataclasses.replace(data, objects=OBJECTS[:1], split=np.array(["train"]))
    with pytest.raises(ValueError, match="two objects"):
        divide(single, 0.05, 0)
    with pytest.raises(ValueError, match="side, accepted are full, masked, camera"):
        samples(data, material, {"side": 1.0})
    monkeypatch.setattr(GraspDataset, "load", lambda folder: data)
    with pytest.raises(ValueError, match="batch: 999"):
        GraspData("", 999, {"full": 1.0}, np.array([0, 0, 1.0]), 64, CAMERAS)


def test_draw_repeats_only_when_it_must():
    points, rng = np.arange(30).reshape(10, 3), np.random.default_rng(0)
    assert len(np.unique(draw(points, 10, rng), axis=0)) == 10
    assert draw(points, 25, rng).shape == (25, 3)


def test_default_workers_leave_small_machines_alone(data, monkeypatch):
    monkeypatch.setattr(GraspDataset, "load", lambda folder: data)
    for cores, workers in ((1, 0), (2, 0), (4, 2), (64, 8)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        made = GraspData("", 8, {"full": 1.0}, np.array([0, 0, 1.0]), 64, CAMERAS)
        assert made.workers == workers
