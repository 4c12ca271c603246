#!/usr/bin/env python3
"""facedex beside deepface's `find`, with the same models (YuNet, SFace), the same photos, in one run.

usage: deepface_find.py [--facedex BINARY] [--limit N] [--searches N] FOLDER PHOTO
       deepface_find.py --prepare      fetch what it needs, do nothing else

FOLDER has photos in folders of people, PHOTO is searched for among them. It measures, and prints as one JSON object:
- ingest: embedding all photos (deepface pickles them on its first `find`; facedex writes them to ELASTICSEARCH_URL),
- warm: a search by photo in a process that is up (DeepFace.find; POST /v1/search of `facedex serve`), by turns,
- cold: the same from starting a process (python with deepface; `facedex search`), the embeddings being there.

deepface takes its models from the internet; here it gets the files that `facedex models fetch` made, under the names that
it looks for. Packages (some GB, TensorFlow among them) go into ${FACEDEX_CACHE_DIR:-~/.cache/facedex}/peers.
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

from opencv_elasticsearch import IMAGES
from packages import cache, install

PACKAGES = ["deepface==0.0.103", "tf-keras", "opencv-python-headless==4.14.0.94"]
WEIGHTS = {"face_recognition_sface_2021dec.onnx": "sface_2021dec.onnx", "face_detection_yunet_2023mar.onnx": "yunet_2023mar.onnx"}
FIND = {"model_name": "SFace", "detector_backend": "yunet", "enforce_detection": False, "silent": True}


def prepare():
    return install("deepface-0.0.103", PACKAGES, "some GB", options=())


def lay_out(folder, limit, work):
    """A folder of the first `limit` photos, which both search, and deepface's folder of weights."""
    people, weights = work / "photos", work / ".deepface" / "weights"
    weights.mkdir(parents=True)
    models = Path(os.environ.get("FACEDEX_MODELS_DIR") or cache() / "models")
    for name, ours in WEIGHTS.items():
        (weights / name).symlink_to(models / ours)
    photos = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGES)[:limit]
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


def run(arguments, work):
    people, count = lay_out(arguments.folder, arguments.limit, work)
    os.environ["DEEPFACE_HOME"] = str(work)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    binary, photo = arguments.facedex, str(Path(arguments.photo).resolve())
    collection = f"bench-deepface-{uuid.uuid4()}"
    in_collection = ["-c", collection]

    ingest = [binary, "ingest", str(people), *in_collection, "--person-from-dir", "--no-journal", "--json"]
    facedex_ingest, _ = timed(lambda: subprocess.run(ingest, stdout=subprocess.DEVNULL, check=False))
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
    elastic = os.environ.get("ELASTICSEARCH_URL", "http://127.0.0.1:9200")
    index = f"facedex-faces-{collection}-000001"
    urllib.request.urlopen(urllib.request.Request(f"{elastic}/{index}", method="DELETE")).read()

    middle = lambda seen: {who: round(1000 * statistics.median(times), 1) for who, times in seen.items()}
    warm, cold = middle(warm), middle(cold)
    print(json.dumps({
        "photos": count,
        "ingest_photos_per_second": {"facedex": round(count / facedex_ingest, 1), "deepface": round(count / deepface_ingest, 1)},
        "ingest_ratio": round(deepface_ingest / facedex_ingest, 2),
        "warm_ms": warm, "warm_ratio": round(warm["deepface"] / warm["facedex"], 2),
        "cold_ms": cold, "cold_ratio": round(cold["deepface"] / cold["facedex"], 2),
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facedex", default="target/release/facedex")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("photo", nargs="?")
    arguments = parser.parse_args()
    home = prepare()
    if arguments.prepare:
        return
    if arguments.photo is None:
        parser.error("a folder and a photo are needed")
    sys.path.insert(0, str(home))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    work = Path(tempfile.mkdtemp(prefix="facedex-deepface-"))
    try:
        run(arguments, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
