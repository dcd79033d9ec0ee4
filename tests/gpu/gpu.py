#!/usr/bin/env python3
"""Checks the kernels on this machine's GPU and times them against cuDNN; `./ci.sh gpu` runs it.

Exit code 0 where all is right (bars that are missed are printed, not failed), 1 where a result is wrong, 3 where there is
no usable GPU.
"""
import argparse
import datetime
import json
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 2e-2  # max|a-b| / max|b|


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="alexnet,vgg19,resnet152,vgg19-32,resnet152-32", help="separated by commas")
    parser.add_argument("--repeats", type=int, default=50, help="replays per timing (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and images (default %(default)s)")
    parser.add_argument("--images", type=int, default=8, help="per network, against torchvision (default %(default)s)")
    parser.add_argument("--check-only", action="store_true", help="no sanitizer, no Rust launcher, no benchmark")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the results")
    args = parser.parse_args(words)
    args.nets = args.nets.split(",")
    known = ["alexnet", "vgg19", "resnet152", "vgg19-32", "resnet152-32"]
    if unknown := [n for n in args.nets if n not in known]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(known)}")
    if args.repeats < 1 or args.images < 1:
        parser.error("--repeats and --images are at least 1")
    return args


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


def distance(got, want):
    """max|a-b| / max|b|; infinite where something is not a number."""
    error = ((got - want).abs().max() / want.abs().max()).item()
    return error if error == error else float("inf")


def check_kernels(network, kernels):
    """Every launch of the network against torch, given the same input; the worst distance and the failures."""
    import torch

    worst, wrong = 0.0, []
    for block in network.blocks:
        for launch in block["launches"]:
            want = network.reference(launch)
            network.on_gpu(kernels, launch, torch.cuda.current_stream().cuda_stream)
            torch.cuda.synchronize()
            if want is None:
                continue
            error = distance(network.buffers[launch["output"]][: want.numel()].float(), want)
            worst = max(worst, error)
            if not error <= TOLERANCE:
                wrong.append(f"{block['name']} {launch['kernel']} {launch['ints']}: {error:.2e}")
    return worst, wrong


def compare_outputs(got, want):
    """Distance, and how many images have another top-1 although the margin exceeds the tolerance."""
    error = distance(got, want)
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
        query = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True)
        known["nvidia-smi"] = dict(zip(fields.split(","), (v.strip() for v in query.stdout.split("\n")[0].split(","))))
    for node in pathlib.Path("/sys/class/devfreq").glob("*gpu*/*_freq") if pathlib.Path("/sys/class/devfreq").is_dir() else []:
        known[f"{node.parent.name}/{node.name}"] = node.read_text().strip()
    return known


def sanitize(args):
    """compute-sanitizer's word on the smallest network: a line for the results."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not pathlib.Path(tool).exists():
        return "not run: compute-sanitizer is not installed"
    lines = []
    for check in ("memcheck", "racecheck", "synccheck"):
        command = [tool, "--tool", check, "--error-exitcode", "99", sys.executable, __file__, "--check-only", "--nets", "vgg19-32", "--images", "1", "--seed", str(args.seed)]
        run = subprocess.run(command, capture_output=True, text=True)
        last = [l for l in (run.stdout + run.stderr).splitlines() if "=====" in l][-1:] or [f"exit code {run.returncode}"]
        lines.append(f"{check}: {'clean' if run.returncode == 0 else 'NOT CLEAN'} ({last[0].strip('= ')})")
    return "; ".join(lines)


def rust_check(name):
    """Every block by the real launcher against its own reference."""
    command = ["cargo", "run", "-q", "--release", "-p", "jetpace-kernels", "--features", "cuda", "--example", "check", name]
    run = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    lines = (run.stdout + run.stderr).strip().splitlines()
    return run.returncode == 0, lines[-1] if lines else f"exit code {run.returncode}"


def main():
    args = arguments()
    if why := missing():
        print(f"gpu: not run: {why}", file=sys.stderr)
        return 3
    import torch

    import bench
    import boundary
    import driver
    import network as net
    import report

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.cuda.init()
    torch.zeros(1, device="cuda")  # makes the context current
    here = machine()
    capability = tuple(here["capability"])
    kernels = driver.Kernels(capability)
    print(json.dumps(here))
    failed, rows, checks = False, [], []
    clock = None if args.check_only else bench.Clock(args.repeats)
    rate, bandwidth = (0.0, 0.0) if args.check_only else (bench.measured_rate(clock), bench.measured_bandwidth(clock))
    for name in args.nets:
        model = net.model(name, args.seed)
        params = net.layers(name, model)
        network = net.Network(net.plan(name, 1, capability, here["multiprocessors"]), params, "cuda")
        side = 32 if name.endswith("-32") else 224
        torch.manual_seed(args.seed)
        images = torch.randn(args.images, 3, side, side, device="cuda")
        network.set_image(images[:1])
        worst, wrong = check_kernels(network, kernels)
        got = []
        for image in images.split(1):
            network.set_image(image)
            for launch in network.launches():
                network.on_gpu(kernels, launch, torch.cuda.current_stream().cuda_stream)
            got.append(network.logits(1).clone())
        with torch.no_grad():
            want = model.cuda()(images)
        error, other_tops = compare_outputs(torch.cat(got), want)
        right = not wrong and other_tops == 0
        checks.append(f"{name}: kernels {worst:.1e} at worst, logits {error:.1e} from torchvision's fp32, "
                      f"{other_tops} of {args.images} clear top-1 differ: {'right' if right else 'WRONG'}")
        print("\n".join([checks[-1], *wrong]), flush=True)
        failed |= not right
        if args.check_only:
            continue
        rows += bench.bench_layers(name, network, kernels, clock, rate, bandwidth)
        rows.append(bench.bench_whole(name, network, kernels, model, images[:1], clock, rate, bandwidth))
        if shutil.which("cargo"):
            ok, line = rust_check(name)
            checks.append(f"launcher: {line}")
            print(checks[-1], flush=True)
            failed |= not ok
    if args.check_only:
        return int(failed)
    checks.append(f"compute-sanitizer: {sanitize(args)}")
    verdicts = [f"{'met   ' if met else 'MISSED'} {what}: {figure:.2f} (bar {bar})" for what, figure, bar, met in report.bars(rows, bandwidth)]
    head = [f"# {here['gpu']}, {datetime.date.today()}", "", "```", json.dumps(here, indent=1), "```", "",
            f"Measured: {bandwidth / 1e9:.0f} GB/s by a large copy, {rate / 1e12:.1f} TFLOP/s by torch's fp16 matrix product.",
            f"Batch 1, fp16, medians of {args.repeats} graph replays, caches flushed before each. cuDNN: torch, channels_last, "
            "cudnn.benchmark, CUDA graph.", "", *(f"- {c}" for c in checks), "", *(f"- {v}" for v in verdicts), ""]
    boundaries = boundary.markdown(boundary.measure(kernels, args.repeats))
    document = "\n".join([*head, "Boundaries of blocks:", "", boundaries, "", report.markdown(rows), ""])
    args.out.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in here["gpu"].lower())
    (args.out / f"{name}.md").write_text(document)
    print(document)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
