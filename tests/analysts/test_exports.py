"""Every exported rule has the published format, and its search finds the rule's events."""

import json
import re
import tempfile
import unittest
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

import export
import hunt
import world
from test_detections import cases, events

Json = dict[str, Any]
DETECTIONS = {rule["name"]: rule for rule in export.detections()}
# To Kibana, a user's first value of all is new; functions/detect waits for another one.
FIRST_OF_ALL = {
    "new-country": "auth0|newcomer",
    "new-network": "auth0|arrival",
    "new-network-of-administrator": "auth0|fresh",
    "token-exchange-new-client": "auth0|first",
}

# Required and allowed members, from rule_schemas.schema.yaml of elastic/kibana.
REQUIRED = {"name", "description", "risk_score", "severity", "type"}
ALLOWED = REQUIRED | {
    "rule_id",
    "language",
    "index",
    "query",
    "interval",
    "from",
    "enabled",
    "tags",
}
ALLOWED |= {"threat", "false_positives", "note", "author", "version"}
OF_TYPE = {
    "query": set(),
    "threshold": {"threshold"},
    "new_terms": {"new_terms_fields", "history_window_start"},
}

# Those of Security Analytics that our rules need.
MODIFIERS = {"contains", "startswith", "endswith", "all", "re", "cidr"}


def period(seconds: int, end: datetime) -> Json:
    bounds = {"gte": f"{end.isoformat()}Z||-{seconds}s", "lte": f"{end.isoformat()}Z"}
    return {"range": {"@timestamp": bounds}}


