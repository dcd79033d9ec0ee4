"""A PyTorch program that `jetpace calibrate` can measure, and that is followed by a table afterwards."""

from __future__ import annotations

import errno
import itertools
import shlex
import sys
import time
from typing import Any, Callable, List, Optional, Sequence

from ._library import Error, Stats
from .events import Events
from .hooks import Attached
from .models import Blocks, named
from .pace import Pace


class Profile:
    """What `jetpace.profile` gives: frames of a model by its blocks."""

    def __init__(self, attached: Attached, sizes: List[int]) -> None:
        self.pace, self.sizes = attached.pace, sizes
        self._attached = attached
        self._size = sizes[0]
        attached.size = lambda *_, **__: self._size

    def frames(
        self,
        run: Callable[[int], Any],
        count: Optional[int] = None,
        *,
        size: Optional[int] = None,
        period: Optional[float] = None,
    ) -> None:
        """Runs frames: `count` of them, or for ever, as a program may that is measured or serves a camera.

        run: a function of the frame's size (batch, tokens) that calls the model once; all that it does is the frame. size: of
        frames that nobody measures; by default the smallest. period: seconds from a frame's start to the next one's; by
        default they follow each other.
        """
        own = self._known(self.sizes[0] if size is None else size, "frames(size=...)")
        due = time.monotonic()
        for _ in itertools.count() if count is None else range(count):
            self._attached.frame_start()
            try:
                self._size = self._known(self.pace.size(own), "calibrate's --sizes")
                run(self._size)
            except BaseException:
                self._attached.frame_end(whole=False)
                raise
            self._attached.frame_end()
            if period is not None:
                # One that is late is not made up for by a burst.
                due = max(due + period, time.monotonic())
                time.sleep(due - time.monotonic() if due > time.monotonic() else 0.0)

    def stats(self) -> Stats:
        """What happened so far."""
        return self.pace.stats()

    def close(self) -> None:
        """Takes the hooks away and puts the clock back."""
        self._attached.remove()

    def _known(self, size: int, of: str) -> int:
        if size not in self.sizes:
            sizes = ",".join(map(str, self.sizes))
            raise ValueError(f"size {size}, by {of}, is none of the model's: jetpace.profile(..., sizes=[{sizes}])")
        return size

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def profile(
    model: Any,
    blocks: Blocks,
    name: str = "model",
    sizes: Sequence[int] = (1,),
    *,
    table: Optional[str] = None,
    events: Optional[Events] = None,
) -> Profile:
    """A model's frames, measured by `jetpace calibrate`, and by its table afterwards; the program stays the same.

        with jetpace.profile(model, ["stem", "stage1"], name="net", sizes=[1, 4]) as s:
            s.frames(lambda size: model(torch.randn(size, 3, 224, 224, device="cuda")))

    `jetpace calibrate --cmd 'python3 net.py' --model net --sizes 1,4 -o net.csv` measures it: blocks by CUDA's events where
    the model is on a GPU, their power by calling modules again with copies of what they were called with. Without it the
    table is followed: `table`, $JETPACE_TABLE or the daemon's own. Where there is neither, the error says that command.

    blocks, events: as those of `jetpace.attach`, which raises the same errors. name: of the network. sizes: those that its
    frames can have.
    """
    known = sorted(set(sizes))
    if not known or known[0] < 1:
        raise ValueError(f"sizes are whole numbers from 1 up, not {list(sizes)}")
    plan = named(model, blocks)
    try:
        pace = Pace(table)
    except Error as error:
        if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            raise
        raise RuntimeError(_nobody(name, known)) from None
    try:
        return Profile(Attached(model, plan, pace, events=events, frames=False, owned=True), known)
    except BaseException:
        pace.close()
        raise


def _nobody(name: str, sizes: List[int]) -> str:
    program = shlex.quote(shlex.join(["python3", *sys.argv]))
    more = "" if sizes == [1] else " --sizes " + ",".join(map(str, sizes))
    return (
        "there is neither a table nor anyone who measures the program. Measure it:\n"
        f"    jetpace calibrate --cmd {program} --model {shlex.quote(name)}{more} -o {shlex.quote(name + '.csv')}"
    )
