"""Alerts of the seeded day, as functions/detect writes them."""

import json
from collections.abc import Callable
from datetime import datetime

import seed
import world

END = datetime(2026, 3, 14, 12)
# The alerts that the day raises: level, rule, and its events.
ALERTS: tuple[tuple[str, str, Callable[[dict], object]], ...] = (
    (
        "high",
        "Password spraying - many users fail from one address",
        lambda e: e["type"] in ("fp", "fu"),
    ),
    ("high", "Sign-in after impossible travel", lambda e: e["type"] == "s"),
    (
        "high",
        "MFA fatigue - one user is flooded with push notifications",
        lambda e: e["type"].startswith("gd_"),
    ),
    ("medium", "Breached password used", lambda e: e["type"] == "pwd_leak"),
    ("critical", "Refresh token reused after rotation", lambda e: e["type"] == "ferrt"),
)
FIELDS = {"auth0.alerts.level", "auth0.alerts.count", "auth0.alerts.events", "rule.name"}


def events_of(wanted: Callable[[dict], object]) -> list[dict]:
    """Returns the attacker's events of an alert."""
    day = (event["data"] for event in seed.day(END))
    return [event for event in day if event.get("ip") == seed.ATTACKER and wanted(event)]


def index(stream: str) -> None:
    """Writes the alerts next to the events of `stream`, as functions/detect does."""
    lines = []
    for n, (level, rule, wanted) in enumerate(ALERTS):
        events = events_of(wanted)
        alert = {
            "@timestamp": events[-1]["date"],
            "auth0": {"alerts": {"level": level, "count": len(events)}},
            "event": {"id": f"alert-{n}", "kind": "alert", "module": "auth0"},
            "rule": {"name": rule},
            "user": {"name": sorted({e["user_name"] for e in events})},
            "related": {"user": sorted({e["user_name"] for e in events}), "ip": seed.ATTACKER},
            "source": {"ip": seed.ATTACKER},
        }
        alert["auth0"]["alerts"]["events"] = [e["log_id"] for e in events]
        lines += [{"create": {"_id": alert["event"]["id"]}}, alert]
    alerts = stream.replace(".logs-", ".alerts-")
    bulk = "".join(json.dumps(line) + "\n" for line in lines).encode()
    for engine in world.engines().values():
        response = engine.request("POST", f"{alerts}/_bulk?refresh=true", bulk)
        assert not response["errors"], response
