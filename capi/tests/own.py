"""Programs of one's own, calibrated by their blocks on a board on disk.

Run by capi/check.sh: own.py JETPACE FOLDER, with the examples three, three-cpp and libjetpace in FOLDER. Times are the
stand-in GPU's, so this machine's load is not in them.
"""

import concurrent.futures
import csv
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import unittest

JETPACE, BUILT = sys.argv[1], pathlib.Path(sys.argv[2])
HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
BOARD = "orin-nano-super"
THREE = {"c": f"'{BUILT}/three'", "c++": f"'{BUILT}/three-cpp'", "python": f"'{sys.executable}' '{EXAMPLES}/three.py'"}


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
        own = ["calibrate", "--board", f"live:{BOARD}", "--cmd", command, "--passes", 1]
        return self.run(*own, *more, "-o", "sweep.csv", code=code)


class Tests(unittest.TestCase):
    def measured(self, language):
        """What calibration makes of a program that ends after 25 frames, beside what its GPU says at a held clock."""
        with Place() as place:
            command = f"{THREE[language]} 25 >&2"
            said = place.calibrate(command, "--frames", 30, "--clocks", "306MHz,510MHz", "--changes", 0)
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
                place.environment["JETPACE_OFF"] = "1"
                line = ["hold", "--board", f"live:{BOARD}", "--clock", f"{clock}Hz", "--", "sh", "-c"]
                held = subprocess.run(
                    [JETPACE, *line, f"{THREE[language]} 60"],
                    cwd=place.path, env=place.environment, capture_output=True, text=True, timeout=100,
                )  # fmt: skip
                times = [float(time) for time in held.stdout.split()]
                self.assertEqual(len(times), 60, held.stderr)
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
                more = ["--frames", 20, "--late", 0, "--changes", 0, "--patience", "4s", "--clocks", "306MHz,1020MHz"]
                said = place.calibrate(command, *more, code=code)
                self.assertIn(why, said)
                kept = (place.path / "sweep.csv").read_text() if (place.path / "sweep.csv").exists() else ""
                if kind not in ("queues", "nothing"):
                    self.assertIn("\nblock,", kept, f"{kind}: what was measured is kept")

        wrong = [
            ("queues", 4, "all the time is in c: the program does not wait for its GPU"),
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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
