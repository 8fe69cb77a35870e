"""Parameters that say what they accept; whole numbers will do where numbers are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

SEEDS = (0, 2**31 - 1)


def declare(
    node: Node,
    name: str,
    default: str | bool | int | float | list[float],
    description: str,
    limits: tuple[float, float] | None = None,
    read_only: bool = False,
    length: int = 3,
) -> object:
    """Declare a parameter; what it is set to is checked, at start and later.

    Args:
        node: whose parameter it is.
        name: of the parameter.
        default: tells the type, too; a list of numbers may be empty.
        description: for users.
        limits: least and largest value of a number.
        read_only: it can't change while the node runs.
        length: of a list that isn't empty: 3 or 6.

    Returns:
        Its value at start.

    Raises:
        ParameterException: if that has another type or is out of range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if isinstance(default, float | list):
        # Typed by rclpy, 5 wouldn't do for 5.0, and an empty list has no type at all.
        descriptor.dynamic_typing = True
        if isinstance(default, list):
            words = {3: "three", 6: "six"}[length]
            accept, accepted = (
                partial(_is_list, length),
                f"{words} finite numbers, or an empty list",
            )
        else:
            accept, accepted = partial(_is_between, *limits), "{:g} to {:g}".format(*limits)
        node.add_on_set_parameters_callback(partial(_check, node, name, accept, accepted))
    elif limits:
        low, high = limits
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return node.declare_parameter(name, default, descriptor).value


def _check(
    node: Node, name: str, accept: Callable, accepted: str, parameters: list[Parameter]
) -> SetParametersResult:
    for parameter in parameters:
        # In a file an empty list is no value; later, no value would delete the parameter.
        empty_in_file = parameter.value is None and not node.has_parameter(name)
        value = [] if empty_in_file else parameter.value
        if parameter.name == name and not accept(value):
            reason = f"{name}: {value!r}, accepted are {accepted}"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_between(low: float, high: float, value: object) -> bool:
    return _is_number(value) and low <= value <= high


def _is_list(length: int, value: object) -> bool:
    if value is None or isinstance(value, str | bool | int | float):
        return False
    return len(value) in (0, length) and all(map(_is_number, value))
