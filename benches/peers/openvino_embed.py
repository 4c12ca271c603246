#!/usr/bin/env python3
"""An embedder in ONNX Runtime, as facedex runs it, beside OpenVINO on the same file: one thread each, by turns, the least
processor time of all rounds (other work on the machine hardly shows in it).

usage: openvino_embed.py [--rounds N] [MODEL.onnx]     (default: the SFace that `facedex models fetch` made)

Prints one JSON object. Packages go into ${FACEDEX_CACHE_DIR:-~/.cache/facedex}/peers.
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path

from packages import cache, install

PACKAGES = ["onnxruntime==1.32.0", "openvino==2026.4.1", "numpy<3"]


def prepare():
    return install("openvino-2026.4.1", PACKAGES, "about 80 MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("model", nargs="?")
    arguments = parser.parse_args()
    sys.path.insert(0, str(prepare()))
    import numpy
    import onnxruntime
    import openvino

    models = Path(os.environ.get("FACEDEX_MODELS_DIR") or cache() / "models")
    model = arguments.model or str(models / "sface_2021dec.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    read = openvino.Core().read_model(model)
    read.reshape([1, 3, 112, 112])
    compiled = openvino.Core().compile_model(read, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    crop = numpy.random.default_rng(1).uniform(0, 255, (1, 3, 112, 112)).astype(numpy.float32)
    ways = {"onnxruntime": lambda: session.run(None, {name: crop})[0], "openvino": lambda: compiled({0: crop})[0]}
    vectors = {who: way()[0] for who, way in ways.items()}
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.rounds):
        for who, way in ways.items():
            start = time.process_time()
            way()
            least[who] = min(least[who], time.process_time() - start)
    a, b = vectors.values()
    print(json.dumps({
        "model": Path(model).name,
        "milliseconds": {who: round(1000 * seconds, 2) for who, seconds in least.items()},
        "ratio": round(least["onnxruntime"] / least["openvino"], 3),
        "cosine": round(float(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b)), 7),
    }))


if __name__ == "__main__":
    main()
