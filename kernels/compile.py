#!/usr/bin/env python3
"""Compiles a CUDA source with NVRTC.  compile.py LIBNVRTC INCLUDE,INCLUDE SOURCE sm_NN OUT [OPTION ...]

Prints the compiler's log (ptxas -v). No GPU or driver is needed.
"""
import ctypes
import glob
import os
import sys


def main():
    library, includes, source, arch, out = sys.argv[1:6]
    for builtins in glob.glob(os.path.join(os.path.dirname(library), "libnvrtc-builtins.so*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(library)
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def check(code):
        if code:
            raise SystemExit(f"{source} for {arch}: {nvrtc.nvrtcGetErrorString(code).decode()}")

    program = ctypes.c_void_p()
    with open(source, "rb") as f:
        text = f.read()
    # Only the file's name goes in, so that the cubin does not depend on where the sources lie.
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, os.path.basename(source).encode(), 0, None, None))
    options = [f"--gpu-architecture={arch}", *(f"-I{i}" for i in includes.split(",")), *sys.argv[6:]]
    array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    code = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetProgramLog(program, log))
    print(log.value.decode(), end="")
    check(code)
    check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
    cubin = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetCUBIN(program, cubin))
    with open(out, "wb") as f:
        f.write(cubin.raw)


if __name__ == "__main__":
    main()
