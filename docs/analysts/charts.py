"""Kinds of panels, as Vega specs with a search in them.

Kibana and OpenSearch Dashboards run the search with the time range and the filters of the
dashboard. A click on a mark adds a filter: both programs give Vega a function for that, each under
its own name. The specs are plain Vega, because Vega-Lite cannot call it.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Json = dict[str, Any]
INDEX = "logs-auth0.logs-*"
# Events and alerts. It matches an index even before the first alert.
EVENTS_AND_ALERTS = "logs-auth0.*-*"

# Placeholders for the time range, query and filters chosen in the dashboard.
CONTEXT: Json = {
    "must": ["%dashboard_context-must_clause%", {"range": {"@timestamp": {"%timefilter%": True}}}],
    "filter": ["%dashboard_context-filter_clause%"],
    "must_not": ["%dashboard_context-must_not_clause%"],
}
BLUE, RED, GREEN, AMBER, GRAY = "#3b73af", "#cc4b3e", "#3f9b7a", "#e0a33e", "#8a94a6"
OUTCOMES = {"success": GREEN, "failure": RED, "unknown": GRAY}
# Words that a table shows in color.
WORDS = OUTCOMES | {"critical": RED, "high": RED, "medium": AMBER}
# Both programs choose the colors of these two styles by their theme, light or dark.
LABEL, TITLE = "guide-label", "guide-title"
# Countries by ISO code, as TopoJSON.
WORLD = Path(__file__).resolve().parent / "dashboards/world.json"
ROW_HEIGHT = 24
ALERT: Json = {"term": {"event.kind": "alert"}}


@dataclass(frozen=True)
class Panel:
    id: str
    title: str
    search: Json
    # Transforms, scales and marks of the Vega spec; the marks draw the data set `rows`.
    drawing: Json
    index: str = INDEX
    # Both programs have a grid of 48 columns.
    width: int = 24
    height: int = 11
    # Fields of a panel that the programs show as a list of documents, which pages and links.
    columns: tuple[str, ...] = ()

    def spec(self, add_filter: str) -> Json:
        """Returns the spec for the program that calls its function `add_filter`."""
        drawing = copy.deepcopy(self.drawing)
        rows = "hits.hits" if self.search["size"] else "aggregations.rows.buckets"
        parent = rows.partition(".")[0]
        transforms = [
            # A search that matches no index returns no aggregations.
            formula("row", f"datum.{parent} ? datum.{rows} : []"),
            {"type": "flatten", "fields": ["row"]},
            {"type": "window", "ops": ["row_number"], "as": ["n"]},
            *drawing.pop("rows"),
        ]
        found = drawing.pop("found", "rows")
        nothing = f"length(data('{found}')) ? '' : 'Nothing in this time range'"
        center = {"value": "center"}
        empty = text(TITLE, nothing, x="width / 2", y="height / 2", align=center)
        title = {"text": self.title, "anchor": "start", "frame": "bounds", "fontSize": 14}
        spec = {
            "$schema": "https://vega.github.io/schema/vega/v5.json",
            "title": title | drawing.pop("title", {}),
            "autosize": {"type": "fit", "contains": "padding"},
            "padding": 8,
            "data": [
                {"name": "response", "url": {"index": self.index, "body": self.search}},
                {"name": "rows", "source": "response", "transform": transforms},
                *drawing.pop("data", []),
            ],
            **drawing,
            "marks": [*drawing["marks"], empty],
        }
        return json.loads(json.dumps(spec).replace("addFilter(", f"{add_filter}("))


# --- parts of a spec ---------------------------------------------------------------------------


def search(aggregation: Json, *filters: Json) -> Json:
    query = copy.deepcopy(CONTEXT)
    query["filter"] += filters
    return {"size": 0, "query": {"bool": query}, "aggs": {"rows": aggregation}}


def formula(name: str, expression: str) -> Json:
    return {"type": "formula", "as": name, "expr": expression}


def signals(**expressions: str | float) -> Json:
    return {name: {"signal": str(value)} for name, value in expressions.items()}


def text(style: str, what: str, **encoding: Any) -> Json:
    """Returns a text mark; `x`, `y` and `limit` are expressions, other channels are Vega's."""
    places = {name: encoding.pop(name) for name in ("x", "y", "limit") if name in encoding}
    update = signals(text=what, **places) | {"baseline": {"value": "middle"}} | encoding
    return {"type": "text", "style": style, "interactive": False, "encode": {"update": update}}


