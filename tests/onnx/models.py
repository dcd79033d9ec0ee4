"""ResNet-18, -34 and -50, VGG-11 and -16, AlexNet and SqueezeNet 1.1 as ONNX models with random weights, for small images."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    def __init__(self, side, seed=1):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0
        self.side, self.channels = side, 3
        self.flat = None

    def constant(self, array):
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op, inputs, **attributes):
        self.count += 1
        output = f"{op.lower()}{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, outputs, kernel, stride=1, pad=0, norm=False, gain=1.4, groups=1):
        inputs = self.channels
        sd = gain / np.sqrt(inputs / groups * kernel * kernel)
        weights = [x, self.constant(self.random.normal(0, sd, (outputs, inputs // groups, kernel, kernel)))]
        if not norm:
            weights.append(self.constant(self.random.normal(0, 0.1, outputs)))
        self.channels = outputs
        y = self.node("Conv", weights, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups)
        if norm:
            around = [self.random.uniform(0.8, 1.2, outputs), self.random.normal(0, 0.1, outputs),
                      self.random.normal(0, 0.1, outputs), self.random.uniform(0.8, 1.2, outputs)]
            y = self.node("BatchNormalization", [y, *map(self.constant, around)], epsilon=1e-5)
        return y

    def relu(self, x):
        return self.node("Relu", [x])

    def max(self, x, window, stride, pad=0, ceil=0):
        return self.node("MaxPool", [x], kernel_shape=[window] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)

    def gemm(self, x, inputs, outputs):
        weight = self.random.normal(0, 1.4 / np.sqrt(inputs), (outputs, inputs))
        return self.node("Gemm", [x, self.constant(weight), self.constant(self.random.normal(0, 0.1, outputs))], transB=1)

    def model(self, output, classes):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, self.side, self.side])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, classes])
        graph = helper.make_graph(self.nodes, "model", [image], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def resnet(units, bottleneck, side=64):
    b = Builder(side)
    x = b.max(b.relu(b.conv("image", 64, 7, 2, 3, norm=True)), 3, 2, 1)
    for stage, count in enumerate(units):
        inner = 64 << stage
        for unit in range(count):
            before, stride = (x, b.channels), 2 if stage and not unit else 1
            if bottleneck:
                y = b.relu(b.conv(x, inner, 1, norm=True))
                y = b.relu(b.conv(y, inner, 3, stride, 1, norm=True))
                y = b.conv(y, 4 * inner, 1, norm=True, gain=0.3)
            else:
                y = b.relu(b.conv(x, inner, 3, stride, 1, norm=True))
                y = b.conv(y, inner, 3, 1, 1, norm=True, gain=0.3)
            outputs = b.channels
            shortcut = before[0]
            if before[1] != outputs or stride > 1:
                b.channels = before[1]
                shortcut = b.conv(before[0], outputs, 1, stride, norm=True, gain=1.0)
            x = b.relu(b.node("Add", [y, shortcut]))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x])])
    return b.model(b.gemm(x, b.channels, 1000), 1000)


def vgg(plan, side=32):
    b = Builder(side)
    x, s = "image", side
    for step in plan:
        if step == "M":
            x, s = b.max(x, 2, 2), s // 2
        else:
            x = b.relu(b.conv(x, step, 3, 1, 1))
    x = b.node("Flatten", [x])
    x = b.relu(b.gemm(x, b.channels * s * s, 512))
    return b.model(b.gemm(x, 512, 10), 10)


def alexnet(side=95):
    b = Builder(side)
    x = b.max(b.relu(b.conv("image", 64, 11, 4, 2)), 3, 2)
    x = b.max(b.relu(b.conv(x, 192, 5, 1, 2)), 3, 2)
    x = b.relu(b.conv(x, 384, 3, 1, 1))
    x = b.relu(b.conv(x, 256, 3, 1, 1, groups=2))
    x = b.max(b.relu(b.conv(x, 256, 3, 1, 1)), 3, 2)
    x = b.node("Flatten", [b.node("Dropout", [x])])
    x = b.relu(b.gemm(x, 256 * 4, 1024))
    return b.model(b.gemm(x, 1024, 1000), 1000)


def squeezenet(side=63):
    b = Builder(side)
    x = b.max(b.relu(b.conv("image", 64, 3, 2)), 3, 2, ceil=1)
    for fire, (squeeze, expand) in enumerate([(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]):
        if fire in (2, 4):
            x = b.max(x, 3, 2, ceil=1)
        s = b.relu(b.conv(x, squeeze, 1))
        ways = []
        for kernel, pad in ((1, 0), (3, 1)):
            b.channels = squeeze
            ways.append(b.relu(b.conv(s, expand, kernel, 1, pad)))
        x, b.channels = b.node("Concat", ways, axis=1), 2 * expand
    x = b.relu(b.conv(x, 1000, 1))
    return b.model(b.node("Flatten", [b.node("GlobalAveragePool", [x])]), 1000)


VGG11 = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
MODELS = {
    "resnet18": lambda: resnet([2, 2, 2, 2], False),
    "resnet34": lambda: resnet([3, 4, 6, 3], False),
    "resnet50": lambda: resnet([3, 4, 6, 3], True),
    "vgg11": lambda: vgg(VGG11),
    "vgg16": lambda: vgg(VGG16),
    "alexnet": alexnet,
    "squeezenet": squeezenet,
}
