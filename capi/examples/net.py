"""A PyTorch program that jetpace measures, and paces afterwards: docs/OWN-PROGRAM.md.

usage: net.py [FRAMES [PERIOD_MS [SIZE]]]; without FRAMES it runs for ever. On a live board the blocks' work is done by the stand-in
for the GPU, so that neither CUDA nor a Jetson is needed.
"""

import os
import sys
import time

import torch

import jetpace


class Block(torch.nn.Module):
    """A convolution; on a live board it keeps the stand-in busy as well."""

    def __init__(self, channels_in, channels_out, gpu, operations, bytes):
        super().__init__()
        self.layer = torch.nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.gpu, self.costs = gpu, (operations, bytes)

    def forward(self, x):
        if self.gpu is not None:
            self.gpu.run(*(cost * x.shape[0] for cost in self.costs))
        return torch.relu(self.layer(x))


def model(gpu):
    net = torch.nn.Sequential()
    net.add_module("stem", Block(3, 8, gpu, 6_000_000_000, 60_000_000))
    net.add_module("body", Block(8, 8, gpu, 18_000_000_000, 20_000_000))
    net.add_module("head", Block(8, 4, gpu, 2_000_000_000, 100_000_000))
    return net.eval()


def main(frames=None, period_ms=0.0, size=1):
    gpu = None
    if "JETPACE_GPU" in os.environ:
        import standin

        gpu = standin.Gpu()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = model(gpu).to(device)

    def run(size):
        start = gpu.record() if gpu else time.perf_counter()
        net(torch.zeros(size, 3, 16, 16, device=device))
        if frames is None:
            return
        if gpu:
            end = gpu.record()
            gpu.synchronize()
        elif device == "cuda":
            torch.cuda.synchronize()
        print(f"{1e3 * (gpu.seconds(start, end) if gpu else time.perf_counter() - start):.4f}")

    with torch.inference_mode(), jetpace.profile(net, ["stem", "body", "head"], "net", [1, 4], events=gpu) as s:
        with jetpace.measure() as energy:
            s.frames(run, frames, size=size, period=period_ms / 1e3)
        print(s.stats(), energy, file=sys.stderr)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float, int), sys.argv[1:])))
