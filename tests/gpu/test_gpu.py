"""What of tests/gpu can be tested without a GPU:  python3 -m unittest discover -s tests/gpu

The networks are tested where torch and torchvision are installed.
"""
import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import driver
import gpu
import report
import step

ROOT = pathlib.Path(__file__).resolve().parents[2]
ABI = (ROOT / "kernels/cu/abi.h").read_text()

try:
    import torch
    import torchvision  # noqa: F401

    import network
except ImportError:
    torch = None


def fields(struct):
    """(pointers, ints) that a struct of abi.h has."""
    body = re.search(rf"struct {struct} {{(.*?)\n}};", ABI, re.S)[1]
    return re.findall(r"void \*(\w+);", body), re.findall(r"^    int (\w+);", body, re.M)


class Parameters(unittest.TestCase):
    def test_formats_are_the_headers(self):
        for work, struct in (("conv", "JpConv"), ("pool", "JpPool"), ("linear", "JpLinear")):
            pointers, ints = fields(struct)
            self.assertEqual(driver.FORMATS[work], f"{len(pointers)}Q{len(ints)}i")
            packed = driver.params(work, range(len(pointers)), range(len(ints)))
            self.assertEqual(len(packed), 8 * len(pointers) + 4 * len(ints))

    @unittest.skipUnless(torch, "torch is not installed")
    def test_ints_have_the_headers_names(self):
        for names, struct in ((network.CONV_INTS, "JpConv"), (network.POOL_INTS, "JpPool"), (network.LINEAR_INTS, "JpLinear")):
            self.assertEqual([*names, "reserved"], fields(struct)[1])


class Arguments(unittest.TestCase):
    def test_defaults_and_refusals(self):
        self.assertEqual(len(gpu.arguments([]).nets), 5)
        self.assertEqual(gpu.arguments(["--nets", "vgg19"]).nets, ["vgg19"])
        for words in (["--nets", "lenet"], ["--limit", "0"], ["--deadline", "x"]):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                gpu.arguments(words)

    def test_without_a_gpu_it_says_so(self):
        if step.missing() is None:
            self.skipTest("there is a GPU")
        with tempfile.TemporaryDirectory() as out:
            run = subprocess.run([sys.executable, gpu.__file__, "--out", out], capture_output=True, text=True)
        self.assertEqual(run.returncode, 3)
        self.assertRegex(run.stderr, r"^gpu: not run: [^\n]+\n$")


class Steps(unittest.TestCase):
    """A step is a process of its own."""

    def run_step(self, program, deadline=20):
        with tempfile.TemporaryDirectory() as out:
            results = gpu.Results(pathlib.Path(out))
            how = gpu.run("a step", [sys.executable, "-c", program], deadline, results)
            kept = (pathlib.Path(out) / "results.jsonl").read_text()
            return how, [json.loads(line) for line in kept.splitlines()]

    def test_results_and_other_words(self):
        how, lines = self.run_step("print('hello'); print('{\"few\": 1}'); print('{no json')")
        self.assertEqual((how, lines), ("right", [{"step": "a step", "few": 1}]))

    def test_what_was_found_before_the_end_is_kept(self):
        program = "import time; print('{\"few\": 1}', flush=True); time.sleep(60)"
        how, lines = self.run_step(program, deadline=3)
        self.assertEqual((how, lines), ("killed after 3 s", [{"step": "a step", "few": 1}]))

    def test_failures_say_why(self):
        self.assertEqual(self.run_step("import sys; print('too hot'); sys.exit(4)")[0], "exit code 4: too hot")
        self.assertEqual(self.run_step("import os; os.abort()")[0], "killed by signal 6")

    def test_right_comes_before_fast_and_sanitizers_last(self):
        names = [name for name, _, _ in gpu.steps(gpu.arguments([]))]
        self.assertLess(names.index("launcher vgg19"), names.index("peaks"))
        self.assertLess(names.index("times vgg19-32"), names.index("boundaries"))
        self.assertFalse(set(gpu.SANITIZERS) & set(names[: names.index("boundaries")]))


