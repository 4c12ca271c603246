"""A dashboard's panels, drawn from Elasticsearch's answers into one SVG: for people without Kibana, and for a look at what
the panels say. Kibana draws them its own way."""
import datetime
import math
from html import escape

from kibana.searches import rows, step

UNIT, ROW = 25, 21  # pixels of one column and one row of Kibana's grid
GAP, HEAD = 8, 58
INK, FAINT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"]


def number(value):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def duration(nanoseconds):
    if nanoseconds is None:
        return "–"
    for unit, size in [("s", 1e9), ("ms", 1e6), ("µs", 1e3)]:
        if nanoseconds >= size:
            return f"{number(float(f'{nanoseconds / size:.3g}'))} {unit}"
    return f"{number(nanoseconds)} ns"


def clock(milliseconds):
    if milliseconds is None:
        return "–"
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc).strftime("%H:%M:%S")


def show(column):
    """How a column's values are written."""
    if column["dataType"] == "date":
        return clock
    if column["sourceField"] == "event.duration":
        return duration
    return number


def text(x, y, content, size=11, colour=FAINT, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(str(content))}</text>')


def rect(x, y, width, height, colour, extra=""):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{colour}"{extra}/>'


def cut(content, width, size=11):
    """The text, shortened to about so many pixels."""
    most = max(int(width / (size * 0.56)), 2)
    content = str(content)
    return content if len(content) <= most else content[: most - 1] + "…"


class Chart:
    """A panel's rows, by what stands along the axis and by series."""

    def __init__(self, panel, found, start, end):
        columns = panel["columns"]
        self.measures = [name for name in panel["order"] if not columns[name]["isBucketed"]]
        self.show = show(columns[self.measures[0]])
        self.is_time = "x" in columns and columns["x"]["operationType"] == "date_histogram"
        seconds = step(start, end) if self.is_time else 1
        self.keys, self.series, self.values = [], [], {}
        for row in found:
            key = row["x"]
            if key not in self.keys:
                self.keys.append(key)
            for name in self.measures:
                label = str(row["split"]) if "split" in row else columns[name]["label"]
                if label not in self.series:
                    self.series.append(label)
                scale = seconds if "timeScale" in columns[name] else 1
                value = row[name]
                self.values[key, label] = None if value is None else value / scale
        if self.is_time:
            self.keys.sort()

    def of(self, key, label):
        return self.values.get((key, label)) or 0

    def label(self, key):
        return clock(key) if self.is_time else str(key)


def legend(chart, x, y, width):
    if len(chart.series) < 2:
        return []
    parts, at = [], x
    for place, label in enumerate(chart.series):
        parts += [rect(at, y - 8, 8, 8, COLOURS[place % len(COLOURS)]), text(at + 12, y, cut(label, 130), 10)]
        at += 22 + 6 * min(len(label), 24)
        if at > x + width - 60:
            break
    return parts


def frame(x, y, width, height, top, write):
    """Three lines across with their values."""
    parts = []
    for share in (0, 0.5, 1):
        level = y + height * (1 - share)
        parts.append(f'<line x1="{x:.1f}" y1="{level:.1f}" x2="{x + width:.1f}" y2="{level:.1f}" stroke="{LINE}"/>')
        parts.append(text(x - 5, level + 3.5, write(top * share), 10, anchor="end"))
    return parts


def along(chart, x, y, width):
    """What stands along the axis, as much as there is room for."""
    slot = width / max(len(chart.keys), 1)
    longest = max((len(chart.label(key)) for key in chart.keys), default=1)
    every = max(math.ceil((longest * 5.8 + 6) / slot), 1)
    return [text(x + slot * (place + 0.5), y + 13, chart.label(key), 10, anchor="middle")
            for place, key in enumerate(chart.keys) if place % every == 0]


def bars(chart, x, y, width, height, percent=False):
    x, width, height = x + 46, width - 50, height - 34
    sums = {key: sum(chart.of(key, label) for label in chart.series) for key in chart.keys}
    top = 1 if percent else max(list(sums.values()) + [1e-9])
    parts = frame(x, y, width, height, top, (lambda share: f"{share * 100:.0f} %") if percent else chart.show)
    slot = width / max(len(chart.keys), 1)
    for place, key in enumerate(chart.keys):
        level = y + height
        for number_, label in enumerate(chart.series):
            share = chart.of(key, label) / ((sums[key] or 1) if percent else top)
            level -= height * share
            parts.append(rect(x + slot * place + slot * 0.1, level, slot * 0.8, height * share, COLOURS[number_ % len(COLOURS)]))
    return parts + along(chart, x, y + height, width) + legend(chart, x, y + height + 30, width)


