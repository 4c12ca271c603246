"""Graph steps that every prepared model goes through; needs python >= 3.9, numpy and onnx.

The bytes written depend on the input file alone: tensors keep the order in which the nodes use
them, arithmetic is element-wise float32, and nothing about the machine or the versions is stored.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Every operator used in the prepared graphs has the same meaning from opset 17 on.
OPSET, IR_VERSION = 17, 8
# Where ONNX Runtime keeps operators of its own.
OWN = "com.microsoft"


def keep_dense_bytes(graph, least=1 << 20):
    """Lets large dense layers, whose weights are stored quantised, multiply by the stored bytes; goes before
    `fold_quantised_weights`.

    Such a layer reads each weight once a face, and takes as long as that: as float32, SFace's (6.4 million) took a sixth of
    its time. The operator is ONNX Runtime's own.
    """
    stored = tensors(graph)
    _, makers = links(graph)
    kept, nodes = {}, []
    for node in graph.node:
        source = makers.get(node.input[1]) if node.op_type == "Gemm" else None
        is_stored = source is not None and source.op_type == "DequantizeLinear" and source.input[0] in stored
        if not is_stored or stored[source.input[0]].size < least:
            nodes.append(node)
            continue
        gemm, layout = attributes(node), attributes(source)
        assert gemm.get("transB") == 1 and gemm.get("transA", 0) == 0, node.name
        assert gemm.get("alpha", 1) == gemm.get("beta", 1) == 1 and layout["axis"] == 1, node.name
        values, scales, zeros = (stored[name] for name in source.input)
        assert values.dtype == zeros.dtype == np.int8, node.name
        rows, columns = values.shape
        y = node.output[0]
        names = [f"{y}_bytes", f"{y}_scales", f"{y}_zeros"]
        # The operator's bytes count from 0. Level 4: products of bytes, for which the layer's input is rounded likewise.
        kept[names[0]] = (values.astype(np.int16) + 128).reshape(rows, -1, layout["block_size"])
        kept[names[2]] = (zeros.astype(np.int16) + 128).reshape(-1)
        add_tensors(graph, {names[1]: scales.reshape(-1)})
        nodes += [
            helper.make_node("MatMulNBits", [node.input[0], *names], [f"{y}_product"], domain=OWN, K=columns, N=rows, bits=8,
                             block_size=layout["block_size"], accuracy_level=4),
            helper.make_node("Add", [f"{y}_product", node.input[2]], [y]),
        ]
    replace(graph.node, nodes)
    add_tensors(graph, kept, np.uint8)


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def fold_quantised_weights(graph):
    """Replaces each DequantizeLinear of stored weights, and the Reshape after it, by float32."""
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    folded, kept = {}, []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and all(name in stored for name in node.input):
            values = [stored[name] for name in node.input]
            axis, block = attributes(node).get("axis", 1), attributes(node).get("block_size", 0)
            folded[node.output[0]] = dequantise(*values, axis, block)
        elif node.op_type == "Reshape" and node.input[0] in folded:
            folded[node.output[0]] = folded[node.input[0]].reshape(stored[node.input[1]])
        else:
            kept.append(node)
    replace(graph.node, kept)
    add_tensors(graph, folded)


def dequantise(values, scales, zeros, axis, block):
    """(values - zeros) * scales, with one scale for each run of `block` values along `axis`."""
    if block:
        extent = values.shape[axis]
        whole = np.arange(extent) // block
        scales, zeros = np.take(scales, whole, axis), np.take(zeros, whole, axis)
    elif scales.ndim == 1 and scales.size > 1:
        shape = [-1 if d == axis else 1 for d in range(values.ndim)]
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    return (values.astype(np.float32) - zeros.astype(np.float32)) * scales


def remove_dropout(graph):
    """Drops Dropout, which passes its input through when a model is only run."""
    source = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Dropout"}
    replace(graph.node, [n for n in graph.node if n.op_type != "Dropout"])
    for node in graph.node:
        replace(node.input, [source.get(name, name) for name in node.input])


def fold_batch_norms(graph):
    """Folds each BatchNormalization behind a convolution of its own into that convolution."""
    stored = tensors(graph)
    users, makers = links(graph)
    folded, kept = {}, []
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if maker is None or maker.op_type != "Conv" or len(users[node.input[0]]) > 1:
            kept.append(node)
            continue
        gamma, beta, mean, variance = (stored[name].astype(np.float64) for name in node.input[1:5])
        epsilon = {a.name: a.f for a in node.attribute}.get("epsilon", 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        bias = stored[maker.input[2]] if len(maker.input) > 2 else 0
        weights = stored[maker.input[1]] * scale.reshape(-1, 1, 1, 1)
        names = [f"{node.output[0]}/weights", f"{node.output[0]}/bias"]
        folded.update(zip(names, [weights, beta + (bias - mean) * scale]))
        replace(maker.input, [maker.input[0], *names])
        maker.output[0] = node.output[0]
    replace(graph.node, kept)
    add_tensors(graph, folded)


def rewrite_prelu(graph):
    """Rewrites PRelu(x, s), whose kernel in ONNX Runtime 1.27 to 1.32 takes as long as all the convolutions of SFace
    together, by operators whose kernels are vectorised.

    PRelu(x, s) = x + (1 - s) * Relu(-x). Between convolutions the signs go into their weights: the one before gives
    -x, and -PRelu(x, s) = -x + (s - 1) * Relu(-x) is what those behind take. Elsewhere it is s * x + (1 - s) * Relu(x).
    """
    stored = tensors(graph)
    users, makers = links(graph)
    outputs = {output.name for output in graph.output}
    nodes, slopes, negated = [], {}, []
    for node in graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        (x, slope), y = node.input, node.output[0]
        maker, behind = makers.get(x), users.get(y, [])
        takes_sign = maker is not None and maker.op_type == "Conv" and len(users[x]) == 1 and y not in outputs
        if takes_sign and all(user.op_type in ("Conv", "BatchNormalization") for user in behind):
            negated += maker.input[1:3]
            for user in behind:
                # (-y - -mean) * -gamma = (y - mean) * gamma
                negated += [user.input[1]] if user.op_type == "Conv" else [user.input[1], user.input[3]]
            slopes[f"{y}/slope"] = stored[slope] - np.float32(1)
            nodes += [
                helper.make_node("Relu", [x], [f"{y}/relu"]),
                helper.make_node("Mul", [f"{y}/relu", f"{y}/slope"], [f"{y}/bent"]),
                helper.make_node("Add", [x, f"{y}/bent"], [y]),
            ]
        else:
            slopes[f"{y}/rest"] = np.float32(1) - stored[slope]
            nodes += [
                helper.make_node("Mul", [x, slope], [f"{y}/scaled"]),
                helper.make_node("Relu", [x], [f"{y}/relu"]),
                helper.make_node("Mul", [f"{y}/relu", f"{y}/rest"], [f"{y}/positive"]),
                helper.make_node("Add", [f"{y}/scaled", f"{y}/positive"], [y]),
            ]
    replace(graph.node, nodes)
    negate(graph, negated)
    add_tensors(graph, slopes)


def negate(graph, names):
    """Changes the sign of each tensor as often as it is named; each must have one user."""
    users, _ = links(graph)
    for tensor in graph.initializer:
        if names.count(tensor.name) % 2:
            assert len(users[tensor.name]) == 1, f"{tensor.name} has several users"
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))


def tensors(graph):
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def links(graph):
    """Who uses each value, and who makes it."""
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users, {name: node for node in graph.node for name in node.output}


def free_dimensions(graph, names):
    """Gives the input's batch or spatial dimensions a name instead of a size, and the outputs' too."""
    shape = graph.input[0].type.tensor_type.shape.dim
    for name in names:
        shape[{"batch": 0, "height": 2, "width": 3}[name]].dim_param = name
    for output in graph.output:
        shape = output.type.tensor_type.shape.dim
        if "batch" in names:
            shape[0].dim_param = "batch"
        if "height" in names:  # a dense detector's output has one row a cell of its grid
            shape[1].dim_param = f"{output.name}_cells"


def tidy(graph):
    """Keeps only the tensors that a node uses, and only the real inputs.

    Weights listed as inputs count as overridable, and ONNX Runtime then fuses nothing with them.
    """
    stored = {t.name: t for t in graph.initializer}
    used = dict.fromkeys(name for node in graph.node for name in node.input)
    alive = set(used) | {o.name for o in graph.output}
    replace(graph.node, [n for n in graph.node if alive & set(n.output)])
    replace(graph.initializer, [stored[name] for name in used if name in stored])
    replace(graph.input, [i for i in graph.input if i.name in used and i.name not in stored])
    del graph.value_info[:]


def save(model, path):
    """Checks the model and writes it, the same bytes every time."""
    model.ir_version = IR_VERSION
    own = [helper.make_opsetid(OWN, 1)] if any(node.domain == OWN for node in model.graph.node) else []
    replace(model.opset_import, [helper.make_opsetid("", OPSET), *own])
    onnx.checker.check_model(model)
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


def add_tensors(graph, arrays, dtype=np.float32):
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(a, dtype), name)
        for name, a in arrays.items()
    )


def replace(field, values):
    values = list(values)
    del field[:]
    field.extend(values)
