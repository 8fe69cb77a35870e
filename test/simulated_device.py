"""A device with memory of its own, simulated: the CPU computes, but tensors there and on the CPU
don't mix, as on CUDA. What CUDA refuses is refused; waits for the device, and copies to it, are
counted by the line of this project that they come from.

    with Simulation() as seen:
        GraspPipeline(device=DEVICE)(points)
    seen.waits, seen.uploads
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

ROOT = str(Path(__file__).parents[1])
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
INDEXING += (aten._index_put_impl_.default,)
# Their results' size, or a number for Python, depends on values: CUDA has to be waited for.
READING = (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default)
READING += (aten.bincount.default, aten.equal.default, aten.repeat_interleave.Tensor)


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("simulated", _Module())
DEVICE = torch.device("simulated:0")


class Far(Tensor):
    """A tensor of the simulated device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        return Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=DEVICE,
        )

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __repr__(self) -> str:
        return f"Far({self.near})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f"{function}: outside of a Simulation")


class Simulation(TorchDispatchMode):
    """Within, tensors may be on DEVICE.

    Attributes:
        waits, uploads: how often, by "file:line".
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.uploads = Counter(), Counter()

    def __enter__(self) -> Simulation:
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=DEVICE) by way of here
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        wanted = kwargs.get("device")
        far = any(isinstance(x, Far) for x in tensors)
        if not far and not _is_far(wanted):
            return function(*args, **kwargs)
        to = isinstance(args[0], Far) if function is aten.copy_.default else wanted is None
        to |= _is_far(wanted)
        near = [x for x in tensors if not isinstance(x, Far) and x.ndim]
        if function in COPIES:
            if not to:
                self.waits[_line()] += 1
            elif near:
                self.uploads[_line()] += 1
        elif near and function in INDEXING:
            self.uploads[_line()] += 1  # CUDA takes indices from the CPU
        elif near:
            raise RuntimeError(f"{function}: expected all tensors to be on the same device")
        if kwargs.get("generator") is not None:
            raise RuntimeError(f"{function}: expected a generator of {DEVICE}, found one of cpu")
        if function in READING or (function is aten.index.Tensor and _masked(args[1])):
            self.waits[_line()] += 1
        if function is aten._efficientzerotensor.default:
            function = aten.zeros.default
        with torch._C._DisableFuncTorch():
            here = {name: _near(value) for name, value in kwargs.items()}
            found = function(*map(_near, args), **here)
        if torch.Tag.inplace_view in function.tags:
            with no_dispatch():
                function(*args, **kwargs)
        if function is aten.copy_.default or _changes_first(function):
            return args[0]
        return found if not to or function in READING[:1] else _far(found)


@cache
def _changes_first(function) -> bool:
    """Whether an operator gives its first argument back, changed."""
    returns = function._schema.returns
    return (
        len(returns) == 1 and returns[0].alias_info is not None and returns[0].alias_info.is_write
    )


def _tensors(values) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _is_far(device) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _near(value):
    if isinstance(value, Far):
        return value.near
    if isinstance(value, (list, tuple)):
        return [_near(one) for one in value]
    return torch.device("cpu") if isinstance(value, torch.device) and _is_far(value) else value


def _far(value):
    if isinstance(value, Tensor):
        return Far(value)
    return [_far(one) for one in value] if isinstance(value, (list, tuple)) else value


def _masked(indices) -> bool:
    return any(index is not None and index.dtype is torch.bool for index in indices)


def _line() -> str:
    """The line of the project that is being run."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and not name.startswith(f"{ROOT}/test") and ".venv" not in name:
            return f"{name.removeprefix(ROOT)[1:]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
