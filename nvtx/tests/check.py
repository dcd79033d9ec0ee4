"""Unmodified programs with NVTX ranges: listed, held, calibrated, followed, and left alone where nobody takes their frames.

Run by nvtx/check.sh: check.py JETPACE RANGES, by a Python that has nvtx. Times are the stand-in GPU's.
"""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

JETPACE, RANGES = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
HERE = pathlib.Path(__file__).resolve().parent
MARKED = HERE.parent / "examples" / "marked.py"
LIBRARY = str(pathlib.Path(JETPACE).parent / "libjetpace_nvtx.so")
BOARD = "orin-nano-super"


class Place:
    """A folder with a board of its own."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self._folder.name)
        (self.path / "tmp").mkdir()
        self.board = self.path / "tmp" / f"jetpace-live-{os.geteuid()}" / BOARD
        ours = ("JETPACE_", "NVTX_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment["TMPDIR"] = str(self.path / "tmp")
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def start(self, *line, **more):
        """A program, as a user of this folder starts it."""
        environment = self.environment | more
        pipe = subprocess.PIPE
        return subprocess.Popen(list(map(str, line)), cwd=self.path, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *line, code=0, **more):
        """The same to its end: what it printed, and what it said."""
        program = self.start(*line, **more)
        out, said = program.communicate(timeout=300)
        assert program.returncode == code, f"{line}: {program.returncode}: {out}{said}"
        return out, said

    def jetpace(self, *line, code=0, **more):
        return self.run(JETPACE, *line, code=code, **more)

    def listed(self, *command, code=0):
        """What `jetpace nvtx` makes of a command: its words, and each range by its name."""
        out, _ = self.jetpace("nvtx", "--json", "list.json", "--", *command, code=code)
        document = json.loads((self.path / "list.json").read_text())
        full = lambda it: f"{it['domain']}//{it['name']}"
        return out, document, {full(it): it for it in document["ranges"]}

    def frames(self, *command, deadline="40ms", nvtx="infer", code=0, **more):
        """What holding a deadline made of a command's frames."""
        line = ["hold", "--board", f"live:{BOARD}", "--deadline", deadline, "--nvtx", nvtx, "--json", "held.json"]
        _, said = self.jetpace(*line, "--", *command, code=code, **more)
        return json.loads((self.path / "held.json").read_text())["held"]["frames"], said


