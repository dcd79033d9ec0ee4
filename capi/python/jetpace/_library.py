"""libjetpace by ctypes: where it is found, its structures and its errors."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from pathlib import Path
from typing import Any, Optional

# JETPACE_ABI_VERSION of the library that this package needs: its upper half, and at least its lower one.
_ABI, _ADDITIONS = 0, 4

_STATES = ("following", "safe", "handed back", "no daemon", "measured")


class Options(ctypes.Structure):
    """struct jetpace_options."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("board", ctypes.c_char_p),
        ("socket", ctypes.c_char_p),
        ("way", ctypes.c_char_p),
        ("writer", ctypes.c_uint32),
        ("fifo", ctypes.c_uint32),
        ("cpu_plus_one", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class Stats(ctypes.Structure):
    """What happened so far; the fields are those of struct jetpace_stats."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("frames", ctypes.c_uint64),
        ("missed", ctypes.c_uint64),
        ("switches", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("shared_frames", ctypes.c_uint64),
        ("lost_events", ctypes.c_uint64),
        ("clock_hz", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("by_daemon", ctypes.c_uint32),
        ("reconnects", ctypes.c_uint64),
    ]

    def __repr__(self) -> str:
        """The counts in words: `Stats(following, by_daemon, 612 MHz, frames=100, missed=0, switches=3, faults=0)`."""
        words = [_STATES[self.state] if self.state < len(_STATES) else f"state={self.state}"]
        words += ["by_daemon"] * bool(self.by_daemon)
        words += [f"{self.clock_hz / 1e6:g} MHz"] * bool(self.clock_hz)
        words += [f"{name}={getattr(self, name)}" for name in ("frames", "missed", "switches", "faults")]
        rare = ("shared_frames", "lost_events", "reconnects")
        words += [f"{name}={getattr(self, name)}" for name in rare if getattr(self, name)]
        return f"Stats({', '.join(words)})"


def _path() -> str:
    """$JETPACE_LIBRARY, else the one that a wheel carries, else the system's."""
    own = Path(__file__).with_name("libjetpace.so.0")
    return os.environ.get("JETPACE_LIBRARY") or (str(own) if own.exists() else None) or (
        ctypes.util.find_library("jetpace") or "libjetpace.so.0"
    )


def _load() -> ctypes.CDLL:
    path = _path()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        what = f"{error}: install libjetpace0 or the wheel, or name the library by $JETPACE_LIBRARY"
        raise ImportError(what, name="jetpace", path=path) from error
    library.jetpace_abi_version.restype = ctypes.c_uint32
    abi, additions = divmod(library.jetpace_abi_version(), 1 << 16)
    if abi != _ABI or additions < _ADDITIONS:
        raise ImportError(f"{path} is of another version than this package: install both of one version")
    handle, u32 = ctypes.c_void_p, ctypes.c_uint32
    library.jetpace_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(Options), ctypes.POINTER(handle)]
    library.jetpace_block_find.argtypes = [handle, ctypes.c_char_p, ctypes.POINTER(u32)]
    library.jetpace_block_start.argtypes = [handle, u32, u32]
    library.jetpace_block_again.argtypes = [handle, u32]
    library.jetpace_block_took.argtypes = [handle, u32, ctypes.c_uint64]
    library.jetpace_frame_size.argtypes = [handle, u32, ctypes.POINTER(u32)]
    library.jetpace_stats.argtypes = [handle, ctypes.POINTER(Stats)]
    library.jetpace_strerror.restype = ctypes.c_char_p
    for name in ("frame_start", "frame_end", "close"):
        getattr(library, f"jetpace_{name}").argtypes = [handle]
    return library


_library: Optional[ctypes.CDLL] = None


def lib() -> ctypes.CDLL:
    """The library, loaded when it is first wanted."""
    global _library
    if _library is None:
        _library = _load()
    return _library


class Error(OSError):
    """A call failed; `errno` says how."""

    def __init__(self, code: int, what: Any) -> None:
        super().__init__(-code, lib().jetpace_strerror(code).decode(), what)


def check(code: int, what: Any) -> None:
    """Raises what a function of the library gave, unless it is 0."""
    if code != 0:
        raise Error(code, what)
