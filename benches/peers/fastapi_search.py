#!/usr/bin/env python3
"""The search service that somebody would write without facedex: FastAPI takes a photo, OpenCV finds and embeds its largest
face, elasticsearch-py asks the index. `facedex-bench serve` runs it beside `facedex serve`. Its models are those of
opencv_elasticsearch.py.

usage: fastapi_search.py --index NAME [--candidates N] [--rescored N] [--workers N]
       fastapi_search.py --prepare      fetch what it needs, do nothing else

The cluster is ELASTICSEARCH_URL (http://127.0.0.1:9200). It prints `listening on URL` when it does; POST /search takes the
photo as the whole body. Packages go where opencv_elasticsearch.py's go.
"""
import argparse
import os
import socket
import sys
from pathlib import Path

import opencv_elasticsearch as opencv
from packages import install

PACKAGES = ["fastapi==0.165.0", "uvicorn==0.54.0"]
# Of each process: some wait for Elasticsearch while another computes.
THREADS = 4


def prepare():
    """The other peer's folder, which has the models, and that of the server's packages."""
    return opencv.prepare(), install("fastapi-0.165.0", PACKAGES, "about 10 MB")


def application():
    """What each of uvicorn's processes runs."""
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import cv2
    import numpy
    from elasticsearch import Elasticsearch
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    files = [str(Path(os.environ["PEER_MODELS"]) / name) for name in opencv.PUBLISHED]
    client = Elasticsearch(os.environ.get("ELASTICSEARCH_URL", "http://127.0.0.1:9200"))
    index, candidates, rescored = os.environ["PEER_INDEX"], int(os.environ["PEER_CANDIDATES"]), int(os.environ["PEER_RESCORED"])
    cv2.setNumThreads(1)  # the processes are the parallelism
    own = threading.local()  # OpenCV's models may not be shared by threads
    loaded = threading.Barrier(THREADS)

    def load():
        own.models = (cv2.FaceDetectorYN.create(files[0], "", (320, 320), opencv.SCORE, opencv.NMS, opencv.TOP_K),
                      cv2.FaceRecognizerSF.create(files[1], ""))

    # Before it listens: a model for each thread takes its time.
    pool = ThreadPoolExecutor(THREADS, initializer=load)
    list(pool.map(lambda _: loaded.wait(60), range(THREADS)))

    def search(encoded):
        detector, recognizer = own.models
        image = cv2.imdecode(numpy.frombuffer(encoded, numpy.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return JSONResponse({"error": "not an image"}, 415)
        height, width = image.shape[:2]
        detector.setInputSize((width, height))
        _, faces = detector.detect(image)
        if faces is None:
            return JSONResponse({"error": "no face"}, 422)
        largest = max(faces, key=lambda face: face[2] * face[3])
        vector = recognizer.feature(recognizer.alignCrop(image, largest)).flatten()
        vector /= numpy.linalg.norm(vector)
        found = client.search(
            index=index,
            query={"knn": {"field": "face.embedding", "query_vector": vector.tolist(), "k": 10, "num_candidates": candidates,
                           "rescore_vector": {"oversample": rescored / 10}}},
            size=10, source=["person", "image.uri", "face.box", "labels"])
        return {"faces": [{"box": [float(v) for v in largest[:4]], "matches": found["hits"]["hits"]}]}

    app = FastAPI()

    @app.post("/search")
    async def post_search(request: Request):
        return await asyncio.get_running_loop().run_in_executor(pool, search, await request.body())

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index")
    parser.add_argument("--candidates", type=int, default=1000, help="how many faces each shard's graph is searched for")
    parser.add_argument("--rescored", type=int, default=50, help="how many of these are compared again with full-precision vectors")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--prepare", action="store_true")
    arguments = parser.parse_args()
    models, packages = prepare()
    if arguments.prepare:
        return
    if arguments.index is None:
        parser.error("--index is needed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(PEER_INDEX=arguments.index, PEER_CANDIDATES=str(arguments.candidates), PEER_RESCORED=str(arguments.rescored))
    os.environ["PEER_MODELS"] = str(models)
    # uvicorn's processes import this file and the packages themselves.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(models / "site"), str(packages), str(Path(__file__).parent),
                                               os.environ.get("PYTHONPATH", "")])
    print(f"listening on http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", "--factory", "fastapi_search:application", "--host", "127.0.0.1",
                              "--port", str(port), "--workers", str(arguments.workers), "--log-level", "warning"])


if __name__ == "__main__":
    main()
