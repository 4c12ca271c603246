"""kibana/dashboards.toml to Kibana's saved objects, one JSON object a line.

The form is that of Kibana 8.8 to 8.x, which 8.19 and 9.x import: dashboards whose panels are Lens charts by value.
"""
import json

CORE = "8.8.0"  # coreMigrationVersion
TYPES = {"dashboard": "8.9.0", "index-pattern": "8.0.0"}  # typeMigrationVersion; without it old migrations would run
PANEL = "8.9.0"  # the version that a panel's own state is of
LAYER = "layer"
SERIES = {"bar": "bar_stacked", "line": "line", "percent": "bar_percentage_stacked", "rows": "bar_horizontal_stacked"}
EMPTY = {"query": {"language": "lucene", "query": ""}, "filter": []}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def saved(kind, name, attributes, references):
    return {
        "id": name, "type": kind, "managed": False, "coreMigrationVersion": CORE, "typeMigrationVersion": TYPES[kind],
        "attributes": attributes, "references": references,
    }


def data_view(view):
    nanoseconds = {"id": "duration", "params": {
        "inputFormat": "nanoseconds", "outputFormat": "humanizePrecise", "outputPrecision": 1, "useShortSuffix": True}}
    formats = {field: nanoseconds for field in view.get("nanoseconds", [])}
    return saved("index-pattern", view["id"], {
        "title": view["title"], "name": view["name"], "timeFieldName": "@timestamp", "fields": "[]", "fieldAttrs": "{}",
        "fieldFormatMap": compact(formats), "runtimeFieldMap": "{}", "sourceFilters": "[]", "typeMeta": "{}",
        "allowNoIndex": True,
    }, [])


def metric(spec):
    """A column that measures: what Lens calls an operation that is not bucketed."""
    is_date = spec.get("field") == "@timestamp"
    column = {
        "label": spec["label"], "customLabel": True, "dataType": "date" if is_date else "number",
        "operationType": spec["op"], "isBucketed": False, "scale": "ratio", "sourceField": spec.get("field", "___records___"),
        "params": {"emptyAsNull": True},
    }
    if spec["op"] == "percentile":
        column["params"] = {"percentile": spec["percentile"]}
    if "per" in spec:
        column["timeScale"] = spec["per"]
    return column


def bucket(spec, order):
    """A column that groups; terms are ordered by the column `order`."""
    if spec.get("time"):
        return {
            "label": "@timestamp", "dataType": "date", "operationType": "date_histogram", "sourceField": "@timestamp",
            "isBucketed": True, "scale": "interval",
            "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
        }
    if "terms" in spec:
        is_number = spec.get("number", False)
        return {
            "label": spec.get("label", spec["terms"]), "customLabel": True, "dataType": "number" if is_number else "string",
            "operationType": "terms", "sourceField": spec["terms"], "isBucketed": True, "scale": "ordinal",
            "params": {
                "size": spec["size"], "orderBy": {"type": "column", "columnId": order}, "orderDirection": "desc",
                "otherBucket": False, "missingBucket": False, "parentFormat": {"id": "terms"}, "include": [], "exclude": [],
                "includeIsRegex": False, "excludeIsRegex": False,
            },
        }
    pairs = list(zip(spec["bounds"], spec["bounds"][1:]))
    names = spec.get("names", [""] * len(pairs))
    if len(names) != len(pairs):
        raise ValueError(f"{len(pairs)} ranges of {spec['field']}, {len(names)} names")
    return {
        "label": spec["field"], "customLabel": True, "dataType": "string", "operationType": "range",
        "sourceField": spec["field"], "isBucketed": True, "scale": "ordinal",
        "params": {
            "type": "range", "maxBars": "auto",
            "ranges": [{"from": low, "to": high, "label": name} for (low, high), name in zip(pairs, names)],
            "parentFormat": {"id": "range", "params": {"template": "arrow_right", "replaceInfinity": True}},
        },
    }