class Tests(unittest.TestCase):
    def test_every_kind_of_range_is_listed(self):
        with Place() as place:
            out, document, ranges = place.listed(RANGES, "kinds")
            seen = {name: (it["kind"], it["count"]) for name, it in ranges.items()}
            for name, kind, count in [
                ("//push", "push", 2),
                ("//push wide: ü", "push", 2),
                ("//push ex", "push", 2),
                ("app//registered", "push", 2),
                ("app//registered wide", "push", 2),
                ("//start", "start", 2),
                ("//elsewhere", "push", 2),
                ("//start wide", "start", 2),
                ("läuft//start in a domain", "start", 2),
                ("//mark", "mark", 2),
                ("//start in a domain", "mark", 2),
                ("app//start in a domain", "mark", 2),
            ]:
                self.assertEqual(seen.get(name), (kind, count), f"{name}: {seen}")
            self.assertEqual(ranges["//push ex"]["payloads"], [64, 65])
            self.assertEqual((ranges["//push ex"]["depth"], ranges["//push ex"]["within"]), (1, "push"))
            self.assertEqual(ranges["app//registered wide"]["within"], "app//registered")
            self.assertEqual(ranges["//elsewhere"]["threads"], 2)
            self.assertEqual(ranges["app//registered"]["payloads"], None)
            self.assertEqual(document["frame"], None)
            self.assertIn("none is a frame", out)

    def test_a_python_program_is_listed_with_what_to_type_next(self):
        with Place() as place:
            (place.path / "prog.py").write_text(
                "import nvtx, threading\n"
                "def infer():\n"
                "    with nvtx.annotate('infer', domain='net', payload=4):\n"
                "        with nvtx.annotate('stem', domain='net'): pass\n"
                "        nvtx.end_range(nvtx.start_range('load'))\n"
                "for _ in range(4): infer()\n"
                "thread = threading.Thread(target=infer); thread.start(); thread.join()\n"
                "raise SystemExit(7)\n"
            )
            out, document, ranges = place.listed(sys.executable, "prog.py", code=7)
            self.assertEqual([ranges["net//infer"][key] for key in ("count", "threads", "payloads")], [5, 2, [4, 4]])
            self.assertEqual((document["frame"], document["blocks"]), ("net//infer", ["net//stem"]))
            self.assertIn(f"jetpace hold --deadline DEADLINE --nvtx net//infer -- {sys.executable} prog.py", out)
            self.assertIn("--nvtx net//infer --nvtx-blocks net//stem -o sweep.csv", out)

    def test_a_program_that_is_killed_was_listed(self):
        with Place() as place:
            _, _, ranges = place.listed(RANGES, "work", 3, 0, "die", code=137)
            self.assertEqual(ranges["//infer"]["count"], 3)

    def test_a_program_without_ranges_is_told_so(self):
        with Place() as place:
            self.assertIn("no range was marked", place.jetpace("nvtx", "--", "true")[0])
            _, said = place.jetpace("nvtx", "--", "true", code=2, NVTX_INJECTION64_PATH="/opt/other.so")
            self.assertIn("/opt/other.so already", said)
            _, said = place.jetpace("nvtx", "--", "true", code=2, JETPACE_NVTX_LIB="/nowhere.so")
            self.assertIn("JETPACE_NVTX_LIB: /nowhere.so", said)

    def test_a_deadline_is_held_by_ranges(self):
        """60 frames of 30 GFLOP: the clock comes down from the cap, and a child's ranges are no frames."""
        with Place() as place:
            frames, said = place.frames(RANGES, "work", 60, 20)
            self.assertEqual(frames, 60, said)
            clocks = json.loads((place.path / "held.json").read_text())["clocks"]
            self.assertGreater(len(clocks), 1, "it stays at the cap")
            frames, said = place.frames(RANGES, "work", 10, 5, "fork")
            self.assertEqual(frames, 10, said)
            self.assertIn("a forked child's frames are not told", said)
            self.assertEqual(said.count("jetpace-nvtx: "), 1, said)
            # A prefix, of a Python program in a domain; one that marks nothing of that name tells nothing.
            frames, said = place.frames(sys.executable, MARKED, 20, 10, nvtx="net//inf*")
            self.assertEqual(frames, 20, said)
            frames, said = place.frames(sys.executable, MARKED, 5, 10, nvtx="other//infer")
            self.assertEqual((frames, "jetpace-nvtx" in said), (0, False), said)

    def test_a_rate_is_kept_by_ranges_alone(self):
        with Place() as place:
            line = ["hold", "--board", f"live:{BOARD}", "--fps", 10, "--window", "300ms", "--nvtx", "infer"]
            # Its lines would be thousands of frames.
            program = f"'{RANGES}' work 60 20; yes | head -5000"
            _, said = place.jetpace(*line, "--", "sh", "-c", program, RUST_LOG="info")
            rates = [float(part.split()[-1]) for line in said.splitlines() for part in line.split(" frames a second")[:-1]]
            self.assertTrue(rates and max(rates) < 100, said)

    def test_where_nobody_takes_frames_the_program_runs_on(self):
        with Place() as place:
            marked = {"NVTX_INJECTION64_PATH": LIBRARY, "JETPACE_NVTX_FRAME": "infer"}
            out, said = place.run(RANGES, "work", 5000, 0, JETPACE_SOCKET="nowhere.sock", **marked)
            self.assertIn("5000 frames", out)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertIn("nobody takes the program's frames", said)
            for variables, words in [
                ({"JETPACE_NVTX_FRAME": ""}, "JETPACE_NVTX_FRAME names no range"),
                ({"JETPACE_NVTX_BLOCKS": "stem=a\tb"}, "is no block's name"),
                ({"JETPACE_OFF": "1"}, ""),
                ({"JETPACE_TABLE": "nowhere.jpt"}, "the table"),
            ]:
                out, said = place.run(RANGES, "work", 10, 0, **(marked | variables))
                self.assertIn("10 frames", out)
                self.assertIn(words, said)
                self.assertEqual(said.count("\n"), 1 if words else 0, said)

    def test_a_daemon_that_goes_takes_nothing_from_the_program_and_is_found_again(self):
        with Place() as place:
            line = ["hold", "--board", f"live:{BOARD}", "--deadline", "40ms", "--frames-from", "lib", "--json", "held.json"]
            line += ["--socket", "own.sock", "--", "sleep"]
            program = taker = None
            try:
                taker = place.start(JETPACE, *line, 5)
                while not (place.path / "own.sock").exists():
                    self.assertIsNone(taker.poll(), taker)
                    time.sleep(0.02)
                marked = {"NVTX_INJECTION64_PATH": LIBRARY, "JETPACE_NVTX_FRAME": "infer", "JETPACE_SOCKET": "own.sock"}
                program = place.start(RANGES, "work", 500, 10, **marked)
                time.sleep(1)
                taker.send_signal(signal.SIGKILL)
                taker.wait(30)
                place.jetpace("restore", "--board", place.board)
                place.jetpace(*line, 2.5)
                again = json.loads((place.path / "held.json").read_text())["held"]["frames"]
                out, said = program.communicate(timeout=60)
            finally:
                if program is not None:
                    program.kill()
            self.assertEqual((program.returncode, out), (0, "500 frames\n"), said)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertIn("has gone", said)
            self.assertGreater(again, 10, "it is found again")

    def test_a_program_that_cannot_be_measured_is_told_why(self):
        with Place() as place:
            line = ["calibrate", "--board", f"live:{BOARD}", "--clocks", "306MHz,1020MHz", "--frames", 10, "--changes", 0]
            line += ["--passes", 1, "--late", 0, "--patience", "3s", "-o", "sweep.csv", "--cmd"]
            for program, ranges, words in [
                (f"'{RANGES}' work 30 0", ["--nvtx", "other"], "began no range that --nvtx names: `jetpace nvtx"),
                (f"'{RANGES}' work 30 0; sleep 60", ["--nvtx", "other"], "begun no range that --nvtx names for 3.000 s"),
                (f"'{RANGES}' work 0 0", ["--nvtx", "infer", "--nvtx-blocks", "stem,nose"], "no range that"),
                (f"'{RANGES}' work 99 0", ["--nvtx", "infer", "--nvtx-blocks", "stem,nose"], "nose, which --nvtx-blocks names"),
            ]:
                _, said = place.jetpace(*line, program, *ranges, code=4)
                self.assertIn(words, said)

    def test_the_page_of_ranges_runs(self):
        """docs/OWN-PROGRAM.md: from an unmodified program to a table that it follows."""
        text = (HERE / "../../docs/OWN-PROGRAM.md").read_text()
        section = text.split("\n## A program with NVTX ranges\n")[1].split("\n## ")[0]
        commands = [block.split("```")[0] for block in section.split("```sh\n")[1:]]
        with Place() as place:
            shutil.copy(MARKED, place.path)
            path = f"{pathlib.Path(sys.executable).parent}:{pathlib.Path(JETPACE).parent}:{os.environ['PATH']}"
            out, said = place.run("bash", "-euo", "pipefail", "-c", "".join(commands), PATH=path)
            print(out, said, flush=True)
            self.assertIn("jetpace hold --deadline DEADLINE --nvtx net//infer -- python3 marked.py", out)
            with open(place.path / "marked.csv") as sweep:
                next(sweep)
                rows = [row for row in csv.DictReader(sweep) if row["kind"] == "block"]
            self.assertEqual({row["block"] for row in rows}, {"stem", "body", "head"})
            status = json.loads((place.path / "status.json").read_text())
            [client] = status["clients"]
            self.assertGreater(client["frames"], 10, status)
            # That frames take longer on a busy machine is no fault.
            faults = [count for fault, count in client["faults"].items() if "planned" not in fault]
            self.assertEqual(sum(faults), 0, status)
            # A plan of one clock writes it once.
            self.assertGreaterEqual(status["writes"], 1, "the table is followed")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
