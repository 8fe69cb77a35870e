"""Refiners by name: each improves the hands a generator proposed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

NAMES = ("quick",)


def get_refiner(name: str) -> Callable[..., Tensor]:
    """The `refine` function of a refiner.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in NAMES:
        raise ValueError(f"refiner: {name!r}, accepted are none, {', '.join(NAMES)}")
    return import_module(f"{__name__}.{name}").refine
