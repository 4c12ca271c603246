"""One of MTCNN's three networks from facenet-pytorch's state dictionary, read without torch, as an ONNX graph.

usage: mtcnn.py IN.pt OUT.onnx pnet|rnet|onet

in:  input [batch, 3, height, width], RGB, (x - 127.5) / 128; 24x24 for rnet, 48x48 for onet
out: prob [batch, 2]; reg [batch, 4]; of onet also lmk [batch, 10] as x0..x4, y0..y4, fractions of the box;
     of pnet maps with two and four channels, a cell for every second pixel
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


# Kernel pooling after each convolution (None: none), the input's side (None: any), what follows the last convolution:
# the hidden layer and the heads with their outputs.
NETWORKS = {
    "pnet": ((2, None, None), None, None, (("prob", "conv4_1"), ("reg", "conv4_2"))),
    "rnet": ((3, 3, None), 24, "4", (("prob", "dense5_1"), ("reg", "dense5_2"))),
    "onet": ((3, 3, 2, None), 48, "5", (("prob", "dense6_1"), ("reg", "dense6_2"), ("lmk", "dense6_3"))),
}
WIDTHS = {"prob": 2, "reg": 4, "lmk": 10}


def build(weights, name):
    pools, side, hidden, heads = NETWORKS[name]
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
    for i, pool in enumerate(pools, start=1):
        x = layer("Conv", x, f"conv{i}", f"conv{i}")
        x = node("PRelu", [x, tensor(f"prelu{i}.weight", (-1, 1, 1))], f"prelu{i}")
        if pool:
            x = node("MaxPool", [x], f"pool{i}", kernel_shape=[pool] * 2, strides=[2, 2], ceil_mode=1)
    kind, attributes = "Conv", {}
    if hidden:
        x = node("Transpose", [x], "transposed", perm=[0, 3, 2, 1])  # the weights expect x before y
        x = node("Flatten", [x], "flat")
        kind, attributes = "Gemm", {"transB": 1}
        x = layer(kind, x, f"dense{hidden}", f"dense{hidden}", **attributes)
        x = node("PRelu", [x, tensor(f"prelu{hidden}.weight")], f"prelu{hidden}")
    for output, head in heads:
        if output == "prob":
            node("Softmax", [layer(kind, x, head, "logits", **attributes)], output, axis=1)
        else:
            layer(kind, x, head, output, **attributes)

    def port(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    size = (side, side) if side else ("height", "width")
    cells = () if side else ("rows", "columns")
    outputs = [port(output, WIDTHS[output], *cells) for output, _ in heads]
    graph = helper.make_graph(nodes, name, [port("input", 3, *size)], outputs)
    steps.add_tensors(graph, tensors)
    return helper.make_model(graph)


def main(source, target, name):
    model = build(read_weights(source), name)
    steps.fold_batch_norms(model.graph)
    steps.rewrite_prelu(model.graph)
    steps.tidy(model.graph)
    steps.save(model, target)


main(*sys.argv[1:])
