"""dlib's face recognition network (ResNet of 29 convolutions) from its .dat file, as an ONNX graph.

usage: dlib_resnet.py IN.dat OUT.onnx

in:  image [batch, 3, 150, 150], RGB, 0..255
out: embedding [batch, 128], compared by Euclidean distance

The file is a serialised C++ object. Only its float tensors are read: each begins with its four dimensions, and they come
in the order of the layers. The affine layers that follow convolutions are folded into them.
"""

import sys

import numpy as np
from onnx import TensorProto, helper

import graph as steps

# What dlib subtracts from each channel before it divides by 256.
MEAN = (122.782, 117.001, 104.298)
# Width of each residual block, and whether it halves the resolution.
BLOCKS = [(32, 0)] * 3 + [(64, 1)] + [(64, 0)] * 3 + [(128, 1)] + [(128, 0)] * 2 + [(256, 1)] + [(256, 0)] * 2 + [(256, 1)]


class Reader:
    def __init__(self, data):
        self.data, self.place = data, 0

    def tensor(self, *dims):
        """The next tensor with these dimensions; integers are stored as their length and their bytes."""
        packed = b"".join(self.packed(d) for d in dims)
        start = self.data.index(b"\x01\x02" + packed, self.place) + 2 + len(packed)
        count = int(np.prod(dims))
        self.place = start + 4 * count
        return np.frombuffer(self.data, "<f4", count, start)

    @staticmethod
    def packed(number):
        length = (number.bit_length() + 7) // 8
        return bytes([length]) + number.to_bytes(length, "little")


class Builder:
    def __init__(self, data):
        self.reader, self.nodes, self.tensors, self.shapes = Reader(data), [], {}, {}

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def keep(self, name, values):
        self.tensors[name] = np.asarray(values, np.float32)
        return name

    def conv(self, x, name, width_in, width, kernel, stride):
        stored = self.reader.tensor(width_in * width * kernel * kernel + width, 1, 1, 1)
        gain, shift = self.reader.tensor(2 * width, 1, 1, 1).reshape(2, width)
        weights = stored[:-width].reshape(width, width_in, kernel, kernel) * gain[:, None, None, None]
        inputs = [x, self.keep(f"{name}/weights", weights), self.keep(f"{name}/bias", stored[-width:] * gain + shift)]
        padding = 0 if stride > 1 else kernel // 2
        return self.node("Conv", inputs, name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def pad(self, x, name, channels, pixels):
        shape = f"{name}/amounts"
        self.shapes[shape] = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.node("Pad", [x, shape], name)

    def block(self, x, name, width_in, size, width, halves):
        y = self.conv(x, f"{name}/conv1", width_in, width, 3, 2 if halves else 1)
        y = self.conv(self.node("Relu", [y], f"{name}/relu1"), f"{name}/conv2", width, width, 3, 1)
        if halves:
            # The two branches come out one pixel or some channels apart: dlib adds as if zeros were there.
            branch, shortcut = (size - 3) // 2 + 1, (size - 2) // 2 + 1
            x = self.node("AveragePool", [x], f"{name}/pool", kernel_shape=[2, 2], strides=[2, 2])
            if width != width_in:
                x = self.pad(x, f"{name}/wider", width - width_in, 0)
            if shortcut > branch:
                y = self.pad(y, f"{name}/larger", 0, shortcut - branch)
            size = max(branch, shortcut)
        return self.node("Relu", [self.node("Add", [x, y], f"{name}/sum")], name), width, size


def build(data):
    builder = Builder(data)
    x = builder.node("Sub", ["image", builder.keep("mean", np.reshape(MEAN, (1, 3, 1, 1)))], "centred")
    x = builder.node("Mul", [x, builder.keep("scale", 1 / 256)], "scaled")
    x = builder.node("Relu", [builder.conv(x, "conv0", 3, 32, 7, 2)], "relu0")
    x = builder.node("MaxPool", [x], "pool0", kernel_shape=[3, 3], strides=[2, 2])
    width_in, size = 32, 35
    for number, (width, halves) in enumerate(BLOCKS, start=1):
        x, width_in, size = builder.block(x, f"block{number}", width_in, size, width, halves)
    weights = builder.keep("fc", builder.reader.tensor(256, 128, 1, 1).reshape(256, 128))
    x = builder.node("Flatten", [builder.node("GlobalAveragePool", [x], "mean256")], "flat")
    builder.node("MatMul", [x, weights], "embedding")
    ports = [("image", [3, 150, 150]), ("embedding", [128])]
    source, target = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *s]) for n, s in ports)
    graph = helper.make_graph(builder.nodes, "dlib_resnet", [source], [target])
    steps.add_tensors(graph, builder.tensors)
    steps.add_tensors(graph, builder.shapes, np.int64)
    return helper.make_model(graph)


def main(source, target):
    with open(source, "rb") as file:
        model = build(file.read())
    steps.tidy(model.graph)
    steps.save(model, target)


main(*sys.argv[1:])
