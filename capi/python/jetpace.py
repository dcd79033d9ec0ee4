"""jetpace for Python: GPU clocks switched at block boundaries.

    with jetpace.Pace("net.jpt") as pace:
        while running:
            with pace.frame() as frame:
                for name, block in blocks:
                    frame.block(name)
                    block()

With PyTorch, `jetpace.attach(model, ["features", "classifier"], pace)` puts the calls into the model's hooks. No
dependencies; the shared library is found as $JETPACE_LIBRARY, by the linker's cache, or as libjetpace.so.0.

CUDA runs behind the host: the hooks run where a block is queued. `attach` therefore synchronises at each boundary where
the model is on a CUDA device, unless told not to.
"""

import contextlib
import ctypes
import ctypes.util
import os
import warnings

__all__ = ["Error", "Pace", "attach"]

_ABI = 0


class _Options(ctypes.Structure):
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


def _load():
    path = os.environ.get("JETPACE_LIBRARY") or ctypes.util.find_library("jetpace") or "libjetpace.so.0"
    library = ctypes.CDLL(path)
    library.jetpace_abi_version.restype = ctypes.c_uint32
    if library.jetpace_abi_version() >> 16 != _ABI:
        raise ImportError(f"{path} has another ABI than this module")
    handle, u32 = ctypes.c_void_p, ctypes.c_uint32
    library.jetpace_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Options), ctypes.POINTER(handle)]
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


_library = None


def _lib():
    global _library
    if _library is None:
        _library = _load()
    return _library


class Error(OSError):
    """A call failed; `errno` says how."""

    def __init__(self, code, what):
        super().__init__(-code, _lib().jetpace_strerror(code).decode(), what)


def _check(code, what):
    if code != 0:
        raise Error(code, what)


class Pace:
    """A table that is followed. A context manager: the clock is put back at its end.

    table: a file that `jetpace plan` made, or None for the daemon's own table. board: "auto", "sim:NAME" or the root of
    a sysfs tree. socket: the daemon's; "" for never a daemon. May be used from any thread, by one at a time.
    """

    def __init__(self, table=None, *, board=None, socket=None, way=None):
        encode = lambda text: None if text is None else os.fsencode(text)
        options = _Options(ctypes.sizeof(_Options), encode(board), encode(socket), encode(way), 0, 0, 0, 0)
        self._handle = ctypes.c_void_p()
        self._ids = {}
        _check(_lib().jetpace_open(encode(table), ctypes.byref(options), ctypes.byref(self._handle)), table)
        # Looked up once: attribute look-ups on the library take locks of their own.
        lib = _lib()
        self._frame_start, self._block_start, self._frame_end = (
            lib.jetpace_frame_start,
            lib.jetpace_block_start,
            lib.jetpace_frame_end,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def find(self, name):
        """A block's number."""
        number = self._ids.get(name)
        if number is None:
            found = ctypes.c_uint32()
            _check(_lib().jetpace_block_find(self._handle, name.encode(), ctypes.byref(found)), name)
            number = self._ids[name] = found.value
        return number

    def frame_start(self):
        _check(self._frame_start(self._handle), "frame")

    def block(self, block, size=1):
        """A block starts; by its name or its number."""
        number = block if isinstance(block, int) else self.find(block)
        _check(self._block_start(self._handle, number, size), block)

    def again(self, block):
        """Whether a block that has just run is to run once more: only ever while the program is measured."""
        number = block if isinstance(block, int) else self.find(block)
        again = _lib().jetpace_block_again(self._handle, number)
        if again < 0:
            raise Error(again, block)
        return again > 0

    def took(self, block, seconds):
        """How long a run of a block took by the GPU's own events. Only whoever measures wants to know."""
        number = block if isinstance(block, int) else self.find(block)
        _check(_lib().jetpace_block_took(self._handle, number, max(0, round(seconds * 1e9))), block)

    def size(self, own=1):
        """The size that the frame which has begun should have: `own`, unless another one is being measured."""
        size = ctypes.c_uint32()
        _check(_lib().jetpace_frame_size(self._handle, own, ctypes.byref(size)), "size")
        return size.value

    def run(self, block, work, size=1):
        """A block and what it does, which has to wait for the GPU: once, or as often as calibration wants it.

        work: a callable that may be repeated. Gives what it gave last.
        """
        self.block(block, size)
        while True:
            result = work()
            if not self.again(block):
                return result

    def frame_end(self):
        _check(self._frame_end(self._handle), "frame")

    @contextlib.contextmanager
    def frame(self):
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

    def wrap(self, name, run, size=1):
        """A callable that tells that block `name` starts and then calls `run`."""
        number = self.find(name)

        def block(*args, **kwargs):
            self.block(number, size)
            return run(*args, **kwargs)

        return block

    def stats(self):
        stats = Stats(size=ctypes.sizeof(Stats))
        _check(_lib().jetpace_stats(self._handle, ctypes.byref(stats)), "stats")
        return stats

    def close(self):
        """Puts back what was found. More than once is no error."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            _check(_lib().jetpace_close(handle), "close")


class _Attached:
    """The hooks; `remove()` or the end of a `with` takes them away."""

    def __init__(self, hooks, pace, owned):
        self._hooks, self.pace, self._owned = hooks, pace, owned

    def remove(self):
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._owned:
            self.pace.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def attach(model, blocks, pace=None, *, size=None, synchronize=None):
    """Puts frame and block boundaries into the hooks of a PyTorch model.

    blocks: names of submodules that are the table's blocks, or a dict of submodule name to block name; in the order in
    which they run. pace: a Pace; by default one of the daemon's own table. size: a function of a block's inputs that
    gives its size; by default 1. synchronize: called before each boundary; by default torch.cuda.synchronize where the
    model's parameters are on a CUDA device. Where the daemon goes away the model runs on, after one warning, and is followed
    again once there is a daemon; `pace.stats()` says so (state 3, reconnects).
    """
    owned = pace is None
    pace = Pace() if owned else pace
    named = blocks.items() if isinstance(blocks, dict) else [(name, name) for name in blocks]
    submodules = dict(model.named_modules())
    plan = [(submodules[module], pace.find(block)) for module, block in named]
    if synchronize is None:
        synchronize = _cuda_synchronize(model)

    warned = []

    def tell(call, *args):
        # The model goes on where the daemon does not.
        try:
            call(*args)
        except Error as error:
            if not warned:
                warned.append(error)
                warnings.warn(f"jetpace no longer follows its table: {error}", RuntimeWarning, stacklevel=2)

    def frame_start(*_):
        tell(pace.frame_start)

    def frame_end(*_):
        synchronize()
        tell(pace.frame_end)

    def block_start(number):
        def hook(_module, inputs):
            synchronize()
            tell(pace.block, number, size(*inputs) if size else 1)

        return hook

    hooks = [model.register_forward_pre_hook(frame_start), model.register_forward_hook(frame_end)]
    hooks += [module.register_forward_pre_hook(block_start(number)) for module, number in plan]
    return _Attached(hooks, pace, owned)


def _cuda_synchronize(model):
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if parameters else None
    if first is not None and getattr(first, "is_cuda", False):
        import torch

        return torch.cuda.synchronize
    return lambda: None