class Report(unittest.TestCase):
    def setUp(self):
        row = lambda layer, kernel, gflop, ours, moved=8e6: report.row("n", layer, kernel, gflop * 1e9, moved, ours, 1e-4, 1e13, 1e11)
        self.rows = [row("a", "conv_64x64", 0.3, 1e-4), row("b", "stem_7x7", 0.25, 2e-4), row("c", "conv_64x64", 0.1, 1e-3),
                     row("fc", "linear_1", 0.04, 5e-4, 40e6), row("small", "linear_1", 0.008, 1e-3), row("whole", "graph", 0.6, 5e-5)]

    def test_table(self):
        lines = report.markdown(self.rows).splitlines()
        self.assertEqual(len(lines), 2 + len(self.rows))
        self.assertEqual({len(line) for line in lines}, {len(lines[0])})
        # 8 MB at 100 GB/s take 80 us, longer than 0.3 GFLOP at 10 TFLOP/s.
        self.assertEqual([c.strip() for c in lines[2].split("|")[6:12]], ["100.0", "100.0", "", "80.0", "1.000", "0.800"])

    def test_bars(self):
        verdicts = report.bars(self.rows, 1e11)
        figures = {what: (round(figure, 3), met) for what, figure, _, met in verdicts}
        # Of 1 and 0.5; the convolution of 0.1 GFLOP does not count.
        self.assertEqual(figures["convolutions >= 0.2 GFLOP, geometric mean of fused cuDNN's speed"], (0.707, False))
        self.assertEqual(figures["convolutions >= 0.2 GFLOP, slowest against fused cuDNN"], (0.5, False))
        # 40 MB in 500 us of 100 GB/s; one of 8 MB is not judged.
        self.assertEqual(figures["n fc, of measured bandwidth"], (0.8, False))
        self.assertNotIn("n small, of measured bandwidth", figures)
        self.assertEqual(figures["n, speed against torch with cuDNN, norms folded"], (2.0, True))
        self.assertEqual(report.bars([], 1e11), [])

    def test_boundaries(self):
        found = [{"boundary": "event query", "host": 7.25, "stream": 0.5, "busy": 1.0}, {"boundary": "host function", "host": "refused", "stream": None, "busy": None}]
        lines = report.boundary_table(found).splitlines()
        self.assertEqual(lines[2:], ["| event query | 7.2 | 0.5 | 100% |", "| host function | refused | | |"])

    def test_document(self):
        lines = [{"step": "environment", "machine": {"gpu": "X"}}, {"step": "peaks", "peaks": {"bytes a second": 1e11}},
                 {"step": "check n", "plan": "n for 8", "worst": 0.5, "worst_l2": 0.1, "wrong": ["b conv_64x64"]},
                 {"step": "check n", "ended": "exit code 1"}, *({"step": "times n", "row": row} for row in self.rows)]
        text = report.document(lines)
        for part in ("# X", "- check n: exit code 1", "n for 8: 5.0e-01 at worst, 1.0e-01 by squares\n  - WRONG b conv_64x64", "MISSED convolutions"):
            self.assertIn(part, text)
        self.assertEqual(report.document([]), "# unknown GPU\n\n```\n{}\n```\n")


@unittest.skipUnless(torch, "torch and torchvision are not installed")
class Networks(unittest.TestCase):
    """The launch plan and the packed weights, carried out by torch, are torchvision's network."""

    def same(self, name, batch, side):
        model = network.model(name)
        command = ["cargo", "run", "-q", "--release", "-p", "jetpace-kernels", "--example", "plan", name, str(batch), "8", "7", "8"]
        document = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        net = network.Network(document, network.layers(name, model), "cpu")
        image = torch.randn(batch, 3, side, side)
        net.set_image(image)
        for launch in net.launches():
            net.on_torch(launch)
        with torch.no_grad():
            want = model(image)
        error, other_tops = step.compare_outputs(net.logits(batch), want)
        self.assertLess(error, step.TOLERANCE)
        self.assertEqual(other_tops, 0)

    def test_alexnet(self):
        self.same("alexnet", 1, 224)

    def test_alexnet_in_batches(self):
        self.same("alexnet", 3, 224)

    def test_vgg19(self):
        self.same("vgg19-32", 1, 32)

    def test_resnet152(self):
        self.same("resnet152-32", 1, 32)

    def test_resnet152_with_its_own_stem(self):
        self.same("resnet152", 1, 224)

    def test_a_wrong_top_1_is_noticed(self):
        want = torch.tensor([[1.0, 0.0], [0.01, 0.0]])
        error, other_tops = step.compare_outputs(want.flip(1), want)
        self.assertEqual((error, other_tops), (1.0, 1))  # the second image's margin is within the tolerance

    def test_not_a_number_is_never_close(self):
        self.assertEqual(step.distances(torch.tensor([float("nan")]), torch.tensor([1.0])), (float("inf"), float("inf")))


if __name__ == "__main__":
    unittest.main()
