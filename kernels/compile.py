#!/usr/bin/env python3
"""Compiles a CUDA source with NVRTC and says in TOML what came out; no GPU or driver is needed.

compile.py VERSION LIBNVRTC INCLUDE,INCLUDE SOURCE sm_NN OUT    one cubin
compile.py --sources DIRECTORY                          the manifest's head: the hash of the sources

A kernel that spills registers or needs a stack is an error.
"""
import ctypes
import glob
import hashlib
import os
import re
import sys

OPTIONS = ["-std=c++17", "--ptxas-options=-v"]


def compile_cubin(library, includes, source, arch):
    """The cubin, the compiler's log and its version."""
    for builtins in glob.glob(os.path.join(os.path.dirname(library), "libnvrtc-builtins.so*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(library)
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    log = ""

    def check(code):
        if code:
            raise SystemExit(f"{log}{source} for {arch}: {nvrtc.nvrtcGetErrorString(code).decode()}")

    major, minor = ctypes.c_int(), ctypes.c_int()
    check(nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    program = ctypes.c_void_p()
    with open(source, "rb") as f:
        text = f.read()
    # Only the file's name goes in, so that the cubin does not depend on where the sources lie.
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, os.path.basename(source).encode(), 0, None, None))
    options = [f"--gpu-architecture={arch}", *OPTIONS]
    options += [f"-I{i}" for i in [os.path.dirname(source), *includes.split(",")]]
    array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    code = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetProgramLog(program, buffer))
    log = buffer.value.decode()
    check(code)
    check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
    cubin = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetCUBIN(program, cubin))
    return cubin.raw, log, f"{major.value}.{minor.value}"


def kernels(log):
    """(name, registers, static shared bytes) of each kernel; refuses spills and stacks."""
    found, name = [], None
    for line in log.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            name = m[1]
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if any(int(n) for n in m.groups()):
                raise SystemExit(f"{name}: {line.strip()}")
        elif m := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found.append((name, int(m[1]), int(shared[1]) if shared else 0))
        elif "warning" in line or "error" in line:
            raise SystemExit(line)
    if not found:
        raise SystemExit(f"no kernels in the compiler's log:\n{log}")
    return sorted(found)


def sources_hash(directory):
    """SHA-256 over the names and contents of the sources, by name."""
    digest = hashlib.sha256()
    for name in sorted(os.listdir(directory)):
        if name.endswith((".cu", ".cuh", ".h")):
            with open(os.path.join(directory, name), "rb") as f:
                digest.update(name.encode() + b"\0" + f.read() + b"\0")
    return digest.hexdigest()


def main():
    if sys.argv[1] == "--sources":
        print("# Written by rebuild.sh; do not edit. Spills and stack are 0 for every kernel, or it would have failed.")
        print("format = 1")
        print(f'sources_sha256 = "{sources_hash(sys.argv[2])}"')
        return
    version, library, includes, source, arch, out = sys.argv[1:]
    cubin, log, reported = compile_cubin(library, includes, source, arch)
    if not version.startswith(reported + "."):
        raise SystemExit(f"{library} says {reported}, want {version}")
    table = kernels(log)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "wb") as f:
        f.write(cubin)
    print(f'\n[[cubin]]\nname = "{arch}"\nnvrtc = "{version}"\noptions = "{" ".join(OPTIONS)}"')
    print(f'sha256 = "{hashlib.sha256(cubin).hexdigest()}"\nbytes = {len(cubin)}')
    print("kernels = [")
    for name, registers, shared in table:
        print(f'    {{ name = "{name}", registers = {registers}, shared_bytes = {shared}, spill_bytes = 0 }},')
    print("]")


if __name__ == "__main__":
    main()
