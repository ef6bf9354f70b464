"""Writes an AlexNet with random weights: a model whose time goes into reading dense layers, where batches pay.

Shapes as torchvision's AlexNet (Krizhevsky 2014, arXiv 1404.5997), opset 13, 61 M parameters, 244 MB; time depends on
shapes alone. Needs numpy and onnx from PyPI.

    python3 benches/alexnet.py alexnet.onnx
"""

import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

SEED = 1
# Out channels, in channels, kernel, stride, padding, pooled afterwards.
CONVOLUTIONS = [
    (64, 3, 11, 4, 2, True),
    (192, 64, 5, 1, 2, True),
    (384, 192, 3, 1, 1, False),
    (256, 384, 3, 1, 1, False),
    (256, 256, 3, 1, 1, True),
]
DENSE = [(4096, 9216), (4096, 4096), (1000, 4096)]


def main(path: str) -> None:
    random = np.random.default_rng(SEED)
    nodes, weights = [], []

    def weight(name: str, shape: tuple[int, ...], fan_in: int) -> str:
        # He's scale, so that activations neither vanish nor grow.
        values = random.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
        weights.append(numpy_helper.from_array(values, name))
        return name

    value = "input"

    def node(operator: str, inputs: list[str], **attributes: object) -> str:
        out = f"{operator.lower()}{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [out], name=out, **attributes))
        return out

    for i, (out, into, kernel, stride, padding, pooled) in enumerate(CONVOLUTIONS):
        fan_in = into * kernel * kernel
        inputs = [value, weight(f"conv{i}.w", (out, into, kernel, kernel), fan_in), weight(f"conv{i}.b", (out,), fan_in)]
        value = node("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)
        value = node("Relu", [value])
        if pooled:
            value = node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2])
    value = node("Flatten", [value], axis=1)
    for i, (out, into) in enumerate(DENSE):
        value = node("Gemm", [value, weight(f"fc{i}.w", (out, into), into), weight(f"fc{i}.b", (out,), into)], transB=1)
        if i + 1 < len(DENSE):
            value = node("Relu", [value])
    nodes[-1].output[0] = "logits"

    graph = helper.make_graph(
        nodes,
        "alexnet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1000])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
