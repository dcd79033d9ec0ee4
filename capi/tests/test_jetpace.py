"""The Python package on a virtual board, with plain callables and with a stand-in for a PyTorch model.

Run by capi/check.sh, which sets JETPACE_LIBRARY, JETPACE_TABLE (of sim:tx2) and JETPACE_SOCKET (a daemon's).
"""

import errno
import json
import os
import socket
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import jetpace
import jetpace.generation
from fakes import Module

TABLE, SOCKET = os.environ["JETPACE_TABLE"], os.environ.get("JETPACE_SOCKET")
BLOCKS = os.environ["JETPACE_BLOCKS"].split(",")


def on_the_board():
    return jetpace.Pace(TABLE, board="sim:tx2", socket="")


class Tokens:
    """What is used of a tensor of tokens."""

    def __init__(self, count):
        self.shape = (1, count)


class Cache:
    def __init__(self, length=0):
        self.length = length

    def get_seq_length(self):
        return self.length


class Recorder:
    """A pace that writes down what it is told."""

    def __init__(self, log, table, measured=False):
        self.log, self.table, self.measured, self.repeats = log, table, measured, 2 * measured

    def find(self, name):
        return name

    def frame_start(self):
        self.log.append(f"{self.table}:")

    def block(self, name, size):
        self.log.append(f"{name} {size}")

    def again(self, _name):
        self.repeats -= 1
        return self.repeats >= 0

    def size(self, own):
        return 2 * own if self.measured else own

    def frame_end(self):
        self.log.append("end")

    def is_measured(self):
        return self.measured

    def close(self):
        self.log.append("closed")


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

    def test_counts_are_told_in_words(self):
        with on_the_board() as pace:
            with pace.frame() as frame:
                for name in BLOCKS:
                    frame.block(name)
            said = repr(pace.stats())
        self.assertRegex(said, r"^Stats\(following, .*frames=1, missed=0, switches=\d+, faults=0\)$")

    def test_hooks_see_inputs_by_keyword(self):
        model = Module(**{name: Module(lambda value: value) for name in BLOCKS})
        sizes = []
        of = lambda *args, **kwargs: sizes.append((args, kwargs)) or 1
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace, size=of):
            model(value=4)
            model(5)
        self.assertEqual(sizes, [((), {"value": 4})] * len(BLOCKS) + [((5,), {})] * len(BLOCKS))

    def test_a_model_that_raises_has_ended_its_frame(self):
        model = Module(**{name: Module() for name in BLOCKS[:-1]}, **{BLOCKS[-1]: Module(lambda value: 1 / value)})
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            with self.assertRaises(ZeroDivisionError):
                model(0)
            model(1)
            self.assertEqual((pace.stats().frames, pace.stats().faults), (2, 0))

    def test_a_name_that_is_none_is_told_with_the_nearest(self):
        inner = Module(stage1=Module(), stage2=Module())
        model = Module(stem=Module(), body=inner)
        for blocks, said in [
            (["steem"], "'steem'; nearest are: stem"),
            (["body.stage3"], "nearest are: body.stage"),
            (["qqqqq"], "there are: stem, body, body.stage1, body.stage2"),
            (["stem", "stem"], "'stem' comes twice"),
            ({"stem": "a", "body": "a"}, "block 'a' comes twice"),
            ([], "one block or more"),
        ]:
            with self.assertRaisesRegex(ValueError, said):
                jetpace.attach(model, blocks)
        with self.assertRaisesRegex(TypeError, "list of names"):
            jetpace.attach(model, "stem")

    def test_models_without_boundaries_are_refused_with_what_to_do(self):
        def compiled(**children):
            module = Module(**children)
            module._orig_mod = Module()
            return module

        in_place = Module()
        in_place._compiled_call_impl = lambda: None
        exported = type("ExportedProgram", (), {"graph_module": None, "module": None})()
        for model, block, said in [
            (compiled(stem=Module()), "stem", "compile block by block instead"),
            (Module(stem=compiled(inner=Module())), "stem.inner", "within 'stem', which is compiled"),
            (Module(stem=in_place), "stem", "model.stem = torch.compile"),
            (exported, "stem", "exported program: it calls no submodules. Attach to the nn.Module"),
            (lambda x: x, "stem", "tell its blocks by Pace.run"),
        ]:
            with self.assertRaisesRegex(TypeError, said):
                jetpace.attach(model, [block])

    def test_a_block_that_is_compiled_for_itself_has_its_boundary(self):
        wrapped = Module()
        wrapped._orig_mod = Module()
        model = Module(**{name: Module() for name in BLOCKS[1:]}, **{BLOCKS[0]: wrapped})
        model.children = {name: model.children[name] for name in BLOCKS}
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            model(0)
            self.assertEqual((pace.stats().frames, pace.stats().faults), (1, 0))

    def test_blocks_that_never_come_are_warned_of(self):
        model = Module(**{name: Module() for name in BLOCKS})
        with on_the_board() as pace, jetpace.attach(model, BLOCKS, pace):
            children, model.children = model.children, {}
            with self.assertWarnsRegex(RuntimeWarning, "none of the blocks .* compiled"):
                model(0)
            with self.assertWarnsRegex(RuntimeWarning, r"not as model.forward\(x\)"):
                children[BLOCKS[0]](0)

    def test_decorated_functions_are_frames_and_blocks(self):
        with on_the_board() as pace:

            @jetpace.frame(pace, block=None)
            def infer(value):
                for name in BLOCKS:
                    value = jetpace.block(name, pace)(lambda x: x + 1)(value)
                return value

            @jetpace.frame(pace, block=BLOCKS[0])
            def whole(value):
                """What it does."""
                return 2 * value

            self.assertEqual((infer(0), pace.stats().frames, pace.stats().faults), (len(BLOCKS), 1, 0))
            self.assertEqual((whole(3), whole.__doc__, pace.stats().frames), (6, "What it does.", 2))

    def test_energy_of_rails_that_stopped_is_no_energy(self):
        """A daemon whose rails are read for a tenth of a second and then no more."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sock")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(path)
                listener.listen()

                def serve():
                    connection = listener.accept()[0]
                    covered = 0.0
                    with connection:
                        while connection.recv(64):
                            covered = min(0.1, covered + 0.05)
                            reading = {"covered_s": covered, "energy_j": 5 * covered, "of": "module"}
                            connection.send(b"JPA1" + bytes(4) + json.dumps(reading).encode())

                server = threading.Thread(target=serve)
                server.start()
                with self.assertRaisesRegex(jetpace.Error, "the rails were read for only 0.050 s of 0.7"):
                    with jetpace.measure(socket=path):
                        time.sleep(0.7)
                server.join()

    def test_a_profile_without_a_table_says_how_to_measure(self):
        model = Module(stem=Module())
        environment = {**os.environ, "JETPACE_SOCKET": "/nonexistent/socket"}
        environment.pop("JETPACE_TABLE")
        with unittest.mock.patch.dict(os.environ, environment, clear=True):
            with self.assertRaisesRegex(RuntimeError, "calibrate --cmd 'python3 .* --model net --sizes 1,4 -o net.csv"):
                jetpace.profile(model, ["stem"], name="net", sizes=[4, 1])
        with self.assertRaisesRegex(ValueError, "from 1 up"):
            jetpace.profile(model, ["stem"], sizes=[0])
        with self.assertRaisesRegex(ValueError, "nearest are: stem"):
            jetpace.profile(model, ["stm"])

    def test_a_language_model_has_two_tables(self):
        log, cache = [], Cache()

        def forward(input_ids, cache, fails=False):
            cache.length += input_ids.shape[1]
            log.append(f"to {cache.length}")
            return 1 // (not fails)

        def generate(model, prompt, answer):
            model(input_ids=Tokens(prompt), cache=cache)
            for _ in range(answer - 1):
                model(input_ids=Tokens(1), cache=cache)

        def paced(measured=False, **environment):
            made = lambda table, socket: Recorder(log, table, measured)
            with unittest.mock.patch.multiple(jetpace.generation, Pace=made):
                with unittest.mock.patch.dict(os.environ, environment):
                    yield Module(forward)

        for model in paced():
            with jetpace.phases(model, prefill="p", decode="d") as phases:
                self.assertEqual(phases.prompt(32), 32)
                generate(model, 32, 2)
                with self.assertRaises(ZeroDivisionError):
                    model(input_ids=Tokens(1), cache=cache, fails=True)
            self.assertEqual(
                " ".join(log),
                "p: prefill 32 to 32 end d: decode 1 to 33 end d: decode 1 to 34 end closed closed",
            )
            del log[:]
            with jetpace.phases(model, decode="d"):
                generate(model, 8, 2)
            self.assertEqual(" ".join(log), "to 42 d: decode 1 to 43 end closed")
            with self.assertRaisesRegex(ValueError, "name the table"):
                jetpace.phases(model)
            self.assertEqual((model.before, model.after), ([], []))

        del log[:]
        cache.length = 0
        for model in paced(True, JETPACE_SWEEP="1", JETPACE_PHASE="prefill"):
            with jetpace.phases(model, prefill="p", decode="d") as phases:
                generate(model, phases.prompt(16), 2)
            # Repeats leave the cache as it is.
            said = "p: prefill 32 to 32 to 64 to 64 end to 33 closed"
            self.assertEqual(" ".join(log), said)
        for model in paced(True, JETPACE_SWEEP="1"):
            with self.assertRaisesRegex(ValueError, "say which phase is measured: --cmd 'JETPACE_PHASE=prefill"):
                jetpace.phases(model, prefill="p")

    @unittest.skipUnless(SOCKET, "no daemon")
    def test_a_profile_follows_a_table(self):
        model = Module(**{name: Module() for name in BLOCKS})
        sizes = []
        with jetpace.profile(model, BLOCKS, "net", [1, 4]) as profile:
            profile.frames(lambda size: sizes.append(size) or model(0), 5)
            with self.assertRaisesRegex(ValueError, "size 3, .*sizes=.1,4."):
                profile.frames(lambda _: None, 1, size=3)
            with self.assertRaises(ZeroDivisionError):
                profile.frames(lambda _: 1 / 0, 1)
            self.assertEqual((sizes, profile.stats().frames), ([1] * 5, 6))
        self.assertEqual((model.children[BLOCKS[0]].before, model.before), ([], []))


if __name__ == "__main__":
    unittest.main(verbosity=2)
