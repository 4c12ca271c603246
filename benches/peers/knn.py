#!/usr/bin/env python3
"""What people search face embeddings with instead of a cluster: `facedex-bench knn --peers` runs it on the same vectors.

usage: knn.py --dims N [--turns] PEER FACES QUERIES
       knn.py --prepare      fetch what it needs, do nothing else

PEER is pickle (all embeddings in one pickle, a Python loop over them, as scripts and deepface's `find` do), numpy (one
product), faiss-flat, faiss-ivf, faiss-hnsw, hnswlib or annoy. FACES and QUERIES are float32 vectors, one after the other.
Prints one JSON array: for each way of asking parameters, build_seconds, memory_bytes (what the process grew by), p50_ms,
p95_ms, p99_ms (queries one by one on one thread), per_second (at best: all cores where the library can), queries and found
(the numbers of the ten nearest faces of each query; slow peers answer fewer queries, half of each kind). With --turns it
then stays, for whoever measures something else by turns with it: for each line on standard input, {"way": 0, "from": 0,
"to": 50}, it asks these queries again in the way of that place of the array, and prints an array of milliseconds.

Graphs have the parameters that facedex uses by default: m 32, ef_construction 100.
Packages go into ${FACEDEX_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/facedex}/peers. Needs python3 (3.9 or newer) with pip.
"""
import argparse
import json
import math
import os
import pickle
import sys
import time

from dataclasses import dataclass
from typing import Callable, Optional

from packages import install

PACKAGES = ["numpy==2.4.6", "faiss-cpu==1.15.1", "hnswlib==0.8.0", "annoy==1.17.3"]
K, M, EF_CONSTRUCTION = 10, 32, 100
EFS = (100, 200, 400, 800, 1600, 3200)  # candidates, where a graph is searched
SECONDS = 20  # a way of asking that takes longer answers fewer queries


def prepare():
    # hnswlib and annoy are built here.
    return install("knn-1", PACKAGES, "about 60 MB", needs=", a C++ compiler", options=())


def memory():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


def by_turns(queries):
    """The first half are people who are stored, the others strangers: an order that meets both from the start."""
    half = len(queries) // 2
    return [at for pair in zip(range(half), range(half, 2 * half)) for at in pair]


def ask(queries, one, many=None):
    """Each query alone, then all at once where the library can."""
    for at in range(3):
        one(queries[at])
    order, found, times = by_turns(queries), {}, []
    start = time.monotonic()
    for at in order:
        begin = time.perf_counter()
        found[at] = [int(number) for number in one(queries[at])]
        times.append((time.perf_counter() - begin) * 1000)
        if time.monotonic() - start > SECONDS:
            break
    per_second = 1000 * len(times) / sum(times)
    if many is not None:
        begin = time.perf_counter()
        many(queries)
        per_second = max(per_second, len(queries) / (time.perf_counter() - begin))
    count = len(times)
    times.sort()

    def at_share(share):
        return times[max(math.ceil(share * count) - 1, 0)]

    # A query that was not asked has no answer; it does not count.
    answers = [found.get(at) for at in range(len(queries))]
    return {"p50_ms": at_share(.5), "p95_ms": at_share(.95), "p99_ms": at_share(.99), "per_second": per_second,
            "queries": count, "found": answers}


class Measure:
    """Times and weighs what is built."""

    def __enter__(self):
        self.before, self.start = memory(), time.monotonic()
        return self

    def __exit__(self, *_):
        self.figures = {"build_seconds": time.monotonic() - self.start, "memory_bytes": memory() - self.before}


@dataclass
class Way:
    """A way of asking what was built."""
    parameters: str
    built: dict
    one: Callable                       # the nearest faces of a query
    many: Optional[Callable] = None     # of all queries at once
    choose: Callable = lambda: None     # called before


def run_pickle(numpy, faces, queries, path):
    with open(path, "wb") as file:
        pickle.dump([(f"photo-{at}.jpg", vector) for at, vector in enumerate(faces)], file)
    with Measure() as built, open(path, "rb") as file:
        stored = pickle.load(file)

    def one(query):
        scores = []
        for at, (_, vector) in enumerate(stored):
            scores.append((numpy.dot(query, vector), at))
        scores.sort(reverse=True)
        return [at for _, at in scores[:K]]

    return [Way("loop over a pickle", built.figures, one)]


def run_numpy(numpy, faces, queries, _):
    with Measure() as built:
        stored = faces.copy()

    def best(scores):
        top = numpy.argpartition(-scores, K)[:K]
        return top[numpy.argsort(-scores[top])]

    def many(queries):
        for start in range(0, len(queries), 64):
            for row in queries[start:start + 64] @ stored.T:
                best(row)

    return [Way("one product", built.figures, lambda query: best(stored @ query), many)]


