"""The Python module on a virtual board, with plain callables and with a stand-in for a PyTorch model; with PyTorch
itself where $JETPACE_TORCH is set.

Run by capi/check.sh, which sets JETPACE_LIBRARY, JETPACE_TABLE (of sim:tx2) and JETPACE_SOCKET (a daemon's).
"""

import errno
import os
import sys
import unittest
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import jetpace

TABLE, SOCKET = os.environ["JETPACE_TABLE"], os.environ.get("JETPACE_SOCKET")
BLOCKS = os.environ["JETPACE_BLOCKS"].split(",")


def on_the_board():
    return jetpace.Pace(TABLE, board="sim:tx2", socket="")


class Module:
    """What `attach` uses of torch.nn.Module."""

    def __init__(self, **children):
        self.children, self.before, self.after = children, [], []

    def named_modules(self):
        return [("", self), *self.children.items()]

    def _hook(self, hooks, hook):
        hooks.append(hook)
        return type("Handle", (), {"remove": lambda _: hooks.remove(hook)})()

    def register_forward_pre_hook(self, hook):
        return self._hook(self.before, hook)

    def register_forward_hook(self, hook):
        return self._hook(self.after, hook)

    def __call__(self, value):
        for hook in self.before:
            hook(self, (value,))
        for child in self.children.values():
            value = child(value)
        for hook in self.after:
            hook(self, (value,), value)
        return value


class Tests(unittest.TestCase):
    def test_frames_of_plain_callables(self):
        with on_the_board() as pace:
            blocks = [pace.wrap(name, lambda x: x + 1) for name in BLOCKS]
            for _ in range(10):
                value = 0
                with pace.frame():
                    for block in blocks:
                        value = block(value)
                self.assertEqual(value, len(BLOCKS))
            stats = pace.stats()
        self.assertEqual((stats.frames, stats.faults, stats.by_daemon), (10, 0, 0))

    def test_a_frame_that_raises_is_ended(self):
        with on_the_board() as pace:
            with self.assertRaises(ZeroDivisionError):
                with pace.frame() as frame:
                    frame.block(0)
                    1 / 0
            with pace.frame() as frame:
                for name in BLOCKS:
                    frame.block(name)
            self.assertEqual(pace.stats().faults, 1)

    def test_errors_have_numbers_and_words(self):
        with self.assertRaises(jetpace.Error) as caught:
            jetpace.Pace(__file__, board="sim:tx2", socket="")
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        with self.assertRaises(jetpace.Error) as caught:
            jetpace.Pace(TABLE, board="sim:orin-nano", socket="")
        self.assertIn(caught.exception.errno, (errno.ESTALE, errno.ENODEV))
        with on_the_board() as pace:
            with self.assertRaises(jetpace.Error) as caught:
                pace.find("no such block")
            self.assertEqual(caught.exception.errno, errno.ENOENT)
        pace.close()

    def test_hooks_of_a_model(self):
        model = Module(**{name: Module() for name in BLOCKS})
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            for _ in range(5):
                model(0)
            self.assertEqual((pace.stats().frames, pace.stats().faults), (5, 0))
        self.assertEqual((model.before, model.after), ([], []))

    def test_a_model_runs_on_where_nobody_follows(self):
        model = Module(**{name: Module() for name in BLOCKS})
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            model(0)
            pace.close()
            with self.assertWarnsRegex(RuntimeWarning, "no longer follows"):
                model(0)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model(0)

    def test_what_a_frame_raises_is_what_is_heard_of(self):
        with on_the_board() as pace:
            with self.assertRaises(ZeroDivisionError), pace.frame():
                pace.close()
                1 / 0

    @unittest.skipUnless(SOCKET, "no daemon")
    def test_the_daemon_serves(self):
        with jetpace.Pace(TABLE, socket=SOCKET) as pace:
            for _ in range(3):
                with pace.frame() as frame:
                    for name in BLOCKS:
                        frame.block(name)
            self.assertEqual(pace.stats().by_daemon, 1)

    @unittest.skipUnless(os.environ.get("JETPACE_TORCH"), "by ./ci.sh torch")
    def test_hooks_of_a_torch_model(self):
        import torch

        model = torch.nn.Sequential()
        for name in BLOCKS:
            model.add_module(name, torch.nn.Linear(8, 8))
        seen = []
        for module in model:
            module.register_forward_pre_hook(lambda *_: seen.append(1))
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace, size=lambda x: x.shape[0]) as attached:
            with torch.inference_mode():
                for _ in range(20):
                    out = model(torch.zeros(4, 8))
            stats = pace.stats()
            print(f"torch {torch.__version__}: {stats.frames} frames, {stats.faults} faults, {stats.switches} switches")
            self.assertEqual(tuple(out.shape), (4, 8))
            self.assertEqual((stats.frames, stats.faults, len(seen)), (20, 0, 20 * len(BLOCKS)))
            attached.remove()
            model(torch.zeros(1, 8))
            self.assertEqual(pace.stats().frames, 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
