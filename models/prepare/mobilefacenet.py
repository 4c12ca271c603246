"""MobileFaceNet-192 from its TensorFlow Lite file, channels last, as an ONNX graph with channels first.

usage: mobilefacenet.py IN.tflite OUT.onnx

in:  input [batch, 3, 112, 112], RGB, (x - 127.5) / 128
out: embedding [batch, 192]

The file is a flatbuffer; the few tables that matter are read by their numbers in TensorFlow Lite's schema, without its
package. Each PRelu is stored there as Relu(x) + slope / 2 * (x - |x|), and becomes one again.
"""

import struct
import sys

import numpy as np
from onnx import TensorProto, helper

import graph as steps

ADD, CONV, DEPTHWISE, MUL, RELU, RESHAPE, SUB, ABS = 0, 3, 4, 18, 19, 22, 41, 101
PADDING = ("SAME_UPPER", "VALID")


class Table:
    """A flatbuffer's table: fields by number, through its list of offsets."""

    def __init__(self, data, place):
        self.data, self.place = data, place
        self.offsets = place - struct.unpack_from("<i", data, place)[0]

    def field(self, number):
        size = struct.unpack_from("<H", self.data, self.offsets)[0]
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", self.data, self.offsets + at)[0] if at < size else 0
        return self.place + offset if offset else None

    def scalar(self, number, form="<i"):
        at = self.field(number)
        return struct.unpack_from(form, self.data, at)[0] if at else 0

    def follow(self, at):
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, number):
        return Table(self.data, self.follow(self.field(number)))

    def vector(self, number, dtype):
        if not self.field(number):
            return np.empty(0, dtype)
        at = self.follow(self.field(number))
        return np.frombuffer(self.data, dtype, struct.unpack_from("<I", self.data, at)[0], at + 4)

    def tables(self, number):
        at = self.follow(self.field(number))
        count = struct.unpack_from("<I", self.data, at)[0]
        return [Table(self.data, self.follow(at + 4 + 4 * i)) for i in range(count)]


class Reader:
    """The one subgraph: operators with their kinds, and stored tensors."""

    def __init__(self, data):
        model = Table(data, struct.unpack_from("<I", data, 0)[0])
        codes = [max(c.scalar(0, "<b"), c.scalar(3)) for c in model.tables(1)]
        graph = model.tables(2)[0]
        self.buffers, self.tensors = model.tables(4), graph.tables(0)
        self.input, self.output = (int(graph.vector(n, "<i4")[0]) for n in (1, 2))
        self.operators = [(codes[o.scalar(0, "<I")], o) for o in graph.tables(3)]
        self.maker = {int(o.vector(2, "<i4")[0]): (kind, o) for kind, o in self.operators}

    def stored(self, tensor):
        table = self.tensors[tensor]
        values = self.buffers[table.scalar(2, "<I")].vector(0, "<u1")
        return values.view("<f4").reshape(table.vector(0, "<i4")) if len(values) else None

    def slope(self, mul):
        """The slope of Mul(slope / 2, Sub(x, Abs(x))) and its x."""
        factors = [int(t) for t in mul.vector(1, "<i4")]
        values = [self.stored(t) for t in factors]
        constant = 0 if values[0] is not None else 1
        kind, sub = self.maker[factors[1 - constant]]
        if kind != SUB:
            raise SystemExit(f"an operator of kind {kind} where a PRelu's Sub should be")
        return 2 * values[constant], int(sub.vector(1, "<i4")[0])


def build(data):
    reader = Reader(data)
    nodes, tensors, names = [], {}, {reader.input: "input"}

    def node(kind, inputs, tensor, **attributes):
        names[tensor] = f"t{tensor}"
        nodes.append(helper.make_node(kind, inputs, [f"t{tensor}"], **attributes))

    def keep(name, values):
        tensors[name] = values
        return name

    for kind, operator in reader.operators:
        inputs = [int(t) for t in operator.vector(1, "<i4")]
        output = int(operator.vector(2, "<i4")[0])
        if kind in (CONV, DEPTHWISE):
            options = operator.table(4)
            weights = reader.stored(inputs[1])
            weights = weights.transpose(3, 0, 1, 2) if kind == DEPTHWISE else weights.transpose(0, 3, 1, 2)
            stored = [keep(f"t{output}/weights", weights), keep(f"t{output}/bias", reader.stored(inputs[2]))]
            node(
                "Conv",
                [names[inputs[0]], *stored],
                output,
                kernel_shape=list(weights.shape[2:]),
                strides=[options.scalar(2), options.scalar(1)],
                auto_pad=PADDING[options.scalar(0, "<b")],
                group=len(weights) if kind == DEPTHWISE else 1,
            )
        elif kind == RESHAPE:
            node("Flatten", [names[inputs[0]]], output)
        elif kind == ADD:
            makers = [reader.maker.get(t, (None, None)) for t in inputs]
            if {maker for maker, _ in makers} == {RELU, MUL}:
                slope, x = reader.slope(dict(makers)[MUL])
                node("PRelu", [names[x], keep(f"t{output}/slope", slope.reshape(-1, 1, 1))], output)
            else:
                node("Add", [names[t] for t in inputs], output)
        elif kind not in (RELU, ABS, SUB, MUL):  # the parts of a PRelu are read with its Add
            raise SystemExit(f"no translation for an operator of kind {kind}")
    nodes.append(helper.make_node("Identity", [names[reader.output]], ["embedding"]))
    width = int(reader.tensors[reader.output].vector(0, "<i4")[-1])
    ports = [("input", [3, 112, 112]), ("embedding", [width])]
    source, target = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *s]) for n, s in ports)
    graph = helper.make_graph(nodes, "mobilefacenet", [source], [target])
    steps.add_tensors(graph, tensors)
    return helper.make_model(graph)


def main(source, target):
    with open(source, "rb") as file:
        model = build(file.read())
    steps.fold_batch_norms(model.graph)
    steps.rewrite_prelu(model.graph)
    steps.tidy(model.graph)
    steps.save(model, target)


main(*sys.argv[1:])
