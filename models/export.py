"""Writes the trained network as an ONNX file, in the style of an ordinary export.

Every Conv, BatchNormalization and Relu stays a node of its own: nothing is
folded.  Tensors are NCHW, the batch is fixed at 1, the weights are inside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from network import IMAGE_CHANNELS, IMAGE_SIDE_PX, Layer

OPSET = 13
IR_VERSION = 8
BN_EPSILON = 1e-5  # the same as in train.py

# Our name for a weight, and its name in the file.
BN_PARTS = [("scale", "weight"), ("shift", "bias"), ("mean", "running_mean"), ("variance", "running_var")]


def _nchw(shape: tuple[int, ...]) -> list[int]:
    if len(shape) == 3:
        h, w, c = shape
        return [1, c, h, w]
    return [1, *shape]


def to_onnx(layers: list[Layer], weights: dict[str, np.ndarray], note: str) -> onnx.ModelProto:
    nodes, initialisers, values = [], [], []
    tensor = {"input": "input"}  # layer name to tensor name

    def store(layer: Layer, part: str, array: np.ndarray) -> str:
        name = layer.name.strip("/").replace("/", ".").lower() + "." + part
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    for layer in layers:
        inputs = [tensor[name] for name in layer.inputs]
        last = layer is layers[-1]
        output = "logits" if last else layer.name + "_output_0"
        tensor[layer.name] = output
        if layer.op in ("conv", "depthwise"):
            kernel, stride = layer.attrs["kernel"], layer.attrs["stride"]
            weight = weights[layer.name + ".weight"]
            # TensorFlow: [kh, kw, in, out], depthwise [kh, kw, channels, 1]; ONNX: [out, in / group, kh, kw]
            weight = weight.transpose((3, 2, 0, 1) if layer.op == "conv" else (2, 3, 0, 1))
            group = layer.shape[-1] if layer.op == "depthwise" else 1
            node = helper.make_node(
                "Conv", [*inputs, store(layer, "weight", weight)], [output], name=layer.name,
                dilations=[1, 1], group=group, kernel_shape=[kernel, kernel],
                pads=[kernel // 2] * 4, strides=[stride, stride])
        elif layer.op == "bn":
            parts = [store(layer, theirs, weights[f"{layer.name}.{ours}"]) for ours, theirs in BN_PARTS]
            node = helper.make_node("BatchNormalization", [*inputs, *parts], [output], name=layer.name,
                                    epsilon=BN_EPSILON)
        elif layer.op == "relu":
            node = helper.make_node("Relu", inputs, [output], name=layer.name)
        elif layer.op == "add":
            node = helper.make_node("Add", inputs, [output], name=layer.name)
        elif layer.op == "concat":
            node = helper.make_node("Concat", inputs, [output], name=layer.name, axis=1)
        elif layer.op == "maxpool":
            node = helper.make_node("MaxPool", inputs, [output], name=layer.name,
                                    kernel_shape=[2, 2], strides=[2, 2])
        elif layer.op == "gap":
            pooled = output
            nodes.append(helper.make_node("GlobalAveragePool", inputs, [pooled], name=layer.name))
            values.append(helper.make_tensor_value_info(pooled, TensorProto.FLOAT, [1, layer.shape[0], 1, 1]))
            output = "/Flatten_output_0"
            tensor[layer.name] = output
            node = helper.make_node("Flatten", [pooled], [output], name="/Flatten", axis=1)
        elif layer.op == "gemm":
            names = [store(layer, "weight", weights[layer.name + ".weight"].T),
                     store(layer, "bias", weights[layer.name + ".bias"])]
            node = helper.make_node("Gemm", [*inputs, *names], [output], name=layer.name,
                                    alpha=1.0, beta=1.0, transB=1)
        else:
            raise ValueError(layer.op)
        nodes.append(node)
        if not last:
            values.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, _nchw(layer.shape)))

    image = helper.make_tensor_value_info(
        "input", TensorProto.FLOAT, [1, IMAGE_CHANNELS, IMAGE_SIDE_PX, IMAGE_SIDE_PX])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, layers[-1].shape[0]])
    graph = helper.make_graph(nodes, "shapes12", [image], [logits], initialisers, value_info=values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                              ir_version=IR_VERSION, producer_name="dyno models/make_model.py", doc_string=note)
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: onnx.ModelProto, path: Path) -> int:
    """Writes the file and returns its size in bytes."""
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    return len(data)
