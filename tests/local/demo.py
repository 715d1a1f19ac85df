"""The demo of `make run`: posts the sample batches, polls once, shows documents and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import overview
import seed
import tools
from search import Engine, SearchError
from services import http
from tools import ROOT, StackError, say

if TYPE_CHECKING:
    from stack import Settings

EVENTS = ROOT / "events"
# One batch in each of the formats that a stream can send.
BATCHES = ("batch.jsonl", "batch-array.json", "object.json")
ROWS = 25


def _post(settings: Settings, name: str, body: bytes) -> None:
    headers = {"Authorization": settings.webhook_token, "Content-Type": "application/json"}
    status, answer = http("POST", settings.webhook_url, body, headers, timeout=60)
    say(f"  POST {name}: {status} {answer.decode(errors='replace').strip()}")
    if status != 200:
        raise StackError("the webhook did not take the batch: see `make logs`")


def post_samples(settings: Settings) -> None:
    for name in BATCHES:
        _post(settings, name, (EVENTS / "auth0" / name).read_bytes())


def draw(settings: Settings) -> None:
    """Posts the last day of an invented tenant, and draws the dashboards over it as a local page."""
    end = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    lines = (json.dumps(event) for event in seed.day(end))
    say("\nposting a day of invented events, for pictures")
    _post(settings, "a day", "\n".join(lines).encode())
    engine = Engine(settings.search_endpoint, settings.search_headers)
    try:
        file = overview.write(engine, settings.data_stream, tools.vega())
    except (StackError, SearchError) as error:
        # The stack works without pictures.
        say(f"no pictures: {error}")
    else:
        say(f"pictures   {file.as_uri()}")


def poll(settings: Settings) -> None:
    """Invokes the poller once and prints its answer.

    Raises StackError if it failed."""
    payload = (EVENTS / "poll.json").read_bytes()
    url = f"{settings.functions_url}/2015-03-31/functions/poller/invocations"
    try:
        status, answer = http("POST", url, payload, timeout=900)
    except OSError as error:
        reason = f"the functions do not answer on {settings.functions_url}: {error}"
        raise StackError(f"{reason}\n`make up` starts them") from error
    say(answer.decode(errors="replace").strip())
    if status != 200 or b'"errorMessage"' in answer:
        raise StackError(f"the poll failed ({status}): see `make logs`")


def _search(settings: Settings) -> dict[str, Any]:
    base = f"{settings.search_endpoint}/{settings.data_stream}"
    http("POST", f"{base}/_refresh", headers=settings.search_headers)
    query = {"size": ROWS, "sort": [{"@timestamp": "desc"}], "track_total_hits": True}
    headers = settings.search_headers | {"Content-Type": "application/json"}
    status, answer = http("POST", f"{base}/_search", json.dumps(query).encode(), headers)
    if status != 200:
        raise StackError(f"the search failed: {status} {answer.decode(errors='replace')}")
    return json.loads(answer)["hits"]


def _value(document: Mapping[str, Any], path: str) -> str:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def _source(document: Mapping[str, Any]) -> str:
    place = [_value(document, f"source.geo.{part}") for part in ("city_name", "country_iso_code")]
    return " ".join(filter(None, [_value(document, "source.ip"), ", ".join(filter(None, place))]))


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _table(documents: list[dict[str, Any]]) -> str:
    """Left-aligned columns, each as wide as its widest cell up to a limit."""
    limits = {"time": 24, "type": 32, "action": 36, "outcome": 8, "user": 26, "source": 36}
    rows = [list(limits)]
    for document in documents:
        rows.append(
            [
                _value(document, "@timestamp"),
                _value(document, "auth0.logs.data.type"),
                _value(document, "event.action"),
                _value(document, "event.outcome"),
                _value(document, "user.name"),
                _source(document),
            ]
        )
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
    say("polling once")
    poll(settings)
    hits = _search(settings)
    documents = [hit["_source"] for hit in hits["hits"]]
    total = hits["total"]["value"]
    say(f"\n{total} documents in {settings.data_stream}, the newest {len(documents)}:\n")
    say(_table(documents))