def on_click(mark: str, query: str, alias: str = "", when: str = "true") -> Json:
    """Returns the signal that filters the dashboard by a query.

    The arguments but the first are expressions over the mark's row; `alias` is shown as the
    filter's name."""
    call = f"{when} ? addFilter({query}, '{INDEX}'{', ' + alias if alias else ''}) : null"
    return {"name": f"pick_{mark}", "on": [{"events": f"@{mark}:click", "update": call}]}


def phrase(field: str, value: str) -> str:
    """Returns the query that both programs show as `field: value`."""
    return f"{{match_phrase: {{'{field}': {value}}}}}"


def clickable(role: str, label: str) -> Json:
    """Returns the channels of a mark that reacts to clicks, and can be read out."""
    return {
        "cursor": {"value": "pointer"},
        "tooltip": {"signal": label},
        "ariaRoleDescription": {"value": role},
        "description": {"signal": label},
    }


def histogram(buckets: int) -> Json:
    bounds = {name: {"%timefilter%": name} for name in ("min", "max")}
    # Both programs divide the time range into about this many buckets.
    interval = {"%autointerval%": buckets}
    return {"field": "@timestamp", "interval": interval, "extended_bounds": bounds}


def stack(by: str) -> Json:
    """Returns the transform that puts kinds on top of each other, failures at the base."""
    stacked = {"type": "stack", "groupby": [by], "field": "kind.doc_count", "as": ["from", "to"]}
    return stacked | {"sort": {"field": "kind.key"}}


def colors(split: str) -> Json:
    """Returns scale and legend for the values of a field."""
    scale = {"name": "color", "type": "ordinal", "domain": {"data": "parts", "field": "kind.key"}}
    scale["range"] = [BLUE, AMBER, "#7b5ea7", "#4aa3a2", RED, "#9c755f", "#d37295", GRAY]
    if split == "event.outcome":
        scale |= {"domain": list(OUTCOMES), "range": list(OUTCOMES.values())}
    legend = {"fill": "color", "orient": "top", "direction": "horizontal"}
    legend |= {"symbolType": "square", "labelLimit": 240}
    return {"scales": [scale], "legends": [legend]}


# --- kinds of panels ---------------------------------------------------------------------------


def top(
    id: str,
    title: str,
    field: str,
    *filters: Json,
    color: str = BLUE,
    split: str = "",
    **layout: int,
) -> Panel:
    """Returns a panel of the most frequent values of a field that fit, each split by another."""
    aggregation: Json = {"terms": {"field": field, "size": layout.get("height", 11) - 1}}
    if split:
        aggregation["aggs"] = {"kinds": {"terms": {"field": split, "size": 8}}}
    picked = on_click("bar", phrase(field, "datum.key"))
    drawing = _bars("datum.row.key", "datum.row.doc_count", "events", picked, color, split)
    return Panel(id, title, search(aggregation, *filters), drawing, **layout)


def distinct(
    id: str, title: str, field: str, counted: str, what: str, *filters: Json, **layout: int
) -> Panel:
    """Returns a panel of the ten values of a field with the most distinct values of another."""
    aggregation = {
        "terms": {"field": field, "size": 10, "order": {"counted": "desc"}},
        "aggs": {"counted": {"cardinality": {"field": counted}}},
    }
    picked = on_click("bar", phrase(field, "datum.key"))
    drawing = _bars("datum.row.key", "datum.row.counted.value", what, picked, RED)
    return Panel(id, title, search(aggregation, *filters), drawing, **layout)


