"""Time of a call, as the field's tables give it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def time_s(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What a call returns, and its seconds until the device has finished.

    Args:
        call: the work; models are loaded before.
        device: where the work runs.
    """
    _wait(device)
    started = time.perf_counter()
    result = call()
    _wait(device)
    return result, time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
