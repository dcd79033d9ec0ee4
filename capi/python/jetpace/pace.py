"""A table that is followed: frames and blocks, told to the daemon or to the library."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any, Callable, Dict, Iterator, Optional, TypeVar, Union

from ._library import Error, Options, Stats, check, lib

T = TypeVar("T")

# jetpace_stats.state
_MEASURED = 4


class Pace:
    """A table that is followed. A context manager: the clock is put back at its end.

    table: a file that `jetpace plan` made, or None for the daemon's own table. board: "auto", "sim:NAME" or the root of
    a sysfs tree. socket: the daemon's; "" for never a daemon. May be used from any thread, by one at a time.
    """

    def __init__(
        self,
        table: Union[str, os.PathLike[str], None] = None,
        *,
        board: Optional[str] = None,
        socket: Optional[str] = None,
        way: Optional[str] = None,
    ) -> None:
        encode: Callable[[Any], Optional[bytes]] = lambda text: None if text is None else os.fsencode(text)
        options = Options(ctypes.sizeof(Options), encode(board), encode(socket), encode(way), 0, 0, 0, 0)
        self._handle = ctypes.c_void_p()
        self._ids: Dict[str, int] = {}
        opened = lib().jetpace_open(encode(table), ctypes.byref(options), ctypes.byref(self._handle))
        check(opened, table if table is not None else "the daemon's own table")
        # Looked up once: attribute look-ups on the library take locks of their own.
        self._frame_start, self._block_start, self._frame_end = (
            lib().jetpace_frame_start,
            lib().jetpace_block_start,
            lib().jetpace_frame_end,
        )

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, name: str) -> int:
        """A block's number."""
        number = self._ids.get(name)
        if number is None:
            found = ctypes.c_uint32()
            check(lib().jetpace_block_find(self._handle, name.encode(), ctypes.byref(found)), name)
            number = self._ids[name] = found.value
        return number

    def frame_start(self) -> None:
        """A frame starts. While the program is measured, it waits here for its turn."""
        check(self._frame_start(self._handle), "frame")

    def block(self, block: Union[int, str], size: int = 1) -> None:
        """A block starts; by its name or its number."""
        number = block if isinstance(block, int) else self.find(block)
        check(self._block_start(self._handle, number, size), block)

    def again(self, block: Union[int, str]) -> bool:
        """Whether a block that has just run is to run once more: only ever while the program is measured."""
        number = block if isinstance(block, int) else self.find(block)
        again = lib().jetpace_block_again(self._handle, number)
        if again < 0:
            raise Error(again, block)
        return bool(again > 0)

    def took(self, block: Union[int, str], seconds: float) -> None:
        """How long a run of a block took by the GPU's own events. Only whoever measures wants to know."""
        number = block if isinstance(block, int) else self.find(block)
        check(lib().jetpace_block_took(self._handle, number, max(0, round(seconds * 1e9))), block)

    def size(self, own: int = 1) -> int:
        """The size that the frame which has begun should have: `own`, unless another one is being measured."""
        size = ctypes.c_uint32()
        check(lib().jetpace_frame_size(self._handle, own, ctypes.byref(size)), "size")
        return size.value

    def run(self, block: Union[int, str], work: Callable[[], T], size: int = 1) -> T:
        """A block and what it does, which has to wait for the GPU: once, or as often as calibration wants it.

        work: a callable that may be repeated. Gives what it gave last.
        """
        self.block(block, size)
        while True:
            result = work()
            if not self.again(block):
                return result

    def frame_end(self) -> None:
        """The frame's last block has ended."""
        check(self._frame_end(self._handle), "frame")

    @contextlib.contextmanager
    def frame(self) -> Iterator[Pace]:
        """A frame, as a context manager."""
        self.frame_start()
        try:
            yield self
        except BaseException:
            # What went wrong in the frame is what the caller has to hear of.
            with contextlib.suppress(Error):
                self.frame_end()
            raise
        self.frame_end()

    def wrap(self, name: str, run: Callable[..., T], size: int = 1) -> Callable[..., T]:
        """A callable that tells that block `name` starts and then calls `run`."""
        number = self.find(name)

        def block(*args: Any, **kwargs: Any) -> T:
            self.block(number, size)
            return run(*args, **kwargs)

        return block

    def stats(self) -> Stats:
        """What happened so far."""
        stats = Stats(size=ctypes.sizeof(Stats))
        check(lib().jetpace_stats(self._handle, ctypes.byref(stats)), "stats")
        return stats

    def is_measured(self) -> bool:
        """Whether `jetpace calibrate` measures the program: whether its frames wait for their turn."""
        return int(self.stats().state) == _MEASURED

    def close(self) -> None:
        """Puts back what was found. More than once is no error."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            check(lib().jetpace_close(handle), "close")
