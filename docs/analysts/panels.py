"""The panels of the dashboards, and their saved objects for Kibana and OpenSearch Dashboards.

A panel is a Vega-Lite spec with a search in it. Both programs run the search with the time range
and the filters of the dashboard. Run this file to write the saved objects into `dashboards`; a test
checks that they are up to date.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "dashboards"
INDEX = "logs-auth0.logs-*"
Json = dict[str, Any]

# Placeholders for the time range, query and filters chosen in the dashboard.
CONTEXT: Json = {
    "must": ["%dashboard_context-must_clause%", {"range": {"@timestamp": {"%timefilter%": True}}}],
    "filter": ["%dashboard_context-filter_clause%"],
    "must_not": ["%dashboard_context-must_not_clause%"],
}
COLORS = {"success": "#4c9f70", "failure": "#c8553d", "unknown": "#8a94a6"}
# No ticks between whole numbers.
COUNTS: Json = {"labelExpr": "datum.value % 1 ? '' : format(datum.value, ',')"}
DATA = "auth0.logs.data."
FAILED_LOGIN: Json = {"term": {f"{DATA}classification": "Login - Failure"}}
LOGIN: Json = {"terms": {f"{DATA}classification": ["Login - Success", "Login - Failure"]}}


@dataclass(frozen=True)
class Panel:
    id: str
    title: str
    search: Json
    # Path of the rows in the response.
    rows: str
    # Marks, encodings and transforms of the Vega-Lite spec.
    drawing: Json
    # Both programs have a grid of 48 columns.
    width: int = 24
    height: int = 11

    @property
    def spec(self) -> Json:
        """The spec that both programs take, with the search as its data."""
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "title": self.title,
            "width": "container",
            "height": "container",
            "autosize": {"type": "fit", "contains": "padding"},
            "data": {
                "url": {"index": INDEX, "body": self.search},
                "format": {"property": self.rows},
            },
            **self.drawing,
            "config": {"view": {"stroke": None}, "axis": {"grid": False}},
        }


@dataclass(frozen=True)
class Dashboard:
    id: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def search(aggregation: Json, *filters: Json) -> Json:
    query = copy.deepcopy(CONTEXT)
    query["filter"] += filters
    return {"size": 0, "query": {"bool": query}, "aggs": {"rows": aggregation}}


def top(
    id: str, title: str, field: str, *filters: Json, color: str = "#4b7bab", **layout: int
) -> Panel:
    """Returns a panel of the ten most frequent values of a field."""
    drawing = bars("key", "doc_count", "Events", color)
    aggregation = {"terms": {"field": field, "size": 10}}
    return Panel(
        id, title, search(aggregation, *filters), "aggregations.rows.buckets", drawing, **layout
    )


def distinct(id: str, title: str, field: str, counted: str, what: str, *filters: Json) -> Panel:
    """Returns a panel of the ten values of a field with the most distinct values of another."""
    aggregation = {
        "terms": {"field": field, "size": 10, "order": {"counted": "desc"}},
        "aggs": {"counted": {"cardinality": {"field": counted}}},
    }
    drawing = bars("key", "counted.value", what, "#c8553d")
    return Panel(id, title, search(aggregation, *filters), "aggregations.rows.buckets", drawing)


def over_time(id: str, title: str, field: str, *filters: Json, **layout: int) -> Panel:
    """Returns a panel of events over time, stacked by the values of a field."""
    aggregation = {
        # Both programs divide the time range into about this many buckets.
        "date_histogram": {"field": "@timestamp", "interval": {"%autointerval%": 48}},
        "aggs": {"kinds": {"terms": {"field": field, "size": 8}}},
    }
    color: Json = {"field": "kind.key", "type": "nominal", "title": None}
    if field == "event.outcome":
        color["scale"] = {"domain": list(COLORS), "range": list(COLORS.values())}
    drawing = {
        "transform": [{"flatten": ["kinds.buckets"], "as": ["kind"]}],
        "mark": {"type": "bar", "width": 7, "tooltip": True},
        "encoding": {
            "x": {"field": "key", "type": "temporal", "title": None},
            "y": {
                "field": "kind.doc_count",
                "type": "quantitative",
                "title": "Events",
                "axis": COUNTS,
            },
            "color": color,
        },
    }
    body = search(aggregation, *filters)
    return Panel(id, title, body, "aggregations.rows.buckets", drawing, **layout)


def named(id: str, title: str, choices: dict[str, Json], *filters: Json) -> Panel:
    """Returns a panel of hits per named query: parts of details cannot be aggregated by value."""
    drawing = {
        "transform": [
            {"fold": [f"{name}.doc_count" for name in choices], "as": ["name", "events"]},
            {"calculate": "split(datum.name, '.')[0]", "as": "name"},
        ],
        **bars("name", "events", "Events", "#4b7bab", sort=list(choices)),
    }
    aggregation = {"filters": {"filters": choices}}
    body = search(aggregation, *filters)
    return Panel(id, title, body, "aggregations.rows.buckets", drawing)


def bars(label: str, length: str, what: str, color: str, sort: Any = "-x") -> Json:
    encoding = {
        "y": {
            "field": label,
            "type": "nominal",
            "title": None,
            "sort": sort,
            "axis": {"labelLimit": 320},
        },
        "x": {"field": length, "type": "quantitative", "title": what, "axis": COUNTS},
    }
    number = {
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {"text": {"field": length}},
    }
    bar = {"mark": {"type": "bar", "color": color, "tooltip": True}}
    return {"encoding": encoding, "layer": [bar, number]}


def of_type(*codes: str) -> Json:
    return {"terms": {f"{DATA}type_id": list(codes)}}


def confidence(value: str) -> Json:
    return {"term": {f"{DATA}details.riskAssessment.confidence": value}}


BLOCKS = ("limit_wc", "limit_mu", "limit_sul", "pwd_leak", "signup_pwd_leak", "reset_pwd_leak")
TOKENS: Json = {"prefix": {f"{DATA}classification": "Token Exchange"}}

DASHBOARDS = (
    Dashboard(
        "overview",
        "Auth0: overview",
        "Incoming events and their outcomes.",
        (
            over_time("events", "Events by outcome", "event.outcome", width=48),
            top("types", "Event types", f"{DATA}type"),
            top("classes", "Classification", f"{DATA}classification"),
            top("applications", "Applications", f"{DATA}client_name"),
            top("countries", "Countries", "source.geo.country_name"),
            top("inputs", "Inputs", "input.type"),
            named(
                "doubtful",
                "Anomalies",
                {
                    "Adjusted by the mapper": {"term": {"tags": "mapping_adjusted"}},
                    "Not an event": {"term": {"event.kind": "pipeline_error"}},
                    "Unknown type": {"prefix": {"event.action": "unknown-"}},
                },
            ),
        ),
    ),
    Dashboard(
        "authentication",
        "Auth0: authentication",
        "Sign-ins by method, and why they fail.",
        (
            over_time("logins", "Sign-ins by outcome", "event.outcome", LOGIN, width=48),
            top(
                "reasons",
                "Reasons for failed sign-ins",
                f"{DATA}type",
                FAILED_LOGIN,
                color="#c8553d",
            ),
            top(
                "failing", "Users with failed sign-ins", "user.name", FAILED_LOGIN, color="#c8553d"
            ),
            top("connections", "Connections", f"{DATA}connection", LOGIN),
            top("browsers", "Browsers and clients", "user_agent.name", LOGIN),
            top("factors", "Second factor", "event.action", {"prefix": {f"{DATA}type_id": "gd_"}}),
            top("tokens", "Token exchanges", "event.action", TOKENS),
        ),
    ),
    Dashboard(
        "threat",
        "Auth0: threat",
        "Attacks, and changes to the tenant.",
        (
            over_time("blocks", "Attack protection", f"{DATA}type_id", of_type(*BLOCKS), width=48),
            distinct(
                "spraying",
                "Addresses by users with failed sign-ins",
                "source.ip",
                "user.name",
                "Users",
                FAILED_LOGIN,
            ),
            named(
                "risk",
                "Risk assessment of sign-ins",
                {value: confidence(value) for value in ("low", "medium", "high")},
                of_type("s"),
            ),
            top(
                "fatigue",
                "Users by push notifications",
                "user.id",
                of_type("gd_send_pn", "gd_auth_rejected"),
                color="#c8553d",
            ),
            distinct(
                "families",
                "Refresh token families by addresses",
                "auth0.logs.family_id",
                "source.ip",
                "Addresses",
            ),
            top(
                "fingerprints",
                "TLS fingerprints of failures",
                "auth0.logs.ja4",
                {"term": {"event.outcome": "failure"}},
                color="#c8553d",
            ),
            top("changes", "Changes to the tenant", f"{DATA}description.keyword", of_type("sapi")),
        ),
    ),
)


# --- saved objects ---------------------------------------------------------------------------

# Program → versions of the saved objects, and the names by which a dashboard refers to its panels.
# Both programs migrate objects of older versions.
PROGRAMS: dict[str, Json] = {
    "kibana": {"visualization": "7.14.0", "dashboard": "7.14.0", "reference": "{n}:panel_{n}"},
    "opensearch-dashboards": {
        "visualization": "7.10.0",
        "dashboard": "7.9.3",
        "reference": "panel_{n}",
    },
}
NO_SEARCH = {
    "searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})
}
DATA_VIEW = "auth0-log-streams"


def saved_objects(program: str) -> list[Json]:
    """Returns all objects to import, each after the objects it refers to."""
    view = {"title": INDEX, "timeFieldName": "@timestamp"}
    objects: list[Json] = [
        {"type": "index-pattern", "id": DATA_VIEW, "attributes": view, "references": []}
    ]
    for dashboard in DASHBOARDS:
        objects += [_visualization(program, dashboard, panel) for panel in dashboard.panels]
        objects.append(_dashboard(program, dashboard))
    return objects


def _id(dashboard: Dashboard, panel: Panel) -> str:
    return f"auth0-log-streams-{dashboard.id}-{panel.id}"


def _visualization(program: str, dashboard: Dashboard, panel: Panel) -> Json:
    spec = json.dumps(panel.spec, indent=2)
    state = {"title": panel.title, "type": "vega", "aggs": [], "params": {"spec": spec}}
    return {
        "type": "visualization",
        "id": _id(dashboard, panel),
        "attributes": {
            "title": f"{dashboard.title}: {panel.title}",
            "description": "",
            "version": 1,
            "visState": json.dumps(state),
            "uiStateJSON": "{}",
            "kibanaSavedObjectMeta": NO_SEARCH,
        },
        "references": [],
        "migrationVersion": {"visualization": PROGRAMS[program]["visualization"]},
    }


def _dashboard(program: str, dashboard: Dashboard) -> Json:
    panels, references = [], []
    x = y = 0
    for n, panel in enumerate(dashboard.panels, 1):
        if x + panel.width > 48:
            x, y = 0, y + panel.height
        panels.append(
            {
                "version": "7.10.0",
                "type": "visualization",
                "panelIndex": str(n),
                "gridData": {"x": x, "y": y, "w": panel.width, "h": panel.height, "i": str(n)},
                "embeddableConfig": {"hidePanelTitles": True},
                "panelRefName": f"panel_{n}",
            }
        )
        name = PROGRAMS[program]["reference"].format(n=n)
        references.append({"name": name, "type": "visualization", "id": _id(dashboard, panel)})
        x += panel.width
    return {
        "type": "dashboard",
        "id": f"auth0-log-streams-{dashboard.id}",
        "attributes": {
            "title": dashboard.title,
            "description": dashboard.description,
            "version": 1,
            "panelsJSON": json.dumps(panels),
            "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
            "timeRestore": True,
            "timeFrom": "now-24h",
            "timeTo": "now",
            "kibanaSavedObjectMeta": NO_SEARCH,
        },
        "references": references,
        "migrationVersion": {"dashboard": PROGRAMS[program]["dashboard"]},
    }


def ndjson(program: str) -> str:
    return "".join(json.dumps(one) + "\n" for one in saved_objects(program))


def path(program: str) -> Path:
    return FOLDER / f"{program}.ndjson"


if __name__ == "__main__":
    for each in PROGRAMS:
        path(each).write_text(ndjson(each))
        print(path(each))
