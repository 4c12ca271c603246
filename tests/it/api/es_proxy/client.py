"""Searches through the proxy with elasticsearch-py, as any service would. Prints what was found as one line of JSON."""
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
    # What is not done here raises something that is no NotFoundError: nobody takes it for absence.
    face_id = top["hits"]["hits"][0]["_id"]
    assert client.indices.exists(index=collection) and not client.indices.exists(index="no-such-collection")
    elsewhere = client.options(ignore_status=404)
    not_done = {
        "exists": lambda: client.exists(index=collection, id=face_id),
        "exists_source": lambda: client.exists_source(index=collection, id=face_id),
        "get": lambda: elsewhere.get(index=collection, id=face_id),
        "get_source": lambda: elsewhere.get_source(index=collection, id=face_id),
        "mget": lambda: elsewhere.mget(index=collection, ids=[face_id]),
        "index": lambda: elsewhere.index(index=collection, document={}),
        "create": lambda: elsewhere.create(index=collection, id="x", document={}),
        "update": lambda: elsewhere.update(index=collection, id=face_id, doc={}),
        "delete": lambda: elsewhere.delete(index=collection, id=face_id),
        "delete_by_query": lambda: elsewhere.delete_by_query(index=collection, query={"match_all": {}}),
        "update_by_query": lambda: elsewhere.update_by_query(index=collection),
        "bulk": lambda: elsewhere.bulk(index=collection, operations=[{"delete": {"_id": face_id}}]),
        "explain": lambda: elsewhere.explain(index=collection, id=face_id, query={"match_all": {}}),
        "field_caps": lambda: elsewhere.field_caps(index=collection, fields="*"),
        "search_template": lambda: elsewhere.search_template(index=collection, id="x"),
        "open_point_in_time": lambda: elsewhere.open_point_in_time(index=collection, keep_alive="1m"),
        "indices.create": lambda: elsewhere.indices.create(index=collection),
        "indices.delete": lambda: elsewhere.indices.delete(index=collection),
        "indices.get": lambda: elsewhere.indices.get(index=collection),
        "indices.get_mapping": lambda: elsewhere.indices.get_mapping(index=collection),
        "indices.exists_alias": lambda: client.indices.exists_alias(name=collection),
        "indices.refresh": lambda: elsewhere.indices.refresh(index=collection),
        "cluster.health": lambda: elsewhere.cluster.health(),
        "cat.count": lambda: elsewhere.cat.count(),
        "nodes.info": lambda: elsewhere.nodes.info(),
    }
    for name, call in not_done.items():
        try:
            raise AssertionError(f"{name} answered {call()}")
        except elasticsearch.ApiError as error:
            assert error.status_code in (400, 403, 405), f"{name}: {error.status_code}"
print(json.dumps(found))
