"""A live board's stand-in for the GPU (docs/OWN-PROGRAM.md): work, and events as CUDA has them."""

import os
import socket


class Gpu:
    """The queue at $JETPACE_GPU; its events are what jetpace.attach and jetpace.profile take as `events`."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ["JETPACE_GPU"])
        self._answers = self._socket.makefile()
        self._marks, self._times = 0, []
        # Events travel with the work behind them: how late this machine sends the one after the other is not the GPU's.
        self._unsent = b""

    def run(self, operations, bytes):
        """Queues work."""
        self._socket.sendall(self._unsent + b"run %d %d\n" % (operations, bytes))
        self._unsent = b""

    def record(self):
        """Queues an event; gives its number."""
        self._unsent += b"event\n"
        self._marks += 1
        return self._marks - 1

    def synchronize(self):
        """Waits until all that is queued has run."""
        self._socket.sendall(self._unsent + b"wait\n")
        self._unsent = b""
        self._times += map(int, self._answers.readline().split())

    def seconds(self, start, end):
        """From one event to another, both of which have passed."""
        return (self._times[end] - self._times[start]) / 1e9
