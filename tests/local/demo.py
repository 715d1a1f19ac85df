"""The demo of `make run`: sends samples by all three inputs, and shows documents and dashboards."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import overview
import seed
import tools
from queues import INGEST, Mapping
from search import SearchError, http
from tools import ROOT, TOOLS, StackError, say

if TYPE_CHECKING:
    from stack import Settings

EVENTS = ROOT / "events"
# One batch in each format that a log stream can send.
BATCHES = ("batch.jsonl", "batch-array.json", "object.json")
# The event that comes by EventBridge's queue.
DELIVERED = "ss.json"
ROWS = 25
OVERVIEW = TOOLS / "run/overview.html"


def _post(settings: Settings, name: str, body: bytes) -> None:
    headers = {"Authorization": settings.webhook_token, "Content-Type": "application/json"}
    status, response = http("POST", settings.webhook_url, body, headers, timeout=60)
    say(f"  POST {name}: {status} {response.decode(errors='replace').strip()}")
    if status != 200:
        raise StackError("the webhook rejected the batch: see `make logs`")


def post_samples(settings: Settings) -> None:
    for name in BATCHES:
        _post(settings, name, (EVENTS / "auth0" / name).read_bytes())


def deliver(settings: Settings) -> None:
    """Sends one event as EventBridge's rule does, and waits until ingest has taken it."""
    mapping = Mapping(INGEST, settings.moto_url, settings.functions_url)
    event = json.loads((EVENTS / "auth0" / DELIVERED).read_text())
    mapping.sqs.send_message(QueueUrl=mapping.queue, MessageBody=json.dumps(event))
    for _ in range(60):
        if not mapping.waiting(mapping.queue):
            say(f"  {DELIVERED}: taken from the queue")
            return
        time.sleep(0.5)
    raise StackError("ingest did not take the event: see `make logs`")


def attack(settings: Settings) -> None:
    """Posts a day of invented events, with two attacks in it."""
    end = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    lines = (json.dumps(event) for event in seed.day(end))
    say("\nposting a day of invented events, in which a password is guessed and the tenant changed")
    _post(settings, "a day", "\n".join(lines).encode())
    _refresh(settings, settings.data_stream)


def detect(settings: Settings) -> None:
    """Runs the detections once, and shows all alerts."""
    say("running the detections")
    _invoke(settings, "detect", b"{}")
    _refresh(settings, settings.alerts)
    query = {"size": 100, "sort": [{"@timestamp": "asc"}]}
    alerts = [
        hit["_source"]
        for hit in settings.search_engine.search(settings.alerts, query)["hits"]["hits"]
    ]
    limits = {"time": 24, "level": 8, "rule": 64, "who": 26, "source": 18, "events": 6}
    fields = ("@timestamp", "auth0.alerts.level", "rule.name", "user.name", "source.ip")
    fields = (*fields, "auth0.alerts.count")
    rows = [[_value(alert, field) for field in fields] for alert in alerts]
    say(f"\n{len(alerts)} alerts in {settings.alerts}:\n")
    say(_table(limits, rows))


def draw(settings: Settings) -> None:
    """Draws the dashboards as a local page."""
    try:
        overview.write(settings.search_engine, settings.data_stream, tools.vega(), OVERVIEW)
    except (StackError, SearchError) as error:
        # The stack works without dashboards.
        say(f"no dashboards: {error}")
    else:
        say(f"dashboards {OVERVIEW.as_uri()}")


def poll(settings: Settings) -> None:
    _invoke(settings, "poller", (EVENTS / "poll.json").read_bytes())


def _invoke(settings: Settings, function: str, payload: bytes) -> None:
    """Invokes a function once and prints its response. Raises StackError if it failed."""
    url = f"{settings.functions_url}/2015-03-31/functions/{function}/invocations"
    try:
        status, response = http("POST", url, payload, timeout=900)
    except OSError as error:
        reason = f"the functions do not respond on {settings.functions_url}: {error}"
        raise StackError(f"{reason}\n`make up` starts them") from error
    say(response.decode(errors="replace").strip())
    if status != 200 or b'"errorMessage"' in response:
        raise StackError(f"{function} failed ({status}): see `make logs`")


def _refresh(settings: Settings, stream: str) -> None:
    """Makes all writes visible; without the privilege, the newest stay invisible for seconds."""
    engine = settings.search_engine
    http("POST", f"{engine.url}/{stream}/_refresh", headers=engine.headers)


def _search(settings: Settings) -> dict[str, Any]:
    _refresh(settings, settings.data_stream)
    query = {"size": ROWS, "sort": [{"@timestamp": "desc"}], "track_total_hits": True}
    return settings.search_engine.search(settings.data_stream, query)["hits"]


def _value(document: dict[str, Any], path: str) -> str:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _source(document: dict[str, Any]) -> str:
    place = [_value(document, f"source.geo.{part}") for part in ("city_name", "country_iso_code")]
    return " ".join(filter(None, [_value(document, "source.ip"), ", ".join(filter(None, place))]))


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _table(limits: dict[str, int], rows: list[list[str]]) -> str:
    """Returns left-aligned columns, each as wide as its widest cell up to a limit."""
    rows = [list(limits), *rows]
    widths = [
        min(limit, max(len(row[column]) for row in rows))
        for column, limit in enumerate(limits.values())
    ]
    lines = (
        "  ".join(_fit(cell, width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def show(settings: Settings) -> None:
    say("posting the sample batches to the webhook")
    post_samples(settings)
    say("sending an event to EventBridge's queue")
    deliver(settings)
    say("polling once")
    poll(settings)
    hits = _search(settings)
    documents = [hit["_source"] for hit in hits["hits"]]
    total = hits["total"]["value"]
    say(f"\n{total} documents in {settings.data_stream}, the newest {len(documents)}:\n")
    limits = {"time": 24, "type": 32, "action": 36, "outcome": 8, "user": 26, "source": 36}
    fields = ("@timestamp", "auth0.logs.data.type", "event.action", "event.outcome", "user.name")
    rows = [[*(_value(one, field) for field in fields), _source(one)] for one in documents]
    say(_table(limits, rows))
