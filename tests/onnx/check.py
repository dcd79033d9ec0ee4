#!/usr/bin/env python3
"""Imported models on the stub driver against onnxruntime:  check.py EXAMPLES STUB_FOLDER [NAME ...]

EXAMPLES holds `pack` and `infer`. Small images: the emulation takes its time.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

import models

TOLERANCE = 5e-3  # max|a-b| / max|b|: roundings to fp16 along the way
IMPORT = pathlib.Path(__file__).resolve().parents[2] / "kernels" / "import_onnx.py"


def run(*command, **kept):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **kept)
    if done.returncode:
        raise SystemExit(f"{command[0]}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def distance(name, examples, stub, folder):
    """Of a model imported and run, from onnxruntime."""
    model = models.MODELS[name]()
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[2]
    image = np.random.default_rng(2).normal(0, 1, (1, 3, side, side)).astype(np.float32)
    want = session.run(None, {"image": image})[0].flatten()
    out = folder / name
    print(run(sys.executable, IMPORT, path, out).strip(), flush=True)
    run(examples / "pack", f"{out}.json", f"{out}.layers.safetensors", out, 1, 8, 7, 8)
    image.transpose(0, 2, 3, 1).astype("<f4").tofile(folder / "image")
    run(examples / "infer", f"{out}.plan.json", f"{out}.safetensors", folder / "image", folder / "output",
        env=dict(os.environ, LD_LIBRARY_PATH=str(stub)))
    got = np.fromfile(folder / "output", "<f4")
    if len(got) != len(want):
        raise SystemExit(f"{name}: {len(got)} outputs, want {len(want)}")
    error = np.abs(got - want).max() / np.abs(want).max()
    return float(error) if np.isfinite(got).all() else float("inf")


def refused(folder):
    """What cannot be imported is named."""
    b = models.Builder(32)
    x = b.node("HardSigmoid", [b.conv("image", 64, 3, 1, 1)])
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x])])
    model = b.model(b.gemm(x, 64, 10), 10)
    onnx.save(model, folder / "bad.onnx")
    done = subprocess.run([sys.executable, IMPORT, folder / "bad.onnx", folder / "bad"], capture_output=True, text=True)
    if done.returncode != 3 or "HardSigmoid (1 of 5 nodes)" not in done.stderr:
        raise SystemExit(f"a model with HardSigmoid: exit code {done.returncode}: {done.stderr}")


def main():
    examples, stub, *names = sys.argv[1:]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        refused(folder)
        for name in names or models.MODELS:
            error = distance(name, pathlib.Path(examples), pathlib.Path(stub), folder)
            print(f"{name}: {error:.2e} from onnxruntime", flush=True)
            if not error <= TOLERANCE:
                wrong.append(name)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
