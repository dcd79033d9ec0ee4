"""Judges `jetpace bench switch --json` as the best of five runs, and the planner's benchmark. usage: judge.py JETPACE < PLANNER.json"""

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
wake = min(p50(run, "futex_wake_bare") for run in runs)
asleep = min(p50(run, "daemon_caller_asleep") for run in runs)
print(f"daemon_caller_asleep is {asleep / wake:.2f} x a bare futex wake ({wake:.0f} ns), best of five each")
planner = json.loads(sys.stdin.read())
for row in planner["plan"]:
    print(f"plan {row['blocks']:3} x {row['clocks']:2}: {row['cpu_ms']:9.1f} ms CPU, gap {100 * row['gap']:.3f} %")
largest = next(row for row in planner["plan"] if (row["blocks"], row["clocks"]) == (64, 16))
bars |= {
    "plan of 64 blocks x 16 clocks <= 50 ms CPU": (largest["cpu_ms"], 50),
    "largest gap <= 0.1 %": (100 * max(row["gap"] for row in planner["plan"]), 0.1),
    "memory of planning <= 64 MiB": (planner["plan_peak_bytes"] / 2**20, 64),
    "fit of 160 blocks x 16 clocks <= 1000 ms CPU": (planner["fit_160x16_ms"], 1000),
}
missed = 0
for bar, (value, most) in bars.items():
    missed += value > most
    print(f"{'ok    ' if value <= most else 'MISSED'} {bar}: {value:.2f}")
sys.exit(1 if missed else 0)
