#!/usr/bin/env python3
"""One step of gpu.py, a process of its own:  step.py BUNDLE STEP [NETWORK]

A result is a JSON object on a line of its own on stdout. Exit code 0 where all is right, 1 where a result is wrong, 3 where
there is no usable GPU; the last line says why.
"""
import json
import pathlib
import shutil
import subprocess
import sys

TOLERANCE = 2e-2     # max|a-b| / max|b|
TOLERANCE_L2 = 2e-3  # ||a-b|| / ||b||: a dead channel shows here
IMAGES = 4
SEED = 1
REPEATS = 50


def found(**result):
    print(json.dumps(result), flush=True)


def missing():
    """Why nothing can run here, or None."""
    try:
        import torch
        import torchvision  # noqa: F401
    except ImportError as e:
        return f"{e.name} is missing: install torch with CUDA, and torchvision"
    if not torch.version.cuda:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU"
    return None


def distances(got, want):
    """(max|a-b| / max|b|, ||a-b|| / ||b||); infinite where something is not a number."""
    difference = (got - want).double()
    errors = (difference.abs().max() / want.abs().max()).item(), (difference.norm() / want.double().norm()).item()
    return tuple(e if e == e else float("inf") for e in errors)


def right(errors):
    return errors[0] <= TOLERANCE and errors[1] <= TOLERANCE_L2


def check_kernels(network, kernels):
    """Every launch of the plan against torch, given the same input, its output poisoned before; the worst distances and the
    failures."""
    import torch

    worst, wrong = (0.0, 0.0), []
    for block in network.blocks:
        for launch in block["launches"]:
            want = network.reference(launch)
            network.poison(launch)
            network.on_gpu(kernels, launch, torch.cuda.current_stream().cuda_stream)
            torch.cuda.synchronize()
            if want is None:
                continue
            errors = distances(network.buffers[launch["output"]][: want.numel()].float(), want)
            worst = tuple(map(max, worst, errors))
            if not right(errors):
                wrong.append(f"{block['name']} {launch['kernel']} {launch['ints']}: {errors[0]:.2e}, {errors[1]:.2e}")
    return worst, wrong


def compare_outputs(got, want):
    """Distance, and how many images have another top-1 although the margin exceeds the tolerance."""
    error = distances(got, want)[0]
    top = want.topk(2).values
    clear = (top[:, 0] - top[:, 1]) > 2 * TOLERANCE * want.abs().max()
    return error, int((clear & (got.argmax(1) != want.argmax(1))).sum())