def named(id: str, title: str, choices: dict[str, Json], *filters: Json, **layout: int) -> Panel:
    """Returns a panel of hits per named query: parts of details cannot be aggregated by value."""
    queries = list(choices.values())
    picked = on_click("bar", f"{json.dumps(queries)}[datum.n - 1]", "datum.key")
    key = f"{json.dumps(list(choices))}[datum.n - 1]"
    drawing = _bars(key, "datum.row.doc_count", "events", picked, BLUE)
    return Panel(id, title, search({"filters": {"filters": queries}}, *filters), drawing, **layout)


def _bars(key: str, value: str, what: str, picked: Json, color: str, split: str = "") -> Json:
    kinds = "datum.row.kinds.buckets" if split else "[{doc_count: datum.value}]"
    parts = [
        formula("kind", kinds),
        {"type": "flatten", "fields": ["kind"]},
        stack("n"),
    ]
    label = "datum.key + ': ' + format(datum.kind.doc_count, ',')"
    label += " + ' ' + datum.kind.key" if split else f" + ' {what}'"
    fill = {"scale": "color", "field": "kind.key"} if split else {"value": color}
    bar = {
        **signals(x="scale('x', datum.from)", x2="scale('x', datum.to)"),
        "y": {"scale": "y", "field": "key"},
        "height": {"scale": "y", "band": 1},
        "fill": fill,
        **clickable("bar", label),
    }
    middle = "scale('y', datum.key) + bandwidth('y') / 2"
    number = text(LABEL, "format(datum.value, ',')", x="scale('x', datum.value) + 5", y=middle)
    # Few rows do not become thick.
    height = "min(height, 32 * max(1, length(data('rows'))))"
    split_by = colors(split) if split else {"scales": []}
    return {
        "rows": [formula("key", key), formula("value", value)],
        "data": [{"name": "parts", "source": "rows", "transform": parts}],
        "signals": [picked],
        "scales": [
            {
                "name": "y",
                "type": "band",
                "domain": {"data": "rows", "field": "key"},
                "range": [0, {"signal": height}],
                "padding": 0.2,
            },
            {
                "name": "x",
                "domain": {"data": "rows", "field": "value"},
                "range": [0, {"signal": "max(width - 45, 1)"}],
                "zero": True,
            },
            *split_by.pop("scales"),
        ],
        "axes": [
            {"orient": "left", "scale": "y", "domain": False, "ticks": False, "labelLimit": 190}
        ],
        **split_by,
        "marks": [
            {"name": "bar", "type": "rect", "from": {"data": "parts"}, "encode": {"update": bar}},
            number | {"from": {"data": "rows"}},
        ],
    }


def over_time(id: str, title: str, field: str, *filters: Json, **layout: int) -> Panel:
    """Returns a panel of events over time, stacked by the values of a field."""
    aggregation = {
        "date_histogram": histogram(60),
        "aggs": {"kinds": {"terms": {"field": field, "size": 8}}},
    }
    parts = [
        formula("kind", "datum.row.kinds.buckets"),
        {"type": "flatten", "fields": ["kind"]},
        stack("key"),
    ]
    when = "timeFormat(datum.key, '%b %d, %H:%M')"
    bar = {
        "x": {"scale": "bands", "field": "key"},
        "width": {"scale": "bands", "band": 1},
        **signals(y="scale('y', datum.from)", y2="scale('y', datum.to)"),
        "fill": {"scale": "color", "field": "kind.key"},
        **clickable(
            "bar", f"{when} + ': ' + format(datum.kind.doc_count, ',') + ' ' + datum.kind.key"
        ),
    }
    split_by = colors(field)
    # The last bar covers one interval, like the others.
    end = "2 * peek(data('rows')).key - data('rows')[max(0, length(data('rows')) - 2)].key"
    span = f"length(data('rows')) ? [data('rows')[0].key, {end}] : [0, 1]"
    drawing = {
        "rows": [formula("key", "datum.row.key")],
        "found": "parts",
        "data": [{"name": "parts", "source": "rows", "transform": parts}],
        "signals": [
            on_click("bar", phrase(field, "datum.kind.key")),
            {"name": "span", "update": span},
        ],
        "scales": [
            {
                "name": "bands",
                "type": "band",
                "domain": {"data": "rows", "field": "key"},
                "range": "width",
                "paddingInner": 0.12,
            },
            {"name": "x", "type": "time", "domain": {"signal": "span"}, "range": "width"},
            {
                "name": "y",
                "domain": {"data": "parts", "field": "to"},
                "range": "height",
                "zero": True,
                "nice": True,
            },
            *split_by.pop("scales"),
        ],
        "axes": [
            {
                "orient": "bottom",
                "scale": "x",
                "tickCount": {"signal": "max(2, width / 110)"},
                "format": {"hours": "%H:%M", "minutes": "%H:%M"},
            },
            {
                "orient": "left",
                "scale": "y",
                "domain": False,
                "ticks": False,
                "grid": True,
                "gridOpacity": 0.4,
                "tickCount": 4,
                "tickMinStep": 1,
            },
        ],
        **split_by,
        "marks": [
            {"name": "bar", "type": "rect", "from": {"data": "parts"}, "encode": {"update": bar}}
        ],
    }
    return Panel(id, title, search(aggregation, *filters), drawing, **layout)


