"""Topics as users of ROS 2 know them: the newest message counts, and QoS can be overridden."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from grasp_gen_core.errors import InputError

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# The middleware of a node that has died stops telling that it lives; of its end, only after 20 s.
ALIVE = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=3),
)
OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def publisher(node: Node, kind: type, topic: str, profile: QoSProfile = LATCHED) -> Publisher:
    """Of a topic whose last message those who come late get, too; parameters override its QoS."""
    return _overridable(node.create_publisher, kind, topic, profile)


def subscribe(node: Node, kind: type, topic: str, callback: Callable, group: CallbackGroup) -> None:
    """Take a topic's newest message, and where publishers keep their last one for latecomers, that.

    Args:
        node: that listens; its parameters qos_overrides... override the QoS.
        kind: of message.
        topic: its name.
        callback: is given the message.
        group: in which callbacks come one at a time.
    """
    heard: deque[int] = deque(maxlen=8)

    def once(message, info) -> None:
        """Kept messages come by both subscriptions."""
        if info["source_timestamp"] not in heard:
            heard.append(info["source_timestamp"])
            callback(message)

    create = partial(node.create_subscription, callback_group=group)
    subscription = _overridable(create, kind, topic, once, NEWEST)

    def look() -> None:
        """Asked for from the start, kept messages would cause warnings of all who keep none."""
        publishers = node.get_publishers_info_by_topic(subscription.topic_name)
        if any(one.qos_profile.durability == LATCHED.durability for one in publishers):
            timer.cancel()
            quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
            create(kind, topic, once, LATCHED, event_callbacks=quiet)

    timer = node.create_timer(
        1.0, look, clock=Clock(clock_type=ClockType.STEADY_TIME), callback_group=group
    )


def _overridable(create: Callable, *arguments) -> Publisher | Subscription:
    """What `create` makes, its QoS overridden by parameters.

    Raises:
        InputError: if one of them isn't a policy's value.
    """
    try:
        return create(*arguments, qos_overriding_options=QoSOverridingOptions(OVERRIDABLE))
    except RuntimeError as error:
        if "QoS override" not in str(error):
            raise
        raise InputError(f"qos_overrides: {error}") from error