def machine():
    """GPU, driver and clocks, as far as they can be read."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    known = {"gpu": properties.name, "multiprocessors": properties.multi_processor_count, "torch": torch.__version__,
             "cudnn": torch.backends.cudnn.version(), "capability": list(torch.cuda.get_device_capability())}
    fields = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit"
    if shutil.which("nvidia-smi"):
        query = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
        known["nvidia-smi"] = dict(zip(fields.split(","), (v.strip() for v in query.stdout.split("\n")[0].split(","))))
    devfreq = pathlib.Path("/sys/class/devfreq")
    for node in devfreq.glob("*gpu*/*_freq") if devfreq.is_dir() else []:
        known[f"{node.parent.name}/{node.name}"] = node.read_text().strip()
    return known


class Bench:
    """A network of the bundle on the GPU."""

    def __init__(self, bundle, name):
        import torch

        import driver
        import network

        self.torch, self.bundle, self.name = torch, bundle, name
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # makes the context current
        self.capability = torch.cuda.get_device_capability()
        self.processors = torch.cuda.get_device_properties(0).multi_processor_count
        self.kernels = driver.Kernels(bundle / "cubin", self.capability)
        self.model = network.model(name, SEED)
        self.layers = network.layers(name, self.model)
        side = 32 if name.endswith("-32") else 224
        torch.manual_seed(SEED)
        self.images = torch.randn(IMAGES, 3, side, side, device="cuda")

    def network(self, document):
        import network

        net = network.Network(document, self.layers, "cuda")
        net.set_image(self.images[:1])
        return net

    def planned(self, processors):
        """The plan for so many multiprocessors, of the bundle or made now."""
        path = self.bundle / "plans" / f"{self.name}.{processors}.json"
        if path.exists():
            return json.loads(path.read_text())
        numbers = ["1", *map(str, self.capability), str(processors)]
        run = subprocess.run([str(self.bundle / "bin" / "plan"), self.name, *numbers], check=True, capture_output=True, text=True)
        return json.loads(run.stdout)

    def run(self, net):
        stream = self.torch.cuda.current_stream().cuda_stream
        for launch in net.launches():
            net.on_gpu(self.kernels, launch, stream)


def environment(_):
    if why := missing():
        print(why)
        return 3
    found(machine=machine())
    return 0


def judged(bench, plan, net):
    """Every kernel of a plan; whether all are right."""
    worst, wrong = check_kernels(net, bench.kernels)
    found(plan=plan, worst=worst[0], worst_l2=worst[1], wrong=wrong)
    return not wrong


def check(bench):
    ok = True
    for processors in sorted({8, 16, 132, bench.processors}):
        net = bench.network(bench.planned(processors))
        ok &= judged(bench, f"{bench.name} for {processors} multiprocessors", net)
    got = []
    for image in bench.images.split(1):
        net.set_image(image)
        bench.run(net)
        got.append(net.logits(1).clone())
    with bench.torch.no_grad():
        want = bench.model.cuda()(bench.images)
    error, other_tops = compare_outputs(bench.torch.cat(got), want)
    found(logits=error, other_tops=other_tops, images=len(bench.images))
    return 0 if ok and other_tops == 0 and error <= TOLERANCE else 1


def tiles(bench):
    plans = sorted((bench.bundle / "plans").glob("tile.*.json"))
    verdicts = [judged(bench, path.stem, bench.network(json.loads(path.read_text()))) for path in plans]
    return 0 if verdicts and all(verdicts) else 1


def peaks(bench):
    import clock

    timer = clock.Clock(REPEATS)
    found(peaks={"bytes a second": clock.measured_bandwidth(timer), "FLOP a second": clock.measured_rate(timer),
                 "empty graph, us": clock.empty_graph(timer) * 1e6})
    return 0


def times(bench):
    import bench as layers
    import clock

    timer = clock.Clock(REPEATS)
    peak = clock.measured_rate(timer), clock.measured_bandwidth(timer)
    net = bench.network(bench.planned(bench.processors))
    for row in layers.layer_rows(bench.name, net, bench.kernels, timer, *peak):
        found(row=row)
    found(row=layers.whole_row(bench.name, net, bench.kernels, bench.model, bench.images[:1], timer, *peak))
    return 0


def few(bench):
    """Orin's stand-in: a part of the GPU with as many multiprocessors, where torch can split it."""
    import bench as layers
    import clock
    import driver

    try:
        from torch.cuda.green_contexts import GreenContext
    except ImportError:
        found(few="torch.cuda.green_contexts is not in this torch")
        return 0
    for processors in (8, 16):
        part = GreenContext.create(num_sms=processors, device_id=0)
        part.set_context()
        try:
            timer = clock.Clock(REPEATS)
            peak = clock.measured_rate(timer, side=2048), clock.measured_bandwidth(timer)
            net = bench.network(bench.planned(processors))
            kernels = driver.Kernels(bench.bundle / "cubin", bench.capability)  # a module belongs to a context
            for row in layers.layer_rows(f"{bench.name} on {processors}", net, kernels, timer, *peak):
                found(row=row)
        finally:
            part.pop_context()
    return 0


def boundaries(bench):
    import boundary

    for way, host, stream, busy in boundary.measure(bench.kernels, REPEATS):
        found(boundary=way, host=host, stream=stream, busy=busy)
    return 0


def main():
    bundle, step, *name = sys.argv[1:]
    bundle = pathlib.Path(bundle).resolve()
    if step == "environment":
        return environment(bundle)
    network_of = {"tiles": "vgg19-32", "peaks": "vgg19-32", "boundaries": "vgg19-32", "few": "vgg19"}
    return globals()[step](Bench(bundle, name[0] if name else network_of[step]))


if __name__ == "__main__":
    sys.exit(main())
