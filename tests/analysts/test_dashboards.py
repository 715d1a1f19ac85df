"""Every panel searches existing fields, finds data, and is drawn, on both engines."""

import contextlib
import html
import io
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import alerts
import dashboards
import overview
import panels
import seed
import tools
import world
from test_searching import fields_of

END = datetime(2026, 3, 14, 12)
START = END - timedelta(hours=24)
PANELS = [(f"{d.id}-{p.id}", p) for d in panels.DASHBOARDS for p in d.panels]


# Clicks each mark that can be clicked, and keeps the filters in the page.
CLICKS = """<script>
  const waiting = setInterval(async () => {
    if (!document.body.dataset.drawn) return;
    clearInterval(waiting);
    const clicked = {};
    const output = document.querySelector("output");
    for (const id of Object.keys(panels)) {
      clicked[id] = [];
      for (const mark of document.getElementById(id).querySelectorAll("[aria-label]")) {
        const label = mark.getAttribute("aria-label");
        output.textContent = "";
        mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        // Vega handles events later.
        if (label) await new Promise(done => setTimeout(done));
        const filter = output.textContent.replace(/^[^{]*/, "");
        const role = mark.getAttribute("aria-roledescription");
        clicked[id].push([role, label, filter && JSON.parse(filter)]);
      }
    }
    const texts = id => [...document.getElementById(id).querySelectorAll("text")];
    const drawn = Object.fromEntries(Object.entries(clicked).map(([id, marks]) =>
      [id, { marks, texts: texts(id).map(text => text.textContent) }]));
    const result = document.createElement("pre");
    result.id = "result";
    result.textContent = JSON.stringify(drawn);
    document.body.append(result);
  }, 100);
</script>
"""


def number(mark: tuple[str, object]) -> int:
    """Returns the number in a mark's label, which follows its name and a colon."""
    return int(re.search(r": ([\d,]+)", mark[0])[1].replace(",", ""))


def drawing(folder: str, page: str) -> dict[str, dict[str, list]]:
    """Returns what each panel shows, and for each mark its role, label and filter."""
    # The scripts contain the tag, too.
    dom = browse(Path(folder), CLICKS.join(page.rsplit("</body>", 1)), "--dump-dom")
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the page did not finish"
    return json.loads(html.unescape(found[1]))


