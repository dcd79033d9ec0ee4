"""Programs by the Python package, calibrated on a board on disk and followed by their tables; with JETPACE_TORCH set, by
PyTorch and transformers as well.

Run by capi/check.sh after own.py, whose boards these are: own_python.py JETPACE FOLDER. Times are the stand-in GPU's.
"""

import csv
import importlib.util
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import unittest

from own import BOARD, EXAMPLES, HERE, JETPACE, Place, Served

TORCH = "JETPACE_TORCH" in os.environ
PYTHON = f"'{sys.executable}'"


class Tests(unittest.TestCase):
    def profiled(self, program):
        """A program by jetpace.profile, measured at two sizes, planned, and followed by its table: one and the same script."""
        with Place() as place:
            place.constants()
            line = ["--passes", 1, "--model", "net", "--sizes", "1,4", "--frames", 40, "--clocks", "306MHz,510MHz,1020MHz"]
            line += ["--board-constants", "board.csv", "-o", "sweep.csv"]
            said = place.run("calibrate", "--board", f"live:{BOARD}", "--cmd", program, *line)
            self.assertIn("3 blocks: stem, body, head", said)
            with open(place.path / "sweep.csv") as sweep:
                next(sweep)
                rows = [row for row in csv.DictReader(sweep) if row["kind"] == "block"]
            repeated = {(row["block"], row["size"]) for row in rows if row["power_w"] and int(row["samples"]) > 1}
            blocks = {(block, size) for block in ("stem", "body", "head") for size in "14"}
            self.assertEqual(repeated, blocks, "each block is repeated for its power, at each size")
            for clock in ("306000000", "1020000000"):
                self.as_held(place, program, [row for row in rows if row["gpu_freq_hz"] == clock], clock)

            place.run("fit", "sweep.csv", "-o", "model.json")
            line = ["--size", 1, "--deadline", "13.5ms", "--period", "30ms", "-o", "table.jpt"]
            place.run("plan", "model.json", *line)
            with Served(place) as served:
                _, frames = served.frames(f"{program} 100 30")
                status = json.loads(place.run("status", "--socket", served.socket, "--json"))
            self.assertEqual(len(frames), 100)
            # A plan of one clock writes it once.
            self.assertGreaterEqual(status["writes"], 1, "the table is followed")

    def as_held(self, place, program, rows, clock):
        """Whole frames in the sweep, which are of the largest size, beside what the GPU takes for them at a held clock."""
        sums = {}
        for row in rows:
            if row["samples"] == "1":
                sums.setdefault(row["repeat"], []).append(1e3 * float(row["latency_s"]))
        self.assertEqual({len(frame) for frame in sums.values()}, {3}, "blocks of every frame")
        _, times = place.at_clock(f"{clock}Hz", f"{program} 100 0 4")
        self.assertEqual(len(times), 100)
        # A tenth is faster: the host waits at every boundary, and what a busy machine adds there is in the others.
        alone, swept = (statistics.quantiles(frames, n=10)[0] for frames in (times, list(map(sum, sums.values()))))
        said = f"{program}, {clock} Hz: calibrated {swept:.3f} ms, held {alone:.3f} ms"
        print(said, flush=True)
        self.assertLess(abs(swept / alone - 1), 0.015, said)

    def page(self, heading):
        """The commands of a section of docs/OWN-PROGRAM.md, on a live board."""
        text = (HERE / "../../docs/OWN-PROGRAM.md").read_text()
        section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        commands = [block.split("```")[0] for block in section.split("```sh\n")[1:]]
        self.assertTrue(commands, f"{heading} has no commands")
        with Place() as place:
            for example in EXAMPLES.glob("*.py"):
                shutil.copy(example, place.path)
            path = f"{pathlib.Path(sys.executable).parent}:{pathlib.Path(JETPACE).resolve().parent}:{os.environ['PATH']}"
            environment = dict(place.environment, PATH=path)
            line = ["bash", "-euo", "pipefail", "-c", "".join(commands)]
            done = subprocess.run(line, cwd=place.path, env=environment, capture_output=True, text=True, timeout=400)
            self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
            return done.stdout + done.stderr

    def test_a_profile_is_measured_and_followed_by_the_same_script(self):
        self.profiled(f"{PYTHON} '{HERE}/profiled.py'")

    def test_the_page_of_python_runs(self):
        self.assertIn("100 frames, 0 faults", self.page("Python"))

    def test_energy_is_measured_by_the_daemon(self):
        """What the rails of a live board say while its GPU works and idles, by the daemon."""
        script = """
import sys, time
import jetpace, standin

gpu = standin.Gpu()
with jetpace.measure() as idle:
    time.sleep(0.5)
with jetpace.measure() as busy:
    for _ in range(10):
        gpu.run(20_000_000_000, 1_000_000)
        gpu.synchronize()
print(repr(busy), file=sys.stderr)
assert busy.of == "module" and abs(busy.energy_j - busy.power_w * busy.seconds) < 1e-9, busy
print(idle.power_w, busy.power_w, idle.seconds, idle.energy_j)
"""
        with Place() as place:
            place.constants()
            (place.path / "run.py").write_text(script)
            for line in (["fit", "board.csv", "-o", "m.json"], ["plan", "m.json", "--deadline", "40ms", "-o", "table.jpt"]):
                place.run(*line)
            place.environment["PYTHONPATH"] = f"{EXAMPLES}:{os.environ.get('PYTHONPATH', '')}"
            with Served(place) as served:
                gpu = place.board / "gpu.sock"
                environment = dict(place.environment, JETPACE_SOCKET=str(served.socket), JETPACE_GPU=str(gpu))
                line = [sys.executable, "run.py"]
                done = subprocess.run(line, cwd=place.path, env=environment, capture_output=True, text=True, timeout=100)
                self.assertEqual(done.returncode, 0, done.stderr)
                idle_w, busy_w, seconds, joules = map(float, done.stdout.split())
                print(done.stderr.strip(), f"idle {idle_w:.3f} W", flush=True)
                self.assertGreater(idle_w, 1.0)
                self.assertGreater(busy_w, idle_w + 0.5)
                self.assertAlmostEqual(joules, idle_w * seconds)
            # Without a daemon, and where the program is itself measured.
            line = [sys.executable, "-c", "import jetpace\nwith jetpace.measure() as m: pass\nprint(m.energy_j, m.seconds > 0)"]
            done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100)
            self.assertIn("`systemctl start jetpace`", done.stderr)
            for name in ("JETPACE_SWEEP", "JETPACE_OFF"):
                done = subprocess.run(line, env={**environment, name: "1"}, capture_output=True, text=True, timeout=100)
                self.assertEqual(done.stdout, "None True\n", done.stderr)

    @unittest.skipUnless(TORCH, "by ./ci.sh torch")
    def test_a_torch_program_is_measured_and_followed_by_the_same_script(self):
        self.profiled(f"{PYTHON} '{EXAMPLES}/net.py'")

    @unittest.skipUnless(TORCH, "by ./ci.sh torch")
    def test_the_page_of_pytorch_runs(self):
        said = self.page("PyTorch")
        self.assertRegex(said, r"Stats\(.*frames=100, missed=\d+, .*faults=0")
        ran = [line for line in said.splitlines() if "Measurement(" in line]
        print("\n".join(ran), flush=True)
        # With the clock left alone, then with the table; which of them is less is the planner's tests' to say.
        joules = [float(re.search(r"s, ([0-9.]+) J,", line)[1]) for line in ran]
        self.assertEqual([joule > 1.0 for joule in joules], [True, True], joules)

    @unittest.skipUnless(TORCH and importlib.util.find_spec("transformers"), "by ./ci.sh torch, with transformers")
    def test_the_page_of_language_models_runs(self):
        said = self.page("Language models")
        for phase, frames in (("prefill", 10), ("decode", 10 * 15)):
            line = next(line for line in said.splitlines() if line.startswith(f"{phase} Stats("))
            print(line, flush=True)
            self.assertIn(f"frames={frames}, ", line)
            self.assertNotRegex(line, "switches=0,")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
