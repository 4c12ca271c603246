#!/usr/bin/env python3
"""facedex beside deepface's `find`, with the same models (YuNet, SFace), the same photos, in one run.

usage: deepface_find.py [--facedex BINARY] [--sface published|facedex] [--limit N] [--searches N] FOLDER PHOTO
       deepface_find.py --prepare      fetch what it needs, do nothing else

FOLDER has photos in folders of people, PHOTO is searched for among them. It measures, and prints as one JSON object:
- ingest: embedding all photos (deepface pickles them on its first `find`; facedex writes them to ELASTICSEARCH_URL),
- warm: a search by photo in a process that is up (DeepFace.find; POST /v1/search of `facedex serve`), by turns,
- cold: the same from starting a process (python with deepface; `facedex search`), the embeddings being there.

deepface takes its models from the internet; here they are made of what opencv_elasticsearch.py fetches, under the names that
it looks for. Like facedex it runs SFace in ONNX Runtime:

--sface published    the graph that deepface downloads, opencv_zoo's float32 one (its weights are the block-quantised ones, which
                     are in reach, as float32)
--sface facedex      the graph that `facedex models fetch` made of it, which ONNX Runtime runs faster; deepface has no such

Packages (some GB, TensorFlow among them) go into ${FACEDEX_CACHE_DIR:-~/.cache/facedex}/peers.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import opencv_elasticsearch as opencv
from packages import cache, install

PACKAGES = ["deepface==0.0.103", "tf-keras", "onnx==1.20.1", "onnxruntime==1.32.0",
            "opencv-contrib-python-headless==5.0.0.93"]
WEIGHTS = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")
PREPARE = Path(__file__).resolve().parents[2] / "models" / "prepare"
FIND = {"model_name": "SFace", "detector_backend": "yunet", "enforce_detection": False, "silent": True}


def prepare():
    """deepface's packages, and the folder that has the models."""
    return install("deepface-0.0.103-2", PACKAGES, "some GB", options=()), opencv.prepare()


def as_downloaded(source, target):
    """opencv_zoo's float32 graph, out of its block-quantised one: the weights have their own names again. SFace's are, as there,
    in the list of inputs, where ONNX Runtime takes no weight for constant and fuses nothing."""
    sys.path.append(str(PREPARE))
    import graph as steps
    import onnx

    model = onnx.load(source)
    steps.fold_quantised_weights(model.graph)
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = weight(name)
    used = {name for node in model.graph.node for name in node.input}
    stored = {weight(tensor.name): tensor for tensor in model.graph.initializer}
    del model.graph.initializer[:]
    for name in used & stored.keys():
        stored[name].name = name
        model.graph.initializer.append(stored[name])
    onnx.save(model, target)


def weight(name):
    return name.removesuffix("_dequantized").removesuffix("_reshaped")


def lay_out(folder, limit, sface, models, work):
    """A folder of the first `limit` photos, which both search, and deepface's folder of weights."""
    people, weights = work / "photos", work / ".deepface" / "weights"
    weights.mkdir(parents=True)
    for name, published in zip(WEIGHTS, opencv.PUBLISHED):
        as_downloaded(models / published, weights / name)
    if sface == "facedex":
        ours = Path(os.environ.get("FACEDEX_MODELS_DIR") or cache() / "models") / "sface_2021dec.onnx"
        if not ours.is_file():
            sys.exit(f"peer: {ours} is missing; `facedex models fetch` makes it")
        shutil.copyfile(ours, weights / WEIGHTS[1])
    photos = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in opencv.IMAGES)[:limit]
    if not photos:
        sys.exit(f"peer: no photos in {folder}")
    for photo in photos:
        link = people / photo.parent.name / photo.name
        link.parent.mkdir(parents=True, exist_ok=True)
        # Copies: deepface does not follow links to folders.
        shutil.copyfile(photo, link)
    return people, len(photos)


def timed(call):
    start = time.monotonic()
    result = call()
    return time.monotonic() - start, result


