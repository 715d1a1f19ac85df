"""The dashboards, and their saved objects for Kibana and OpenSearch Dashboards.

Run this file to write the saved objects into `dashboards`; a test checks that they are up to date.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from charts import (
    ALERT,
    BLUE,
    EVENTS_AND_ALERTS,
    GREEN,
    INDEX,
    RED,
    Column,
    Json,
    Panel,
    Tile,
    distinct,
    documents,
    named,
    numbers,
    over_time,
    table,
    top,
    world,
)

FOLDER = Path(__file__).resolve().parent / "dashboards"
DATA = "auth0.logs.data."


@dataclass(frozen=True)
class Dashboard:
    id: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def of_type(*codes: str) -> Json:
    return {"terms": {f"{DATA}type_id": list(codes)}}


def classified(*classes: str) -> Json:
    return {"terms": {f"{DATA}classification": list(classes)}}


def confidence(value: str) -> Json:
    return {"term": {f"{DATA}details.riskAssessment.confidence": value}}


FAILED_LOGIN = classified("Login - Failure")
LOGIN = classified("Login - Success", "Login - Failure")
SIGN_UP = of_type("ss", "fs", "signup_pwd_leak")
FAILED_SIGN_UP = of_type("fs", "signup_pwd_leak")
TOKENS: Json = {"prefix": {f"{DATA}classification": "Token Exchange"}}
FAILED_TOKENS = classified("Token Exchange - Failure")
BLOCKS = ("limit_wc", "limit_mu", "limit_sul", "pwd_leak", "signup_pwd_leak", "reset_pwd_leak")
SECOND_FACTOR: Json = {"prefix": {f"{DATA}type_id": "gd_"}}
# Writes through the Management API: `mgmt_api_read` and GET are reads.
CHANGES: Json = {
    "bool": {
        "filter": [of_type("sapi", "fapi")],
        "must_not": [{"term": {"http.request.method": "get"}}],
    }
}

EVENT_COLUMNS = (
    Column("Time", "@timestamp", 12, query=None),
    Column("Event", f"{DATA}type", 26),
    Column("Outcome", "event.outcome", 8),
    Column("User", "user.name", 16),
    Column("Address", "source.ip", 11),
    Column("Country", "source.geo.country_name", 11),
    Column("Application", f"{DATA}client_name", 16),
)
CHANGE_COLUMNS = (
    Column("Time", "@timestamp", 13, query=None),
    Column("Who", "user.name", 16),
    Column("With", f"{DATA}client_name", 13),
    Column("Did what", f"{DATA}description.keyword", 28),
    Column("To whom", "user.target.id", 18),
    Column("Outcome", "event.outcome", 12),
)
# An alert keeps the ids of its events. The filter keeps the alert itself, too.
EVENTS_OF_ALERT = """{bool: {should: [
    {terms: {'event.id': datum.found['auth0.alerts.events']}},
    {term: {'event.id': datum.found['event.id'][0]}}
]}}"""
ALERT_COLUMNS = (
    Column("Time", "@timestamp", 13, query=None),
    Column("Level", "auth0.alerts.level", 7, query=None),
    Column("Alert", "rule.name", 33, EVENTS_OF_ALERT, "'Events of: ' + datum.cell2"),
    Column("Events", "auth0.alerts.count", 7, query=None),
    Column("Who", "user.name", 22),
    Column("From", "source.ip", 18),
)


DASHBOARDS = (
    Dashboard(
        "overview",
        "Auth0: overview",
        "Is today a normal day? Click a number, country, bar or cell to filter by it.",
        (
            numbers(
                "numbers",
                "At a glance",
                Tile("Sign-ins", classified("Login - Success"), GREEN),
                Tile("Failed sign-ins", FAILED_LOGIN, RED),
                Tile("Sign-ups", of_type("ss")),
                Tile(
                    "Blocked addresses",
                    of_type("limit_mu", "limit_wc", "limit_sul"),
                    RED,
                    "addresses",
                ),
                Tile(
                    "Users with MFA",
                    of_type("gd_auth_succeed", "gd_recovery_succeed"),
                    BLUE,
                    "users",
                ),
                Tile("Alerts", ALERT, RED),
                width=48,
                height=7,
            ),
            world(
                "map",
                "Where people sign in from",
                "Blue: sign-ins, successful or not. Red: how many of them failed.",
                LOGIN,
                failed=FAILED_LOGIN,
                width=30,
                height=18,
            ),
            top("types", "What happens most", f"{DATA}type", width=18, height=18),
            over_time("events", "Events over time, by outcome", "event.outcome", width=48),
            top(
                "applications",
                "Busiest applications",
                f"{DATA}client_name",
                split="event.outcome",
                width=16,
            ),
            top(
                "countries",
                "Countries, by outcome",
                "source.geo.country_name",
                split="event.outcome",
                width=16,
            ),
            named(
                "doubtful",
                "Events that need a look",
                {
                    "Changed to fit the mapping": {"term": {"tags": "mapping_adjusted"}},
                    "Not a valid event": {"term": {"event.kind": "pipeline_error"}},
                    "Type unknown to us": {"prefix": {"event.action": "unknown-"}},
                },
                width=16,
            ),
            documents("list", "Latest events", EVENT_COLUMNS, width=48, height=16),
        ),
    ),
    Dashboard(
        "authentication",
        "Auth0: sign-ins and sign-ups",
        "Who signs in and signs up, by what means, and why it fails.",
        (
            over_time("logins", "Sign-ins over time, by outcome", "event.outcome", LOGIN, width=24),
            over_time(
                "signups", "Sign-ups over time, by outcome", "event.outcome", SIGN_UP, width=24
            ),
            top("reasons", "Why sign-ins fail", f"{DATA}type", FAILED_LOGIN, color=RED, height=8),
            top(
                "unwanted",
                "Why sign-ups fail",
                f"{DATA}description.keyword",
                FAILED_SIGN_UP,
                color=RED,
                height=8,
            ),
            top(
                "failing",
                "Users whose sign-ins fail",
                "user.name",
                FAILED_LOGIN,
                color=RED,
                width=16,
            ),
            top(
                "connections",
                "Connections",
                f"{DATA}connection",
                LOGIN,
                split="event.outcome",
                width=16,
            ),
            top(
                "browsers",
                "Browsers and clients",
                "user_agent.name",
                LOGIN,
                split="event.outcome",
                width=16,
            ),
            top(
                "factors",
                "Multi-factor authentication",
                "event.action",
                SECOND_FACTOR,
                width=16,
                height=8,
            ),
            top(
                "tokens",
                "Tokens issued and refused, by application",
                f"{DATA}client_name",
                TOKENS,
                split="event.outcome",
                width=16,
                height=8,
            ),
            top(
                "refused",
                "Why tokens are refused",
                f"{DATA}type",
                FAILED_TOKENS,
                color=RED,
                width=16,
                height=8,
            ),
        ),
    ),
    Dashboard(
        "threat",
        "Auth0: threats and changes",
        "Alerts, signs of attack, and what administrators change. Click an alert for its events.",
        (
            table(
                "alerts",
                "Alerts",
                ALERT_COLUMNS,
                ALERT,
                index=EVENTS_AND_ALERTS,
                more=("auth0.alerts.events", "event.id"),
                width=48,
                height=12,
            ),
            over_time(
                "blocks",
                "What attack protection stopped",
                "event.action",
                of_type(*BLOCKS),
                width=48,
            ),
            table("changes", "Who did what to whom", CHANGE_COLUMNS, CHANGES, width=48, height=13),
            distinct(
                "spraying",
                "Addresses that fail for many users",
                "source.ip",
                "user.name",
                "users",
                FAILED_LOGIN,
                width=16,
            ),
            top(
                "fatigue",
                "Push notifications sent and rejected",
                "user.id",
                of_type("gd_send_pn", "gd_auth_rejected"),
                split="event.outcome",
                width=16,
            ),
            distinct(
                "families",
                "Refresh tokens used from many addresses",
                "auth0.logs.family_id",
                "source.ip",
                "addresses",
                width=16,
            ),
            named(
                "risk",
                "Auth0's confidence in sign-ins",
                {value: confidence(value) for value in ("low", "medium", "high")},
                of_type("s"),
                width=16,
                height=8,
            ),
            top(
                "fingerprints",
                "TLS fingerprints (JA4) of failures",
                "auth0.logs.ja4",
                {"term": {"event.outcome": "failure"}},
                color=RED,
                width=16,
                height=8,
            ),
            top(
                "api",
                "Rejected API calls, by application",
                f"{DATA}client_name",
                of_type("fapi"),
                color=RED,
                width=16,
                height=8,
            ),
        ),
    ),
)


# --- saved objects ---------------------------------------------------------------------------

# Program → versions of the saved objects, and the names by which a dashboard refers to its panels.
# Both programs migrate objects of older versions.
PROGRAMS: dict[str, Json] = {
    "kibana": {
        "visualization": "7.14.0",
        "dashboard": "7.14.0",
        "search": "7.9.3",
        "reference": "{n}:panel_{n}",
        "add_filter": "kibanaAddFilter",
    },
    "opensearch-dashboards": {
        "visualization": "7.10.0",
        "dashboard": "7.9.3",
        "search": "7.9.3",
        "reference": "panel_{n}",
        "add_filter": "opensearchDashboardsAddFilter",
    },
}
NO_SEARCH: Json = {"query": {"query": "", "language": "kuery"}, "filter": []}
# Index pattern → the id of its data view.
ALERTS = "logs-auth0.alerts-*"
VIEWS = {INDEX: "auth0-log-streams", ALERTS: "auth0-log-streams-alerts"}
# Field → its page in Auth0's dashboard, which opens the tenant that the browser is signed in to.
CONSOLE = "https://manage.auth0.com/#"
LINKS = {
    "user.id": "users/{{value}}",
    "user.target.id": "users/{{value}}",
    f"{DATA}client_id": "applications/{{value}}/settings",
    "event.id": "logs/{{value}}",
}


def saved_objects(program: str) -> list[Json]:
    """Returns all objects to import, each after the objects it refers to."""
    objects = [_view(title, id) for title, id in VIEWS.items()]
    for dashboard in DASHBOARDS:
        objects += [_panel(program, dashboard, panel) for panel in dashboard.panels]
        objects.append(_dashboard(program, dashboard))
    return objects


def _view(title: str, id: str) -> Json:
    formats = {
        field: {
            "id": "url",
            "params": {"urlTemplate": f"{CONSOLE}/{page}", "labelTemplate": "{{value}}"},
        }
        for field, page in LINKS.items()
        # That of an alert is our own.
        if (title, field) != (ALERTS, "event.id")
    }
    view = {"timeFieldName": "@timestamp", "fieldFormatMap": json.dumps(formats), "title": title}
    return {"type": "index-pattern", "id": id, "attributes": view, "references": []}


def _id(dashboard: Dashboard, panel: Panel) -> str:
    return f"auth0-log-streams-{dashboard.id}-{panel.id}"


def _kind(panel: Panel) -> str:
    return "search" if panel.columns else "visualization"


def _panel(program: str, dashboard: Dashboard, panel: Panel) -> Json:
    attributes: Json = {
        "title": f"{dashboard.title}: {panel.title}",
        "description": "",
        "version": 1,
    }
    references, source = [], NO_SEARCH
    if panel.columns:
        name = "kibanaSavedObjectMeta.searchSourceJSON.index"
        references.append({"name": name, "type": "index-pattern", "id": VIEWS[panel.index]})
        source = NO_SEARCH | {"indexRefName": name}
        attributes |= {"columns": list(panel.columns), "sort": [["@timestamp", "desc"]]}
    else:
        spec = json.dumps(panel.spec(PROGRAMS[program]["add_filter"]))
        state = {"title": panel.title, "type": "vega", "aggs": [], "params": {"spec": spec}}
        attributes |= {"visState": json.dumps(state), "uiStateJSON": "{}"}
    attributes["kibanaSavedObjectMeta"] = {"searchSourceJSON": json.dumps(source)}
    kind = _kind(panel)
    return {
        "type": kind,
        "id": _id(dashboard, panel),
        "attributes": attributes,
        "references": references,
        "migrationVersion": {kind: PROGRAMS[program][kind]},
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
                "type": _kind(panel),
                "panelIndex": str(n),
                "gridData": {"x": x, "y": y, "w": panel.width, "h": panel.height, "i": str(n)},
                # A spec draws its own title.
                "embeddableConfig": {"hidePanelTitles": not panel.columns}
                | ({"title": panel.title} if panel.columns else {}),
                "panelRefName": f"panel_{n}",
            }
        )
        name = PROGRAMS[program]["reference"].format(n=n)
        references.append({"name": name, "type": _kind(panel), "id": _id(dashboard, panel)})
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
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(NO_SEARCH)},
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
