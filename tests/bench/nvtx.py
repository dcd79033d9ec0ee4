"""Judges what NVTX ranges cost a program that is heard, the best of five runs, beside the same without and beside what telling
a sleeping daemon costs. usage: nvtx.py FOLDER RANGES    (FOLDER has jetpace and libjetpace_nvtx.so)"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

folder, ranges = (pathlib.Path(path).resolve() for path in sys.argv[1:])
RUNS, PAIRS = 5, 200_000


def pairs(**variables):
    """Nanoseconds of a pair of each kind: the least of some runs."""
    least = {}
    for _ in range(RUNS):
        line = [ranges, "pairs", str(PAIRS)]
        said = subprocess.run(line, env=os.environ | variables, check=True, capture_output=True, text=True)
        assert not said.stderr, said.stderr
        for kind, took in (line.split() for line in said.stdout.splitlines()):
            least[kind] = min(least.get(kind, float("inf")), float(took))
    return least


with tempfile.TemporaryDirectory() as place:
    socket = pathlib.Path(place) / "sock"
    # Whoever counts frames: `hold` on a board on disk.
    line = [folder / "jetpace", "hold", "--board", "live:tx2", "--deadline", "1s", "--frames-from", "lib", "--socket", socket]
    heard = {"NVTX_INJECTION64_PATH": str(folder / "libjetpace_nvtx.so"), "JETPACE_NVTX_FRAME": "app//infer"}
    heard |= {"JETPACE_NVTX_BLOCKS": "", "JETPACE_SOCKET": str(socket)}
    bare = pairs()
    with subprocess.Popen([*line, "--", "sleep", "600"], env=os.environ | {"TMPDIR": place}, stderr=subprocess.PIPE) as hold:
        while not socket.exists():
            assert hold.poll() is None, hold.stderr.read()
        told = pairs(**heard)
        hold.terminate()
bench = [json.loads(subprocess.check_output([folder / "jetpace", "bench", "switch", "--json"])) for _ in range(RUNS)]
awake = min(run["daemon_caller_awake"]["p50_ns"] for run in bench)
asleep = min(run["daemon_caller_asleep"]["p50_ns"] for run in bench)
missed = 0
for kind, took in told.items():
    # A frame is a start, its block and an end; the first finds whoever takes them asleep.
    bar, words = (asleep + 2 * awake, f"{asleep:.0f} + 2 x {awake:.0f} ns") if kind == "told_frame" else (50, "50 ns")
    missed += took > bar
    print(f"{'ok    ' if took <= bar else 'MISSED'} NVTX {kind} <= {words}: {took:.1f} ({bare[kind]:.1f} unheard)")
sys.exit(1 if missed else 0)