@dataclass(frozen=True)
class Tile:
    """A number: of events or alerts, or of `users` or `addresses` among them."""

    title: str
    query: Json
    color: str = BLUE
    counts: str = ""


def numbers(id: str, title: str, *tiles: Tile, **layout: int) -> Panel:
    """Returns a row of large numbers, each with its course over the time range."""
    queries = [tile.query for tile in tiles]
    # An alert has the fields of its events, too.
    events = [{"bool": {"filter": [query], "must_not": [ALERT]}} for query in queries]
    aggregation = {
        "filters": {
            "filters": [ALERT if q == ALERT else e for q, e in zip(queries, events, strict=True)]
        },
        "aggs": {
            "users": {"cardinality": {"field": "user.id"}},
            "addresses": {"cardinality": {"field": "source.ip"}},
            "course": {"date_histogram": histogram(40)},
        },
    }
    values = [
        f"datum.row.{tile.counts}.value" if tile.counts else "datum.row.doc_count" for tile in tiles
    ]
    place = "bandwidth('tile')"
    rows = [
        formula("key", f"{json.dumps([tile.title for tile in tiles])}[datum.n - 1]"),
        formula("value", f"[{', '.join(values)}][datum.n - 1]"),
        formula("color", f"{json.dumps([tile.color for tile in tiles])}[datum.n - 1]"),
        formula("course", "datum.row.course.buckets"),
    ]
    tile = {
        "x": {"scale": "tile", "field": "key"},
        **signals(width=place, height="height"),
        "fill": {"signal": "datum.color"},
        "fillOpacity": {"value": 0.08},
        "cornerRadius": {"value": 6},
        **clickable("tile", "datum.key + ': ' + format(datum.value, ',')"),
    }
    area = {
        "x": {"scale": "x", "field": "key"},
        **signals(y="datum.doc_count ? scale('y', datum.doc_count) : height", y2="height"),
        "fill": {"signal": "parent.color"},
        "fillOpacity": {"value": 0.35},
        "interpolate": {"value": "monotone"},
    }
    big = text(TITLE, "format(parent.value, ',')", x="12", y="50", fontSize={"value": 32})
    big["encode"]["update"]["fill"] = {"signal": "parent.color"}
    drawing = {
        "rows": rows,
        "signals": [
            # Filtered by alerts, a dashboard would have no events.
            on_click(
                "tile",
                f"{json.dumps(queries)}[datum.n - 1]",
                "datum.key",
                f"datum.n != {queries.index(ALERT) + 1}",
            )
        ],
        "scales": [
            {
                "name": "tile",
                "type": "band",
                "domain": {"data": "rows", "field": "key"},
                "range": "width",
                "paddingInner": 0.05,
            }
        ],
        "marks": [
            {
                "name": "tile",
                "type": "group",
                "from": {"facet": {"name": "points", "data": "rows", "field": "course"}},
                "encode": {"update": tile},
                "scales": [
                    {
                        "name": "x",
                        "type": "point",
                        "domain": {"data": "points", "field": "key"},
                        "range": [0, {"signal": place}],
                    },
                    {
                        "name": "y",
                        "domain": {"data": "points", "field": "doc_count"},
                        "range": [{"signal": "height"}, {"signal": "max(height - 30, 72)"}],
                        "zero": True,
                    },
                ],
                "marks": [
                    {
                        "type": "area",
                        "interactive": False,
                        "from": {"data": "points"},
                        "encode": {"update": area},
                    },
                    text(LABEL, "parent.key", x="12", y="18", fontSize={"value": 12}),
                    big,
                ],
            }
        ],
    }
    body = search(aggregation)
    return Panel(id, title, body, drawing, index=EVENTS_AND_ALERTS, **layout)


