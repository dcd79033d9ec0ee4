"""What an attacker does to the daemon and a bad day to the state file, by the thousands; prints counts.

    attack.py JETPACE BOARD       BOARD is a recorded board's folder; as root also as another user

Nothing may be lost and nobody locked out: after every kind of attack an honest client is served, and at the end every
node holds its original.
"""

import ctypes
import json
import mmap
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
FUTEX, REQUEUE = {"x86_64": 202, "aarch64": 98}[os.uname().machine], 3
# The page: head, lost, bell, tail, state, figures, slots.
HEAD, BELL, STATE, TAKEN, SLOTS, RING = 0, 128, 256, 320 + 56, 384, 1024


def dial(path):
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(10)
    link.connect(path)
    return link


def status(path):
    with dial(path) as link:
        link.send(b"JPQ1\x02\0\0\0")
        return json.loads(link.recv(1 << 17)[8:])


class Client:
    def __init__(self, path, image=b""):
        self.link = dial(path)
        self.link.send(b"JPQ1\x01\0\0\0" + image)
        answer, rights, _, _ = self.link.recvmsg(1 << 17, socket.CMSG_LEN(4))
        (self.errno,) = struct.unpack("<i", answer[4:8])
        if self.errno:
            raise OSError(self.errno, answer[8:].decode(errors="replace"))
        self.memory = struct.unpack("i", rights[0][2][:4])[0]
        self.page = mmap.mmap(self.memory, os.fstat(self.memory).st_size)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        self.head = 0

    def get(self, offset):
        return int.from_bytes(self.page[offset : offset + 8], "little")

    def post(self, word):
        slot = SLOTS + 16 * (self.head % RING)
        self.page[slot : slot + 16] = struct.pack("<QQ", time.monotonic_ns(), word)
        self.head += 1
        self.page[HEAD : HEAD + 8] = self.head.to_bytes(8, "little")
        self.ring()

    def ring(self):
        self.page[BELL : BELL + 4] = b"\0\0\0\0"
        LIBC.syscall(FUTEX, ctypes.c_void_p(self.at + BELL), 1, 1, None, None, 0)

    def requeue(self):
        LIBC.syscall(FUTEX, ctypes.c_void_p(self.at + BELL), REQUEUE, 0, ctypes.c_void_p(1000),
                     ctypes.c_void_p(self.at + len(self.page) - 8), 0)

    def frame(self, blocks=2):
        self.post(1)
        for block in range(blocks):
            self.post(2 | block << 8 | 1 << 24)
        self.post(3)

    def served(self):
        deadline = time.monotonic() + 10
        while self.get(TAKEN) < self.head and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.get(TAKEN) >= self.head

    def close(self):
        self.link.close()
        os.close(self.memory)


def patient(path, tries=50):
    for _ in range(tries):
        try:
            return Client(path)
        except OSError:
            time.sleep(0.05)
    return Client(path)


def honest(path, after):
    client = patient(path)
    client.frame()
    assert client.served(), f"after {after} an honest client is not served"
    client.close()


class Daemon:
    def __init__(self, jetpace, folder, *options):
        self.socket = f"{folder}/jetpace.sock"
        self.log = open(f"{folder}/log", "wb")
        command = [jetpace, "serve", "--socket", self.socket, *options]
        self.process = subprocess.Popen(command, stderr=self.log)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.pid = status(self.socket)["pid"]
                return
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, "the daemon does not come up"
                time.sleep(0.05)

    def alive(self, what):
        assert self.process.poll() is None, f"{what}: the daemon ended with {self.process.returncode}"

    def stop(self):
        started = time.monotonic()
        self.process.terminate()
        code = self.process.wait(20)
        assert code == 0, f"the daemon ended with {code}"
        return time.monotonic() - started


def handshakes(daemon, count):
    for _ in range(count):
        head = random.choice([b"", b"JPQ1", b"JPQ1\x01\0\0\0", b"JPQ1\x02\0\0\0", b"JPQ1\x03\0\0\0", b"JPT1"])
        with dial(daemon.socket) as link:
            try:
                link.send(head + random.randbytes(random.choice([0, 1, 7, 90, 5000])))
                link.recv(1 << 17)
            except OSError:
                pass
    daemon.alive("handshakes")
    honest(daemon.socket, "handshakes")
    print(f"{count} malformed handshakes: the daemon lives, an honest client is served")


def pages(daemon, count):
    for _ in range(count):
        client = patient(daemon.socket)
        start = random.choice([0, 0, BELL, random.randrange(len(client.page) - 64)])
        noise = random.randbytes(random.choice([8, 64, 4096, len(client.page)]))[: len(client.page) - start]
        client.page[start : start + len(noise)] = noise
        client.ring()
        for _ in range(random.randrange(3)):
            client.requeue()
        client.close()
    daemon.alive("pages")
    honest(daemon.socket, "pages")
    print(f"{count} pages overwritten: the daemon lives, an honest client is served")


