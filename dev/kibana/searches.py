"""A Lens panel to the search that Kibana would send for it, and the answer to rows.

It reads the saved objects alone (kibana/facedex.ndjson), not what they were made from: what is tried here is what is
imported there. It knows the operations that our panels use, and stops at any other.
"""
import datetime
import json

# Kibana's steps for a time axis, in seconds; it takes the first that gives at most BARS of them.
STEPS = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400, 604800, 2592000]
BARS = 50


def panels(objects):
    """Every panel: its dashboard, title, place, Lens state and data view's title."""
    views = {item["id"]: item["attributes"]["title"] for item in objects if item["type"] == "index-pattern"}
    for item in objects:
        if item["type"] != "dashboard":
            continue
        references = {ref["name"]: ref["id"] for ref in item["references"]}
        for panel in json.loads(item["attributes"]["panelsJSON"]):
            lens = panel["embeddableConfig"]["attributes"]
            (layer, content), = lens["state"]["datasourceStates"]["formBased"]["layers"].items()
            view = references[f"{panel['panelIndex']}:indexpattern-datasource-layer-{layer}"]
            yield {
                "dashboard": item["id"], "title": panel["title"], "grid": panel["gridData"],
                "kind": lens["visualizationType"], "visualization": lens["state"]["visualization"],
                "query": lens["state"]["query"], "columns": content["columns"], "order": content["columnOrder"],
                "index": views[view],
            }


def fields(panel):
    """The fields that a panel names; time is always one."""
    named = {column["sourceField"] for column in panel["columns"].values()}
    return sorted((named | {"@timestamp"}) - {"___records___"})


def iso(moment):
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def step(start, end):
    seconds = (end - start).total_seconds()
    return next((size for size in STEPS if seconds / size <= BARS), STEPS[-1])


def measure(column):
    """The aggregation of a metric; None for a count, which every bucket has."""
    field, operation = column["sourceField"], column["operationType"]
    if operation == "count":
        return None
    if operation in ("sum", "max"):
        return {operation: {"field": field}}
    if operation == "average":
        return {"avg": {"field": field}}
    if operation == "unique_count":
        return {"cardinality": {"field": field}}
    if operation == "percentile":
        return {"percentiles": {"field": field, "percents": [column["params"]["percentile"]]}}
    raise ValueError(f"no such operation here: {operation}")


def group(column, columns, start, end):
    """The aggregation of a bucket."""
    field, operation, params = column["sourceField"], column["operationType"], column["params"]
    if operation == "date_histogram":
        return {"date_histogram": {
            "field": field, "fixed_interval": f"{step(start, end)}s", "min_doc_count": 0,
            "extended_bounds": {"min": iso(start), "max": iso(end)}}}
    if operation == "terms":
        by = params["orderBy"]["columnId"]
        of = columns[by]
        if of["operationType"] == "count":
            by = "_count"
        elif of["operationType"] == "percentile":
            by = f"{by}.{of['params']['percentile']}"
        return {"terms": {"field": field, "size": params["size"], "order": {by: params["orderDirection"]}}}
    if operation == "range":
        bounds = [{"from": bound["from"], "to": bound["to"], "key": bound["label"] or f"{bound['from']:g} → {bound['to']:g}"}
                  for bound in params["ranges"]]
        return {"range": {"field": field, "ranges": bounds}}
    raise ValueError(f"no such operation here: {operation}")


def search(panel, start, end):
    """The body of the panel's search for a stretch of time."""
    if panel["query"]["language"] != "lucene":
        raise ValueError("only queries in Lucene's syntax are known here")
    text = panel["query"]["query"]
    conditions = [{"range": {"@timestamp": {"gte": iso(start), "lte": iso(end), "format": "strict_date_optional_time"}}}]
    if text:
        conditions.insert(0, {"query_string": {"query": text, "analyze_wildcard": True}})
    columns = panel["columns"]
    buckets = [name for name in panel["order"] if columns[name]["isBucketed"]]
    measures = {name: measure(columns[name]) for name in panel["order"] if not columns[name]["isBucketed"]}
    inner = {name: what for name, what in measures.items() if what}
    body = {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": conditions}}}
    # From the inside out; each level also measures, since terms are ordered by what is measured in them.
    level = dict(inner)
    for name in reversed(buckets):
        level = {name: {**group(columns[name], columns, start, end), "aggs": level}} | inner
        if not level[name]["aggs"]:
            del level[name]["aggs"]
    if level:
        body["aggs"] = level
    return body


def value(column, name, answer, count):
    if column["operationType"] == "count":
        return count
    if column["operationType"] == "percentile":
        found = next(iter(answer[name]["values"].values()))
    else:
        found = answer[name]["value"]
    return found


def rows(panel, answer):
    """The answer as rows of column ids to values: buckets' keys, and measures."""
    columns = panel["columns"]
    buckets = [name for name in panel["order"] if columns[name]["isBucketed"]]
    measures = [name for name in panel["order"] if not columns[name]["isBucketed"]]

    def walk(level, left, keys, count):
        if not left:
            yield keys | {name: value(columns[name], name, level, count) for name in measures}
            return
        for bucket in level[left[0]]["buckets"]:
            yield from walk(bucket, left[1:], keys | {left[0]: bucket["key"]}, bucket["doc_count"])

    return list(walk(answer.get("aggregations", {}), buckets, {}, answer["hits"]["total"]["value"]))
