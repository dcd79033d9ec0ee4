"""Frames and blocks of a program on a GPU that runs behind the host: told to a pace, timed and repeated where it is measured."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._library import Error
from .clones import clone
from .events import Events
from .pace import Pace


class Timed:
    """The runs of a frame's blocks by the GPU's events. Blocks follow each other without a gap: one lasts to the next one's
    start, with what runs and waits between the two; where it is repeated, each of its runs lasts to its own end."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._runs: List[Tuple[int, Any, Any]] = []
        self._open: Optional[Tuple[int, Any]] = None

    def start(self, number: int) -> None:
        """A run starts, and the one that is open, if one is, ends."""
        mark = self._events.record()
        self._end(mark)
        self._open = (number, mark)

    def end(self) -> None:
        """The run that is open, if one is, ends."""
        if self._open is not None:
            self._end(self._events.record())

    def _end(self, mark: Any) -> None:
        if self._open is not None:
            self._runs.append((*self._open, mark))
            self._open = None

    def take(self) -> List[Tuple[int, float]]:
        """The seconds of all runs by their blocks' numbers. The GPU has been waited for."""
        runs, self._runs, self._open = self._runs, [], None
        return [(number, self._events.seconds(start, end)) for number, start, end in runs]


class Teller:
    """Tells a pace. Where the daemon goes away the program runs on, after one warning."""

    def __init__(self, pace: Pace, synchronize: Optional[Callable[[], Any]], events: Optional[Events]) -> None:
        self.pace, self.in_frame = pace, False
        waits = events.synchronize if events is not None else lambda: None
        self._synchronize = waits if synchronize is None else synchronize
        self._events = events
        self._timed: Optional[Timed] = None
        self._measured = False
        self._said: List[str] = []

    def frame_start(self) -> None:
        """A frame starts."""
        self._tell(self.pace.frame_start)
        self.in_frame = True
        try:
            self._measured = self.pace.is_measured()
        except Error:
            self._measured = False
        self._timed = Timed(self._events) if self._measured and self._events is not None else None

    def block_start(self, number: int, size: int) -> None:
        """The block before, if any, has been queued, and this one is next."""
        if self._timed is not None:
            self._timed.start(number)
        self._synchronize()
        self._tell(self.pace.block, number, size)

    def block_end(self, number: int, module: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        """A block has been queued. As long as whoever measures wants it again, its module is called with copies."""
        if not self._measured:
            return
        if self._timed is None:
            # Times are those between the calls then.
            self._synchronize()
        # Else what follows is queued right behind the run, as where nobody measures: the GPU does not idle in between.
        while self._is_wanted_again(number):
            if self._timed is not None:
                self._timed.end()
            self._synchronize()
            again_args, again_kwargs = clone(args), clone(kwargs)
            if self._timed is not None:
                self._timed.start(number)
            module.forward(*again_args, **again_kwargs)
            if self._timed is not None:
                self._timed.end()
            self._synchronize()

    def frame_end(self) -> None:
        """The frame's last block has been queued."""
        if not self.in_frame:
            return
        self.in_frame = False
        if self._timed is not None:
            self._timed.end()
        self._synchronize()
        if self._timed is not None:
            for number, seconds in self._timed.take():
                self._tell(self.pace.took, number, seconds)
        self._tell(self.pace.frame_end)

    def warn_once(self, what: str, key: Optional[str] = None) -> None:
        """Says it, unless it was said."""
        key = key or what
        if key not in self._said:
            self._said.append(key)
            warnings.warn(what, RuntimeWarning, stacklevel=4)

    def _is_wanted_again(self, number: int) -> bool:
        try:
            return self.pace.again(number)
        except Error as error:
            self._warn_lost(error)
            return False

    def _tell(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Error as error:
            self._warn_lost(error)

    def _warn_lost(self, error: Error) -> None:
        self.warn_once(f"jetpace no longer follows its table: {error}", "lost")
