"""What it costs to learn on the host that a block has ended, and what that costs the stream."""
import ctypes
import statistics
import time

import torch

BLOCKING_SYNC, DISABLE_TIMING = 1, 2  # CUevent_flags
MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP
NOT_READY = 600
LONGEST_S = 2  # to wait for a block that takes some hundred microseconds
WORK_BYTES = 64 << 20  # a block's stand-in: some hundred microseconds of memory traffic


class Boundary:
    """Ways to mark a place in the stream and to wait for it. Polling is done from Python: a fraction of a microsecond."""

    def __init__(self, kernels):
        self.kernels, self.cuda = kernels, kernels.cuda
        self.stream = torch.cuda.current_stream().cuda_stream
        self.handle = ctypes.c_void_p(self.stream)
        self.block = torch.empty(WORK_BYTES, dtype=torch.uint8, device="cuda")
        self.spinning, self.blocking = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(self.spinning), DISABLE_TIMING)
        self.call("cuEventCreate", ctypes.byref(self.blocking), BLOCKING_SYNC | DISABLE_TIMING)
        host, device = ctypes.c_void_p(), ctypes.c_uint64()
        self.call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(64), MAPPED)
        self.call("cuMemHostGetDevicePointer_v2", ctypes.byref(device), host, 0)
        self.word, self.word_on_device = ctypes.c_uint32.from_address(host.value), device.value
        self.word.value = 0
        self.counter = torch.zeros(1, dtype=torch.int32, device="cuda")
        self.written = 0
        # A host function of the C library's: no Python in the driver's thread.
        self.libc = ctypes.CDLL(None)
        self.semaphore = ctypes.create_string_buffer(64)
        self.libc.sem_init(self.semaphore, 0, 0)
        self.post = ctypes.cast(self.libc.sem_post, ctypes.c_void_p)

    def call(self, name, *args):
        self.kernels.check(getattr(self.cuda, name)(*args), name)

    def record(self, event):
        self.call("cuEventRecord", event, self.handle)

    def poll(self, waiting):
        """Spins; looks at the clock every thousandth time only."""
        until = time.monotonic() + LONGEST_S
        while True:
            for _ in range(1000):
                if not waiting():
                    return
            if time.monotonic() > until:
                raise RuntimeError(f"not there after {LONGEST_S} s")

    def poll_event(self):
        self.poll(lambda: self.cuda.cuEventQuery(self.spinning) == NOT_READY)

    def poll_word(self):
        self.poll(lambda: self.word.value != self.written)

    def write_value(self):
        self.written = (self.written + 1) & 0xFFFFFFFF
        address = ctypes.c_uint64(self.word_on_device)
        self.call("cuStreamWriteValue32_v2", self.handle, address, ctypes.c_uint32(self.written), 0)

    def marker(self):
        self.written = (self.written + 1) & 0xFFFFFFFF
        pointers = self.word_on_device.to_bytes(8, "little") + self.counter.data_ptr().to_bytes(8, "little")
        self.kernels.launch("marker", (1, 1, 1), 1, 0, pointers, self.stream)

    def ways(self):
        return {
            "event query": (lambda: self.record(self.spinning), self.poll_event),
            "event, spinning sync": (lambda: self.record(self.spinning), lambda: self.call("cuEventSynchronize", self.spinning)),
            "event, blocking sync": (lambda: self.record(self.blocking), lambda: self.call("cuEventSynchronize", self.blocking)),
            "host function": (lambda: self.call("cuLaunchHostFunc", self.handle, self.post, ctypes.byref(self.semaphore)),
                              lambda: self.libc.sem_wait(self.semaphore)),
            "word written by the stream": (self.write_value, self.poll_word),
            "word written by a kernel": (self.marker, self.poll_word),
        }

    def start_counting(self):
        """Brings the word, the device's counter and the host's count together."""
        torch.cuda.synchronize()
        self.written = self.word.value = 0
        self.counter.zero_()
        torch.cuda.synchronize()

    def gpu_seconds(self, mark):
        """Of block, mark, block on the GPU."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        self.block.zero_()
        if mark:
            mark()
        self.block.zero_()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3


def measure(kernels, repeats):
    """Yields (way, host microseconds, stream microseconds, share of a processor while waiting), each as soon as it is known;
    a way that the driver refuses has its reason in place of the numbers."""
    b = Boundary(kernels)
    plain = statistics.median(b.gpu_seconds(None) for _ in range(repeats))
    for name, (mark, wait) in b.ways().items():
        try:
            b.start_counting()
            wall, busy = [], []
            for _ in range(repeats):
                torch.cuda.synchronize()
                began, used = time.perf_counter(), time.process_time()
                b.block.zero_()
                mark()
                wait()
                wall.append(time.perf_counter() - began)
                busy.append(time.process_time() - used)
            b.start_counting()
            between = statistics.median(b.gpu_seconds(mark) for _ in range(repeats)) - plain
            host = statistics.median(wall) - plain / 2
            yield name, host * 1e6, between * 1e6, statistics.median(busy) / statistics.median(wall)
        except (RuntimeError, AttributeError) as e:
            yield name, str(e), None, None