def serve(binary):
    process = subprocess.Popen([binary, "serve", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("listening on "):
            return process, line.split()[2]
    sys.exit("peer: facedex serve does not start")


def run(arguments, models, work, collection):
    people, count = lay_out(arguments.folder, arguments.limit, arguments.sface, models, work)
    os.environ["DEEPFACE_HOME"] = str(work)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    binary, photo = arguments.facedex, str(Path(arguments.photo).resolve())
    in_collection = ["-c", collection]

    ingest = [binary, "ingest", str(people), *in_collection, "--person-from-dir", "--no-journal", "--json"]
    facedex_ingest, ran = timed(lambda: subprocess.run(ingest, stdout=subprocess.DEVNULL))
    # 1: some photos could not be used, or are there as somebody else.
    if ran.returncode not in (0, 1):
        sys.exit(f"peer: facedex ingest ended with {ran.returncode}")
    from deepface import DeepFace

    DeepFace.represent(photo, model_name="SFace", detector_backend="yunet", enforce_detection=False)  # loads the models
    find = lambda: DeepFace.find(photo, db_path=str(people), **FIND)
    deepface_ingest, _ = timed(find)

    server, url = serve(binary)
    encoded = Path(photo).read_bytes()
    request = lambda: urllib.request.urlopen(urllib.request.Request(
        f"{url}/v1/search?collection={collection}&face=largest", encoded, {"Content-Type": "image/jpeg"})).read()
    warm = {"facedex": [], "deepface": []}
    for _ in range(3):
        request()
    for _ in range(arguments.searches):
        warm["facedex"].append(timed(request)[0])
        warm["deepface"].append(timed(find)[0])
    server.terminate()
    server.wait()

    script = f"from deepface import DeepFace; DeepFace.find({photo!r}, db_path={str(people)!r}, **{FIND!r})"
    search = [binary, "search", photo, *in_collection, "--json"]
    cold = {"facedex": [], "deepface": []}
    for _ in range(3):
        for who, command in (("facedex", search), ("deepface", [sys.executable, "-c", script])):
            cold[who].append(timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True))[0])

    middle = lambda seen: {who: round(1000 * statistics.median(times), 1) for who, times in seen.items()}
    warm, cold = middle(warm), middle(cold)
    print(json.dumps({
        "photos": count, "sface": arguments.sface,
        "ingest_photos_per_second": {"facedex": round(count / facedex_ingest, 1), "deepface": round(count / deepface_ingest, 1)},
        "ingest_ratio": round(deepface_ingest / facedex_ingest, 2),
        "warm_ms": warm, "warm_ratio": round(warm["deepface"] / warm["facedex"], 2),
        "cold_ms": cold, "cold_ratio": round(cold["deepface"] / cold["facedex"], 2),
    }))


def remove(collection):
    elastic = os.environ.get("ELASTICSEARCH_URL", "http://127.0.0.1:9200")
    index = f"{elastic}/facedex-faces-{collection}-000001?ignore_unavailable=true"
    try:
        urllib.request.urlopen(urllib.request.Request(index, method="DELETE")).read()
    except OSError as error:
        # Not the run's own failure, which is told besides.
        print(f"peer: the collection {collection} may be left behind: {error}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facedex", default="target/release/facedex")
    parser.add_argument("--sface", choices=["published", "facedex"], default="published")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("photo", nargs="?")
    arguments = parser.parse_args()
    home, models = prepare()
    if arguments.prepare:
        return
    if arguments.photo is None:
        parser.error("a folder and a photo are needed")
    if not Path(arguments.photo).is_file():
        parser.error(f"{arguments.photo} is no file")
    if shutil.which(arguments.facedex) is None:
        parser.error(f"{arguments.facedex} is missing: cargo build --release")
    sys.path.insert(0, str(home))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    work = Path(tempfile.mkdtemp(prefix="facedex-deepface-"))
    collection = f"bench-deepface-{uuid.uuid4()}"
    try:
        run(arguments, models, work, collection)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        remove(collection)


if __name__ == "__main__":
    main()