def columns(panel):
    """The panel's columns by their ids: buckets first, as Lens nests them."""
    measures = {f"m{number}": metric(spec) for number, spec in enumerate(panel["metrics"])}
    by_label = {column["label"]: name for name, column in measures.items()}
    order = by_label[panel["order"]] if "order" in panel else "m0"
    found = {}
    # The one that colours is outside, as Lens has it: its top values are those of the whole chart.
    for name in ["split", "x"]:
        if name in panel:
            found[name] = bucket(panel[name], order)
    return found | measures


def visualization(panel, names):
    measures = [name for name in names if name.startswith("m")]
    layer = {"layerId": LAYER, "layerType": "data"}
    if panel["kind"] == "metric":
        return "lnsMetric", {**layer, "metricAccessor": measures[0]}
    if panel["kind"] == "table":
        shown = [{"columnId": name, "isTransposed": False} for name in names]
        return "lnsDatatable", {**layer, "columns": shown, "rowHeight": "single", "headerRowHeight": "single"}
    series = SERIES[panel["kind"]]
    data = {**layer, "seriesType": series, "xAccessor": "x", "accessors": measures, "showGridlines": False}
    if "split" in panel:
        data["splitAccessor"] = "split"
    show = {"x": False, "yLeft": len(measures) == 1, "yRight": True}
    return "lnsXY", {
        "preferredSeriesType": series, "layers": [data], "valueLabels": "hide", "fittingFunction": "None",
        "legend": {"isVisible": True, "position": "bottom", "showSingleSeries": False},
        "axisTitlesVisibilitySettings": show,
    }


def panel_object(panel, number, views, common):
    found = columns(panel)
    kind, state = visualization(panel, list(found))
    view = views[panel["view"]]["id"]
    reference = {"type": "index-pattern", "id": view, "name": f"indexpattern-datasource-layer-{LAYER}"}
    query = " AND ".join(part for part in [common, panel.get("query", "")] if part)
    x, y, width, height = panel["at"]
    index = f"p{number}"
    attributes = {
        "title": panel["title"], "description": "", "type": "lens", "visualizationType": kind, "references": [reference],
        "state": {
            "visualization": state, "query": {"language": "lucene", "query": query}, "filters": [],
            "datasourceStates": {"formBased": {"layers": {LAYER: {
                "columns": found, "columnOrder": list(found), "incompleteColumns": {}}}}, "textBased": {"layers": {}}},
            "internalReferences": [], "adHocDataViews": {},
        },
    }
    shown = {
        "version": PANEL, "type": "lens", "title": panel["title"], "panelIndex": index,
        "gridData": {"x": x, "y": y, "w": width, "h": height, "i": index},
        "embeddableConfig": {"attributes": attributes, "enhancements": {}, "hidePanelTitles": False},
    }
    return shown, {**reference, "name": f"{index}:{reference['name']}"}


def dashboard(spec, views):
    pairs = [panel_object(panel, number, views, spec.get("query", "")) for number, panel in enumerate(spec["panels"])]
    return saved("dashboard", spec["id"], {
        "title": spec["title"], "description": spec["description"], "version": 1,
        "timeRestore": True, "timeFrom": "now-7d", "timeTo": "now", "refreshInterval": {"pause": True, "value": 60000},
        "optionsJSON": compact({"useMargins": True, "syncColors": True, "syncCursor": True, "syncTooltips": False, "hidePanelTitles": False}),
        "panelsJSON": compact([panel for panel, _ in pairs]),
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact(EMPTY)},
    }, [reference for _, reference in pairs])


def build(spec):
    """All saved objects: data views first, since dashboards name them."""
    objects = [data_view(view) for view in spec["views"].values()]
    objects += [dashboard(item, spec["views"]) for item in spec["dashboards"]]
    return "".join(compact(item) + "\n" for item in objects)
