"""torch.cuda.nvtx, by hooks on an unmodified model's children, as ranges. Run by `./ci.sh torch`: torch_ranges.py JETPACE."""

import json
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = """
import torch
from torch.cuda import nvtx

model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
for name, child in model.named_children():
    child.register_forward_pre_hook(lambda *_, name=name: nvtx.range_push("child " + name) and None)
    child.register_forward_hook(lambda *_: nvtx.range_pop() and None)
for _ in range(5):
    nvtx.range_push("infer")
    model(torch.zeros(2, 8))
    nvtx.range_pop()
"""

with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "program.py").write_text(PROGRAM)
    line = [str(pathlib.Path(sys.argv[1]).resolve()), "nvtx", "--json", "list.json", "--", sys.executable, "program.py"]
    subprocess.run(line, cwd=folder, check=True, timeout=300)
    document = json.loads((pathlib.Path(folder) / "list.json").read_text())
assert (document["frame"], document["blocks"]) == ("infer", ["child 0", "child 1"]), document
print("torch.cuda.nvtx: ok")
