"""What sensors put into clouds: dropped and counted; what is the object's stays."""

import numpy as np
import pytest
import trimesh

from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.cleaning import clean_points
from grasp_gen_core.objects.clouds import even_surface
from grasp_gen_core.objects.procedural import make_object


def camera_view(family, seed=0):
    mesh = make_object(family, seed)
    return DepthCamera().capture(mesh, random_view(mesh, seed), seed)


@pytest.fixture(scope="module")
def mug():
    return camera_view("mug").astype(np.float64)


def scattered(n, reach=3.0):
    points = np.random.default_rng(0).normal(size=(n, 3))
    return reach * points / np.linalg.norm(points, axis=1, keepdims=True)


FAULTS = {
    "a majority of zeros": (lambda p: np.zeros((2 * len(p), 3)), "at (0, 0, 0)"),
    "some zeros": (lambda p: -np.zeros((len(p) // 6, 3)), "at (0, 0, 0)"),
    "a flying pixel": (lambda p: p[:1] * 8, "far away"),
    "many flying pixels": (lambda p: p.mean(axis=0) + scattered(30), "far away"),
    "repetitions": (lambda p: p[5:905], "at a place taken"),
    "huge numbers": (lambda p: np.array([[1e30, 0, 0], [0, -1e300, 0]]), "without a finite"),
    "nothing seen": (lambda p: np.full((4 * len(p), 3), np.nan), "without a finite"),
    "infinity": (lambda p: np.array([[0, np.inf, 0]]), "without a finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", [(0, 0, 0), (836419.8, 818050.7, 4.88)])
def test_what_is_no_object_is_dropped_and_counted(mug, fault, where):
    added, what = FAULTS[fault]
    added = added(mug)
    order = np.random.default_rng(1).permutation(len(mug) + len(added))
    cloud = np.concatenate([mug, added])[order]
    kept, notes = clean_points(cloud + where)
    assert len(notes) == 1 and notes[0].startswith(f"{len(added)} point")
    assert what in notes[0] or (any(where) and "at (836420" in notes[0])
    # In the order given, each once; in double precision where single can't hold them.
    expected = np.sort(np.unique(mug, axis=0), axis=0)
    np.testing.assert_allclose(np.sort(kept - np.array(where), axis=0), expected, atol=1e-6)
    rank = np.argsort(order)[: len(mug)]
    if fault != "repetitions":
        np.testing.assert_allclose(kept - np.array(where), mug[np.argsort(rank)], atol=1e-6)


def test_several_faults_at_once(mug):
    faults = [np.zeros((99, 3)), np.full((7, 3), np.nan), mug[:3], [[0, 0, 4.0]]]
    kept, notes = clean_points(np.concatenate([mug, *faults]))
    assert len(kept) == len(mug)
    assert [int(note.split()[0]) for note in notes] == [7, 99, 3, 1]


@pytest.mark.parametrize(
    "family", ["mug", "hammer", "pan", "basket", "scissors", "kettle", "pen", "drill", "card"]
)
def test_nothing_of_an_object_is_dropped(family):
    mesh = make_object(family, 3)
    whole = even_surface(mesh, 2048)[0]
    for points in (whole, whole[:64], camera_view(family, 3), camera_view(family, 4)):
        kept, notes = clean_points(points)
        assert len(kept) == len(points) and not [note for note in notes if "dropped" in note]


def test_what_stays_depends_neither_on_place_nor_on_turn(mug):
    """Flying pixels at all distances: the same go, wherever the cloud is."""
    cloud = np.concatenate(
        [mug, mug.mean(axis=0) + scattered(40) * np.linspace(0, 0.3, 40)[:, None]]
    )
    kept = len(clean_points(cloud)[0])
    assert len(mug) < kept < len(cloud)
    for seed in range(3):
        turn = trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3))
        assert len(clean_points(cloud @ turn[:3, :3] + [4e5, -5e6, 20])[0]) == kept


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("two", "2 separate clusters"),
        ("table", "plane goes on"),
        ("large", "0.3 m across where it is narrowest"),
        ("one", None),
        ("sheet", None),
    ],
)
def test_notes_tell_what_is_no_single_object(kind, note):
    bottle = even_surface(make_object("bottle", 1), 2048)[0]
    bottle -= bottle.min(axis=0)
    rng = np.random.default_rng(0)
    table = rng.uniform(-0.4, 0.4, (6000, 3)) * [1, 1, 0] + rng.normal(0, 0.001, (6000, 3))
    cloud = {
        "two": np.concatenate([bottle, bottle + [0.4, 0, 0]]),
        "table": np.concatenate([bottle, table]),
        "large": even_surface(trimesh.creation.box((0.4, 0.3, 0.5)), 3000)[0],
        "one": bottle,
        "sheet": table,
    }[kind]
    turn = trimesh.transformations.random_rotation_matrix(rng.random(3))[:3, :3]
    kept, notes = clean_points(cloud @ turn + [0, 0, 2])
    assert len(kept) == len(cloud)
    assert any(note in text for text in notes) if note else not notes


@pytest.mark.parametrize(
    ("unit", "named", "unnamed"),
    [
        (1000, "millimetres", "inches|centimetres"),
        (100, "centimetres", "millimetres"),
        (1 / 0.0254, "inches", "millimetres"),
        (15, "too large", "millimetres"),
    ],
)
def test_the_unit_is_guessed_from_the_size(unit, named, unnamed):
    bottle = even_surface(make_object("bottle", 1), 500)[0]
    with pytest.raises(ValueError, match=f"cloud: .*{named}.*; accepted is metres") as error:
        clean_points(unit * bottle, "cloud")
    assert not any(word in str(error.value) for word in unnamed.split("|"))


def test_too_few_points_are_refused_with_what_was_dropped():
    cloud = np.concatenate([np.zeros((100, 3)), np.random.default_rng(0).random((63, 3))])
    with pytest.raises(ValueError, match=r"63 finite points; 100 points at \(0, 0, 0\) dropped; "):
        clean_points(cloud)
    with pytest.raises(ValueError, match="1 finite points; 99 points at a place taken dropped"):
        clean_points(np.full((100, 3), 0.5))
