"""Frames and blocks of plain functions, by one table of the process."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional, TypeVar

from .events import synchronize_cuda
from .pace import Pace

T = TypeVar("T")
Function = Callable[..., T]

# Of all functions that name no other.
_own: Optional[Pace] = None

# The block of a program that tells none, as `jetpace calibrate` names it.
_WHOLE = "frame"


def _pace(given: Optional[Pace]) -> Pace:
    global _own
    if given is not None:
        return given
    if _own is None:
        _own = Pace()
    return _own


def frame(
    pace: Optional[Pace] = None, *, block: Optional[str] = _WHOLE, synchronize: Callable[[], Any] = synchronize_cuda
) -> Callable[[Function[T]], Function[T]]:
    """Each call of the decorated function is a frame.

    pace: by default one of the whole process, opened at the first call: $JETPACE_TABLE or the daemon's own table. block:
    the frame's only block; None where the function calls functions that are blocks by `jetpace.block`. synchronize: called
    before the frame's end, as the GPU runs behind the host; by default torch.cuda.synchronize where the process uses CUDA.
    """

    def decorate(function: Function[T]) -> Function[T]:
        @functools.wraps(function)
        def framed(*args: Any, **kwargs: Any) -> T:
            with _pace(pace).frame() as begun:
                if block is not None:
                    begun.block(block)
                result = function(*args, **kwargs)
                synchronize()
                return result

        return framed

    return decorate


def block(
    name: str, pace: Optional[Pace] = None, *, synchronize: Callable[[], Any] = synchronize_cuda
) -> Callable[[Function[T]], Function[T]]:
    """Each call of the decorated function is a block of the frame around it: `@jetpace.frame(block=None)`.

    The function may be called again with the same arguments while the program is measured. pace and synchronize: as those
    of `jetpace.frame`.
    """

    def decorate(function: Function[T]) -> Function[T]:
        @functools.wraps(function)
        def blocked(*args: Any, **kwargs: Any) -> T:
            def work() -> T:
                result = function(*args, **kwargs)
                synchronize()
                return result

            return _pace(pace).run(name, work)

        return blocked

    return decorate
