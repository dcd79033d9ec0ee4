"""When a GPU reaches a point in its queue."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Events(Protocol):
    """A GPU's events: marks in its queue, whose distance is known once it has passed both."""

    def record(self) -> Any:
        """Queues a mark."""

    def seconds(self, start: Any, end: Any) -> float:
        """From one mark to another. Both have been passed: the program has synchronised since."""

    def synchronize(self) -> None:
        """Waits until the GPU has done all that is queued."""


class Cuda:
    """CUDA's, in the current stream."""

    def __init__(self) -> None:
        import torch

        self._cuda: Any = torch.cuda

    def record(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) / 1e3

    def synchronize(self) -> None:
        self._cuda.synchronize()


def synchronize_cuda() -> None:
    """Waits for CUDA where this process uses it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
