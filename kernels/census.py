#!/usr/bin/env python3
"""What the compiler made of the kernels, counted in the SASS and held against census.toml; no GPU is needed.

census.py NVDISASM CUBIN_FOLDER [--print]

Of every kernel with tensor-core products: the innermost loop around them (the whole kernel where the loop is unrolled), its
instructions, those of them in front of the first product, and its products and ldmatrix. sm_72 is left out: nvdisasm 13 does
not know it.
"""
import pathlib
import re
import subprocess
import sys
import tomllib

COUNTED = ("loop", "before", "hmma", "ldsm", "ldgsts")


def kernels(listing):
    """Each kernel's instructions as opcodes, with labels and branches: [(kind, text)]."""
    found, current = {}, None
    for line in listing.splitlines():
        if m := re.match(r"\s*\.section\s+\.text\.(\w+)", line):
            current = found.setdefault(m[1], [])
        elif m := re.match(r"^(\.L_x_\d+):", line):
            current.append(("label", m[1]))
        elif m := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?);", line):
            text = re.sub(r"^@!?U?P[T\d]+\s+", "", m[1].strip())
            current.append(("op", text))
    return found


def census(code):
    """The counts of a kernel's products; None where it has none."""
    at = {text: i for i, (kind, text) in enumerate(code) if kind == "label"}
    loops = []
    for i, (kind, text) in enumerate(code):
        target = re.search(r"BRA.*`\((\.L_x_\d+)\)", text)
        if kind == "op" and target and at.get(target[1], i) < i:
            loops.append(code[at[target[1]] : i + 1])
    with_products = [loop for loop in [*loops, code] if any(text.startswith("HMMA") for _, text in loop)]
    if not with_products:
        return None
    ops = [text.split()[0].split(".")[0] for kind, text in min(with_products, key=len) if kind == "op"]
    ops = [op for op in ops if op != "NOP"]
    return {"loop": len(ops), "before": ops.index("HMMA"), **{op.lower(): ops.count(op) for op in ("HMMA", "LDSM", "LDGSTS")}}


def spilled(code):
    """Instructions on local memory: spilled registers."""
    return sum(text.split()[0].split(".")[0] in ("LDL", "STL") for kind, text in code if kind == "op")


def judge(name, sm, counts, budget):
    """What of a kernel's counts is over its budget."""
    if counts["hmma"] != budget["hmma"]:
        yield f"{sm} {name}: {counts['hmma']} HMMA in the loop, {budget['hmma']} are budgeted: census.toml is out of date"
    for key in ("loop", "before", "ldsm"):
        if counts[key] > budget[key]:
            yield f"{sm} {name}: {key} is {counts[key]}, over its budget of {budget[key]}"


def main():
    nvdisasm, folder = sys.argv[1:3]
    with open(pathlib.Path(__file__).with_name("census.toml"), "rb") as f:
        budgets = tomllib.load(f)
    wrong, seen = [], set()
    for cubin in sorted(pathlib.Path(folder).glob("sm_*/jetpace.cubin"), key=lambda p: int(p.parent.name[3:])):
        sm = cubin.parent.name
        if sm == "sm_72":
            continue
        run = subprocess.run([nvdisasm, "-c", str(cubin)], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"nvdisasm {cubin}: {run.stderr.strip()}")
        for name, code in sorted(kernels(run.stdout).items()):
            if spilled(code):
                wrong.append(f"{sm} {name}: {spilled(code)} instructions on spilled registers")
            counts = census(code)
            if counts is None:
                continue
            seen.add(name)
            if "--print" in sys.argv:
                print(f"{sm:7s} {name:13s}", " ".join(f"{key} {counts[key]:4d}" for key in COUNTED), f" {counts['hmma'] / counts['ldsm']:.1f} HMMA per LDSM")
            if name in budgets:
                wrong += judge(name, sm, counts, budgets[name])
            else:
                wrong.append(f"{sm} {name}: no budget in census.toml")
    wrong += [f"{name}: in census.toml, but in no cubin" for name in sorted(budgets.keys() - seen)]
    print("\n".join(wrong) if wrong else f"census: {len(seen)} kernels within their budgets")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
