"""Hands of any origin: what is accepted, what is refused, and which vertices are which finger's."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.data.perturbations import perturb
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.joint_orders import mano_order
from grasp_gen_core.metrics.hands import HandMeshes


@pytest.fixture
def arrays(hand) -> dict[str, np.ndarray]:
    mano = torch.zeros(3, 61)
    mano[:, 13:58] = 0.2 * torch.rand(3, 45, generator=torch.Generator().manual_seed(0))
    vertices, joints = (x.numpy() for x in hand(mano))
    faces = hand.faces.numpy()
    return {"vertices": vertices, "joints": joints, "faces": faces, "mano": mano.numpy()}


def test_a_hand_of_our_topology_is_closed_and_has_its_parts(hand, arrays):
    hands = HandMeshes.from_arrays(arrays, hand)
    assert len(hands) == 3 and hands.mano is not None
    assert np.array_equal(hands.parts, hand.parts.numpy())
    assert trimesh.Trimesh(hands.vertices[0], hands.faces, process=False).is_volume


def test_an_inverted_hand_is_turned_outward(hand, arrays):
    turned = HandMeshes.from_arrays(arrays | {"faces": arrays["faces"][:, ::-1]}, hand)
    assert trimesh.Trimesh(turned.vertices[0], turned.faces, process=False).volume > 0
    assert np.array_equal(turned.parts, hand.parts.numpy())


def test_a_hand_of_another_topology_gets_its_parts_from_the_joints(hand, arrays):
    vertices, faces = zip(
        *(trimesh.remesh.subdivide(v, hand.closed_faces.numpy()) for v in arrays["vertices"]),
        strict=True,
    )
    finer = {"vertices": np.array(vertices), "faces": faces[0], "joints": arrays["joints"]}
    hands = HandMeshes.from_arrays(finer, hand)
    assert hands.vertices.shape[1] > 3000 and hands.mano is None
    assert len(hands.parts) == hands.vertices.shape[1]
    assert np.array_equal(hands.cells.faces, hands.faces)
    known = hand.parts.numpy()
    same = hands.parts[: len(known)] == known  # subdivision keeps the first vertices
    assert same.mean() > 0.9
    assert all(same[known == part].mean() > 0.8 for part in range(6))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: a.pop("joints"), "lacks joints"),
        (lambda a: a.update(vertices=a["vertices"][:0], joints=a["joints"][:0]), "empty"),
        (lambda a: a.update(vertices=a["vertices"][0]), "shape"),
        (lambda a: a.update(joints=a["joints"][:, :16]), "joints has shape"),
        (lambda a: a.update(joints=a["joints"][:2]), "joints has shape"),
        (lambda a: a.update(faces=a["faces"] + 1), "not there"),
        (lambda a: a.update(faces=a["faces"].astype(float)), "faces"),
        (lambda a: a.update(faces=a["faces"][:-40]), "clos"),
        (lambda a: a["vertices"].__setitem__((1, 5, 0), np.nan), "NaN.*grasp 1"),
        (lambda a: a["mano"].__setitem__((2, 7), np.inf), "mano holds NaN or infinity.*grasp 2"),
        (lambda a: a.update(mano=a["mano"][:, :58]), "mano has shape"),
        (lambda a: a.update({k: 1000 * a[k] for k in ("vertices", "joints")}), "millimetres"),
        (lambda a: a.update(joints=1000 * a["joints"]), "joints of grasp 0"),
        (lambda a: a["joints"].__setitem__(1, 0.0), "joints of grasp 1"),
        (lambda a: a.update(vertices=np.array([["a"]])), "type"),
    ],
)
def test_bad_hands_are_refused_by_name(hand, arrays, change, words):
    change(arrays)
    with pytest.raises(ValueError, match=f"(?s)peer.npz.*{words}"):
        HandMeshes.from_arrays(arrays, hand, "peer.npz")


def test_pickled_arrays_are_refused(hand, tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, vertices=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="evil.npz"):
        HandMeshes.load(path, hand)


# Where OpenPose's joints stand in MANO's order: wrist, then thumb to little finger, tips last.
OPENPOSE = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]


def reordered(arrays, order):
    return arrays | {"joints": arrays["joints"][:, order]}


@pytest.mark.parametrize("rows", [slice(None), slice(1)])
def test_joints_in_openpose_order_are_put_into_manos(hand, arrays, rows):
    arrays = {k: v if k == "faces" else v[rows] for k, v in arrays.items()}
    plain = HandMeshes.from_arrays(arrays, hand)
    turned = HandMeshes.from_arrays(reordered(arrays, OPENPOSE), hand)
    assert np.array_equal(turned.joints, plain.joints) and plain.notes == ()
    assert turned.notes == ("joints came in OpenPose's order and were put into MANO's",)


@pytest.mark.parametrize("side, size, shape", [("left", 1, 1), ("right", 0.7, 1), ("right", 1, 2)])
def test_the_order_is_told_of_any_hand(hand, side, size, shape):
    mano = torch.zeros(40, 61)
    rng = torch.Generator().manual_seed(3)
    mano[:, :10] = shape * torch.randn(40, 10, generator=rng)
    mano[:, 10:58] = 0.4 * torch.randn(40, 48, generator=rng)
    posed = ManoHand(side=side)
    vertices, joints = (size * x.numpy() + [3, -7, 1] for x in posed(mano))
    arrays = {"vertices": vertices, "joints": joints, "faces": posed.faces.numpy()}
    assert HandMeshes.from_arrays(arrays, hand).notes == ()
    turned = HandMeshes.from_arrays(reordered(arrays, OPENPOSE), hand)
    assert np.array_equal(turned.joints, joints) and len(turned.notes) == 1


@pytest.mark.parametrize("order", [np.arange(21), OPENPOSE])
def test_the_order_is_told_of_one_hand_whatever_its_pose(hand, order):
    """Noisy hands, as CHOIR's benchmark has them, bend far beyond what joints can do."""
    rng = torch.Generator().manual_seed(4)
    mano = perturb(0.4 * torch.randn(300, 61, generator=rng), rng)
    for one in hand(mano)[1].numpy()[:, None]:
        found, note = mano_order(one[:, order], hand, "peer.npz")
        assert np.array_equal(found, one) and (note is None) == np.array_equal(order, range(21))


