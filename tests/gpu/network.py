"""The networks as torch modules, their layers with batch norm folded in, and launch plans that run on either side."""
import torch
import torch.nn.functional as F

import driver

NAMES = ["alexnet", "vgg19", "resnet152", "vgg19-32", "resnet152-32"]
STEM_ROW = {3: 16, 7: 32, 11: 48}  # JP_STEM_*_ROW
CONV_INTS = "batch height width channels out_height out_width out_channels kernel stride pad relu pool2 splits".split()
POOL_INTS = "batch height width channels out_height out_width window stride pad".split()
LINEAR_INTS = "inputs outputs relu".split()


def model(name, seed=1):
    """A network in fp32 with random weights under which fifty residual units stay within fp16."""
    import torchvision

    torch.manual_seed(seed)
    if name == "vgg19-32":
        features = torchvision.models.vgg19(weights=None).features[:-1]
        m = torch.nn.Sequential(features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, 10))
    elif name == "resnet152-32":
        m = torchvision.models.resnet152(weights=None, num_classes=10)
        m.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        m.maxpool = torch.nn.Identity()
    else:
        m = getattr(torchvision.models, name)(weights=None)
    with torch.no_grad():
        for key, module in m.named_modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.uniform_(-0.1, 0.1)
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
                module.weight.fill_(0.2 if key.endswith("bn3") else 1.0)
                module.bias.uniform_(-0.1, 0.1)
    return m.eval()


def folded(conv, norm):
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


@torch.no_grad()
def layers(name, m):
    """(weight, bias) of every layer in the order of the plan's layers."""
    if not name.startswith("resnet"):
        return [(x.weight, x.bias) for x in m.modules() if isinstance(x, (torch.nn.Conv2d, torch.nn.Linear))]
    found = [folded(m.conv1, m.bn1)]
    for unit in [u for stage in (m.layer1, m.layer2, m.layer3, m.layer4) for u in stage]:
        found += [folded(unit.conv1, unit.bn1), folded(unit.conv2, unit.bn2)]
        if unit.downsample is not None:
            found.append(folded(*unit.downsample))
        found.append(folded(unit.conv3, unit.bn3))
    return found + [(m.fc.weight, m.fc.bias)]


class Ints(dict):
    """A launch's ints by name."""

    __getattr__ = dict.__getitem__

    def __init__(self, launch):
        names = {"conv": CONV_INTS, "pool": POOL_INTS, "linear": LINEAR_INTS}[launch["work"]]
        super().__init__(zip(names, launch["ints"]))


def pack(launch, weight, side):
    """A layer's weights as abi.h wants them; `side` is that of the activation that a fully connected layer flattens."""
    s = Ints(launch)
    if launch["kernel"].startswith("stem_"):
        packed = torch.zeros(s.kernel, s.out_channels, STEM_ROW[s.kernel], dtype=torch.half, device=weight.device)
        filters = torch.zeros(s.kernel, s.out_channels, s.kernel, 4, dtype=torch.half, device=weight.device)
        filters[..., :3] = weight.permute(2, 0, 3, 1)
        packed[..., : s.kernel * 4] = filters.flatten(2)
        return packed
    if weight.dim() == 4:
        return weight.permute(0, 2, 3, 1).half().contiguous()
    rows = s.outputs if launch["work"] == "linear" else s.out_channels
    hwc = weight.view(weight.shape[0], -1, side, side).permute(0, 2, 3, 1).flatten(1)
    packed = torch.zeros(rows, hwc.shape[1], dtype=torch.half, device=weight.device)
    packed[: weight.shape[0]] = hwc
    return packed


