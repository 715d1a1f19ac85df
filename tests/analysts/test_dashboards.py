"""Every panel searches existing fields, finds data, and is drawn, on both engines."""

import contextlib
import io
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest
from datetime import datetime, timedelta
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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


class Drawing(HTMLParser):
    """What the browser has drawn in each panel: texts, and the labels of marks."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.marks: dict[str, list[str]] = {}
        self.drawn = 0
        self._panel = ""
        self._in_text = False
        self.feed(dom)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag == "body":
            self.drawn = int(named.get("data-drawn") or 0)
        if named.get("id") in dict(PANELS):
            self._panel = named["id"]
            self.texts[self._panel], self.marks[self._panel] = [], []
        if tag == "path" and named.get("aria-roledescription") == "bar":
            self.marks[self._panel].append(named["aria-label"])
        self._in_text = tag == "text"

    def handle_data(self, data: str) -> None:
        if self._in_text:
            self.texts[self._panel].append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_text = False


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
        stream = world.index("dashboards", seed.day(END))
        scripts = tools.vega()
        cls.pages = {
            product: overview.page(engine, stream, START, END, scripts)
            for product, engine in world.engines().items()
        }
        cls.answers = {
            product: {
                id: engine.search(stream, overview.filled(panel.search, product, START, END))
                for id, panel in PANELS
            }
            for product, engine in world.engines().items()
        }
        with tempfile.TemporaryDirectory() as folder:
            cls.drawings = {
                product: Drawing(browse(Path(folder), page, "--dump-dom"))
                for product, page in cls.pages.items()
            }
            if os.environ.get("UPDATE_DOCS"):
                engine = world.engines()["opensearch"]
                for dashboard in panels.DASHBOARDS:
                    page = overview.page(engine, stream, START, END, scripts, [dashboard])
                    screenshot = f"--screenshot={panels.FOLDER / dashboard.id}.png"
                    browse(Path(folder), page, screenshot, "--window-size=1300,1340")

    def buckets(self, product: str, id: str) -> dict[str, int]:
        """Returns the rows of a panel: label → number of events."""
        found = self.answers[product][id]["aggregations"]["rows"]["buckets"]
        rows = found.items() if isinstance(found, dict) else ((row["key"], row) for row in found)
        return {str(key): row["doc_count"] for key, row in rows}

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
            specs = [
                json.loads(json.loads(one["attributes"]["visState"])["params"]["spec"])
                for one in objects
                if one["type"] == "visualization"
            ]
            # The browser draws the same specs below.
            self.assertEqual(specs, [panel.spec for _, panel in PANELS])

    def test_panel_fields_are_in_the_template(self) -> None:
        for id, panel in PANELS:
            names = fields_of(panel.search)
            self.assertGreater(len(names), 1, id)
            for name in names:
                self.assertTrue(world.in_template(name), f"{id}: {name}")
            # OpenSearch can search parts of a flat object, but not aggregate them.
            for field in re.findall(r'"field": "([^"]+)"', json.dumps(panel.search)):
                self.assertIn(field, world.template_fields(), id)

    def test_panel_has_the_same_data_on_both_engines(self) -> None:
        for id, _ in PANELS:
            rows = {product: self.buckets(product, id) for product in world.URLS}
            self.assertGreater(sum(rows["opensearch"].values()), 0, id)
            self.assertEqual(rows["opensearch"], rows["elasticsearch"], id)

    def test_panel_counts_match_the_events(self) -> None:
        events = [event["data"] for event in seed.day(END)]
        for product in world.URLS:
            self.assertEqual(sum(self.buckets(product, "overview-events").values()), len(events))
            families = self.answers[product]["threat-families"]["aggregations"]["rows"]["buckets"]
            counted = {row["key"]: row["counted"]["value"] for row in families}
            self.assertEqual(counted, {"fam-ida": 4, "fam-ben": 1})
            sprayed = self.answers[product]["threat-spraying"]["aggregations"]["rows"]["buckets"][0]
            self.assertEqual((sprayed["key"], sprayed["counted"]["value"]), (seed.ATTACKER, 15))
            risky = self.buckets(product, "threat-risk")
            self.assertEqual((risky["low"], risky["medium"]), (1, 0))

    def test_panel_is_drawn(self) -> None:
        for product, drawing in self.drawings.items():
            self.assertEqual(drawing.drawn, len(PANELS), f"{product}: the page did not finish")
            for id, panel in PANELS:
                with self.subTest(product=product, panel=id):
                    texts, marks = drawing.texts[id], drawing.marks[id]
                    self.assertIn(panel.title, texts)
                    rows = self.buckets(product, id)
                    if "date_histogram" in panel.search["aggs"]["rows"]:
                        rows = {
                            (row["key"], kind["key"]): kind["doc_count"]
                            for row in self.answers[product][id]["aggregations"]["rows"]["buckets"]
                            for kind in row["kinds"]["buckets"]
                        }
                        kinds = {kind for _, kind in rows}
                        self.assertLessEqual(kinds, set(texts))
                    else:
                        # Long labels end in an ellipsis.
                        starts = tuple(text.removesuffix("…") for text in texts if len(text) > 3)
                        for label in rows:
                            shown = label in texts or label.startswith(starts)
                            self.assertTrue(shown, f"{label} in {texts}")
                    # One bar for each row.
                    self.assertEqual(len(marks), len(rows))

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
