"""A program that knows nothing of jetpace: frames of three phases on a live board's stand-in GPU, marked for a profiler."""

import os
import socket
import sys
import time

import nvtx

# Name, operations and bytes of each phase.
PHASES = [("stem", 40_000_000_000, 400_000_000), ("body", 100_000_000_000, 100_000_000), ("head", 20_000_000_000, 800_000_000)]

gpu = socket.socket(socket.AF_UNIX)
gpu.connect(os.environ["JETPACE_GPU"])
answers = gpu.makefile()


def phase(operations, bytes):
    """Work, and a wait for its end, as torch.cuda.synchronize() is one."""
    gpu.sendall(b"run %d %d\nwait\n" % (operations, bytes))
    answers.readline()


def main(frames=0, period_ms=0.0):
    run, due = 0, time.monotonic()
    while not frames or run < frames:
        with nvtx.annotate("infer", domain="net"):
            for name, *costs in PHASES:
                with nvtx.annotate(name, domain="net"):
                    phase(*costs)
        run += 1
        due += period_ms / 1e3
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:])))