def world(id: str, title: str, subtitle: str, *filters: Json, failed: Json, **layout: int) -> Panel:
    """Returns a map: countries are tinted by their events, and circles count the `failed` ones."""
    aggregation = {
        "terms": {"field": "source.geo.country_iso_code", "size": 250},
        "aggs": {
            "name": {"terms": {"field": "source.geo.country_name", "size": 1}},
            "place": {"geo_centroid": {"field": "source.geo.location"}},
            "failed": {"filter": failed},
        },
    }
    where = "datum.row.place.location"
    rows = [
        formula("key", "datum.row.key"),
        formula(
            "name", "datum.row.name.buckets.length ? datum.row.name.buckets[0].key : datum.key"
        ),
        formula("events", "datum.row.doc_count"),
        formula("failed", "datum.row.failed.doc_count"),
        formula("longitude", f"{where} ? {where}.lon : null"),
        formula("latitude", f"{where} ? {where}.lat : null"),
        {"type": "geopoint", "projection": "earth", "fields": ["longitude", "latitude"]},
    ]
    label = "{0}.name + ': ' + format({0}.events, ',') + ', failed: ' + format({0}.failed, ',')"
    land = {
        "stroke": {"value": GRAY},
        "strokeWidth": {"value": 0.3},
        "fill": [
            {"test": "datum.found", "signal": "scale('tint', datum.found.events)"},
            {"value": GRAY},
        ],
        "fillOpacity": {"signal": "datum.found ? 1 : 0.22"},
        **clickable("country", f"datum.found ? {label.format('datum.found')} : ''"),
        "cursor": {"signal": "datum.found ? 'pointer' : 'default'"},
    }
    circle = {
        "x": {"field": "x"},
        "y": {"field": "y"},
        "size": {"signal": "datum.failed ? scale('size', datum.failed) : 30"},
        "fill": {"signal": f"datum.failed ? '{RED}' : '{BLUE}'"},
        "fillOpacity": {"value": 0.75},
        "stroke": {"value": "white"},
        **clickable("place", label.format("datum")),
    }
    code = "source.geo.country_iso_code"
    countries: Json = {
        "name": "countries",
        "values": json.loads(WORLD.read_text()),
        "format": {"type": "topojson", "feature": "countries"},
    }
    found = {"type": "lookup", "from": "rows", "key": "key", "fields": ["id"], "as": ["found"]}
    drawing = {
        "title": {"subtitle": subtitle},
        "rows": rows,
        "data": [countries, {"name": "world", "source": "countries", "transform": [found]}],
        "projections": [
            {
                "name": "earth",
                "type": "equalEarth",
                "fit": {"signal": "data('countries')"},
                "size": {"signal": "[width, height]"},
            }
        ],
        "signals": [
            on_click("place", phrase(code, "datum.key")),
            on_click("country", phrase(code, "datum.id"), when="datum.found"),
        ],
        "scales": [
            {
                "name": "tint",
                "type": "sqrt",
                "domain": {"data": "rows", "field": "events"},
                "range": ["#cfe0f1", BLUE],
            },
            {
                "name": "size",
                "type": "linear",
                "domain": {"data": "rows", "field": "failed"},
                "range": [40, 700],
                "zero": True,
            },
        ],
        "marks": [
            {
                "name": "country",
                "type": "shape",
                "from": {"data": "world"},
                "transform": [{"type": "geoshape", "projection": "earth"}],
                "encode": {"update": land},
            },
            {
                "name": "place",
                "type": "symbol",
                "from": {"data": "rows"},
                "encode": {"update": circle},
            },
        ],
    }
    return Panel(id, title, search(aggregation, *filters), drawing, **layout)


