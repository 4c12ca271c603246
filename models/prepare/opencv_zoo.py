"""An OpenCV Zoo model, float32 or block-quantised, as a graph that ONNX Runtime runs fast.

usage: opencv_zoo.py IN.onnx OUT.onnx [batch] [height width]   (the dimensions to leave open)
"""

import sys

import onnx

import graph as steps


def main(source, target, *free):
    model = onnx.load(source)
    steps.keep_dense_bytes(model.graph)
    steps.fold_quantised_weights(model.graph)
    steps.remove_dropout(model.graph)
    steps.fold_batch_norms(model.graph)
    steps.rewrite_prelu(model.graph)
    steps.tidy(model.graph)
    steps.free_dimensions(model.graph, free)
    steps.save(model, target)


main(*sys.argv[1:])