def kills(daemon, count):
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                client = patient(daemon.socket)
                while True:
                    client.post(1)
                    client.post(2 | 1 << 24)
                    time.sleep(0.001)
            finally:
                os._exit(1)
        time.sleep(0.01 + random.random() * 0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    deadline = time.monotonic() + 30
    while status(daemon.socket)["clients"] or status(daemon.socket)["clock_hz"] is not None:
        assert time.monotonic() < deadline, "a dead client still counts"
        time.sleep(0.05)
    honest(daemon.socket, "kills")
    print(f"{count} clients killed in the middle of a frame: the clock is the stock governor's")


def floods(daemon, seconds):
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(60)
                os.setuid(54321)
            held = []
            while True:
                try:
                    held.append(dial(daemon.socket))
                    held[-1].send(random.choice([b"x", b"JPQ1\x02\0\0\0", b"JPQ1\x01\0\0\0"]))
                except OSError:
                    pass
                held = held[-200:]
        finally:
            os._exit(1)
    served, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        honest(daemon.socket, "a flood")
        served += 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    daemon.alive("floods")
    size = os.path.getsize(daemon.log.name)
    assert size < 100_000, f"{size} bytes of log"
    print(f"a flood of {seconds} s: {served} honest clients served, none refused for good, {size} bytes of log")


def ends(jetpace, table):
    worst = 0
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(jetpace, folder, "--board", "sim:tx2", "--table", table)
            clients = [Client(daemon.socket) for _ in range(16)]
            child = os.fork()
            if child == 0:
                while True:
                    for client in clients:
                        client.requeue()
            time.sleep(0.5)
            worst = max(worst, daemon.stop())
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert worst < 2, f"SIGTERM took {worst:.1f} s"
    print(f"SIGTERM while 16 clients move the daemon's sleepers: ended within {worst:.2f} s")


def injections(jetpace, board):
    """SIGKILL or an errno at every single write, sync, rename and unlink of a hold and of a restore."""
    calls = ("pwrite64", "write", "fsync", "renameat", "unlinkat")
    with tempfile.TemporaryDirectory() as folder:
        tree = f"{folder}/board"
        shutil.copytree(board, tree, symlinks=True)
        gpu = next(
            path
            for path, _, names in os.walk(f"{tree}/sys/devices")
            if "available_frequencies" in names and "available_governors" in names and "/devfreq/" in path
        )
        os.remove(f"{gpu}/cur_freq")
        os.symlink("max_freq", f"{gpu}/cur_freq")
        names = ("governor", "min_freq", "max_freq")
        original = {name: open(f"{gpu}/{name}").read().split()[0] for name in names}
        clock = open(f"{gpu}/available_frequencies").read().split()[1]

        def reset():
            for name, value in original.items():
                open(f"{gpu}/{name}", "w").write(value + "\n")
            shutil.rmtree(f"{tree}/run", ignore_errors=True)

        def values():
            return {name: (open(f"{gpu}/{name}").read().split() or ["(empty)"])[0] for name in names}

        hold = [jetpace, "hold", "--board", tree, "--clock", clock, "--way", "min-max", "--", "true"]
        restore = [jetpace, "restore", "--board", tree]

        def traced(command, inject=None):
            trace = f"{folder}/trace"
            # Not `-f`: the command's own calls do not count.
            line = ["strace", "-o", trace, "-e", "trace=" + ",".join(calls)]
            done = subprocess.run(line + (["-e", f"inject={inject}"] if inject else []) + command, capture_output=True)
            text = open(trace, errors="replace").read()
            return done, {call: len(re.findall(rf"^{call}\(", text, re.M)) for call in calls}

        def killed():
            reset()
            holder = subprocess.Popen(hold[:-1] + ["sleep", "60"], stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 20
            while values()["min_freq"] != clock or values()["max_freq"] != clock:
                assert time.monotonic() < deadline and holder.poll() is None, values()
                time.sleep(0.01)
            holder.kill()
            holder.wait()

        tried = 0
        for before, command in ((reset, hold), (killed, restore)):
            before()
            _, counted = traced(command)
            for call, count in counted.items():
                for at in range(1, count + 1):
                    for act in ("signal=KILL", "error=EIO", "error=ENOSPC"):
                        before()
                        done, _ = traced(command, f"{call}:{act}:when={at}")
                        again = subprocess.run(restore, capture_output=True)
                        state = os.path.exists(f"{tree}/run/jetpace/state.json")
                        assert values() == original and not state, (
                            f"{command[1]}, {call} {at} {act}: {values()}, {done.stderr}, {again.stderr}"
                        )
                        assert b"panicked" not in done.stderr, done.stderr
                        tried += 1
        print(f"{tried} injections at every write, sync, rename and unlink: every node holds its original")


def main():
    jetpace, board = sys.argv[1:]
    random.seed(int(os.environ.get("JETPACE_SEED", "1")))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for step in (
            ["calibrate", "--board", "sim:tx2", "--net", "alexnet", "-o", f"{folder}/sweep.csv"],
            ["fit", f"{folder}/sweep.csv", "-o", f"{folder}/model.json"],
            ["plan", f"{folder}/model.json", "--deadline", "100ms", "-o", f"{folder}/table.jpt"],
        ):
            subprocess.run([jetpace, *step], check=True, capture_output=True)
        table = f"{folder}/table.jpt"
        group = ["--group", "games"] if os.geteuid() == 0 else []
        daemon = Daemon(jetpace, folder, "--board", "sim:tx2", "--table", table, *group)
        handshakes(daemon, 10_000)
        pages(daemon, 300)
        kills(daemon, 200)
        floods(daemon, 10)
        daemon.stop()
        assert b"panicked" not in open(daemon.log.name, "rb").read()
        ends(jetpace, table)
    injections(jetpace, board)


if __name__ == "__main__":
    main()