class Network:
    """A plan with its weights and buffers on a device."""

    def __init__(self, document, params, device):
        self.blocks = document["blocks"]
        half = {"dtype": torch.half, "device": device}
        self.buffers = {k: torch.full((n // 2,), float("nan"), **half) for k, n in document["buffers"].items()}
        self.workspace = torch.empty(max(document["workspace_bytes"] // 4, 4), dtype=torch.float, device=device)
        self.weights, self.biases = {}, {}
        side = 1
        for block in self.blocks:
            for launch in block["launches"]:
                at = launch["layer"]
                if at is not None and at not in self.weights:
                    weight, bias = (t.detach().to(device) for t in params[at])
                    self.weights[at] = pack(launch, weight, side)
                    self.biases[at] = torch.zeros((len(bias) + 7) // 8 * 8, device=device)
                    self.biases[at][: len(bias)] = bias
            side = block["output"]["side"]

    def launches(self):
        return [launch for block in self.blocks for launch in block["launches"]]

    def set_image(self, image):
        """[batch][3][side][side]"""
        nhwc = torch.zeros(image.shape[0], *image.shape[2:], 4, dtype=torch.half, device=image.device)
        nhwc[..., :3] = image.permute(0, 2, 3, 1)
        self.buffers["image"].copy_(nhwc.flatten())

    def poison(self, launch):
        """Fills what the launch is to write, so that what it leaves out shows; not a buffer that it also reads."""
        if launch["output"] not in (launch["input"], launch["residual"]):
            self.buffers[launch["output"]].fill_(float("nan"))
        if Ints(launch).get("splits", 1) > 1 and launch["kernel"] != "conv_reduce":
            self.workspace.fill_(float("nan"))

    def logits(self, batch):
        last = self.blocks[-1]["output"]
        return self.buffers[last["buffer"]][: batch * last["pitch"]].view(batch, -1)[:, : last["channels"]].float()

    def on_gpu(self, kernels, launch, stream):
        """Launches the kernel."""
        pointer = lambda t: 0 if t is None else t.data_ptr()
        source, target = self.buffers[launch["input"]], self.buffers[launch["output"]]
        pointers = [source, target]
        if launch["work"] != "pool":
            pointers = [source, self.weights[launch["layer"]], self.biases[launch["layer"]], target]
        if launch["work"] == "conv":
            residual = self.buffers[launch["residual"]] if launch["residual"] else None
            pointers = [*pointers[:3], residual, target, self.workspace]
        parameter = driver.params(launch["work"], [pointer(t) for t in pointers], launch["ints"])
        kernels.launch(launch["kernel"], launch["grid"], launch["threads"], launch["shared_bytes"], parameter, stream)

    @torch.no_grad()
    def reference(self, launch):
        """What the kernel leaves in its output, computed by torch in fp32 from the same buffers; None for the first
        half of a split convolution, whose result the second half leaves."""
        s = Ints(launch)
        source = self.buffers[launch["input"]].float()
        if launch["work"] == "pool":
            x = source[: s.batch * s.height * s.width * s.channels].view(s.batch, s.height, s.width, s.channels)
            x = x.permute(0, 3, 1, 2)
            y = x.mean((2, 3), keepdim=True) if launch["kernel"] == "global_average" else F.max_pool2d(x, s.window, s.stride, s.pad)
            return y.permute(0, 2, 3, 1).flatten()
        weight, bias = self.weights[launch["layer"]].float(), self.biases[launch["layer"]]
        if launch["work"] == "linear":
            y = weight @ source[: s.inputs] + bias[: s.outputs]
            return y.relu() if s.relu else y
        if s.splits > 1 and launch["kernel"] != "conv_reduce":
            return None
        x = source[: s.batch * s.height * s.width * s.channels].view(s.batch, s.height, s.width, s.channels)
        if launch["kernel"].startswith("stem_"):
            weight = weight[..., : s.kernel * 4].view(s.kernel, s.out_channels, s.kernel, 4).permute(1, 3, 0, 2)
        else:
            weight = weight.view(s.out_channels, s.kernel, s.kernel, s.channels).permute(0, 3, 1, 2)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, s.stride, s.pad)
        if launch["residual"]:
            count = s.batch * s.out_height * s.out_width * s.out_channels
            shape = (s.batch, s.out_height, s.out_width, s.out_channels)
            y = y + self.buffers[launch["residual"]][:count].float().view(shape).permute(0, 3, 1, 2)
        y = y.relu() if s.relu else y
        y = F.max_pool2d(y, 2) if s.pool2 else y
        return y.permute(0, 2, 3, 1).flatten()

    def on_torch(self, launch):
        """Does what the kernel does, by torch."""
        result = self.reference(launch)
        if result is not None:
            self.buffers[launch["output"]][: result.numel()] = result.half()
