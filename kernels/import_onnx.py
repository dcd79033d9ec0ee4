#!/usr/bin/env python3
"""Turns an ONNX model into a network for jetpace's kernels:  import_onnx.py MODEL.onnx OUT

Leaves OUT.json (blocks of layers) and OUT.layers.safetensors (their weights, batch norms folded in), which the example `pack`
makes a launch plan of. PLANS.md says what can be imported; what cannot is listed, all of it. Needs onnx and numpy.
"""
import collections
import json
import math
import sys

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

PASSED = {"Flatten", "Reshape", "Dropout", "Identity"}
LAYERS = {"Conv", "Gemm"}
BEHIND = {"BatchNormalization", "Relu", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Concat"}
STEMS = {1: 3, 2: 7, 4: 11}  # stride: side of the compiled filter
STEM_CHANNELS, ALIGN, LARGEST_KERNEL = 64, 8, 5


class Missing(Exception):
    """What the kernels have not."""


def up(n, multiple):
    return math.ceil(n / multiple) * multiple


class Model:
    """The graph, with its constants and who reads what."""

    def __init__(self, model):
        graph = shape_inference.infer_shapes(model).graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.nodes = [n for n in graph.node if n.op_type != "Constant"]
        values = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.readers = collections.defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        inputs = [i.name for i in graph.input if i.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise Missing(f"{len(inputs)} inputs and {len(graph.output)} outputs; one of each can be imported")
        self.input, self.output = inputs[0], graph.output[0].name

    def side(self, name):
        shape = self.shapes.get(name, [])
        if len(shape) != 4 or shape[2] != shape[3] or shape[2] == 0:
            raise Missing(f"{name} has shape {shape}; only square images of a known size can be imported")
        return shape[2]

    def only(self, name):
        """The one reader of a tensor, or None."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 else None


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def one(node, name, values):
    """An attribute that must be the same in every direction."""
    if len(set(values)) > 1:
        raise Missing(f"{node.op_type} {node.name or node.output[0]}: {name} {list(values)}")
    return values[0]


def where(node):
    return f"{node.op_type} {node.name or node.output[0]}"


class Importer:
    def __init__(self, model):
        self.model, self.blocks, self.weights, self.names = model, [], [], set()

    # A layer: its op as jetpace names it, and its weights. Channels are padded with zeros where kernels want multiples.
    def conv(self, nodes, stored):
        """A convolution, or several whose outputs are concatenated, on an input stored in so many channels."""
        parts, norms = [], []
        for node, norm in nodes:
            parts.append(self.filters(node))
            norms.append(norm)
        stride = one(nodes[0][0], "strides of joined convolutions", [p["stride"] for p in parts])
        first = stored is None  # the image
        kernel = max(p["kernel"] for p in parts)
        # The same output from a larger filter with zeros around.
        if first:
            kernel = STEMS.get(stride, 0)
        if any((kernel - p["kernel"]) % 2 or p["kernel"] > kernel for p in parts) or (not first and kernel > LARGEST_KERNEL):
            sides = [p["kernel"] for p in parts]
            raise Missing(f"{where(nodes[0][0])}: a filter of {sides} at stride {stride}" + (" on the image" if first else ""))
        pads = {p["pad"] + (kernel - p["kernel"]) // 2 for p in parts}
        if len(pads) > 1:
            raise Missing(f"{where(nodes[0][0])}: joined convolutions with different borders")
        weights, biases = [], []
        for part, norm in zip(parts, norms):
            w, b = part["weight"], part["bias"]
            if norm is not None:
                gamma, beta, mean, var = (self.model.constants[name] for name in norm.input[1:5])
                scale = gamma / np.sqrt(var + attributes(norm).get("epsilon", 1e-5))
                w, b = w * scale[:, None, None, None], beta + (b - mean) * scale
            around = (kernel - part["kernel"]) // 2
            weights.append(np.pad(w, ((0, 0), (0, 0), (around, around), (around, around))))
            biases.append(b)
        w, b = np.concatenate(weights), np.concatenate(biases)
        channels = 3 if first else stored
        if first and w.shape[1] != 3:
            raise Missing(f"{where(nodes[0][0])}: an image of {w.shape[1]} channels; 3 can be imported")
        outputs = up(len(b), STEM_CHANNELS if first else ALIGN)
        w = np.pad(w, ((0, outputs - len(b)), (0, channels - w.shape[1]), (0, 0), (0, 0)))
        side = self.model.side(nodes[0][0].input[0])
        op = {"inputs": channels, "outputs": outputs, "kernel": kernel, "stride": stride, "pad": pads.pop(), "side": side,
              "relu": False, "residual": False, "pool": None}
        return op, (w, np.pad(b, (0, outputs - len(b))))

    def filters(self, node):
        a = attributes(node)
        weight = self.model.constants[node.input[1]].astype(np.float32)
        bias = self.model.constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        if set(a.get("dilations", [1])) != {1}:
            raise Missing(f"{where(node)}: dilation {list(a['dilations'])}")
        if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise Missing(f"{where(node)}: auto_pad {a['auto_pad'].decode()}")
        kernel = one(node, "a filter of sides", weight.shape[2:])
        groups = a.get("group", 1)
        if groups > 1:  # as a dense one, with zeros between the groups
            outputs, inner = len(weight) // groups, weight.shape[1]
            dense = np.zeros((len(weight), inner * groups, kernel, kernel), np.float32)
            for g in range(groups):
                rows = slice(g * outputs, (g + 1) * outputs)
                dense[rows, g * inner : (g + 1) * inner] = weight[rows]
            weight = dense
        return {"weight": weight, "bias": bias, "kernel": kernel, "stride": one(node, "strides", a.get("strides", [1, 1])),
                "pad": one(node, "pads", a.get("pads", [0, 0, 0, 0]))}

    def norm_behind(self, name):
        """The batch norm that alone reads a tensor, and what it leaves."""
        node = self.model.only(name)
        if node is not None and node.op_type == "BatchNormalization":
            return node, node.output[0]
        return None, name

    def pool_of(self, node):
        """jetpace's pooling of a node; None where it does nothing."""
        a, side = attributes(node), self.model.side(node.input[0])
        if node.op_type == "GlobalAveragePool":
            return "global_average"
        if node.op_type == "ReduceMean":
            axes = a.get("axes") or (self.model.constants[node.input[1]].tolist() if len(node.input) > 1 else [])
            if sorted(int(x) % 4 for x in axes) != [2, 3]:
                raise Missing(f"{where(node)}: a mean over {list(axes)}")
            return "global_average"
        window = one(node, "a window of sides", a["kernel_shape"])
        stride, pad = one(node, "strides", a.get("strides", [1, 1])), one(node, "pads", a.get("pads", [0, 0, 0, 0]))
        if node.op_type == "AveragePool":
            if (window, stride, pad) == (1, 1, 0):
                return None
            if window == side and pad == 0:
                return "global_average"
            raise Missing(f"{where(node)}: an average of {window} by {stride} that is not the whole image's")
        if a.get("ceil_mode", 0) and (side + 2 * pad - window) % stride:
            raise Missing(f"{where(node)}: ceil_mode on a side of {side}")
        return {"max": {"window": window, "stride": stride, "pad": pad}}

    def finish(self, op, name):
        """Rectifier and pooling behind a layer; what is left of the way."""
        while (node := self.model.only(name)) is not None:
            if node.op_type == "Relu" and not op["relu"] and op.get("pool") is None:
                op["relu"] = True
            elif node.op_type in ("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean") and op.get("pool") is None and "pool" in op:
                op["pool"] = self.pool_of(node)
            elif node.op_type not in PASSED:
                break
            name = node.output[0]
        return name

    def add(self, block, kind, op, weights):
        block["ops"].append({kind: op})
        self.weights.append(weights)

    def block(self, node):
        name = (node.name or node.output[0]).strip("/").replace("/", ".") or "layer"
        name = name if name not in self.names else f"{name}.{len(self.blocks)}"
        self.names.add(name)
        self.blocks.append({"name": name, "ops": []})
        return self.blocks[-1]

    # Ways through the graph.
    def run(self):
        name, stored = self.model.input, None
        while name != self.model.output:
            readers = self.model.readers[name]
            kinds = [node.op_type for node in readers]
            if kinds == ["Conv"]:
                name, stored = self.single(readers[0], stored)
            elif kinds == ["Gemm"]:
                name, stored = self.linear(readers[0], stored)
            elif kinds == ["Conv", "Conv"] and (joined := self.joined(readers)):
                name, stored = self.concatenated(readers, joined, stored)
            elif len(readers) == 2 and set(kinds) <= {"Conv", "Add"}:
                name, stored = self.unit(name, readers, stored)
            else:
                raise Missing(f"{name} is read by {', '.join(map(where, readers)) or 'nobody'}")
        return self

    def single(self, node, stored):
        norm, name = self.norm_behind(node.output[0])
        op, weights = self.conv([(node, norm)], stored)
        name = self.finish(op, name)
        self.add(self.block(node), "conv", op, weights)
        return name, op["outputs"]

    def linear(self, node, stored):
        a = attributes(node)
        weight = self.model.constants[node.input[1]].astype(np.float32)
        weight = weight if a.get("transB", 0) else weight.T
        bias = self.model.constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        if a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0 or a.get("transA", 0):
            raise Missing(f"{where(node)}: alpha, beta or transA")
        if stored is not None and weight.shape[1] % stored:
            raise Missing(f"{where(node)}: {weight.shape[1]} inputs of {stored} stored channels")
        op = {"inputs": weight.shape[1], "outputs": len(weight), "relu": False}
        name = self.finish(op, node.output[0])
        self.add(self.block(node), "linear", op, (weight, bias))
        return name, len(weight)

    def joined(self, readers):
        """The concatenation in which two convolutions end, each rectified."""
        ends = [self.model.only(node.output[0]) for node in readers]
        if any(end is None or end.op_type != "Relu" for end in ends):
            return None
        concats = [self.model.only(end.output[0]) for end in ends]
        same = concats[0] is not None and concats[0] is concats[1] and concats[0].op_type == "Concat"
        return concats[0] if same else None

    def concatenated(self, readers, concat, stored):
        order = sorted(readers, key=lambda node: list(concat.input).index(self.model.only(node.output[0]).output[0]))
        if attributes(concat)["axis"] != 1:
            raise Missing(f"{where(concat)}: axis {attributes(concat)['axis']}")
        op, weights = self.conv([(node, None) for node in order], stored)
        op["relu"] = True
        name = self.finish(op, concat.output[0])
        self.add(self.block(order[0]), "conv", op, weights)
        return name, op["outputs"]

    def way(self, node):
        """The convolutions from a node to an addition: [(conv, norm, rectified)], the addition."""
        found = []
        while node is not None and node.op_type == "Conv":
            norm, name = self.norm_behind(node.output[0])
            behind = self.model.only(name)
            rectified = behind is not None and behind.op_type == "Relu"
            found.append((node, norm, rectified))
            node = self.model.only(behind.output[0]) if rectified else behind
        return found, node

    def unit(self, name, readers, stored):
        """A residual unit: ways of convolutions that are added, one of them short or empty."""
        ways = [self.way(node) for node in readers if node.op_type == "Conv"]
        ends = [end for _, end in ways] + [node for node in readers if node.op_type == "Add"]
        if any(end is None or end.op_type != "Add" or end is not ends[0] for end in ends):
            raise Missing(f"the ways behind {name} do not meet in an Add")
        ways.sort(key=lambda way: len(way[0]))
        short = ways[0][0] if len(ways) == 2 else []
        main = ways[-1][0]
        if len(short) > 1 or any(rectified for *_, rectified in short) or main[-1][2]:
            raise Missing(f"{where(ends[0])}: a shortcut of {len(short)} convolutions, or a rectifier before the addition")
        if stored is None:
            raise Missing(f"{where(ends[0])}: a residual unit on the image")
        block, inner = self.block(main[0][0]), stored
        for node, norm, rectified in main[:-1]:
            op, weights = self.conv([(node, norm)], inner)
            op["relu"], inner = rectified, op["outputs"]
            self.add(block, "conv", op, weights)
        for node, norm, _ in short:
            self.add(block, "shortcut", *self.conv([(node, norm)], stored))
        op, weights = self.conv([main[-1][:2]], inner)
        op["residual"] = True
        name = self.finish(op, ends[0].output[0])
        self.add(block, "conv", op, weights)
        return name, op["outputs"]


def write_safetensors(path, tensors):
    """{name: array} in fp32."""
    header, at = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + 4 * array.size]}
        at += 4 * array.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            f.write(np.ascontiguousarray(array, "<f4").tobytes())


def unknown(model):
    """Operators that nothing here serves, with how often they come."""
    counts = collections.Counter(n.op_type for n in model.nodes if n.op_type not in PASSED | LAYERS | BEHIND)
    return [f"{op} ({count} of {len(model.nodes)} nodes)" for op, count in counts.most_common()]


def main():
    if len(sys.argv) != 3:
        print("usage: import_onnx.py MODEL.onnx OUT", file=sys.stderr)
        return 2
    path, out = sys.argv[1:]
    try:
        model = Model(onnx.load(path))
        if missing := unknown(model):
            raise Missing("no kernel for " + ", ".join(missing))
        imported = Importer(model).run()
    except Missing as e:
        print(f"{path}: {e}", file=sys.stderr)
        return 3
    with open(out + ".json", "w") as f:
        json.dump(imported.blocks, f, indent=1)
    tensors = {}
    for i, (weight, bias) in enumerate(imported.weights):
        tensors[f"layer{i}.weight"], tensors[f"layer{i}.bias"] = weight, bias
    write_safetensors(out + ".layers.safetensors", tensors)
    print(f"{path}: {len(imported.blocks)} blocks, {len(imported.weights)} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
