"""jetpace for Python: GPU clocks switched at block boundaries.

    with jetpace.Pace("net.jpt") as pace:
        while running:
            with pace.frame() as frame:
                for name, block in blocks:
                    frame.block(name)
                    block()

The same by decorators is `@jetpace.frame()` and `@jetpace.block("stem")`. With PyTorch `jetpace.attach` puts the calls into
a model's hooks, `jetpace.profile` makes a whole program of it that `jetpace calibrate --cmd` can measure, and
`jetpace.phases` paces a language model's prefill and decode by a table each. `jetpace.measure` reads the board's energy through
the daemon.

No dependencies; the shared library is found as $JETPACE_LIBRARY, in the package where a wheel brought it, by the linker's
cache, or as libjetpace.so.0.
"""

from ._library import Error, Stats
from .decorators import block, frame
from .energy import Measurement, measure
from .generation import Phases, phases
from .hooks import Attached, attach
from .pace import Pace
from .profiling import Profile, profile

__all__ = [
    "Attached",
    "Error",
    "Measurement",
    "Pace",
    "Phases",
    "Profile",
    "Stats",
    "attach",
    "block",
    "frame",
    "measure",
    "phases",
    "profile",
]
