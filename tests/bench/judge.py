"""Judges `jetpace bench switch --json` as the best of five runs. usage: judge.py JETPACE"""

import json
import subprocess
import sys

runs = []
for n in range(5):
    done = subprocess.run([sys.argv[1], "bench", "switch", "--json"], capture_output=True, check=True, text=True)
    runs.append(json.loads(done.stdout))


def p50(run, operation):
    return run[operation]["p50_ns"]


for operation in sorted(k for k in runs[0] if k not in ("format", "timer_overhead_ns")):
    figures = " ".join("   -    " if run[operation] is None else f"{p50(run, operation):9.1f}" for run in runs)
    print(f"{operation:22} p50 ns {figures}")
bars = {
    "lookup <= 15 ns": (min(p50(run, "lookup") for run in runs), 15),
    "block_start_hold <= 60 ns": (min(p50(run, "block_start_hold") for run in runs), 60),
    "block_start_set <= 1.15 x bare_pwrite": (
        min(p50(run, "block_start_set") / p50(run, "bare_pwrite") for run in runs),
        1.15,
    ),
    "daemon_caller_awake <= 300 ns": (min(p50(run, "daemon_caller_awake") for run in runs), 300),
    "daemon_caller_asleep <= 3 us": (min(p50(run, "daemon_caller_asleep") for run in runs), 3000),
}
missed = 0
for bar, (value, most) in bars.items():
    missed += value > most
    print(f"{'ok    ' if value <= most else 'MISSED'} {bar}: {value:.2f}")
sys.exit(1 if missed else 0)
