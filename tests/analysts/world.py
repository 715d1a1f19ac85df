"""Both engines with our index template, and the test events, mapped by our mapper.

A rule's cases are events: `hits` that it must find and `misses` that it must not. A correlation
has the `groups` that it must find, too."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import hunt
from search import Engine

HERE = Path(__file__).resolve().parent

# Set by tests/local/analysts.py, which runs these tests.
URLS = {
    name: os.environ[f"ANALYSTS_{name.upper()}_URL"] for name in ("opensearch", "elasticsearch")
}
BINARIES = Path(os.environ["ANALYSTS_BIN_DIR"])

# Instead of the ASN file, which examples/map does not open: as in tests/support/src/mmdb.rs.
NETWORKS = {"89.160.20.112": 29518, "2001:218::1": 2914}

# When the events of rules begin.
START = datetime(2026, 3, 14, 9, 0)

# Separates the data of several runs in the same engines.
RUN = f"{os.getpid()}_{int(time.time())}"


# How details are indexed: DetailsIndexing of template.yaml.
SETTINGS = ("flat", "fields")
# The default of each engine.
DEFAULTS = {"opensearch": "fields", "elasticsearch": "flat"}


@cache
def engines() -> dict[str, Engine]:
    """Returns both engines by product; the namespace `default` has its index template."""
    install("default", "flat")
    return {product: Engine(url) for product, url in URLS.items()}


def install(namespace: str, details: str) -> None:
    """Runs the setup function for a namespace of both engines."""
    for url in URLS.values():
        env = os.environ | {
            "SEARCH_ENDPOINT": url,
            "DATA_STREAM_NAMESPACE": namespace,
            "DETAILS_INDEXING": details,
        }
        subprocess.run([BINARIES / "setup", "install"], env=env, check=True, capture_output=True)


@cache
def template_fields(details: str = "flat") -> dict[str, str]:
    """Returns every field of the template that can be searched, with its type on OpenSearch."""
    install(details, details)
    found = engines()["opensearch"].request("GET", f"_index_template/auth0-log-streams-{details}")
    mappings = found["index_templates"][0]["index_template"]["template"]["mappings"]
    fields: dict[str, str] = {}

    def walk(properties: dict[str, Any], prefix: str) -> None:
        for name, mapping in properties.items():
            if "properties" in mapping:
                walk(mapping["properties"], f"{prefix}{name}.")
                continue
            fields[prefix + name] = mapping["type"]
            for sub, its_mapping in mapping.get("fields", {}).items():
                fields[f"{prefix}{name}.{sub}"] = its_mapping["type"]

    walk(mappings["properties"], "")
    return fields


def in_template(field: str, details: str = "flat") -> bool:
    """Returns whether `field` can be searched: it is in the template, or a part of a flat field."""
    fields = template_fields(details)
    parts = field.split(".")
    parents = (".".join(parts[:length]) for length in range(1, len(parts)))
    return field in fields or any(fields.get(parent) == "flat_object" for parent in parents)


def index(namespace: str, events: list[dict[str, Any]], details: str = "flat") -> str:
    """Maps the events, writes them into both engines, and returns the data stream."""
    body = "".join(json.dumps(event) + "\n" for event in events)
    argv = [BINARIES / "examples/map"]
    mapped = subprocess.run(argv, input=body.encode(), capture_output=True, check=True).stdout
    documents = mapped.decode().splitlines()
    assert len(documents) == len(events), f"{len(events)} events became {len(documents)} documents"
    lines = []
    for document in map(json.loads, documents):
        if number := NETWORKS.get(document.get("source", {}).get("ip")):
            document["source"]["as"] = {"number": number}
        lines += [json.dumps({"create": {"_id": document["event"]["id"]}}), json.dumps(document)]
    bulk = ("\n".join(lines) + "\n").encode()
    namespace = f"{namespace}_{details}_{RUN}"
    install(namespace, details)
    stream = f"logs-auth0.logs-{namespace}"
    for engine in engines().values():
        response = engine.request("POST", f"{stream}/_bulk?refresh=true", bulk)
        items = [item["create"] for item in response["items"]]
        rejected = [item for item in items if item["status"] != 201]
        assert not rejected, rejected[:3]
    return stream


def event(log_id: str, when: datetime, data: dict[str, Any]) -> dict[str, Any]:
    """Returns a log stream event with the members that every event has."""
    date = when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    base = {"date": date, "log_id": log_id, "tenant_name": "shop-example", "ip": "192.0.2.1"}
    return {"log_id": log_id, "data": base | data}


def spread(name: str, start: datetime, data: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a case's events: `data`, `repeat` times, {n} replaced, 10 s or `minutes` apart, the
    first of them `at` minutes after the start."""
    data = copy.deepcopy(data)
    repeat = data.pop("repeat", 1)
    start += timedelta(minutes=data.pop("at", 0))
    step = timedelta(minutes=data.pop("minutes")) if "minutes" in data else timedelta(seconds=10)
    text = json.dumps(data)
    return [
        event(f"{name}-{n}", start + n * step, json.loads(text.replace("{n}", str(n))))
        for n in range(repeat)
    ]


def case_events(name: str, cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a rule's events; their ids contain its name and whether it must hit them."""
    return [
        event
        for kind in ("hits", "misses")
        for number, case in enumerate(cases[kind])
        for event in spread(f"{name}-{kind}-{number}", START, case)
    ]


def wanted(name: str, cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what a rule must find among its events: groups, or the ids of its hits."""
    events = case_events(name, cases)
    hits = [{"event.id": e["log_id"]} for e in events if "-hits-" in e["log_id"]]
    return sorted(cases.get("groups", hits), key=lambda one: sorted(one.items()))


def found(rule: Path, product: str, details: str, stream: str) -> list[dict[str, Any]]:
    """Returns what a rule finds among its events, as `wanted` does. Raises RuleError."""
    # The misses of one rule may be hits of another.
    of_this_rule = {"prefix": {"event.id": f"{rule.stem}-"}}
    (detection,) = hunt.read(rule, product, details)
    found = detection.run(engines()[product], stream, of_this_rule)
    # Hits have the people, too; groups have only what they are grouped by.
    id_of = {"event.id"}
    found = [{k: one[k] for k in id_of} if id_of <= one.keys() else one for one in found]
    return sorted(found, key=lambda one: sorted(one.items()))
