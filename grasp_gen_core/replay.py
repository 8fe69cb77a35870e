"""Work that CUDA repeats as one graph: its hundreds of small operations cost one launch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import torch

Found = TypeVar("Found")


class Replay(Generic[Found]):
    """A function of nothing, called again and again; on CUDA captured after its first call.

    Args:
        function: reads tensors that it closes over, whose values may change between the calls but
            not their places in memory; may change them in place. Waits for nothing, copies nothing
            from the CPU. What it gives is overwritten by the next call.
        device: where it computes.
    """

    def __init__(self, function: Callable[[], Found], device: torch.device) -> None:
        self.function, self.device = function, device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.found: Found | None = None
        self.warm = False  # libraries have made what they make at their first call

    def __call__(self) -> Found:
        if self.device.type != "cuda" or not self.warm:
            self.warm = True
            return self.function()
        if self.graph is None:
            self._capture()
        self.graph.replay()
        return self.found

    def _capture(self) -> None:
        keeper, side = _kept(self.device)
        graph = torch.cuda.CUDAGraph()
        try:
            self.found = _record(graph, self.function, side, keeper.pool())
        except RuntimeError:
            _kept.cache_clear()  # its memory stays reserved for what failed
            raise
        self.graph = graph


def _record(
    graph: torch.cuda.CUDAGraph,
    function: Callable[[], Found],
    side: torch.cuda.Stream,
    pool: tuple[int, int] | None = None,
) -> Found:
    # Not `torch.cuda.graph`, which first gives all free memory back to the driver.
    now = torch.cuda.current_stream(side.device)
    side.wait_stream(now)
    with torch.cuda.stream(side):
        # Other threads go on with what they do.
        graph.capture_begin(pool, capture_error_mode="thread_local")
        try:
            found = function()
        finally:
            graph.capture_end()
    now.wait_stream(side)
    return found


@lru_cache(maxsize=8)
def _kept(device: torch.device) -> tuple[torch.cuda.CUDAGraph, torch.cuda.Stream]:
    """A graph that keeps the memory in which all others work, one at a time, and their stream."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    _record(graph, lambda: torch.zeros(1, device=device), side)
    return graph, side