def lines(chart, x, y, width, height):
    x, width, height = x + 52, width - 56, height - 34
    top = max([value for value in chart.values.values() if value] + [1e-9])
    parts = frame(x, y, width, height, top, chart.show)
    slot = width / max(len(chart.keys), 1)
    for place, label in enumerate(chart.series):
        colour = COLOURS[place % len(COLOURS)]
        points = [(x + slot * (at + 0.5), y + height * (1 - value / top)) for at, key in enumerate(chart.keys)
                  if (value := chart.values.get((key, label))) is not None]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2" fill="{colour}"/>' for a, b in points]
    return parts + along(chart, x, y + height, width) + legend(chart, x, y + height + 30, width)


def lying(chart, x, y, width, height):
    height -= 16
    left = min(width * 0.45, 230)
    sums = {key: sum(chart.of(key, label) for label in chart.series) for key in chart.keys}
    top = max(list(sums.values()) + [1e-9])
    slot = min(height / max(len(chart.keys), 1), 26)
    parts = []
    for place, key in enumerate(chart.keys):
        level, at = y + slot * place, x + left
        parts.append(text(x + left - 6, level + slot * 0.65, cut(key, left - 8, 10), 10, anchor="end"))
        for number_, label in enumerate(chart.series):
            length = (width - left - 44) * chart.of(key, label) / top
            parts.append(rect(at, level + slot * 0.15, length, slot * 0.7, COLOURS[number_ % len(COLOURS)]))
            at += length
        parts.append(text(at + 4, level + slot * 0.65, chart.show(sums[key]), 10))
    return parts + legend(chart, x + left, y + height + 12, width - left)


def table(panel, found, x, y, width, height):
    columns = panel["columns"]
    wide = 0.4 if len(panel["order"]) < 6 else 0.26
    starts = [0.0] + [wide + (1 - wide) * n / (len(panel["order"]) - 1) for n in range(len(panel["order"]) - 1)]
    parts = [text(x + width * at, y + 10, columns[name]["label"], 10, INK, weight="bold")
             for at, name in zip(starts, panel["order"])]
    for line, row in enumerate(found[: int((height - 14) / 16)]):
        level = y + 26 + 16 * line
        parts.append(f'<line x1="{x:.1f}" y1="{level - 12:.1f}" x2="{x + width:.1f}" y2="{level - 12:.1f}" stroke="{LINE}"/>')
        for at, name in zip(starts, panel["order"]):
            content = row[name] if columns[name]["isBucketed"] else show(columns[name])(row[name])
            room = width * (wide if at == 0 else (1 - wide) / (len(panel["order"]) - 1)) - 8
            # Of a path the end tells more than the beginning.
            content = str(content).rsplit("/", 1)[-1] if "/" in str(content) else content
            parts.append(text(x + width * at, level, cut(content, room, 10), 10, INK))
    return parts


def draw_panel(panel, answer, start, end):
    grid = panel["grid"]
    x, y = grid["x"] * UNIT + GAP / 2, HEAD + grid["y"] * ROW + GAP / 2
    width, height = grid["w"] * UNIT - GAP, grid["h"] * ROW - GAP
    parts = [rect(x, y, width, height, "#ffffff", f' rx="5" stroke="{LINE}"'),
             text(x + 12, y + 20, cut(panel["title"], width - 20, 12), 12, INK, weight="bold")]
    found = rows(panel, answer)
    inner = (x + 12, y + 34, width - 24, height - 44)
    if panel["kind"] == "lnsMetric":
        name = panel["order"][0]
        column = panel["columns"][name]
        parts.append(text(x + 12, y + height - 22, show(column)(found[0][name] if found else None), 34, COLOURS[0]))
        parts.append(text(x + width - 12, y + height - 22, column["label"], 12, anchor="end"))
        return parts
    if not found:
        return parts + [text(x + 12, y + 44, "no data")]
    if panel["kind"] == "lnsDatatable":
        return parts + table(panel, found, *inner)
    chart = Chart(panel, found, start, end)
    series = panel["visualization"]["preferredSeriesType"]
    if series == "line":
        return parts + lines(chart, *inner)
    if series == "bar_horizontal_stacked":
        return parts + lying(chart, *inner)
    return parts + bars(chart, *inner, percent=series == "bar_percentage_stacked")


def draw(title, description, panels, answers, start, end):
    """One dashboard as an SVG document."""
    height = HEAD + max(panel["grid"]["y"] + panel["grid"]["h"] for panel in panels) * ROW + 30
    width = 48 * UNIT
    body = [rect(0, 0, width, height, "#f3f4f6"), text(12, 26, title, 18, INK, weight="bold"), text(12, 46, description, 12)]
    for panel, answer in zip(panels, answers):
        body += draw_panel(panel, answer, start, end)
    note = "Drawn by dev/dashboards from Elasticsearch's answers to the panels' own searches; Kibana draws them its own way. Times are UTC."
    body.append(text(12, height - 11, note, 11))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="Inter, Helvetica, Arial, DejaVu Sans, sans-serif">\n' + "\n".join(body) + "\n</svg>\n")