@dataclass(frozen=True)
class Column:
    title: str
    field: str
    # The share of the width, in percent.
    share: int
    # The filter that a click on a cell sets; None is none.
    query: str | None = "value"
    alias: str = ""


def table(
    id: str,
    title: str,
    columns: tuple[Column, ...],
    *filters: Json,
    index: str = INDEX,
    more: tuple[str, ...] = (),
    **layout: int,
) -> Panel:
    """Returns a panel of the latest documents, one a row; a click on a cell filters by its value.

    `more` are fields that queries need and no column shows."""
    query = copy.deepcopy(CONTEXT)
    query["filter"] += filters
    fields = [{"field": name} for name in (*(column.field for column in columns[1:]), *more)]
    body = {
        "size": 50,
        "_source": False,
        "sort": [{"@timestamp": "desc"}],
        "query": {"bool": query},
        "docvalue_fields": [{"field": "@timestamp", "format": "epoch_millis"}, *fields],
    }
    cells = ["timeFormat(toNumber(datum.found['@timestamp'][0]), '%b %d, %H:%M:%S')"]
    cells += [
        f"datum.found['{column.field}'] ? join(datum.found['{column.field}'], ', ') : ''"
        for column in columns[1:]
    ]
    y = f"datum.n * {ROW_HEIGHT} + {ROW_HEIGHT / 2}"
    marks: list[Json] = []
    picked = []
    left = 0
    for number, column in enumerate(columns):
        cell = f"cell{number}"
        place = {"x": f"width * {left / 100} + 8", "limit": f"width * {column.share / 100} - 12"}
        bold = {"value": "bold"}
        head = text(
            LABEL, json.dumps(column.title), y=str(ROW_HEIGHT / 2), fontWeight=bold, **place
        )
        content = text(LABEL, f"datum.{cell}", y=y, fontSize={"value": 12}, **place)
        content |= {"name": cell, "from": {"data": "rows"}, "interactive": bool(column.query)}
        channels = content["encode"]["update"]
        if column.title in ("Outcome", "Level"):
            channels["fill"] = [
                {"test": f"datum.{cell} === '{word}'", "value": color}
                for word, color in WORDS.items()
            ] + [{"value": GRAY}]
        if column.query:
            channels |= clickable("cell", f"datum.{cell}")
            value = phrase(column.field, f"datum.found['{column.field}'][0]")
            picked.append(
                on_click(cell, value if column.query == "value" else column.query, column.alias)
            )
        marks += [head, content]
        left += column.share
    stripe = {
        **signals(y=f"datum.n * {ROW_HEIGHT}", width="width", height=str(ROW_HEIGHT)),
        "fill": {"value": GRAY},
        "fillOpacity": {"signal": "datum.n % 2 ? 0.1 : 0"},
        "ariaRoleDescription": {"value": "row"},
        "description": {"signal": "datum.cell0"},
    }
    stripes = {
        "type": "rect",
        "interactive": False,
        "from": {"data": "rows"},
        "encode": {"update": stripe},
    }
    rows = [
        formula("found", "datum.row.fields"),
        *(formula(f"cell{number}", cell) for number, cell in enumerate(cells)),
        # Rows that do not fit are left out.
        {"type": "filter", "expr": f"(datum.n + 1) * {ROW_HEIGHT} <= height"},
    ]
    drawing = {"rows": rows, "signals": picked, "marks": [stripes, *marks]}
    return Panel(id, title, body, drawing, index=index, **layout)


def documents(
    id: str, title: str, columns: tuple[Column, ...], *filters: Json, **layout: int
) -> Panel:
    """Returns a list of documents, which both programs page, expand and link."""
    panel = table(id, title, columns, *filters, **layout)
    return replace(panel, columns=tuple(column.field for column in columns[1:]))