SWAPPED = {
    "wrist last": np.roll(np.arange(21), -1),
    "backwards": np.arange(21)[::-1],
    "index for middle finger": [0, 4, 5, 6, 1, 2, 3, *range(7, 17), 18, 17, 19, 20],
    "little for ring finger": [*range(7), 10, 11, 12, 7, 8, 9, *range(13, 19), 20, 19],
    "tips backwards": [*range(16), 20, 19, 18, 17, 16],
    "tips of ring and little finger": [*range(19), 20, 19],
    "tips first": [0, *np.reshape(OPENPOSE[1:], (5, 4))[:, ::-1].ravel()],
    "little finger first": [0, *np.reshape(OPENPOSE[1:], (5, 4))[::-1].ravel()],
    "row by row": [0, *np.reshape(OPENPOSE[1:], (5, 4)).T.ravel()],
}


@pytest.mark.parametrize("name", SWAPPED)
def test_joints_in_an_unknown_order_are_refused(hand, arrays, name):
    with pytest.raises(ValueError, match="peer.npz: joints are in no known order; accepted are"):
        HandMeshes.from_arrays(reordered(arrays, SWAPPED[name]), hand, "peer.npz")


def test_hands_that_say_what_they_are_need_no_order_of_lengths(hand):
    """A fit may end at a hand of odd shape: its parameters tell its joints."""
    mano = torch.zeros(1, 61)
    betas = 6 * torch.randn(1, 10, generator=torch.Generator().manual_seed(4))
    mano[:, :10] = betas.clamp(-10, 10)
    vertices, joints = (x.numpy() for x in hand(mano))
    with pytest.raises(ValueError, match="known order"):
        mano_order(joints, hand, "odd")
    arrays = {"vertices": vertices, "joints": joints, "faces": hand.faces.numpy()}
    found = HandMeshes.from_arrays(arrays | {"mano": mano.numpy()}, hand)
    np.testing.assert_array_equal(found.joints, joints)
    with pytest.raises(ValueError, match="known order"):
        HandMeshes.from_arrays(arrays, hand)


def test_parts_do_not_depend_on_the_order(shared_data, hand):
    """A closed hand of 779 vertices, whose parts come from its joints."""
    folder = shared_data / "faults" / "score_joint_order"
    if not folder.is_dir():
        pytest.skip(f"no files at {folder}")
    mano, other = (HandMeshes.load(folder / f"part_{n}.npz", hand) for n in ("mano", "manopth"))
    assert np.array_equal(mano.parts, other.parts) and np.array_equal(mano.joints, other.joints)
    assert not mano.notes and other.notes
