"""The Python package with PyTorch itself. Run by `./ci.sh torch`, in the environment of test_jetpace.py."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import jetpace
import torch

TABLE, BLOCKS = os.environ["JETPACE_TABLE"], os.environ["JETPACE_BLOCKS"].split(",")


def on_the_board():
    return jetpace.Pace(TABLE, board="sim:tx2", socket="")


def net():
    model = torch.nn.Sequential()
    for name in BLOCKS:
        model.add_module(name, torch.nn.Linear(8, 8))
    return model.eval()


class Tests(unittest.TestCase):
    def test_hooks_of_a_model(self):
        model, seen = net(), []
        for module in model:
            module.register_forward_pre_hook(lambda *_: seen.append(1))
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace, size=lambda x: x.shape[0]) as attached:
            with torch.inference_mode():
                for _ in range(20):
                    out = model(torch.zeros(4, 8))
            print(f"torch {torch.__version__}: {pace.stats()}")
            self.assertEqual(tuple(out.shape), (4, 8))
            self.assertEqual((pace.stats().frames, pace.stats().faults, len(seen)), (20, 0, 20 * len(BLOCKS)))
            attached.remove()
            model(torch.zeros(1, 8))
            self.assertEqual(pace.stats().frames, 20)

    def test_inputs_by_keyword_and_a_forward_that_raises(self):
        class Keywords(torch.nn.Module):
            def __init__(self):
                super().__init__()
                for name in BLOCKS:
                    self.add_module(name, torch.nn.Linear(8, 8))

            def forward(self, *, x):
                for name in BLOCKS:
                    x = getattr(self, name)(input=x)
                return x

        sizes = []
        model = Keywords()
        of = lambda *, input: sizes.append(input.shape[0]) or input.shape[0]
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace, size=of):
            model(x=torch.zeros(2, 8))
            with self.assertRaises(RuntimeError):
                model(x=torch.zeros(2, 9))
            model(x=torch.zeros(2, 8))
            self.assertEqual((pace.stats().frames, pace.stats().faults), (3, 1))
        self.assertEqual(sizes, [2] * (2 * len(BLOCKS) + 1))

    def test_what_has_no_boundaries_is_refused(self):
        x = torch.zeros(1, 8)
        in_place = net()
        in_place.compile(backend="eager")
        whole = torch.export.export(net(), (x,))
        refused = {
            "compiled; ": torch.compile(net(), backend="eager"),
            "is compiled; ": in_place,
            "scripted or traced": torch.jit.trace(net(), x),
            "an exported program": whole,
            "exported to one graph": whole.module(),
        }
        for said, model in refused.items():
            with self.assertRaisesRegex(TypeError, said) as caught:
                jetpace.attach(model, BLOCKS)
            self.assertRegex(str(caught.exception), "block by block|Attach to the nn.Module")
        traced = torch.fx.symbolic_trace(net())
        with on_the_board() as pace, jetpace.attach(traced, BLOCKS, pace):
            traced(x)
            self.assertEqual((pace.stats().frames, pace.stats().faults), (1, 0))

    def test_blocks_compiled_one_by_one_keep_their_boundaries(self):
        model, x = net(), torch.zeros(1, 8)
        expected = model(x)
        for name in BLOCKS:
            setattr(model, name, torch.compile(getattr(model, name), backend="eager", fullgraph=True))
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            for _ in range(3):
                got = model(x)
            self.assertEqual((pace.stats().frames, pace.stats().faults), (3, 0))
        self.assertTrue(torch.equal(got, expected))

    def test_a_call_of_forward_is_warned_of(self):
        model = net()
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            with self.assertWarnsRegex(RuntimeWarning, "not as model.forward"):
                model.forward(torch.zeros(1, 8))
            self.assertEqual(pace.stats().frames, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
