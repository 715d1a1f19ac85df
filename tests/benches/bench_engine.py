"""`make bench-engine`: what a document costs the engine, written into docs/performance.md.

The product's index template, with each DetailsIndexing, is compared with one as Elastic's Fleet
makes it. Rounds alternate, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import bench
import page
import stack
import tools
from interrupts import exit_code
from search import Engine
from services import Group, free_ports, group_for
from tools import StackError, say

EVENTS = 50_000
BYTES = 1_800
BULK = 100
CONNECTIONS = 2
ROUNDS = 3
JAVA = "-Xms2g -Xmx2g"

SETTINGS = ("flat", "fields", "none")
FLEET = "Fleet's"

BEGIN, END = "<!-- make bench-engine writes from here -->", "<!-- to here: bench-engine -->"


def fleet(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns an index made as Fleet makes those of packages, from the product's with `flat`.

    The fields of the package are mapped by name, those of ECS by the dynamic templates of Elastic's
    `ecs@mappings`; the codec is the default."""
    names = {
        "type": "keyword",
        "ignore_above": 1024,
        # What `match_only_text` indexes, which Elasticsearch's minimal distribution lacks.
        "fields": {"text": {"type": "text", "norms": False, "index_options": "docs"}},
    }
    strings = {"type": "keyword", "ignore_above": 1024}
    properties = flat["mappings"]["properties"]
    mappings = {
        "date_detection": False,
        "dynamic_templates": [
            _dynamic("ip", {"type": "ip"}, "*.ip"),
            _dynamic("location", {"type": "geo_point"}, "*.geo.location"),
            _dynamic("names", names, "*.name", "*.full_name", "*.title", "user_agent.original"),
            {"strings": {"match_mapping_type": "string", "mapping": strings}},
        ],
        "properties": {name: properties[name] for name in ("@timestamp", "auth0")},
    }
    return {"settings": {"index": {"refresh_interval": "5s"}}, "mappings": mappings}


def _dynamic(name: str, mapping: dict[str, Any], *paths: str) -> dict[str, Any]:
    return {name: {"path_match": list(paths), "mapping": mapping}}


def bulks() -> list[bytes]:
    """Returns the documents as `_bulk` requests."""
    geoip = tools.engine_home("opensearch") / "modules/ingest-geoip"
    program = stack.target_folder() / "documents"
    files = [geoip / name for name in ("GeoLite2-City.mmdb", "GeoLite2-ASN.mmdb")]
    done = subprocess.run(
        [program, str(EVENTS), str(BYTES), *files], capture_output=True, check=True
    )
    lines = [b'{"create":{}}\n' + line + b"\n" for line in done.stdout.splitlines()]
    return [b"".join(lines[at : at + BULK]) for at in range(0, len(lines), BULK)]


