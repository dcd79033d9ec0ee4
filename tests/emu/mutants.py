#!/usr/bin/env python3
"""Plants each fault of mutants.toml and shows that the emulation finds it.  mutants.py BUILD [NAME]

BUILD holds the builds of the right sources with sanitizers, as 870/ and 720/; only the faulty kernels are compiled anew.
"""
import concurrent.futures
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parent.parent / "kernels" / "cu"
FLAGS = os.environ["JP_EMU_FLAGS"].split()
OBJECTS = ["layers", "main", "fiber", "warp_math", "reference"]
# The kernels that a fault's checks run; of the convolution's six tiles one with steps of 32 channels and one of 64.
KERNELS = {
    "conv": ["conv_64x128", "conv_64x64", "conv_reduce"],
    "stem": ["stem_3x3", "stem_7x7", "stem_11x11"],
    "pool": ["max_pool", "global_average"],
    "linear": ["linear_1"],
    "marker": ["marker"],
}
# What a run that never ends would show as: a fault all the same. Of processor time, so that a busy machine catches
# nothing.
LIMIT_S = 120


def build(mutant, number, folder):
    """Compiles the kernels with the fault; returns the test program."""
    arch = mutant.get("arch", 870)
    out = folder / f"mutant-{number}"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(SOURCES, out / "cu")
    file = out / "cu" / mutant["file"]
    text = file.read_text()
    if text.count(mutant["find"]) != 1:
        raise SystemExit(f"{mutant['name']}: stands {text.count(mutant['find'])} times in {mutant['file']}, want once")
    file.write_text(text.replace(mutant["find"], mutant["replace"]))
    source = mutant["file"].split(".")[0]
    source = source if source in KERNELS else "conv"
    if source == "conv":
        conv = out / "cu" / "conv.cu"
        unused = ("JP_CONV(256", "JP_CONV(128", "JP_CONV(32")
        conv.write_text("".join(l for l in conv.read_text().splitlines(True) if not l.startswith(unused)))
    names = "".join(f"EMU_KERNEL({name})\n" for name in KERNELS[source])
    (out / "kernels.cpp").write_text(f'#include "{source}.cu"\n{names}')
    common = ["-std=c++17", "-DJP_EMULATE", f"-D__CUDA_ARCH__={arch}", "-I", str(HERE), "-I", str(out / "cu")]
    common += ["-march=native", "-w", *FLAGS]
    subprocess.run(["g++", *common, "-c", str(out / "kernels.cpp"), "-o", str(out / "kernels.o")], check=True)
    objects = [str(folder / str(arch) / f"{name}.o") for name in OBJECTS]
    program = out / "emu_test"
    subprocess.run(["g++", *FLAGS, str(out / "kernels.o"), *objects, "-pthread", "-o", str(program)], check=True)
    return program


def caught(mutant, number, folder):
    """How the fault showed, or None."""
    program = build(mutant, number, folder)
    part, *only = mutant["run"].split()
    only = [word for o in only for word in ("--only", o)]
    for order in [], ["--reverse", "--early"]:
        command = [str(program), "--stop", *only, *order, part, str(HERE / "shapes.txt")]
        limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 1))  # noqa: E731
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", preexec_fn=limit)
        if run.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            shutil.rmtree(program.parent)
            return f"still running after {LIMIT_S} s of processor time"
        if run.returncode != 0:
            shutil.rmtree(program.parent)
            lines = (run.stderr + run.stdout).splitlines()
            told = next((l for l in lines if l.startswith(("FAIL", "emu:"))), "")
            # A sanitizer's first line names the fault, and the first of our files in its stack the place.
            error = next((l for l in lines if "AddressSanitizer:" in l or "runtime error:" in l), "")
            place = next((re.search(r"(\w+\.cuh?:\d+)", l)[1] for l in lines if re.search(r"#\d+ .*\.cuh?:\d+", l)), "")
            told = told or f"{error.partition('ERROR: ')[2].partition(' on ')[0] or error} {place}"
            return (" ".join(order) + ": " if order else "") + (told[:110] if told.strip() else f"exit code {run.returncode}")
    return None


def main():
    folder = pathlib.Path(sys.argv[1])
    with open(HERE / "mutants.toml", "rb") as f:
        mutants = tomllib.load(f)["mutant"]
    chosen = [(i, m) for i, m in enumerate(mutants) if len(sys.argv) < 3 or sys.argv[2] in m["name"]]
    survivors = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda im: caught(im[1], im[0], folder), chosen)
        for (_, mutant), how in zip(chosen, results):
            print(f"{'caught' if how else 'MISSED'} {mutant['name']}{': ' + how if how else ''}", flush=True)
            survivors += how is None
    print(f"{len(chosen)} mutants, {len(chosen) - survivors} caught")
    sys.exit(1 if survivors or not chosen else 0)


if __name__ == "__main__":
    main()
