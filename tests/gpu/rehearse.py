#!/usr/bin/env python3
"""Rehearses a bundle on the stub driver:  rehearse.py BUNDLE STUB_FOLDER

torch is faked. One network's check is killed, another one's hangs, a kernel of it hangs in the launcher, and the rest has to
be found out all the same, each as soon as it is known.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def still_running(text):
    """Whether a process of this command line is left."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                return True
        except OSError:
            continue
    return False


def main():
    bundle, stub = (pathlib.Path(word).resolve() for word in sys.argv[1:])
    out = pathlib.Path(tempfile.mkdtemp())
    env = dict(os.environ, OUT=str(out), PYTHONPATH=str(HERE / "fake"), LD_LIBRARY_PATH=str(stub), JP_STUB_HANG="stem_11x11",
               JP_FAKE_TORCH="check vgg19-32=kill,check alexnet=hang")
    command = [str(bundle / "run.sh"), "--check-only", "--nets", "vgg19-32,alexnet", "--deadline", "check alexnet=3",
               "--deadline", "launcher alexnet=5", "--deadline", "launcher vgg19-32=300", "--limit", "600"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    print(run.stdout, run.stderr)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    ended = {line["step"]: line["ended"] for line in lines if "ended" in line}
    wanted = {
        "check vgg19-32": "killed by signal 9",
        "check alexnet": "killed after",
        "every tile": "exit code 1",  # the fake torch cannot
        "launcher vgg19-32": "right: vgg19-32 at batch 1",
        "launcher alexnet": "killed after",
    }
    wrong = [f"{step}: {ended.get(step)}, want {how}" for step, how in wanted.items() if not str(ended.get(step)).startswith(how)]
    if ended.keys() != wanted.keys():
        wrong.append(f"steps {list(ended)}")
    if run.returncode != 1:
        wrong.append(f"exit code {run.returncode}, want 1")
    if lines[0].get("machine", {}).get("gpu") != "no GPU":
        wrong.append(f"the machine does not come first: {lines[0]}")
    if "launcher alexnet: killed after" not in (out / "results.md").read_text():
        wrong.append("results.md does not say what was killed")
    if still_running(f"{bundle / 'bin' / 'check'} alexnet"):
        wrong.append("the launcher with the kernel that hangs is still running")
    print("\n".join(wrong) or "rehearsal: as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
