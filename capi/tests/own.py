"""Programs of one's own, calibrated by their blocks on a board on disk; with JETPACE_OWN set, to a table's frames as well.

Run by capi/check.sh: own.py JETPACE FOLDER, with the examples three, three-cpp and libjetpace in FOLDER. Times are the
stand-in GPU's, so this machine's load is not in them.
"""

import concurrent.futures
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

JETPACE, BUILT = sys.argv[1], pathlib.Path(sys.argv[2])
HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
BOARD = "orin-nano-super"
THREE = {"c": f"'{BUILT}/three'", "c++": f"'{BUILT}/three-cpp'", "python": f"'{sys.executable}' '{EXAMPLES}/three.py'"}

CLOCKS = "306MHz,408MHz,510MHz,612MHz,1020MHz"
# The period is longer than a frame by so much that what this machine does to a program is not taken for its end.
PERIOD_MS, DEADLINE_MS, RISK = 30.0, 13.5, 0.01


class Place:
    """A folder with a board of its own."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self._folder.name)
        (self.path / "tmp").mkdir()
        self.board = self.path / "tmp" / f"jetpace-live-{os.geteuid()}" / BOARD
        self.environment = dict(os.environ, TMPDIR=str(self.path / "tmp"))
        for name in ("JETPACE_SOCKET", "JETPACE_TABLE"):
            self.environment.pop(name, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def run(self, *arguments, code=0):
        """A command of jetpace's; gives what it said."""
        command = [JETPACE, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=300)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{command}: {done.returncode}: {said}"
        return said

    def calibrate(self, command, *more, code=0):
        own = ["calibrate", "--board", f"live:{BOARD}", "--cmd", command]
        return self.run(*own, *more, "-o", "sweep.csv", code=code)

    def constants(self):
        """What changes of the clock take on this board, and idle power: measured in virtual time."""
        line = ["--net", "alexnet", "--frames", 60, "--late", 0, "--changes", 3, "--passes", 1]
        self.run("calibrate", "--board", f"sim:{BOARD}", *line, "-o", "board.csv")

    def plan(self, deadline_ms, sizes):
        """What the table of this program says of itself."""
        self.run("fit", "sweep.csv", "-o", "model.json")
        line = ["--deadline", f"{deadline_ms}ms", "--period", f"{PERIOD_MS}ms", "--risk", RISK, "-o", "table.jpt", "--json"]
        line += ["--sizes", ",".join(f"{1 + size}:{1 / sizes}" for size in range(sizes))] if sizes > 1 else []
        said = self.run("plan", "model.json", *line)
        return json.loads(said[: said.rindex("}") + 1])

    def at_clock(self, clock, line):
        """The power of a program at a held clock, and milliseconds of its frames."""
        command = [JETPACE, "hold", "--board", f"live:{BOARD}", "--clock", clock, "--", "sh", "-c", line]
        environment = dict(self.environment, JETPACE_OFF="1")
        with Watts(self.board) as watts:
            held = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, timeout=100)
        assert held.returncode == 0, f"{command}: {held.returncode}: {held.stderr}"
        return watts, [float(time) for time in held.stdout.split()]


class Watts:
    """The module's rail on a board on disk, read while a program runs."""

    def __init__(self, board):
        self.board, self.readings, self.over = board, [], threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def read(self):
        monitor = None
        while not self.over.wait(0.007):
            try:
                if monitor is None:
                    labels = self.board.glob("sys/class/hwmon/hwmon*/in1_label")
                    monitor = next(label.parent for label in labels)
                millivolts, milliamps = ((monitor / name).read_text() for name in ("in1_input", "curr1_input"))
                self.readings.append(float(millivolts) * float(milliamps) / 1e6)
            except (OSError, StopIteration, ValueError):
                continue  # not there yet or not any more, or being written

    def mean(self):
        """Without the first and the last second: the program starts and ends in them."""
        cut = 140
        return statistics.mean(self.readings[cut:-cut])


