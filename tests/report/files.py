#!/usr/bin/env python3
"""files.py FOLDER: files that a report has to cope with: hostile names, forty blocks at thirty clocks, late frames."""

import csv
import json
import pathlib
import random
import sys

HOSTILE = "</text></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"' ＷＩＤＥ " + "W" * 90
COLUMNS = ["device", "model", "block", "gpu_freq_hz", "latency_s", "power_w", "rejected"]


def sweep(path, model, blocks, clocks, rejected=""):
    """Blocks that are bound by the clock more and more, at all clocks; then idle power and changes."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["kind", *COLUMNS, "from_hz", "to_hz"])
        for i, block in enumerate(blocks):
            for clock in clocks:
                x, bound = clock / clocks[-1], i / max(1, len(blocks) - 1)
                time = 0.01 * (bound / x + 1.2 - bound) * (1 + i % 3)
                out.writerow(["block", "d", model, block, clock, f"{time:.6f}", f"{4 + 8 * x * x * (0.5 + bound / 2):.4f}", "", "", ""])
        for clock in clocks:
            out.writerow(["idle", "d", "", "idle", clock, "", f"{3 + clock / clocks[-1]:.3f}", "", "", ""])
            for to in clocks:
                if to != clock:
                    for kind, time in ("settle", 0.004), ("stall", 0.0001):
                        out.writerow([kind, "d", "", "", "", time, "", "", clock, to])
        if rejected:
            out.writerow(["block", "d", model, blocks[0], clocks[0] + 1000000, "0.02", "5", rejected, "", ""])


def main():
    folder, draw = pathlib.Path(sys.argv[1]), random.Random(1)
    sweep(folder / "hostile.csv", HOSTILE, [f"{HOSTILE} {i}" for i in range(6)], [300_000_000 * i for i in (1, 2, 3, 4)], HOSTILE)
    sweep(folder / "wide.csv", "wide", [f"stage{i // 8}.block with a long name.{i}" for i in range(40)], [100_000_000 + 40_000_000 * i for i in range(30)])
    with open(folder / "trace.json", "w") as file:
        for i in range(5000):
            slack = int(draw.gauss(3000, 900))
            file.write(json.dumps({"at_ns": 40_000_000 * i, "event": "frame end", "slack_us": slack}) + "\n")
    with open(folder / "hostile-trace.json", "w") as file:
        for slack in -5, 40:
            file.write(json.dumps({"at_ns": 1, "event": "frame end", "slack_us": slack, "why": HOSTILE + "\x1b[2J"}) + "\n")
    stretch = {"time_s": 10.0, "frames": 250, "late": 1, "energy_j": 60.0}
    held = {"format": 1, "deadline_s": 0.04, "risk": 0.01, "power_of": "module", "before": {**stretch, "energy_j": 80.0},
            "held": stretch, "clocks": [{"clock_hz": 408000000, "time_s": 9.0}, {"clock_hz": 612000000, "time_s": 1.0}]}
    (folder / "held.json").write_text(json.dumps(held))


main()
