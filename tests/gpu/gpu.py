#!/usr/bin/env python3
"""Checks the kernels on this machine's GPU and times them: `run.sh` of a bundle and `./ci.sh gpu` run it.

Each step is a process of its own with a deadline, so that a kernel that hangs, an error that the driver does not forget, or
a network that is killed costs that step only. What a step finds is written as it comes: a line of results.jsonl each, and
results.md anew behind every step. Right comes before fast, sanitizers come last.

Exit code 0 where all is right (bars that are missed are printed, not failed), 1 where a result is wrong or a step did not
end, 3 where there is no usable GPU.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import report

HERE = pathlib.Path(__file__).resolve().parent
NETS = ["vgg19-32", "resnet152-32", "alexnet", "resnet152", "vgg19"]  # the small ones first
SANITIZERS = ["memcheck", "racecheck", "synccheck"]


def deadline(word):
    step, equals, seconds = word.rpartition("=")
    if not equals:
        raise ValueError(word)
    return step, float(seconds)


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, default=HERE.parent, help="folder that bundle.sh made")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"), help="folder of the results")
    parser.add_argument("--nets", default=",".join(NETS), help="separated by commas")
    parser.add_argument("--limit", type=float, default=540, help="seconds for everything (default %(default)s)")
    parser.add_argument("--deadline", type=deadline, action="append", default=[], metavar="STEP=SECONDS", help="in place of the step's own")
    parser.add_argument("--check-only", action="store_true", help="no times, no sanitizers")
    args = parser.parse_args(words)
    args.nets, args.deadline = args.nets.split(","), dict(args.deadline)
    if unknown := [n for n in args.nets if n not in NETS]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(NETS)}")
    if args.limit <= 0:
        parser.error("--limit is more than 0")
    return args


def steps(args):
    """(name, command, deadline in seconds), in the order in which they count."""
    step = [sys.executable, str(HERE / "step.py"), str(args.bundle)]
    check = str(args.bundle / "bin" / "check")
    yield from ((f"check {net}", [*step, "check", net], 60) for net in args.nets)
    yield "every tile", [*step, "tiles"], 60
    yield from ((f"launcher {net}", [check, net], 60) for net in args.nets)
    if args.check_only:
        return
    yield "peaks", [*step, "peaks"], 40
    yield from ((f"times {net}", [*step, "times", net], 90) for net in args.nets)
    yield "boundaries", [*step, "boundaries"], 40
    yield "8 and 16 multiprocessors", [*step, "few"], 60
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if pathlib.Path(tool).exists():
        for name in SANITIZERS:
            yield name, [tool, "--tool", name, "--error-exitcode", "99", check, "vgg19-32"], 120


class Results:
    """What was found, on disk as soon as it is known."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lines = folder, []
        self.file = open(folder / "results.jsonl", "w", buffering=1)
        self.log = open(folder / "log.txt", "w", buffering=1)

    def add(self, step, **found):
        self.lines.append({"step": step, **found})
        self.file.write(json.dumps(self.lines[-1]) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def document(self):
        (self.folder / "results.md").write_text(report.document(self.lines))


def run(name, command, deadline, results):
    """Runs a step; how it ended. Its lines that are JSON objects are results, the others go to the log."""
    began = time.monotonic()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    except OSError as e:
        return f"did not start: {e}"
    last = [""]

    def read():
        for line in process.stdout:
            results.log.write(f"{name}: {line}")
            last[0] = line.strip() or last[0]
            if line.startswith("{"):
                try:
                    results.add(name, **json.loads(line))
                except ValueError:
                    pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        code = process.wait(timeout=deadline)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        # A process in the driver may not die; it is left behind then.
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        return f"killed after {time.monotonic() - began:.0f} s"
    reader.join(timeout=5)
    if code == 0:
        return "right" if not name.startswith("launcher") else f"right: {last[0]}"
    return f"exit code {code}: {last[0]}" if code > 0 else f"killed by signal {-code}"


def main():
    args = arguments()
    began = time.monotonic()
    left = lambda: args.limit - (time.monotonic() - began)
    results = Results(args.out)
    environment = [sys.executable, str(HERE / "step.py"), str(args.bundle), "environment"]
    how = run("environment", environment, min(60, left()), results)
    if how != "right":
        print(f"gpu: not run: {how.partition(': ')[2] or how}", file=sys.stderr)
        return 3 if how.startswith("exit code 3") else 1
    failed = False
    for name, command, deadline in steps(args):
        if left() < 5:
            how = "not run: no time left"
        else:
            how = run(name, command, min(args.deadline.get(name, deadline), left()), results)
            failed |= not how.startswith("right")
        results.add(name, ended=how)
        results.document()
        print(f"{name}: {how}", flush=True)
    print((args.out / "results.md").read_text())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