def browse(folder: Path, page: str, *options: str) -> str:
    """Opens the page in a headless browser and returns its output."""
    file = folder / "page.html"
    file.write_text(page)
    flags = ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars")
    flags += ("disable-dev-shm-usage", "virtual-time-budget=20000")
    argv = [tools.chromium(), *(f"--{flag}" for flag in flags)]
    argv += [f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [*argv, *options, file.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout


class Dashboards(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.streams = {
            product: world.index("dashboards", seed.day(END), details)
            for product, details in world.DEFAULTS.items()
        }
        for stream in cls.streams.values():
            alerts.index(stream)
        scripts = tools.vega()
        cls.pages = {
            product: overview.page(engine, cls.streams[product], START, END, scripts)
            for product, engine in world.engines().items()
        }
        cls.answers = {
            product: {
                id: engine.search(
                    overview.stream_of(panel, cls.streams[product]),
                    overview.filled(panel.search, product, START, END),
                )
                for id, panel in PANELS
            }
            for product, engine in world.engines().items()
        }
        with tempfile.TemporaryDirectory() as folder:
            cls.drawings = {product: drawing(folder, page) for product, page in cls.pages.items()}
            if os.environ.get("UPDATE_DOCS"):
                engine, stream = world.engines()["opensearch"], cls.streams["opensearch"]
                for dashboard in panels.DASHBOARDS:
                    page = overview.page(engine, stream, START, END, scripts, [dashboard])
                    page = page.replace(stream, "logs-auth0.logs-default")
                    screenshot = f"--screenshot={panels.FOLDER / dashboard.id}.png"
                    rows = sum(panel.width * (25 * panel.height + 12) for panel in dashboard.panels)
                    height = rows // 48 + 160
                    browse(Path(folder), page, screenshot, f"--window-size=1400,{height}")

    def counts(self, product: str, id: str) -> list[int]:
        """Returns the numbers that a panel shows, sorted; 1 for each document of a list."""
        answer = self.answers[product][id]
        if dict(PANELS)[id].search["size"]:
            return [1 for _ in answer["hits"]["hits"]]
        counts = []
        for row in answer["aggregations"]["rows"]["buckets"]:
            parts = row.get("kinds", {}).get("buckets", [row])
            counts += [part.get("counted", {}).get("value", part["doc_count"]) for part in parts]
        return sorted(counts)

    def marks(self, product: str, id: str, *roles: str) -> list[tuple[str, dict | None]]:
        """Returns label and filter of a panel's marks with these roles."""
        found = self.drawings[product][id]["marks"]
        return [(label, filter) for role, label, filter in found if role in roles]

    def total(self, product: str, filter: dict, stream: str) -> int:
        body = {"size": 0, "query": filter["query"], "track_total_hits": True}
        return world.engines()[product].search(stream, body)["hits"]["total"]["value"]

    def test_saved_objects_are_up_to_date(self) -> None:
        for program in panels.PROGRAMS:
            self.assertEqual(
                panels.path(program).read_text(),
                panels.ndjson(program),
                "python3 docs/analysts/panels.py",
            )

    def test_saved_objects_refer_to_each_other(self) -> None:
        for program in panels.PROGRAMS:
            objects = [json.loads(line) for line in panels.path(program).read_text().splitlines()]
            ids = [(one["type"], one["id"]) for one in objects]
            self.assertEqual(len(ids), len(set(ids)))
            for one in (one for one in objects if one["type"] == "dashboard"):
                names = {reference["name"] for reference in one["references"]}
                for panel in json.loads(one["attributes"]["panelsJSON"]):
                    name = panels.PROGRAMS[program]["reference"].format(n=panel["panelIndex"])
                    self.assertIn(name, names)
                for reference in one["references"]:
                    self.assertIn((reference["type"], reference["id"]), ids)
            drawn = [
                json.loads(json.loads(one["attributes"]["visState"])["params"]["spec"])
                for one in objects
                if one["type"] == "visualization"
            ]
            # The browser draws the same specs below.
            function = panels.PROGRAMS[program]["add_filter"]
            specs = [panel.spec(function) for _, panel in PANELS if not panel.columns]
            self.assertEqual(drawn, specs)
            lists = [one for one in objects if one["type"] == "search"]
            self.assertEqual(
                [one["attributes"]["columns"] for one in lists],
                [list(panel.columns) for _, panel in PANELS if panel.columns],
            )

    def test_panel_fields_are_in_the_template(self) -> None:
        for id, panel in PANELS:
            names = fields_of(panel.search)
            self.assertGreater(len(names), 1, id)
            for name in names - alerts.FIELDS:
                self.assertTrue(world.in_template(name), f"{id}: {name}")
            # OpenSearch can search parts of a flat object, but not aggregate them.
            for field in re.findall(r'"field": "([^"]+)"', json.dumps(panel.search)):
                self.assertIn(field, {*world.template_fields(), *alerts.FIELDS}, id)

    def test_linked_fields_are_in_the_template(self) -> None:
        for field in panels.LINKS:
            self.assertTrue(world.in_template(field), field)

    def test_only_ids_of_auth0_link_to_its_logs(self) -> None:
        for program in panels.PROGRAMS:
            views = [one for one in panels.saved_objects(program) if one["type"] == "index-pattern"]
            linked = {
                one["id"]: "event.id" in json.loads(one["attributes"]["fieldFormatMap"])
                for one in views
            }
            self.assertEqual(linked, {"auth0-log-streams": True, "auth0-log-streams-alerts": False})

    def test_panel_has_the_same_data_on_both_engines(self) -> None:
        for id, _ in PANELS:
            counts = {product: self.counts(product, id) for product in world.URLS}
            self.assertGreater(sum(counts["opensearch"]), 0, id)
            self.assertEqual(counts["opensearch"], counts["elasticsearch"], id)

    def test_panel_counts_match_the_events(self) -> None:
        events = [event["data"] for event in seed.day(END)]
        for product in world.URLS:
            self.assertEqual(sum(self.counts(product, "overview-events")), len(events))
            # Several requests, and thus 4 and 1 addresses, of one refresh token.
            self.assertEqual(self.counts(product, "threat-families"), [1, 4])
            self.assertEqual(self.counts(product, "threat-spraying")[-1], 15)
            self.assertEqual(self.counts(product, "threat-risk")[:2], [0, 1])
            tiles = [label for label, _ in self.marks(product, "overview-numbers", "tile")]
            signed_in = sum(event["type"] == "s" for event in events)
            self.assertIn(f"Sign-ins: {signed_in}", tiles)
            self.assertIn(f"Alerts: {len(alerts.ALERTS)}", tiles)

    def test_panel_is_drawn(self) -> None:
        for product, drawing in self.drawings.items():
            self.assertEqual(list(drawing), [id for id, _ in PANELS])
            for id, panel in PANELS:
                with self.subTest(product=product, panel=id):
                    self.assertIn(panel.title, drawing[id]["texts"])
                    counts = self.counts(product, id)
                    shown = self.marks(product, id, "bar", "tile", "place", "row")
                    if panel.search["size"]:
                        # Those that do not fit are left out.
                        self.assertGreaterEqual(len(shown), min(len(counts), 8))
                    elif id != "overview-numbers":
                        self.assertEqual(sorted(map(number, shown)), counts)

    def test_click_filters_by_what_the_mark_counts(self) -> None:
        for product in world.URLS:
            for id, panel in PANELS:
                marks = self.marks(product, id, "bar", "tile", "place", "country", "cell")
                clicked = [(label, filter) for label, filter in marks if filter]
                self.assertTrue(clicked, id)
                for label, filter in clicked:
                    with self.subTest(product=product, panel=id, mark=label):
                        self.assertEqual(filter["index"], panels.INDEX)
                        stream = overview.stream_of(panel, self.streams[product])
                        found = self.total(product, filter, stream)
                        cell = bool(panel.search["size"])
                        self.assertGreaterEqual(found, 1 if cell else number((label, filter)))

    def test_click_sets_the_filter(self) -> None:
        for product in world.URLS:
            countries = dict(self.marks(product, "overview-map", "country"))
            (china,) = (filter for label, filter in countries.items() if label.startswith("China"))
            phrase = {"match_phrase": {"source.geo.country_iso_code": "CN"}}
            self.assertEqual(china, {"query": phrase, "index": panels.INDEX})
            self.assertFalse(countries[""])
            tiles = dict(self.marks(product, "overview-numbers", "tile"))
            self.assertFalse(tiles[f"Alerts: {len(alerts.ALERTS)}"])
            ten = dict(self.marks(product, "threat-spraying", "bar"))[f"{seed.ATTACKER}: 15 users"]
            self.assertEqual(ten["query"], {"match_phrase": {"source.ip": seed.ATTACKER}})
            whom = dict(self.marks(product, "threat-changes", "cell"))["auth0|grace"]
            self.assertEqual(whom["query"], {"match_phrase": {"user.target.id": "auth0|grace"}})

    def test_click_on_an_alert_finds_its_events(self) -> None:
        for product in world.URLS:
            cells = dict(self.marks(product, "threat-alerts", "cell"))
            for _, rule, wanted in alerts.ALERTS:
                filter = cells[rule]
                self.assertEqual(filter["alias"], f"Events of: {rule}")
                events = len(alerts.events_of(wanted))
                stream = self.streams[product]
                self.assertEqual(self.total(product, filter, stream), events)
                both = stream.replace(".logs-", ".*-")
                self.assertEqual(self.total(product, filter, both), events + 1)

    def test_panel_without_events_says_so(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for product, engine in world.engines().items():
                early = START - timedelta(days=9)
                page = overview.page(
                    engine, self.streams[product], early - timedelta(hours=1), early, tools.vega()
                )
                drawn = drawing(folder, page)
                for id, panel in PANELS:
                    if panel.search["size"] or "terms" in panel.search["aggs"]["rows"]:
                        self.assertIn("Nothing in this time range", drawn[id]["texts"], id)

    def test_script_element_cannot_be_closed_by_events(self) -> None:
        value = ["</script><script>alert(1)</script>"]
        self.assertNotIn("<", overview.in_script(value))
        self.assertEqual(json.loads(overview.in_script(value)), value)


class Import(unittest.TestCase):
    """`make dashboards`, with a stand-in for the saved objects API of both programs."""

    def setUp(self) -> None:
        requests: list[tuple[str, dict[str, str], bytes]] = []
        answer = {"success": True, "successCount": 25}

        class Api(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append((self.path, dict(self.headers), body))
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self.requests, self.answer = requests, answer
        server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}"
        self.settings = {"DASHBOARDS": "kibana", "DASHBOARDS_URL": url, "SEARCH_API_KEY": "key"}

    def run_quietly(self, **settings: str) -> str:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            dashboards.import_all(self.settings | settings)
        return output.getvalue()

    def test_dry_run_sends_nothing(self) -> None:
        said = self.run_quietly()
        self.assertEqual(self.requests, [])
        self.assertIn("nothing was sent", said)
        self.assertIn("Auth0: threat", said)

    def test_import_sends_the_file_with_header_and_credentials(self) -> None:
        for program, header in dashboards.HEADERS.items():
            self.run_quietly(DASHBOARDS=program, APPLY="1")
            path, headers, body = self.requests.pop()
            self.assertEqual(path, "/api/saved_objects/_import?overwrite=true")
            self.assertEqual(headers["Authorization"], "ApiKey key")
            self.assertEqual(
                {k.lower() for k in headers} & set(dashboards.HEADERS.values()), {header}
            )
            self.assertIn(panels.path(program).read_bytes(), body)

    def test_rejected_import_is_an_error(self) -> None:
        self.answer |= {"success": False, "errors": [{"id": "x", "error": {"type": "conflict"}}]}
        with self.assertRaisesRegex(dashboards.ImportFailedError, "conflict"):
            self.run_quietly(APPLY="1")

    def test_missing_setting_is_explained(self) -> None:
        with self.assertRaisesRegex(dashboards.ImportFailedError, "DASHBOARDS_URL=https"):
            self.run_quietly(DASHBOARDS_URL="")


if __name__ == "__main__":
    unittest.main()