class Served:
    """A live board, by a daemon that serves a table on it."""

    def __init__(self, place):
        self.place, self.socket = place, place.path / "jetpace.sock"

    def __enter__(self):
        line = [JETPACE, "serve", "--board", f"live:{BOARD}", "--socket", self.socket, "--table", "table.jpt"]
        self.daemon = subprocess.Popen(line, cwd=self.place.path, env=self.place.environment)
        while subprocess.run([JETPACE, "status", "--socket", self.socket], capture_output=True).returncode != 0:
            assert self.daemon.poll() is None, "the daemon ended"
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.daemon.terminate()
        assert self.daemon.wait(30) == 0, "the daemon did not end well"

    def frames(self, line):
        """Watts of a program at its table's clocks, and milliseconds of each frame on the GPU."""
        gpu = str(self.place.board / "gpu.sock")
        environment = dict(self.place.environment, JETPACE_SOCKET=str(self.socket), JETPACE_GPU=gpu)
        with Watts(self.place.board) as watts:
            done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
        return watts.mean(), [float(time) for time in done.stdout.split()]


class Tests(unittest.TestCase):
    def measured(self, language):
        """What calibration makes of a program that ends after 25 frames, beside what its GPU says at a held clock."""
        with Place() as place:
            command = f"{THREE[language]} 25 >&2"
            said = place.calibrate(command, "--frames", 100, "--clocks", "306MHz,510MHz", "--changes", 0, "--passes", 1)
            self.assertIn("3 blocks: stem, body, head; 2 clocks", said)
            sums = {}
            with open(place.path / "sweep.csv") as sweep:
                next(sweep)
                for row in csv.DictReader(sweep):
                    if row["kind"] == "block" and row["samples"] == "1":
                        frame = sums.setdefault(row["gpu_freq_hz"], {}).setdefault(row["repeat"], [])
                        frame.append(1e3 * float(row["latency_s"]))
            for clock, frames in sums.items():
                self.assertEqual({len(frame) for frame in frames.values()}, {3}, "blocks of every frame")
                _, times = place.at_clock(f"{clock}Hz", f"{THREE[language]} 100")
                self.assertEqual(len(times), 100)
                alone, swept = statistics.median(times), statistics.median(map(sum, frames.values()))
                said = f"{language}, {clock} Hz: calibrated {swept:.3f} ms, held {alone:.3f} ms"
                print(said, flush=True)
                self.assertLess(abs(swept / alone - 1), 0.015, said)

    def test_what_is_calibrated_is_what_the_gpu_takes_in_c_and_cpp_and_python(self):
        """The three at a time, each on a board of its own: they sleep most of the time."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(self.measured, language) for language in THREE]:
                done.result()

    def test_a_program_that_cannot_be_measured_is_told_why(self):
        def go(kind, code, why):
            with Place() as place:
                command = f"'{sys.executable}' '{HERE}/wrong.py' {kind}"
                more = ["--frames", 20, "--late", 0, "--changes", 0, "--patience", "4s", "--passes", 1, "--clocks", "306MHz,1020MHz"]
                said = place.calibrate(command, *more, code=code)
                self.assertIn(why, said)
                kept = (place.path / "sweep.csv").read_text() if (place.path / "sweep.csv").exists() else ""
                if kind not in ("queues", "never", "nothing"):
                    self.assertIn("\nblock,", kept, f"{kind}: what was measured is kept")

        wrong = [
            ("queues", 4, "all the time is in c: the program does not wait for its GPU"),
            ("never", 4, "does not wait for its GPU"),
            ("nothing", 4, "ended and told no frame"),
            ("order", 4, "b, a, c; they were a, b, c"),
            ("number", 4, "a, b; they were a, b, c"),
            ("fails", 1, "ended with exit status: 7"),
            ("crashes", 1, "ended with exit status: 134"),
            ("hangs", 4, "silent within a frame"),
            ("stops", 4, "began no frame"),
        ]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(go, *each) for each in wrong]:
                done.result()

    @unittest.skipUnless("JETPACE_OWN" in os.environ, "with JETPACE_OWN set: a minute and a half")
    def test_a_table_of_a_program_is_kept_as_a_networks_is(self):
        """Measured the first night, looked at the next, and measured again once its blocks take longer."""
        with Place() as place:
            place.constants()
            (place.path / "etc").mkdir()

            program, kept = place.path / "program.py", place.path / "kept"
            program.write_text((EXAMPLES / "three.py").read_text())

            def night():
                keys = [f"board = 'live:{BOARD}'", f"cmd = '{sys.executable} {program}'", "frames = 40"]
                keys += [f"constants = '{place.path}/board.csv'", "deadline = '30ms'", f"folder = '{kept}'"]
                (place.path / "etc" / "three.toml").write_text("\n".join(keys))
                said = place.run("recalibrate", "--config", "etc")
                return next(line for line in said.splitlines() if line.startswith("three: "))

            self.assertIn("three: swapped: there was no table", night())
            self.assertIn("three stem (size 1", place.run("inspect", kept / "model.json"))
            self.assertIn("three: kept: ", night())
            program.write_text(program.read_text().replace('"body", 18_', '"body", 20_'))
            self.assertIn("three: swapped: ", night())
            self.assertIn("three: kept: ", night())

    def whole_way(self, calibrated, runs, sizes=1, deadline_ms=DEADLINE_MS):
        """From a program's blocks to 1,000 frames at its table's clocks, against 300 at each clock that is held."""
        with Place() as place:
            place.constants()
            more = ["--frames", 100, "--clocks", CLOCKS, "--board-constants", "board.csv"]
            more += ["--sizes", ",".join(str(1 + size) for size in range(sizes))] if sizes > 1 else []
            place.calibrate(f"{calibrated} >&2", *more)
            planned = place.plan(deadline_ms, sizes)
            with Served(place) as served:
                watts, frames = served.frames(runs.format(1000, 40))
            # Size by size, in turn.
            medians = [statistics.median(frames[size::sizes]) for size in range(sizes)]
            predicted = [1e3 * size["time_s"] for size in planned.get("sizes") or [planned]]
            late = sum(time > deadline_ms for time in frames)
            clocks = [block["clock_hz"] for block in planned["blocks"]]
            said = f"{calibrated}: {clocks}: predicted {predicted}, median {medians} ms, {late} of {len(frames)} late"
            print(said, flush=True)
            self.assertEqual(len(frames), 1000)
            for median, time in zip(medians, predicted, strict=True):
                self.assertLess(abs(median / time - 1), 0.015, said)
            self.assertLessEqual(late, RISK * len(frames), said)
            fixed = {}
            for clock in CLOCKS.split(","):
                alone, times = place.at_clock(clock, runs.format(300, 12))
                if sum(time > deadline_ms for time in times) <= RISK * len(times):
                    fixed[clock] = alone.mean()
            best = min(fixed, key=fixed.get)
            said = f"{calibrated}: {watts:.3f} W, best fixed clock {best} with {fixed[best]:.3f} W"
            print(said, flush=True)
            self.assertLessEqual(watts, 1.01 * fixed[best], said)

    @unittest.skipUnless("JETPACE_OWN" in os.environ, "with JETPACE_OWN set: five minutes, on a machine that does little else")
    def test_what_is_planned_is_what_runs_at_no_more_than_the_best_fixed_clock(self):
        """In every language; a program that ends every 25 frames is no other; two sizes in turn."""
        ways = [(line, f"{line} {{0}} {PERIOD_MS}") for line in THREE.values()]
        ways += [(f"{THREE['c']} 25", f"for i in $(seq {{1}}); do {THREE['c']} 25 {PERIOD_MS} || exit; done")]
        ways += [(THREE["c"], f"{THREE['c']} {{0}} {PERIOD_MS} 2", 2, 24.0)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self.whole_way, *way) for way in ways]:
                done.result()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
