"""Every detection hits its events and no others; known raw fields convert, unknown ones do not."""

import csv
import itertools
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from sigma.backends.elasticsearch import ESQLBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaTransformationError

import compile
import hunt
import world

EVENTS = world.HERE / "events"
RULES = sorted(hunt.RULES.glob("*.yml"))
# tests/e2e/detect.rs has these, which only functions/detect runs.
HUNTED = [
    rule
    for rule in RULES
    if "temporal_ordered" not in (text := rule.read_text()) and "\ncustom:" not in text
]


def cases(rule: Path) -> dict:
    return json.loads((EVENTS / f"{rule.stem}.json").read_text())


def events(rule: Path) -> list[dict]:
    return world.case_events(rule.stem, cases(rule))


def rule_with(field: str, value: object = "x") -> str:
    detection = {"selection": {field: value}, "condition": "selection"}
    return json.dumps(
        {"title": "a rule", "logsource": {"product": "auth0"}, "detection": detection}
    )


def convert(text: str, product: str, details: str = "flat") -> str:
    backend = hunt.BACKENDS[product](hunt.pipeline(product, details))
    (query,) = backend.convert(SigmaCollection.from_yaml(text))
    return query


class Detections(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        every = [e for rule in HUNTED for e in events(rule)]
        cls.streams = {d: world.index("detections", every, d) for d in world.SETTINGS}

    def test_rule_hits_its_hits_and_none_of_its_misses(self) -> None:
        self.assertGreaterEqual(len(HUNTED), 25)
        for rule in HUNTED:
            wanted = world.wanted(rule.stem, cases(rule))
            for product, details in itertools.product(world.URLS, world.SETTINGS):
                with self.subTest(rule=rule.stem, product=product, details=details):
                    found = world.found(rule, product, details, self.streams[details])
                    self.assertEqual(found, wanted)

    def test_rule_that_only_the_function_runs_is_named(self) -> None:
        self.assertGreater(len(RULES), len(HUNTED))
        for rule in set(RULES) - set(HUNTED):
            with self.assertRaisesRegex(hunt.DetectOnlyError, "only functions/detect"):
                hunt.read(rule, "opensearch")

    def test_compiled_rules_are_up_to_date(self) -> None:
        self.assertEqual(compile.COMPILED.read_text(), compile.compile_all(), "make detections")

    def test_hunt_knows_how_details_are_indexed(self) -> None:
        for engine in world.engines().values():
            for details, stream in self.streams.items():
                self.assertEqual(hunt.indexing(engine, stream), details)

    def test_rule_has_hits_and_misses(self) -> None:
        self.assertEqual(
            {rule.stem for rule in RULES}, {path.stem for path in EVENTS.glob("*.json")}
        )
        for rule in RULES:
            self.assertTrue(cases(rule)["hits"] and cases(rule)["misses"], rule.stem)

    def test_correlation_converts_to_esql_with_the_index(self) -> None:
        correlations = [rule for rule in HUNTED if "\ncorrelation:" in rule.read_text()]
        self.assertGreaterEqual(len(correlations), 4)
        for rule in correlations:
            text = (hunt.DETECTIONS / "auth0-ecs.yml").read_text()
            backend = ESQLBackend(hunt.ProcessingPipeline.from_yaml(text))
            (query,) = backend.convert(SigmaCollection.from_yaml(rule.read_text()))
            self.assertTrue(query.startswith("from logs-auth0.logs-* "), query)
            self.assertNotIn("data.ip", query)


class Pipeline(unittest.TestCase):
    def test_log_schema_field_converts_to_a_template_field(self) -> None:
        with open(world.HERE / "raw-fields.csv") as file:
            fields = [row["field"] for row in csv.DictReader(file)]
        self.assertGreater(len(fields), 400)
        for product, details in itertools.product(world.URLS, world.SETTINGS):
            backend = hunt.BACKENDS[product](hunt.pipeline(product, details))
            for field in fields:
                with self.subTest(field=field, product=product, details=details):
                    (query,) = backend.convert(SigmaCollection.from_yaml(rule_with(field)))
                    target, _, value = query.rpartition(":")
                    self.assertEqual(value, "x")
                    self.assertTrue(world.in_template(target, details), target)

    def test_unknown_field_is_named(self) -> None:
        for product in world.URLS:
            for field in (
                "data.tpye",
                "data.request.body.roles",
                "data.details.made_up{}",
                "EventID",
            ):
                with self.assertRaisesRegex(
                    SigmaTransformationError, re.escape(f"not mapped: {field}")
                ):
                    convert(rule_with(field), product)

    def test_unknown_correlation_field_is_named(self) -> None:
        text = (hunt.RULES / "token-family-spread.yml").read_text()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rule.yml"
            for known, unknown in (
                ("    - data.user_id", "    - data.user"),
                ("field: data.ip", "field: data.addr"),
            ):
                self.assertIn(known, text)
                path.write_text(text.replace(known, unknown))
                with self.assertRaisesRegex(
                    hunt.RuleError, r"rule\.yml: .*not mapped: data\.(user|addr)$"
                ):
                    hunt.read(path, "opensearch")

    def test_event_count_has_no_field_to_count(self) -> None:
        text = (hunt.RULES / "token-family-spread.yml").read_text()
        self.assertIn("type: value_count", text)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rule.yml"
            path.write_text(text.replace("type: value_count", "type: event_count"))
            (detection,) = hunt.read(path, "opensearch")
            self.assertIsNone(detection.correlation.field)

    def test_unreadable_rule_is_named_and_stops_no_other(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            torn, placeholder = Path(folder) / "torn.yml", Path(folder) / "placeholder.yml"
            torn.write_text("title: a\n<<<<<<< HEAD\n")
            placeholder.write_text(rule_with("data.client_id", {"global_client_id": None}))
            arguments = [
                *map(str, (torn, placeholder)),
                str(hunt.RULES / "token-family-spread.yml"),
            ]
            command = [sys.executable, hunt.__file__, "--show", "opensearch", *arguments]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 1)
        self.assertRegex(ran.stderr, r"(?s)torn\.yml: .*placeholder\.yml: ")
        self.assertNotIn("Traceback", ran.stderr)
        self.assertIn('"aggs"', ran.stdout)

    def test_list_converts_with_and_without_braces_and_data(self) -> None:
        for product in world.URLS:
            for name in ("data.details.request.body.roles{}", "details.request.body.roles"):
                query = convert(rule_with(name), product)
                self.assertEqual(query, "auth0.logs.data.details.request.body.roles:x")

    def test_list_named_without_details_by_auth0_converts(self) -> None:
        for product in world.URLS:
            for name in ("data.request.body.allowlist", "data.request.body.allowlist{}"):
                query = convert(rule_with(name), product)
                self.assertEqual(query, "auth0.logs.data.details.request.body.allowlist:x")

    def test_description_is_matched_as_a_whole(self) -> None:
        for product in world.URLS:
            query = convert(rule_with("data.description", "Update a client"), product)
            self.assertEqual(query, 'auth0.logs.data.description.keyword:"Update a client"')

    def test_search_unsupported_by_flat_objects_is_rewritten_or_rejected(self) -> None:
        field = "data.details.error.message"
        query = convert(rule_with(f"{field}|contains", "a/b"), "opensearch")
        self.assertEqual(query, r"auth0.logs.data.details.error.message:/.*a\/b.*/")
        for modifier in ("contains", "endswith", "re"):
            with self.assertRaisesRegex(SigmaTransformationError, "flattened on Elasticsearch"):
                convert(rule_with(f"{field}|{modifier}"), "elasticsearch")
        for allowed in ("x", "x*", True, False, 5, None):
            convert(rule_with(field, allowed), "elasticsearch")

    def test_wildcard_in_a_field_of_details_stays_a_wildcard(self) -> None:
        for product in world.URLS:
            query = convert(rule_with("details.error.message|contains", "a/b"), product, "fields")
            self.assertEqual(query, r"auth0.logs.data.details.error.message:*a\/b*")
            query = convert(rule_with("details.request.body.name", "x"), product, "fields")
            self.assertEqual(query, "auth0.logs.details_other.details.request.body.name:x")

    def test_regular_expression_matches_anywhere_unless_anchored(self) -> None:
        names = ("mia@example.com", "mia@example.com.evil.com", "mia_example.com", "no one")
        signed_up = [
            world.event(str(n), world.START, {"type": "ss", "user_name": name})
            for n, name in enumerate(names)
        ]
        stream = world.index("expressions", signed_up)
        for expression, wanted in (
            (r"@example\.com", {"0", "1"}),
            (r"[@_]example\.com$", {"0", "2"}),
            (r"^mia(@|_)example\.", {"0", "1", "2"}),
            (r"^.+@example\.com$", {"0"}),
        ):
            for product, engine in world.engines().items():
                query = convert(rule_with("data.user_name|re", expression), product)
                search = {"query": {"query_string": {"query": query}}}
                hits = engine.search(stream, search)["hits"]["hits"]
                self.assertEqual({hit["_id"] for hit in hits}, wanted, query)

    def test_lucene_operator_in_a_flat_object_is_quoted(self) -> None:
        field = "data.details.body.email"
        addresses = ("a@evil.com", "a@notevil.com", "<a>@evil.com")
        with_address = [
            world.event(
                str(n), world.START, {"type": "fs", "details": {"body": {"email": address}}}
            )
            for n, address in enumerate(addresses)
        ]
        stream = world.index("operators", with_address)
        for value, wanted in (("@evil.com", {"0", "2"}), (">@evil.com", {"2"})):
            query = convert(rule_with(f"{field}|endswith", value), "opensearch")
            search = {"query": {"query_string": {"query": query}}}
            hits = world.engines()["opensearch"].search(stream, search)["hits"]["hits"]
            self.assertEqual({hit["_id"] for hit in hits}, wanted, query)
        with self.assertRaisesRegex(SigmaTransformationError, "quotation mark"):
            convert(rule_with(f"{field}|contains", 'a"b'), "opensearch")


if __name__ == "__main__":
    unittest.main()
