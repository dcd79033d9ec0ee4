"""The board's energy, read by the daemon: no root is needed."""

from __future__ import annotations

import json
import os
import socket as sockets
import struct
import time
from typing import Any, Dict, Optional

from ._library import Error

# Where the daemon listens.
_SOCKET = "/run/jetpace-clients/jetpace.sock"

_ENERGY = b"JPQ1\x05\0\0\0"
_REPLY = b"JPA1"

# How long to wait for a reading of the rails: R32's average over 430 ms.
_PATIENCE_S = 1.0
_EVERY_S = 0.005

# What of a measurement no reading may cover: an average over R32's 430 ms, and of a longer one this share.
_UNREAD_S, _UNREAD = 0.6, 0.05


class Measurement:
    """What `jetpace.measure` gives. A context manager, for one use; the values are there at its end.

    seconds: how long it took. energy_j, power_w: joules and mean watts meanwhile, of all that ran on the board; None in a
    program that is itself measured by `jetpace calibrate`, and with JETPACE_OFF=1 where no daemon runs. of: whose they are: "module", or "gpu"
    or "gpu-shared" where the board tells no more.
    """

    def __init__(self, socket: Optional[str] = None) -> None:
        self.seconds: Optional[float] = None
        self.energy_j: Optional[float] = None
        self.power_w: Optional[float] = None
        self.of: Optional[str] = None
        self._path = socket or os.environ.get("JETPACE_SOCKET") or _SOCKET
        self._connection: Optional[sockets.socket] = None
        self._before: Dict[str, Any] = {}
        self._started = 0.0

    def __enter__(self) -> Measurement:
        if self.seconds is not None:
            raise RuntimeError("a measurement is for one use: call jetpace.measure() again")
        # Where the program is measured calibration is at the daemon's place.
        if os.environ.get("JETPACE_SWEEP") != "1":
            self._connection = self._connect()
        if self._connection is not None:
            try:
                # The daemon begins to read when it is first asked.
                self._before = self._read(behind=-1.0)
            except BaseException:
                self._connection.close()
                raise
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        if self._connection is None:
            return
        with self._connection:
            if kind is not None:
                return
            after = self._read(behind=self._before["covered_s"])
        covered = after["covered_s"] - self._before["covered_s"]
        if self.seconds - covered > max(_UNREAD_S, _UNREAD * self.seconds):
            what = f"{self._path}: the rails were read for only {covered:.3f} s of {self.seconds:.3f} s"
            raise Error(-5, what)
        self.of = after["of"]
        self.power_w = (after["energy_j"] - self._before["energy_j"]) / covered
        # The rails are read in steps: their mean, over the time that this took.
        self.energy_j = self.power_w * self.seconds

    def _connect(self) -> Optional[sockets.socket]:
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
        connection.settimeout(5.0)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            if os.environ.get("JETPACE_OFF") == "1":
                return None
            what = f"{self._path}: energy is read by jetpace's daemon: `systemctl start jetpace`, or `jetpace serve` as root"
            raise Error(-(error.errno or 0), what) from error
        return connection

    def _read(self, behind: float) -> Dict[str, Any]:
        """A reading that covers more than `behind` seconds."""
        assert self._connection is not None
        until = time.monotonic() + _PATIENCE_S
        while True:
            self._connection.send(_ENERGY)
            packet = self._connection.recv(65536)
            if len(packet) < 8 or packet[:4] != _REPLY:
                raise Error(-104, f"{self._path}: the daemon has gone")
            (errno,) = struct.unpack_from("<i", packet, 4)
            if errno != 0:
                raise Error(-errno, f"{self._path}: {packet[8:].decode(errors='replace')}")
            reading: Dict[str, Any] = json.loads(packet[8:])
            if reading["covered_s"] > behind:
                return reading
            if time.monotonic() > until:
                raise Error(-5, f"{self._path}: the rails have had no new value for {_PATIENCE_S:g} s")
            time.sleep(_EVERY_S)

    def __repr__(self) -> str:
        if self.energy_j is None:
            return f"Measurement(seconds={self.seconds})"
        return f"Measurement({self.seconds:.3f} s, {self.energy_j:.3f} J, {self.power_w:.3f} W, of the {self.of})"


def measure(*, socket: Optional[str] = None) -> Measurement:
    """Measures what the board draws within a `with`, through the daemon: its rails are read as long as someone measures.

        with jetpace.measure() as m:
            infer()
        print(m.energy_j, m.power_w)

    socket: the daemon's; by default $JETPACE_SOCKET or the usual one. Wait for the GPU before the end. Readings come every few
    milliseconds, on L4T R32 every 430, so that measurements of less than a tenth of a second, there of a few, say little.
    Raises jetpace.Error where no daemon runs, this user may not connect, the board has no rails, or they stopped being read.
    """
    return Measurement(socket)
