"""A program by jetpace.profile on a live board's stand-in GPU, without PyTorch: profiled.py [FRAMES [PERIOD_MS [SIZE]]]. For
own_python.py."""

import os
import sys

import fakes
import jetpace

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "examples"))
import standin

COSTS = {"stem": (6_000_000_000, 60_000_000), "body": (18_000_000_000, 20_000_000), "head": (2_000_000_000, 100_000_000)}


def main(frames=None, period_ms=0.0, size=1):
    gpu = standin.Gpu()

    def block(operations, bytes):
        def work(value):
            gpu.run(operations * value[0], bytes * value[0])
            # In place: what is repeated must not reach the frame's own value.
            value.append(len(value))
            return value

        return fakes.Module(work)

    model = fakes.Module(**{name: block(*costs) for name, costs in COSTS.items()})

    def run(size):
        start = gpu.record()
        value = model([size])
        end = gpu.record()
        assert value == [size, 1, 2, 3], f"{value}: a repeated block changed what the next one gets"
        if frames is not None:
            gpu.synchronize()
            print(f"{1e3 * gpu.seconds(start, end):.4f}")

    with jetpace.profile(model, list(COSTS), "three", sizes=[1, 4], events=gpu) as s:
        s.frames(run, frames, size=size, period=period_ms / 1e3)
        print(s.stats(), file=sys.stderr)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float, int), sys.argv[1:])))