class Node:
    """A running engine."""

    def __init__(self, name: str, port: int, group: Group) -> None:
        self.name = name
        self.port = port
        self.group = group
        self.engine = Engine(f"http://127.0.0.1:{port}")

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.group.processes(self.name))

    def write(self, index: str, requests: list[bytes]) -> None:
        """Sends the requests on several connections at a time. Raises StackError."""
        failed = []

        def send(part: Iterator[bytes]) -> None:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
            for body in part:
                headers = {"Content-Type": "application/x-ndjson"}
                path = f"/{index}/_bulk?filter_path=errors"
                connection.request("POST", path, body, headers)
                response = connection.getresponse().read()
                if response != b'{"errors":false}':
                    failed.append(response)
                    return

        parts = [iter(requests[at::CONNECTIONS]) for at in range(CONNECTIONS)]
        threads = [threading.Thread(target=send, args=[part]) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise StackError(f"{index}: {failed[0][:300]!r}")

    def round(self, body: dict[str, Any], requests: list[bytes]) -> dict[str, float]:
        """Writes all documents into a new index, and deletes it."""
        index = "bench"
        self.engine.request("PUT", index, body)
        cpu, start = self.cpu_seconds(), time.monotonic()
        self.write(index, requests)
        self.engine.request("POST", f"{index}/_refresh")
        measured = {
            "cpu": (self.cpu_seconds() - cpu) / EVENTS,
            "searchable": time.monotonic() - start,
        }
        self.engine.request("POST", f"{index}/_forcemerge?max_num_segments=1")
        self.engine.request("POST", f"{index}/_flush?force=true")
        measured["bytes"] = self.merged_bytes(index) / EVENTS
        self.engine.request("DELETE", index)
        return measured

    def merged_bytes(self, index: str) -> int:
        """Returns the size on disk once the segments of before the merge are gone."""
        sizes = [-1, 0]
        while sizes[-2] != sizes[-1]:
            time.sleep(1)
            self.engine.request("POST", f"{index}/_refresh")
            stats = self.engine.request("GET", f"{index}/_stats/store,segments,docs")
            stats = stats["_all"]["primaries"]
            one = stats["segments"]["count"] == 1
            sizes.append(stats["store"]["size_in_bytes"] if one else -len(sizes))
        if stats["docs"]["count"] != EVENTS:
            raise StackError(f"{index} has {stats['docs']['count']} documents")
        return sizes[-1]


def indices(node: Node, binaries: Path) -> dict[str, dict[str, Any]]:
    """Returns what to create an index with, by name: as the installed templates have it."""
    found = {}
    for details in SETTINGS:
        namespace = f"bench_{details}"
        env = stack.plain_environment() | {
            "SEARCH_ENDPOINT": node.engine.url,
            "DATA_STREAM_NAMESPACE": namespace,
            "DETAILS_INDEXING": details,
        }
        subprocess.run([binaries / "setup", "install"], env=env, check=True, capture_output=True)
        body = node.engine.request("GET", f"_index_template/auth0-log-streams-{namespace}")
        template = body["index_templates"][0]["index_template"]["template"]
        found[details] = {name: template[name] for name in ("settings", "mappings")}
    return {FLEET: fleet(found["flat"]), **found}


def measure(
    node: Node, bodies: dict[str, dict[str, Any]], requests: list[bytes]
) -> dict[str, dict[str, float]]:
    """Returns the medians by name. The first round only warms the engine up."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in bodies}
    for number in range(ROUNDS + 1):
        for name, body in bodies.items():
            measured = node.round(body, requests)
            say(f"{name:8} " + ", ".join(f"{key} {one:.6g}" for key, one in measured.items()))
            if number:
                rounds[name].append(measured)
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in rounds.items()
    }


def table(engine: str, found: dict[str, dict]) -> str:
    base = found[FLEET]
    head = [engine, "bytes on disk", "ratio", "CPU", "ratio", "searchable after", "ratio"]

    def row(name: str) -> list[str]:
        one = found[name]
        ratio = {key: f"{one[key] / base[key]:.2f}" for key in one}
        what = "as Fleet would" if name == FLEET else f"`DetailsIndexing={name}`"
        return [
            what,
            *(f"{one['bytes']:,.0f} B", ratio["bytes"]),
            *(f"{one['cpu'] * 1e6:.0f} µs", ratio["cpu"]),
            *(f"{one['searchable']:.1f} s", ratio["searchable"]),
        ]

    return page.table(head, [row(name) for name in (FLEET, *SETTINGS)])


def main() -> None:
    tools.check_prerequisites()
    tools.set_up(list(stack.ENGINES))
    stack.build("the template's installer and the events", "--bins", "-p", "setup", "-p", "support")
    text = page.table(["", ""], bench.machine())
    with group_for("bench") as group:
        requests = bulks()
        for engine in stack.ENGINES:
            (port,) = free_ports(1)
            service = stack.engine_service(engine, port, group.folder, JAVA)
            group.start(service)
            group.wait(service)
            node = Node(engine, port, group)
            found = measure(node, indices(node, stack.target_folder()), requests)
            text += "\n" + table(tools.engine_home(engine).name, found)
            group.stop()
    page.write(text, BEGIN, END)


if __name__ == "__main__":
    sys.exit(exit_code(main))
