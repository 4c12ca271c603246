"""MTCNN's O-Net from facenet-pytorch's state dictionary, read without torch, as an ONNX graph.

usage: mtcnn_onet.py onet.pt OUT.onnx

in:  input [batch, 3, 48, 48], RGB, (x - 127.5) / 128
out: prob [batch, 2]; reg [batch, 4]; lmk [batch, 10] as x0..x4, y0..y4, fractions of the box
"""

import collections
import pickle
import sys

import numpy as np
from onnx import TensorProto, helper

import graph as steps


class Reader(pickle.Unpickler):
    """Unpickles plain data and torch tensors only: any other class is refused."""

    def persistent_load(self, reference):
        return reference[2]  # a storage is known by its key

    def find_class(self, module, name):
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch", "FloatStorage"):
            return None  # the only kind of storage in this file
        raise pickle.UnpicklingError(f"unexpected class {module}.{name}")


def read_weights(path):
    """torch's format from before 1.6: five pickles, then each storage as its length and its data."""
    with open(path, "rb") as file:
        _magic, _protocol, _system, tensors, keys = (Reader(file).load() for _ in range(5))
        storages = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(4 * count), "<f4")
    weights = {}
    for name, (storage, offset, size, stride) in tensors.items():
        strides = [4 * s for s in stride]
        weights[name] = np.lib.stride_tricks.as_strided(storages[storage][offset:], size, strides)
    return weights


def build(weights):
    nodes, tensors = [], {}

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def tensor(name, shape=None):
        tensors[name] = weights[name] if shape is None else weights[name].reshape(shape)
        return name

    def layer(kind, x, name, output, **attributes):
        return node(kind, [x, tensor(f"{name}.weight"), tensor(f"{name}.bias")], output, **attributes)

    x = "input"
    for i, pool in enumerate((3, 3, 2, None), start=1):
        x = layer("Conv", x, f"conv{i}", f"conv{i}")
        x = node("PRelu", [x, tensor(f"prelu{i}.weight", (-1, 1, 1))], f"prelu{i}")
        if pool:
            x = node("MaxPool", [x], f"pool{i}", kernel_shape=[pool] * 2, strides=[2, 2], ceil_mode=1)
    x = node("Transpose", [x], "transposed", perm=[0, 3, 2, 1])  # the weights expect x before y
    x = node("Flatten", [x], "flat")
    x = layer("Gemm", x, "dense5", "dense5", transB=1)
    x = node("PRelu", [x, tensor("prelu5.weight")], "prelu5")
    node("Softmax", [layer("Gemm", x, "dense6_1", "logits", transB=1)], "prob", axis=1)
    layer("Gemm", x, "dense6_2", "reg", transB=1)
    layer("Gemm", x, "dense6_3", "lmk", transB=1)

    def port(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    outputs = [port("prob", 2), port("reg", 4), port("lmk", 10)]
    graph = helper.make_graph(nodes, "onet", [port("input", 3, 48, 48)], outputs)
    steps.add_tensors(graph, tensors)
    return helper.make_model(graph)


def main(source, target):
    model = build(read_weights(source))
    steps.rewrite_prelu(model.graph)
    steps.tidy(model.graph)
    steps.save(model, target)


main(*sys.argv[1:])
