"""The node as its users meet it: a process that takes clouds and calls and survives all of them."""

import copy
import time
from array import array
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")

import yaml
from geometry_msgs.msg import Point
from ros_harness import Command, Peer, new_header
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

from grasp_gen_ros.conversions import make_cloud, read_points
from grasp_gen_ros.msg import ManoHand
from grasp_gen_ros.srv import GenerateGrasps

REPOSITORY = Path(__file__).parents[2]


def mano(message) -> np.ndarray:
    hands = [grasp.hand for grasp in message.grasps]
    return np.array([[*h.betas, *h.global_orient, *h.hand_pose, *h.transl] for h in hands])


def xyz(vector) -> np.ndarray:
    return np.array([vector.x, vector.y, vector.z])


def test_cloud_in_grasps_out(peer: Peer, cloud: PointCloud2, cylinder: np.ndarray):
    message = peer.answer(cloud)
    assert message.object_points.header == cloud.header
    points = read_points(message.object_points)
    assert {tuple(p) for p in points.tolist()} <= {tuple(p) for p in cylinder.tolist()}
    scores = [grasp.score for grasp in message.grasps]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] and scores[0] <= 1
    for grasp in message.grasps:
        assert grasp.header == cloud.header
        assert grasp.hand.side == grasp.pregrasp.side == "right"
        assert len(grasp.contact) == len(points)
        assert 0 <= min(grasp.contact) and max(grasp.contact) <= 1
        assert "penetration_depth_cm" in grasp.metric_names
        assert len(grasp.metric_names) == len(grasp.metric_values)
        np.testing.assert_allclose(xyz(grasp.wrist_pose.position), xyz(grasp.joints[0]), atol=1e-5)
        approach = xyz(grasp.approach)
        assert np.linalg.norm(approach) == pytest.approx(1, abs=1e-4)
        # The hand is at the object, in the cloud's frame, and the pre-grasp lies behind it.
        joints = np.array([xyz(joint) for joint in grasp.joints])
        assert np.linalg.norm(joints[:, None] - cylinder, axis=2).min() < 0.05
        back_off = xyz(grasp.wrist_pose.position) - xyz(grasp.pregrasp_wrist_pose.position)
        assert back_off @ approach > 0.02


