"""Three blocks on the stand-in GPU; after 100 frames it does what its argument says. For own.py."""

import os
import socket
import sys
import time

import jetpace

kind, frames = sys.argv[1], 0
gpu = socket.socket(socket.AF_UNIX)
gpu.connect(os.environ["JETPACE_GPU"])
answers = gpu.makefile()


def wait():
    gpu.sendall(b"wait\n")
    answers.readline()


with jetpace.Pace() as pace:
    if kind == "nothing":
        sys.exit(0)
    while True:
        frames += 1
        wrong = kind if frames > 100 else ""
        if wrong == "fails":
            os._exit(7)
        if wrong == "crashes":
            os.abort()
        if wrong == "stops":
            time.sleep(1000)
        with pace.frame() as frame:
            for name in {"order": "bac", "number": "ab"}.get(wrong, "abc"):
                frame.block(name)
                if wrong == "hangs":
                    time.sleep(1000)
                gpu.sendall(b"run 6000000000 1000000\n")
                if kind not in ("queues", "never"):
                    wait()
            if kind != "never":
                wait()
