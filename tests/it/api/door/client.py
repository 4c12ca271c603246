"""Searches through the door with elasticsearch-py, as any service would. Prints what was found as one line of JSON."""
import json
import sys

import elasticsearch
from elasticsearch import Elasticsearch

url, collection, photo = sys.argv[1:]
face = {"face_embedding": {"image": open(photo).read(), "face": "largest"}}
typed = {"text_embedding": {"model_id": "facedex", "model_text": open(photo).read()}}
knn = {"field": "face.embedding", "query_vector_builder": face, "k": 3, "num_candidates": 50}
found = {"client": elasticsearch.__versionstr__}


def persons(answer):
    return [hit["_source"].get("person", {}).get("id") for hit in answer["hits"]["hits"]]


for compress in (False, True):
    client = Elasticsearch(url, api_key="dGhlaXI6a2V5", http_compress=compress)
    assert client.ping()
    found["server"] = client.info()["version"]["number"]
    top = client.search(index=collection, knn=knn, source=["person"])
    found["search"] = persons(top)
    typed_knn = knn | {"query_vector_builder": typed}
    found["typed"] = persons(client.search(index=collection, knn=typed_knn, source=["person"]))
    query = {"bool": {"must": [{"knn": knn}], "filter": [{"exists": {"field": "person.id"}}]}}
    found["query"] = persons(client.search(index=collection, query=query, size=3))
    found["retriever"] = persons(client.search(index=collection, retriever={"knn": knn}, size=3))
    found["count"] = client.count(index=collection)["count"]
    several = client.msearch(index=collection, searches=[{}, {"knn": knn}, {"index": "*"}, {}, {}, {"size": 1}])["responses"]
    found["msearch"] = [persons(several[0]), several[1]["error"]["type"], several[2]["status"]]
    refused = []
    for call in (
        lambda: client.search(index="*"),
        lambda: client.search(index="no-such-collection"),
        lambda: client.search(index=collection, script_fields={"x": {"script": "1"}}),
        lambda: client.indices.get(index=collection),
    ):
        try:
            call()
            refused.append(None)
        except elasticsearch.ApiError as error:
            refused.append([type(error).__name__, error.status_code, error.error])
    found["refused"] = refused
print(json.dumps(found))