def test_contact_map_shows_the_best_grasp(peer: Peer, cloud: PointCloud2):
    message = peer.answer(cloud)
    contact = peer.wait_for("contact_map", lambda m: m.header == cloud.header)
    assert [field.name for field in contact.fields] == ["x", "y", "z", "contact"]
    values = np.frombuffer(contact.data, np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(values[:, :3], read_points(message.object_points))
    np.testing.assert_array_equal(values[:, 3], message.grasps[0].contact)


def test_markers_replace_the_old_ones_and_show_the_best_hand(peer: Peer, cloud: PointCloud2):
    assert peer.set_parameter("max_markers", 3).successful
    message = peer.answer(cloud)
    clear, *shown = peer.wait_for("markers", lambda m: m.markers[0].header == cloud.header).markers
    assert clear.action == Marker.DELETEALL
    hands = [marker for marker in shown if marker.ns == "hands"]
    (guess,) = (marker for marker in shown if marker.ns == "guess")
    texts = [marker for marker in shown if marker.type == Marker.TEXT_VIEW_FACING]
    assert len(hands) == len(texts) == 3 and len(shown) == 7
    assert len({(marker.ns, marker.id) for marker in shown}) == 7
    assert {marker.type for marker in (*hands, guess)} == {Marker.TRIANGLE_LIST}
    shape = np.array([xyz(vertex) for vertex in message.shape.vertices])
    order = np.concatenate([triangle.vertex_indices for triangle in message.shape.triangles])
    np.testing.assert_array_equal([xyz(point) for point in guess.points], shape[order])
    assert {color.a < 0.5 for color in guess.colors} == {True}
    opacity = np.array([[color.a for color in hand.colors] for hand in hands])
    assert (opacity[0] == 1).all() and (opacity[1:] < 0.5).all()
    for hand, text, grasp in zip(hands, texts, message.grasps, strict=False):
        assert hand.header == cloud.header
        assert len(hand.points) == len(hand.colors) == 3 * 1538
        assert f"{grasp.score:.2f}" in text.text
        corners = np.array([xyz(point) for point in hand.points])
        wrist = xyz(grasp.wrist_pose.position)
        assert np.linalg.norm(corners - wrist, axis=1).max() < 0.3
        # Redder where the hand is nearer to the object.
        distance = np.linalg.norm(
            corners[::9, None] - read_points(message.object_points), axis=2
        ).min(axis=1)
        redness = np.array([color.r - color.g for color in hand.colors[::9]])
        if (near := distance < 0.004).any():
            assert redness[near].min() > redness[distance > 0.012].max()


def test_markers_can_be_turned_off(peer: Peer, cylinder: np.ndarray):
    without, between, followed = (make_cloud(cylinder, new_header(name)) for name in "abc")
    assert peer.set_parameter("publish_markers", False).successful
    peer.answer(without)
    peer.answer(between)  # by now all that comes of the first is out
    assert peer.set_parameter("publish_markers", True).successful
    peer.answer(followed)
    peer.wait_for("markers", lambda m: m.markers[0].header == followed.header)
    assert all(m.markers[0].header != without.header for m in peer.received["markers"])


def test_service_answers_in_the_clouds_frame(peer: Peer, cloud: PointCloud2):
    response = peer.generate(cloud, num_grasps=3, seed=5)
    assert response.success, response.message
    assert response.grasps.header == cloud.header
    assert len(response.grasps.grasps) == 3


def test_same_seed_same_grasps(peer: Peer, cloud: PointCloud2):
    first, again, other = (peer.generate(cloud, seed=seed).grasps for seed in (1, 1, 2))
    np.testing.assert_array_equal(mano(first), mano(again))
    assert not np.allclose(mano(first), mano(other))
    # The node's own seed is 0, for topic and service alike.
    np.testing.assert_array_equal(
        mano(peer.answer(cloud)), mano(peer.generate(cloud, seed=0).grasps)
    )


def test_diagnostics_tell_what_goes_on(peer: Peer, cloud: PointCloud2):
    before = int(peer.status(lambda v: True)["clouds_taken"])
    assert peer.generate(cloud).success
    values = peer.status(lambda v: int(v["clouds_taken"]) == before + 1 and v["state"] == "idle")
    assert values["generator"] == "dvqvae" and values["refiner"] == "quick"
    stages = {k: float(v) for k, v in values.items() if k.startswith("seconds_")}
    total = stages.pop("seconds_total")
    assert len(stages) >= 4
    assert sum(stages.values()) == pytest.approx(total, rel=0.1, abs=0.01)
    status = peer.received["/diagnostics"][-1].status[0]
    assert status.hardware_id == "cpu" and "grasp_generator" in status.name


def with_values(cloud: PointCloud2, **values) -> PointCloud2:
    for name, value in values.items():
        setattr(cloud, name, value)
    return cloud


def bad_clouds(points: np.ndarray) -> dict[str, tuple[PointCloud2, str]]:
    """Each with a word of the complaint that it must cause."""

    def cloud(values: np.ndarray = points) -> PointCloud2:
        return make_cloud(values.astype(np.float32), new_header())

    integers = cloud()
    for field in integers.fields:
        field.datatype = field.INT32
    return {
        "empty": (with_values(PointCloud2(), header=new_header()), "empty"),
        "all NaN": (cloud(np.full_like(points, np.nan)), "finite"),
        "no z": (with_values(cloud(), fields=cloud().fields[:2]), "no field 'z'"),
        "integers": (integers, "INT32, accepted are FLOAT32 and FLOAT64"),
        "cut off": (with_values(cloud(), data=cloud().data[:-7]), "data holds"),
        "narrow points": (with_values(cloud(), point_step=11), "past point_step 11"),
        "two x": (with_values(cloud(), fields=cloud().fields + cloud().fields[:1]), "2 fields 'x'"),
        "too few": (cloud(points[:20]), "64"),
        "millimetres": (cloud(points * 1000), "metres"),
    }


@pytest.mark.parametrize("name", list(bad_clouds(np.ones((100, 3)))))
def test_bad_clouds_are_refused_and_the_node_goes_on(
    peer: Peer, generator: Command, cylinder: np.ndarray, name: str
):
    bad, complaint = bad_clouds(cylinder)[name]
    refused = int(peer.latest_status()["clouds_refused"])
    response = peer.generate(bad)
    assert not response.success and not response.grasps.grasps
    assert complaint in response.message and "\n" not in response.message
    peer.send(bad)
    values = peer.status(lambda v: int(v["clouds_refused"]) == refused + 2)
    assert values["last_error"] == response.message
    assert f"call failed: {response.message}" in generator.output
    assert "cloud refused: " in generator.output
    assert peer.generate(make_cloud(cylinder, new_header())).success


def test_holes_doubles_and_byte_order_change_nothing(peer: Peer, cloud: PointCloud2, cylinder):
    plain = peer.generate(cloud).grasps
    big_endian = with_values(
        make_cloud(cylinder, new_header()),
        data=array("B", cylinder.astype(">f4").tobytes()),
        is_bigendian=True,
    )
    np.testing.assert_array_equal(mano(peer.generate(big_endian).grasps), mano(plain))
    doubles = make_cloud(cylinder, new_header())
    for i, field in enumerate(doubles.fields):
        field.offset, field.datatype = 8 * i, field.FLOAT64
    data = array("B", cylinder.astype("<f8").tobytes())
    doubles = with_values(doubles, point_step=24, row_step=len(data), data=data)
    np.testing.assert_array_equal(mano(peer.generate(doubles).grasps), mano(plain))
    holes = np.full((40, 50, 3), np.nan, np.float32)
    holes[::2] = cylinder.reshape(20, 50, 3)
    organised = make_cloud(holes.reshape(-1, 3), new_header())
    organised = with_values(organised, height=40, width=50, row_step=50 * 12)
    np.testing.assert_array_equal(mano(peer.generate(organised).grasps), mano(plain))


def test_a_frame_far_away(peer: Peer, cylinder: np.ndarray):
    """At map coordinates, where float32 is 0.5 m coarse, hands are at the object, by all ways."""
    there = cylinder + np.array([4.5e5, 5.4e6, 100.0])
    cloud = make_cloud(there, new_header("map"))
    message = peer.answer(cloud)
    contact = peer.wait_for("contact_map", lambda m: m.header == cloud.header)
    np.testing.assert_array_equal(read_points(contact), read_points(message.object_points))
    generated = peer.generate(cloud).grasps
    refined = peer.refine(cloud, [grasp.hand for grasp in generated.grasps])
    assert refined.success, refined.message
    for found in (message, generated, refined.grasps):
        points = read_points(found.object_points)
        assert set(map(tuple, points)) <= set(map(tuple, there))
        for grasp in found.grasps:
            joints = np.array([xyz(joint) for joint in grasp.joints])
            near = np.linalg.norm(joints[:, None] - points, axis=2).min(axis=0)
            assert near.min() < 0.02
            # What is in contact is near a bone of the hand.
            touched = np.array(grasp.contact) > 0.5
            assert touched.any() and near[touched].max() < 0.06  # palms are wide
    before, after = (
        np.array([xyz(g.wrist_pose.position) for g in m.grasps])
        for m in (generated, refined.grasps)
    )
    assert np.linalg.norm(before - after, axis=1).max() < 0.03


def test_where_the_camera_stood_matters(peer: Peer, cylinder: np.ndarray):
    """In a frame whose origin is behind the object the viewpoint turns the grasps to its front."""
    turned = (
        cylinder - cylinder.mean(axis=0) - np.float32([0, 0.3, 0])
    )  # seen from -y, origin at +y
    camera = np.array([0.0, -1.0, 0.0])
    cloud = make_cloud(turned, new_header("world"))

    def seen_side(message) -> float:
        return np.mean([-xyz(grasp.approach) @ camera for grasp in message.grasps])

    told = peer.generate(cloud, viewpoint=[Point(y=-1.0)]).grasps
    np.testing.assert_array_equal(
        mano(peer.generate(cloud, viewpoint=[Point(y=-1.0)]).grasps), mano(told)
    )
    guessed = peer.generate(cloud).grasps
    assert seen_side(told) > 0 and not np.array_equal(mano(told), mano(guessed))
    assert peer.set_parameter("viewpoint", [0.0, -1.0, 0.0]).successful
    np.testing.assert_array_equal(mano(peer.generate(cloud).grasps), mano(told))
    assert peer.set_parameter("viewpoint", []).successful
    np.testing.assert_array_equal(mano(peer.generate(cloud).grasps), mano(guessed))
    refused = peer.generate(cloud, viewpoint=[Point(x=float("nan"))])
    assert not refused.success and refused.message.startswith("viewpoint: (nan, 0.0, 0.0)")


def test_holes_are_told(peer: Peer, cylinder: np.ndarray):
    """What was dropped of the cloud stands in the response and in the diagnostics."""
    spoilt = np.concatenate([cylinder, np.zeros((200, 3), np.float32)])
    response = peer.generate(make_cloud(spoilt, new_header()))
    assert response.success and "; " in response.message and "200" in response.message
    notes = response.message.split("; ", 1)[1]
    assert peer.status(lambda v: v["notes"])["notes"] == notes
    assert "; " not in peer.generate(make_cloud(cylinder, new_header())).message
    assert peer.status(lambda v: not v["notes"])["last_error"] is not None


def test_five_million_points(peer: Peer, cylinder: np.ndarray):
    rng = np.random.default_rng(0)
    points = np.tile(cylinder, (5000, 1))
    points += rng.normal(scale=0.0003, size=points.shape).astype(np.float32)
    response = peer.generate(make_cloud(points, new_header()))
    assert response.success, response.message
    assert response.grasps.object_points.width < 10_000


def test_the_newest_cloud_wins(peer: Peer, cylinder: np.ndarray):
    """Of clouds that come faster than grasps are made, stale ones are dropped."""
    assert peer.set_parameter("num_grasps", 32).successful
    dropped = int(peer.status(lambda v: v["state"] == "idle")["clouds_dropped"])
    clouds = [make_cloud(cylinder, new_header(f"frame_{i}")) for i in range(20)]
    start = len(peer.received["grasps"])
    for cloud in clouds:
        peer.send(cloud)
        time.sleep(0.01)
    peer.wait_for("grasps", lambda m: m.header == clouds[-1].header)
    values = peer.status(lambda v: v["state"] == "idle")
    assert peer.set_parameter("num_grasps", 4).successful
    frames = [int(m.header.frame_id[6:]) for m in peer.received["grasps"][start:]]
    assert frames == sorted(frames) and frames[-1] == 19 and len(frames) < 10
    assert int(values["clouds_dropped"]) > dropped


def test_calls_wait_their_turn(peer: Peer, cloud: PointCloud2):
    calls = [
        peer.call_async("generate_grasps", GenerateGrasps.Request(cloud=cloud, seed=seed))
        for seed in range(3)
    ]
    answers = [peer.result(call) for call in calls]
    assert all(answer.success for answer in answers)
    for seed, answer in enumerate(answers):
        expected = peer.generate(cloud, seed=seed).grasps
        np.testing.assert_array_equal(mano(answer.grasps), mano(expected))


def test_calls_are_told_busy(peer: Peer, cloud: PointCloud2):
    assert peer.set_parameter("service_timeout", 0.1).successful
    slow = GenerateGrasps.Request(cloud=cloud, num_grasps=64)
    calls = [peer.call_async("generate_grasps", slow) for _ in range(6)]
    answers = [peer.result(call) for call in calls]
    assert peer.set_parameter("service_timeout", 30.0).successful
    assert any(answer.success for answer in answers)
    busy = [answer.message for answer in answers if not answer.success]
    assert busy and all(message.startswith("busy: ") for message in busy)


@pytest.mark.parametrize(
    "options, text",
    [({"num_grasps": 257}, "num_grasps: 257, accepted are 1 to 256"), ({"seed": -2}, "seed: -2")],
)
def test_call_options_are_checked(peer: Peer, cloud: PointCloud2, options: dict, text: str):
    response = peer.generate(cloud, **options)
    assert not response.success and text in response.message


def test_hands_of_others_are_refined(peer: Peer, cloud: PointCloud2):
    """Hands held off the object touch it again, in their order, in the cloud's frame."""
    good = peer.generate(cloud, num_grasps=3).grasps
    order = [2, 0, 1]
    hands = []
    for i in order:
        hand = copy.deepcopy(good.grasps[i].hand)
        axis = good.grasps[i].approach
        hand.transl = hand.transl - 0.008 * xyz(axis)
        hands.append(hand)
    response = peer.refine(cloud, hands)
    assert response.success, response.message
    assert response.grasps.header == cloud.header
    refined, before = (
        np.array([[(p.x, p.y, p.z) for p in g.joints] for g in message.grasps])
        for message in (response.grasps, good)
    )
    apart = np.linalg.norm(refined[:, None] - before, axis=3).mean(axis=2)
    assert (apart[range(3), order] < 0.03).all()
    for grasp in response.grasps.grasps:
        values = dict(zip(grasp.metric_names, grasp.metric_values, strict=True))
        assert values["contact_ratio_pct"] == 100


@pytest.mark.parametrize(
    "hands, text",
    [
        ([], "hands: none"),
        ([ManoHand(side="left")], "side 'left', accepted is the node's, right"),
        ([ManoHand(side="right", transl=np.full(3, np.nan))], "finite"),
        ([ManoHand(side="right", transl=np.full(3, 7.0))], "one frame"),
        ([ManoHand(side="right", betas=np.full(10, 1e20, np.float32))], "hands[0]: betas[0]"),
        ([ManoHand(side="right", betas=np.full(10, 1e4, np.float32))], "from -10 to 10"),
    ],
)
def test_bad_hands_are_refused(peer: Peer, cloud: PointCloud2, hands: list, text: str):
    response = peer.refine(cloud, hands)
    assert not response.success and text in response.message


def test_parameters_change_or_say_why_not(peer: Peer, cylinder: np.ndarray):
    assert peer.set_parameter("num_grasps", 2).successful
    assert len(peer.answer(make_cloud(cylinder, new_header())).grasps) == 2
    assert peer.set_parameter("num_grasps", 4).successful
    assert peer.set_parameter("service_timeout", 30).successful  # no float
    for name, value, reason in [
        ("num_grasps", 0, "range"),
        ("num_grasps", 257, "range"),
        ("num_grasps", "many", "type"),
        ("seed", -1, "range"),
        ("service_timeout", 0.0, "accepted are 0.1 to 600"),
        ("service_timeout", "long", "accepted are 0.1 to 600"),
        ("viewpoint", [1.0, 2.0], "three"),
        ("viewpoint", [1.0, 2.0, float("nan")], "three finite numbers"),
        ("generator", "dvqvae", "read-only"),
        ("refiner", "none", "read-only"),
        ("device", "cuda", "read-only"),
        ("hand", "other.npz", "read-only"),
        ("side", "left", "read-only"),
        ("num_grasp", 3, "declared"),
    ]:
        result = peer.set_parameter(name, value)
        assert not result.successful and reason in result.reason, (name, value, result.reason)
    assert peer.parameters()["num_grasps"] == 4


def test_config_file_lists_every_parameter_with_its_default(peer: Peer, generator: Command):
    text = (REPOSITORY / "config" / "generate.yaml").read_text()
    listed = yaml.safe_load(text)["/**"]["ros__parameters"]
    declared = peer.parameters()
    declared = {k: v for k, v in declared.items() if not k.startswith("qos_overrides.")}
    for general in ("use_sim_time", "start_type_description_service"):
        declared.pop(general, None)
    # What the fixture and the tests before have set.
    changed = {"num_grasps": 4, "device": "cpu", "max_markers": 3}
    assert declared == {**listed, **changed}
