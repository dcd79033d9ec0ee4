"""Kills a client of the daemon 1,000 times at random points: the daemon goes on, and no clock stays raised.

usage: kill.py JETPACE LOOP TABLE SOCKET
"""

import json
import random
import signal
import subprocess
import sys
import time

jetpace, loop, table, socket = sys.argv[1:]
random.seed(1)


def status():
    done = subprocess.run([jetpace, "status", "--json", "--socket", socket], capture_output=True, check=True)
    return json.loads(done.stdout)


served = 0
for n in range(1000):
    client = subprocess.Popen([loop, table, socket])
    # From before its first instruction to far into its frames; a flood ends before that by itself.
    time.sleep(random.choice([0, 0.001, 0.002, 0.004]) * random.random() * 2)
    client.send_signal(signal.SIGKILL)
    client.wait()
    if n % 100 == 0:
        served += sum(client["frames"] for client in status()["clients"])

deadline = time.monotonic() + 60
while True:
    now = status()
    if not now["clients"] and now["clock_hz"] is None:
        break
    assert time.monotonic() < deadline, f"a dead client still counts: {now}"
    time.sleep(0.01)
assert now["writes"] > 0, "no client came as far as a frame"
assert now["write_faults"] == 0, now
print(f"1,000 clients killed; the daemon wrote {now['writes']} times and the GPU is with the stock governor")
