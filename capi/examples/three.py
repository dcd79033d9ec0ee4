"""The same as three.c, in Python."""

import os
import socket
import sys
import time

import jetpace

# Name, operations and bytes of each block, for one picture.
BLOCKS = [("stem", 6_000_000_000, 60_000_000), ("body", 18_000_000_000, 20_000_000), ("head", 2_000_000_000, 100_000_000)]


def main(frames=0, period_ms=0.0):
    gpu = socket.socket(socket.AF_UNIX)
    gpu.connect(os.environ["JETPACE_GPU"])
    answers = gpu.makefile()

    def work(name, operations, bytes, size):
        """Runs a block on the stand-in GPU between two events, and waits; gives seconds."""
        gpu.sendall(b"event\nrun %d %d\nevent\nwait\n" % (operations * size, bytes * size))
        start, end = map(int, answers.readline().split())
        pace.took(name, (end - start) / 1e9)  # may be left out
        return (end - start) / 1e9

    run = 0
    with jetpace.Pace() as pace:
        due = time.monotonic()
        while not frames or run < frames:
            with pace.frame():
                size = pace.size(1)
                busy = sum(pace.run(name, lambda: work(name, *costs, size), size) for name, *costs in BLOCKS)
            run += 1
            if frames:
                print(f"{1e3 * busy:.4f}")
            due += period_ms / 1e3
            time.sleep(max(0.0, due - time.monotonic()))
        print(f"{frames} frames, {pace.stats().faults} faults", file=sys.stderr)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:])))
