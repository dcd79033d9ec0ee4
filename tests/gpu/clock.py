"""Times on the GPU: CUDA graphs replayed with cold caches."""
import statistics

import torch

FLUSH_BYTES = 1 << 30  # more than any of these GPUs' L2 cache, and longer than a graph launch takes the host


class Clock:
    """Times graphs one replay at a time, everything else thrown out of the caches before each."""

    def __init__(self, repeats):
        self.repeats = repeats
        self.flushed = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def capture(self, work):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # lets cuDNN choose and allocates what the graph needs
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph

    def seconds(self, work):
        """The median time of a replay. The flush is longer than a launch takes the host, so that the GPU never waits
        between the first event and the graph."""
        graph = self.capture(work)
        times = []
        for _ in range(self.repeats):
            self.flushed.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e-3)
        return statistics.median(times)


def measured_bandwidth(clock):
    """Bytes a second of a large copy, both directions counted."""
    source = torch.empty(512 << 20, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / clock.seconds(lambda: target.copy_(source))


def measured_rate(clock, side=4096):
    """FLOP a second of torch's matrix product in fp16."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.half) for _ in range(2))
    return 2.0 * side**3 / clock.seconds(lambda: torch.mm(a, b))


def empty_graph(clock):
    """Seconds from one event to the next around a graph with next to nothing in it: the floor of every other time."""
    word = torch.zeros(1, device="cuda")
    return clock.seconds(lambda: word.zero_())
