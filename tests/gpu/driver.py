"""The CUDA driver through ctypes: the bundle's kernels on torch's stream and memory."""
import ctypes
import struct

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
# Pointers and ints of the structs of kernels/cu/abi.h.
FORMATS = {"conv": "6Q14i", "pool": "2Q10i", "linear": "4Q4i"}


def params(work, pointers, ints):
    """A kernel's parameter as bytes."""
    return struct.pack("=" + FORMATS[work], *pointers, *ints)


class Kernels:
    """The kernels for a compute capability, in the current context."""

    def __init__(self, cubins, capability):
        self.cuda = ctypes.CDLL("libcuda.so.1")
        path = cubins / f"sm_{capability[0]}{capability[1]}" / "jetpace.cubin"
        if not path.exists():
            there = ", ".join(sorted(p.name for p in cubins.glob("sm_*")))
            raise SystemExit(f"no cubin for sm_{capability[0]}{capability[1]}; there are {there}")
        self.module = ctypes.c_void_p()
        self.check(self.cuda.cuModuleLoadData(ctypes.byref(self.module), path.read_bytes()), path.name)
        self.functions = {}

    def check(self, code, what):
        if code:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError(f"{what}: {text.value.decode() if text.value else code}")

    def function(self, name, shared_bytes):
        if name not in self.functions:
            function = ctypes.c_void_p()
            self.check(self.cuda.cuModuleGetFunction(ctypes.byref(function), self.module, name.encode()), name)
            self.functions[name] = function
            if shared_bytes > 48 * 1024:
                self.check(self.cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, shared_bytes), name)
        return self.functions[name]

    def launch(self, name, grid, threads, shared_bytes, parameter, stream):
        function = self.function(name, shared_bytes)
        buffer = ctypes.create_string_buffer(parameter, len(parameter))
        array = (ctypes.c_void_p * 1)(ctypes.addressof(buffer))
        code = self.cuda.cuLaunchKernel(function, *grid, threads, 1, 1, shared_bytes, ctypes.c_void_p(stream), array, None)
        self.check(code, f"{name} {grid}")