def run_faiss(kind):
    def run(numpy, faces, queries, _):
        import faiss

        dims = faces.shape[1]
        with Measure() as built:
            if kind == "flat":
                index, ways = faiss.IndexFlatIP(dims), [("exact", None)]
            elif kind == "ivf":
                lists = int(4 * math.sqrt(len(faces)))
                index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, lists, faiss.METRIC_INNER_PRODUCT)
                index.train(faces[:: max(1, len(faces) // (50 * lists))])
                ways = [(f"{lists} lists, nprobe {n}", n) for n in (8, 16, 32, 64, 128)]
            else:
                index = faiss.IndexHNSWFlat(dims, M, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = EF_CONSTRUCTION
                ways = [(f"m {M}, ef {n}", n) for n in EFS]
            index.add(faces)
        cores = os.cpu_count()

        def chooser(value):
            def choose():
                faiss.omp_set_num_threads(1)
                if kind == "ivf":
                    index.nprobe = value
                elif kind == "hnsw":
                    index.hnsw.efSearch = value
            return choose

        def many(queries):
            faiss.omp_set_num_threads(cores)
            index.search(queries, K)
            faiss.omp_set_num_threads(1)

        return [Way(name, built.figures, lambda query: index.search(query[None], K)[1][0], many, chooser(value))
                for name, value in ways]
    return run


def run_hnswlib(numpy, faces, queries, _):
    import hnswlib

    with Measure() as built:
        index = hnswlib.Index(space="ip", dim=faces.shape[1])
        index.init_index(max_elements=len(faces), ef_construction=EF_CONSTRUCTION, M=M)
        index.add_items(faces, num_threads=os.cpu_count())
    return [Way(f"m {M}, ef {ef}", built.figures,
                lambda query: index.knn_query(query, k=K, num_threads=1)[0][0],
                lambda queries: index.knn_query(queries, k=K, num_threads=os.cpu_count()),
                lambda ef=ef: index.set_ef(ef)) for ef in EFS]


def run_annoy(numpy, faces, queries, _):
    from annoy import AnnoyIndex

    trees = 50
    with Measure() as built:
        index = AnnoyIndex(faces.shape[1], "angular")
        for at, vector in enumerate(faces):
            index.add_item(at, vector)
        index.build(trees, n_jobs=os.cpu_count())
    return [Way(f"{trees} trees, search_k {nodes}", built.figures,
                lambda query, nodes=nodes: index.get_nns_by_vector(query, K, search_k=nodes))
            for nodes in (2000, 8000, 32000, 128000)]


PEERS = {"pickle": run_pickle, "numpy": run_numpy, "faiss-flat": run_faiss("flat"), "faiss-ivf": run_faiss("ivf"),
         "faiss-hnsw": run_faiss("hnsw"), "hnswlib": run_hnswlib, "annoy": run_annoy}


def measured(way, queries):
    way.choose()
    return {"parameters": way.parameters, **way.built, **ask(queries, way.one, way.many)}


def take_turns(ways, queries):
    """Until standard input ends."""
    order = by_turns(queries)
    for line in sys.stdin:
        asked = json.loads(line)
        way = ways[asked["way"]]
        way.choose()
        times = []
        for at in order[asked["from"]:asked["to"]]:
            begin = time.perf_counter()
            way.one(queries[at])
            times.append((time.perf_counter() - begin) * 1000)
        print(json.dumps(times), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--dims", type=int)
    parser.add_argument("--turns", action="store_true")
    parser.add_argument("peer", nargs="?", choices=list(PEERS))
    parser.add_argument("faces", nargs="?")
    parser.add_argument("queries", nargs="?")
    arguments = parser.parse_args()
    # One query alone uses one core in every library; numpy's is told before it is loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.path.insert(0, str(prepare()))
    if arguments.prepare:
        return
    if arguments.queries is None or arguments.dims is None:
        parser.error("--dims, a peer and two files are needed")
    import numpy

    faces, queries = (numpy.fromfile(file, numpy.float32).reshape(-1, arguments.dims)
                      for file in (arguments.faces, arguments.queries))
    ways = PEERS[arguments.peer](numpy, faces, queries, arguments.faces + ".pickle")
    print(json.dumps([measured(way, queries) for way in ways]), flush=True)
    if arguments.turns:
        take_turns(ways, queries)


if __name__ == "__main__":
    main()
