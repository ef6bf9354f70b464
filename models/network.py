"""The network, written once as a plain list of layers.

The list is the only description of the network.  `train.py` walks it to train
(TensorFlow, NHWC) and `export.py` walks it to write the ONNX graph (NCHW), so
the two cannot drift apart.

The shape of the network is that of an ordinary small mobile classifier: a
strided stem, MobileNetV2 inverted residuals with depthwise convolutions, one
two-branch block joined by a Concat, three ResNet basic blocks, global average
pooling and one fully connected layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

IMAGE_SIDE_PX = 128
IMAGE_CHANNELS = 3


@dataclass
class Layer:
    """One operation with one output tensor, which carries the layer's name."""

    op: str  # conv | depthwise | bn | relu | add | concat | maxpool | gap | gemm
    name: str
    inputs: list[str]
    attrs: dict = field(default_factory=dict)
    # Output shape without the batch: (height, width, channels) or (channels,).
    shape: tuple[int, ...] = ()
    macs: int = 0  # multiply-accumulates for one image
    params: int = 0  # numbers stored in the file


class Builder:
    """Collects layers in execution order and works out their shapes."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {
            "input": (IMAGE_SIDE_PX, IMAGE_SIDE_PX, IMAGE_CHANNELS)
        }

    def _emit(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.shapes[layer.name] = layer.shape
        return layer.name

    def conv(self, x: str, name: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        """A convolution without bias, padded by kernel // 2 on every side."""
        h, w, c_in = self.shapes[x]
        h, w = h // stride, w // stride
        weights = kernel * kernel * c_in * channels
        return self._emit(Layer(
            "conv", f"{name}/Conv", [x], {"kernel": kernel, "stride": stride},
            (h, w, channels), h * w * weights, weights))

    def depthwise(self, x: str, name: str, stride: int = 1) -> str:
        """A 3x3 depthwise convolution without bias, padded by 1."""
        h, w, c = self.shapes[x]
        h, w = h // stride, w // stride
        return self._emit(Layer(
            "depthwise", f"{name}/Conv", [x], {"kernel": 3, "stride": stride},
            (h, w, c), h * w * c * 9, 9 * c))

    def bn(self, x: str, name: str) -> str:
        shape = self.shapes[x]
        return self._emit(Layer("bn", f"{name}/BatchNormalization", [x], {}, shape, 0, 4 * shape[-1]))

    def relu(self, x: str, name: str) -> str:
        return self._emit(Layer("relu", f"{name}/Relu", [x], {}, self.shapes[x]))

    def add(self, a: str, b: str, name: str) -> str:
        assert self.shapes[a] == self.shapes[b], name
        return self._emit(Layer("add", f"{name}/Add", [a, b], {}, self.shapes[a]))

    def concat(self, parts: list[str], name: str) -> str:
        h, w, _ = self.shapes[parts[0]]
        channels = sum(self.shapes[p][2] for p in parts)
        return self._emit(Layer("concat", f"{name}/Concat", parts, {}, (h, w, channels)))

    def maxpool(self, x: str, name: str) -> str:
        """2x2 max pooling with stride 2."""
        h, w, c = self.shapes[x]
        return self._emit(Layer("maxpool", f"{name}/MaxPool", [x], {}, (h // 2, w // 2, c)))

    def gap(self, x: str, name: str) -> str:
        return self._emit(Layer("gap", f"{name}/GlobalAveragePool", [x], {}, (self.shapes[x][2],)))

    def gemm(self, x: str, name: str, channels: int) -> str:
        (c_in,) = self.shapes[x]
        return self._emit(Layer("gemm", f"{name}/Gemm", [x], {}, (channels,),
                                c_in * channels, c_in * channels + channels))

    # Blocks

    def conv_bn_relu(self, x: str, name: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        return self.relu(self.bn(self.conv(x, name, channels, kernel, stride), name), name)

    def inverted_residual(self, x: str, name: str, channels: int, expand: int, stride: int) -> str:
        """MobileNetV2 block: widen, depthwise 3x3, narrow; added to its input if the shapes agree."""
        wide = self.conv_bn_relu(x, f"{name}/expand", expand)
        dw = f"{name}/depthwise"
        wide = self.relu(self.bn(self.depthwise(wide, dw, stride), dw), dw)
        project = f"{name}/project"
        narrow = self.bn(self.conv(wide, project, channels), project)
        if stride == 1 and self.shapes[x][2] == channels:
            return self.add(x, narrow, name)
        return narrow

    def basic(self, x: str, name: str) -> str:
        """ResNet basic block: two 3x3 convolutions, added to the input, then ReLU."""
        channels = self.shapes[x][2]
        y = self.conv_bn_relu(x, f"{name}/first", channels, 3)
        second = f"{name}/second"
        y = self.bn(self.conv(y, second, channels, 3), second)
        return self.relu(self.add(x, y, name), name)

    def branches(self, x: str, name: str, conv_channels: int, pool_channels: int) -> str:
        """Halves the size on two paths, a strided 3x3 and a max pool with 1x1, and joins them."""
        a = self.conv_bn_relu(x, f"{name}/conv", conv_channels, 3, 2)
        pooled = self.maxpool(x, f"{name}/pool")
        b = self.conv_bn_relu(pooled, f"{name}/pool", pool_channels)
        return self.concat([a, b], name)


def build(classes: int) -> list[Layer]:
    """The layers of the shipped network, in execution order; the last one gives the logits."""
    b = Builder()
    x = b.conv_bn_relu("input", "/stem", 16, kernel=3, stride=2)  # 64x64
    x = b.inverted_residual(x, "/stage1/block1", 24, expand=48, stride=2)  # 32x32
    x = b.inverted_residual(x, "/stage1/block2", 24, expand=72, stride=1)
    x = b.branches(x, "/stage2/block1", 32, 16)  # 16x16
    x = b.basic(x, "/stage2/block2")
    x = b.inverted_residual(x, "/stage2/block3", 48, expand=144, stride=1)
    x = b.inverted_residual(x, "/stage3/block1", 80, expand=192, stride=2)  # 8x8
    x = b.basic(x, "/stage3/block2")
    x = b.inverted_residual(x, "/stage3/block3", 80, expand=240, stride=1)
    x = b.inverted_residual(x, "/stage4/block1", 112, expand=320, stride=2)  # 4x4
    x = b.basic(x, "/stage4/block2")
    x = b.conv_bn_relu(x, "/head", 256)
    x = b.gap(x, "/pool")
    b.gemm(x, "/classifier", classes)
    return b.layers


def totals(layers: list[Layer]) -> tuple[int, int]:
    """(multiply-accumulates for one image, stored parameters)."""
    return sum(l.macs for l in layers), sum(l.params for l in layers)


def single_tensor_places(layers: list[Layer]) -> list[tuple[str, int]]:
    """Places where exactly one tensor is alive, as (tensor name, elements).

    A cut behind layer i is counted if the tail needs only the output of layer i.
    The place behind the last layer is left out: there is no tail there.
    """
    last_use = {name: i for i, layer in enumerate(layers) for name in layer.inputs}
    sizes = {"input": IMAGE_CHANNELS * IMAGE_SIDE_PX * IMAGE_SIDE_PX}
    alive = {"input"}
    places = []
    for i, layer in enumerate(layers[:-1]):
        size = 1
        for n in layer.shape:
            size *= n
        sizes[layer.name] = size
        alive.add(layer.name)
        alive = {name for name in alive if last_use.get(name, -1) > i}
        if alive == {layer.name}:
            places.append((layer.name, size))
    return places