class Exports(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        day = [e for rule in DETECTIONS.values() for e in events(rule["path"])]
        cls.streams = {p: world.index("exports", day, d) for p, d in world.DEFAULTS.items()}

    def wanted(self, rule: Json) -> list[str]:
        """Returns the ids of the events, or the groups, that a rule must find."""
        hits = [e["log_id"] for e in events(rule["path"]) if "-hits-" in e["log_id"]]
        groups = cases(rule["path"]).get("groups", [])
        return sorted(map(str, (sorted(group.items()) for group in groups))) or sorted(hits)

    def ends(self, rule: Json) -> list[datetime]:
        """Returns the times of the rule's events: a run at each of them misses no window."""
        dates = {event["data"]["date"] for event in events(rule["path"])}
        return [datetime.strptime(date, "%Y-%m-%dT%H:%M:%S.%fZ") for date in sorted(dates)]

    def ids(self, product: str, rule: Json, query: Json) -> list[str]:
        of_this_rule = {"prefix": {"event.id": f"{rule['name']}-"}}
        body = {"size": 1000, "query": {"bool": {"filter": [of_this_rule, query]}}}
        found = world.engines()[product].search(
            self.streams[product], body | {"_source": ["event.id"]}
        )
        return sorted(hit["_source"]["event"]["id"] for hit in found["hits"]["hits"])

    def groups(self, product: str, rule: Json, body: Json, fires: Any) -> list[str]:
        """Returns the groups of the aggregation `groups` for which the rule fires."""
        of_this_rule = {"prefix": {"event.id": f"{rule['name']}-"}}
        body["query"]["bool"]["filter"].append(of_this_rule)
        answer = world.engines()[product].search(self.streams[product], body)
        buckets = answer["aggregations"]["groups"]["buckets"]
        return [str(sorted(one["key"].items())) for one in buckets if fires(one)]

    def test_elastic_rule_has_the_published_format(self) -> None:
        ids = set()
        for rule in DETECTIONS.values():
            line = export.elastic_rule(rule, world.DEFAULTS["elasticsearch"])
            if line is None:
                continue
            with self.subTest(rule=rule["name"]):
                ids.add(line["rule_id"])
                self.assertLessEqual(REQUIRED, set(line))
                self.assertEqual(set(line) - ALLOWED, OF_TYPE[line["type"]])
                self.assertIn(line["severity"], ("low", "medium", "high", "critical"))
                self.assertLessEqual(line["risk_score"], 100)
                self.assertRegex(line["from"], r"^now-\d+s$")
                self.assertTrue(line["false_positives"] and line["note"])
                known = {i for tactic in line["threat"] for i in techniques(tactic)}
                self.assertEqual(known, set(rule["threat"]["technique"]["id"]))
                if line["type"] == "threshold":
                    self.assertLessEqual(set(line["threshold"]), {"field", "value", "cardinality"})
                    self.assertGreaterEqual(line["threshold"]["value"], 1)
                if line["type"] == "new_terms":
                    self.assertLessEqual(len(line["new_terms_fields"]), 3)
        self.assertGreaterEqual(len(ids), 35)

    def test_elastic_rule_finds_its_events(self) -> None:
        for rule in DETECTIONS.values():
            line = export.elastic_rule(rule, world.DEFAULTS["elasticsearch"])
            if line is None:
                continue
            with self.subTest(rule=rule["name"]):
                query = {"query_string": {"query": line["query"], "analyze_wildcard": True}}
                if line["type"] == "query":
                    found = self.ids("elasticsearch", rule, query)
                else:
                    found = sorted(set(self.elastic_groups(rule, line, query)))
                    first = FIRST_OF_ALL.get(rule["name"])
                    found = [group for group in found if not first or first not in group]
                self.assertEqual(found, self.wanted(rule))

    def elastic_groups(self, rule: Json, line: Json, query: Json) -> list[str]:
        """Returns the groups that Kibana would report, if it ran at the time of each event."""
        threshold = line.get("threshold", {"field": line.get("new_terms_fields"), "value": 1})
        sources = [{name: {"terms": {"field": name}}} for name in threshold["field"]]
        aggs: Json = {"first": {"min": {"field": "@timestamp"}}}
        for one in threshold.get("cardinality", []):
            aggs["distinct"] = {"cardinality": {"field": one["field"]}}
        composite = {"composite": {"size": 1000, "sources": sources}, "aggs": aggs}
        seconds = rule["correlation"]["seconds"]
        if line["type"] == "new_terms":
            recent = world.START - timedelta(seconds=seconds)
            seconds = rule["correlation"]["check"]["new"]["seconds"]

        def fires(bucket: Json) -> bool:
            if line["type"] == "new_terms":
                return bucket["first"]["value"] >= millis(recent)
            distinct = bucket.get("distinct", {"value": 0})["value"]
            least = [one["value"] for one in threshold.get("cardinality", [])]
            return bucket["doc_count"] >= threshold["value"] and all(distinct >= n for n in least)

        found = []
        for end in self.ends(rule):
            body = {"size": 0, "query": {"bool": {"filter": [query, period(seconds, end)]}}}
            found += self.groups(
                "elasticsearch", rule, body | {"aggs": {"groups": composite}}, fires
            )
        return found

    def test_monitor_fires_for_its_events(self) -> None:
        """The trigger's script runs on the engine, with what the alerting plugin gives it."""
        for rule in DETECTIONS.values():
            body = export.monitor(rule, world.DEFAULTS["opensearch"])
            if body is None:
                continue
            with self.subTest(rule=rule["name"]):
                (step,) = body["inputs"]
                (trigger,) = body["triggers"]
                if body["monitor_type"] == "bucket_level_monitor":
                    condition = trigger["bucket_level_trigger"]["condition"]
                    self.assertEqual(condition["parent_bucket_path"], "groups")

                    def fires(bucket: Json, condition: Json = condition) -> bool:
                        values = {"_count": bucket["doc_count"]}
                        values |= {"counted": bucket.get("counted", {}).get("value")}
                        paths = condition["buckets_path"].items()
                        params = {name: values[path] for name, path in paths}
                        return painless(condition["script"]["source"], params)

                    found = []
                    for end in self.ends(rule):
                        search = at(step["search"]["query"], end)
                        found += self.groups("opensearch", rule, search, fires)
                    self.assertEqual(sorted(set(found)), self.wanted(rule))
                else:
                    script = trigger["query_level_trigger"]["condition"]["script"]["source"]
                    search = at(step["search"]["query"], self.ends(rule)[-1])
                    lucene = search["query"]["bool"]["filter"][1]
                    self.assertEqual(self.ids("opensearch", rule, lucene), self.wanted(rule))
                    result = world.engines()["opensearch"].search(
                        self.streams["opensearch"], search
                    )
                    params = {"ctx": {"results": [result]}}
                    self.assertTrue(painless(script.replace("ctx.", "params.ctx."), params))
                    result["hits"]["total"]["value"] = 0
                    self.assertFalse(painless(script.replace("ctx.", "params.ctx."), params))

    def test_security_analytics_rule_finds_its_events(self) -> None:
        """The plugin converts a rule as pySigma's backend does, without a pipeline."""
        written = 0
        for rule in DETECTIONS.values():
            text = export.security_rule(rule, world.DEFAULTS["opensearch"])
            if text is None:
                continue
            with self.subTest(rule=rule["name"]):
                written += 1
                # The members of the example in "Rule APIs".
                self.assertLessEqual(
                    {"title", "id", "logsource", "detection", "level", "status", "tags"},
                    set(yaml.safe_load(text)),
                )
                self.assertLessEqual(set(re.findall(r"\|(\w+)", text)), MODIFIERS)
                backend = hunt.BACKENDS["opensearch"]()
                queries = backend.convert(hunt.SigmaCollection.from_yaml(text))
                query = {"query_string": {"query": " OR ".join(f"({q})" for q in queries)}}
                self.assertEqual(self.ids("opensearch", rule, query), self.wanted(rule))
        self.assertGreaterEqual(written, 20)

    def test_all_files_are_written(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            written = export.write(
                Path(name), world.DEFAULTS["elasticsearch"], world.DEFAULTS["opensearch"]
            )
            lines = (Path(name) / "elastic-rules.ndjson").read_text().splitlines()
            self.assertEqual([json.loads(line)["enabled"] for line in lines], [False] * len(lines))
            self.assertEqual(written["elastic-rules.ndjson"], len(lines))
            for kind in ("monitors", "security-analytics"):
                self.assertEqual(written[kind], len(list((Path(name) / kind).iterdir())))


def techniques(threat: Json) -> list[str]:
    """Returns the ids of a tactic's techniques: of a subtechnique, not that of its parent."""
    found = []
    for one in threat["technique"]:
        parts = [sub["id"] for sub in one.get("subtechnique", [])]
        found += parts or [one["id"]]
    return found


def at(search: Json, end: datetime) -> Json:
    """Returns the search of a monitor that runs at this time."""
    return json.loads(json.dumps(search).replace("{{period_end}}", str(millis(end))))


def millis(time: datetime) -> int:
    return int((time - datetime(1970, 1, 1)).total_seconds()) * 1000


def painless(source: str, params: Json) -> bool:
    body = {"script": {"source": source, "params": params}}
    answer = world.engines()["opensearch"].request("POST", "_scripts/painless/_execute", body)
    return answer["result"] == "true"


if __name__ == "__main__":
    unittest.main()
