"""Runs the detections of docs/detections/rules against an engine and prints what they find.

Sigma's Lucene backends convert a rule to a query, but no correlation; ES|QL does, but does not
read Auth0's details (docs/detections/README.md). Here a correlation is an aggregation over the
converted query of its rule: the same on Elasticsearch and OpenSearch, without scripts or plugins.

    make hunt SEARCH_ENDPOINT=https://… SINCE=24h

"""

from __future__ import annotations

import argparse
import json
import operator
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search import Engine, SearchError
from sigma.backends.elasticsearch import LuceneBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from tools import ROOT

DETECTIONS = ROOT / "docs/detections"
RULES = DETECTIONS / "rules"
BACKENDS = {"opensearch": OpensearchLuceneBackend, "elasticsearch": LuceneBackend}
PAGE = 1000


class CannotHunt(Exception):
    """A rule that cannot be run here; the text names the rule and the reason."""


def pipeline(product: str) -> ProcessingPipeline:
    names = ("auth0-ecs.yml", f"auth0-ecs-{product}.yml")
    parts = (ProcessingPipeline.from_yaml((DETECTIONS / name).read_text()) for name in names)
    return sum(parts, ProcessingPipeline())


@dataclass(frozen=True)
class Correlation:
    """What runs here: events or distinct values, counted by group and window of time."""

    group_by: tuple[str, ...]
    seconds: int
    # The field whose distinct values are counted; None counts events.
    field: str | None
    op: str
    count: int

    def reached(self, bucket: dict[str, Any]) -> bool:
        count = bucket["distinct"]["value"] if self.field else bucket["doc_count"]
        return bool(getattr(operator, self.op)(count, self.count))


@dataclass(frozen=True)
class Detection:
    """One rule, or one correlation over a rule, ready to run."""

    title: str
    level: str
    # In Lucene's syntax, for `query_string`.
    query: str
    correlation: Correlation | None = None

    def body(self, *filters: dict[str, Any]) -> dict[str, Any]:
        """The body of the search: for events, or for groups of them with their counts."""
        lucene = {"query_string": {"query": self.query, "analyze_wildcard": True}}
        query = {"bool": {"filter": [lucene, *filters]}}
        if self.correlation is None:
            return {"size": PAGE, "query": query, "_source": ["event.id"]}
        window = {"field": "@timestamp", "fixed_interval": f"{self.correlation.seconds}s"}
        sources: list[dict[str, Any]] = [{"window": {"date_histogram": window}}]
        sources += [{name: {"terms": {"field": name}}} for name in self.correlation.group_by]
        # Pages of all groups: a terms aggregation would give the most frequent ones only.
        groups: dict[str, Any] = {"composite": {"size": PAGE, "sources": sources}}
        if self.correlation.field:
            groups["aggs"] = {"distinct": {"cardinality": {"field": self.correlation.field}}}
        return {"size": 0, "query": query, "aggs": {"groups": groups}}

    def run(self, engine: Engine, index: str, *filters: dict[str, Any]) -> list[dict[str, str]]:
        """The events that the rule hits, a page at most, or the groups that are found."""
        body = self.body(*filters)
        if self.correlation is None:
            hits = engine.search(index, body)["hits"]["hits"]
            return [{"event.id": hit["_source"]["event"]["id"]} for hit in hits]
        groups = []
        while True:
            found = engine.search(index, body)["aggregations"]["groups"]
            for bucket in filter(self.correlation.reached, found["buckets"]):
                groups.append({name: bucket["key"][name] for name in self.correlation.group_by})
            if "after_key" not in found:
                return groups
            body["aggs"]["groups"]["composite"]["after"] = found["after_key"]


def read(path: Path, product: str) -> list[Detection]:
    """The detections of a file: its correlations, or its rules where it has none.

    Raises CannotHunt, which names the file."""
    try:
        rules = SigmaCollection.from_yaml(path.read_text())
        queries = {}
        for rule in rules.rules:
            if isinstance(rule, SigmaRule):
                backend = BACKENDS[product](pipeline(product))
                # Of a rule that a correlation refers to, this gives nothing but keeps the query.
                backend.convert_rule(rule)
                alternatives = (f"({query})" for query in rule.get_conversion_result())
                queries[rule.name or str(rule.id)] = " OR ".join(alternatives)
        correlations = [rule for rule in rules.rules if isinstance(rule, SigmaCorrelationRule)]
        if correlations:
            return [_correlated(rule, queries, product) for rule in correlations]
        return [
            Detection(rule.title, str(rule.level), queries[rule.name or str(rule.id)])
            for rule in rules.rules
        ]
    except (SigmaError, CannotHunt) as error:
        raise CannotHunt(f"{path.name}: {error}") from error


def _correlated(rule: SigmaCorrelationRule, queries: dict[str, str], product: str) -> Detection:
    if rule.type not in (SigmaCorrelationType.EVENT_COUNT, SigmaCorrelationType.VALUE_COUNT):
        raise CannotHunt(
            f"{rule.type.name.lower()} is not run here, but event_count and value_count"
        )
    field = rule.condition.fieldref
    raw = [*rule.group_by, *([field] if field else [])]
    pipeline(product).apply(rule)
    field = rule.condition.fieldref
    mapped = [*rule.group_by, *([field] if field else [])]
    # pySigma's own check for unknown fields looks at rules only.
    if unknown := [name for name in raw if name in mapped]:
        raise CannotHunt(f"The following fields are not mapped: {', '.join(unknown)}")
    referred = (queries[reference.reference] for reference in rule.rules)
    return Detection(
        rule.title,
        str(rule.level),
        " OR ".join(f"({query})" for query in referred),
        Correlation(
            group_by=tuple(rule.group_by),
            seconds=rule.timespan.seconds,
            field=field,
            op={"GTE": "ge", "GT": "gt", "LTE": "le", "LT": "lt", "EQ": "eq"}[
                rule.condition.op.name
            ],
            count=rule.condition.count,
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the detections against an engine.")
    parser.add_argument(
        "--url", default=os.environ.get("SEARCH_ENDPOINT") or "http://127.0.0.1:9200"
    )
    parser.add_argument("--index", default="logs-auth0.logs-*")
    parser.add_argument(
        "--since", default=os.environ.get("SINCE") or "24h", help="such as 24h or 7d"
    )
    parser.add_argument("--show", choices=BACKENDS, help="print the searches, and ask no engine")
    parser.add_argument("rules", nargs="*", type=Path, default=sorted(RULES.glob("*.yml")))
    arguments = parser.parse_args()
    recent = {"range": {"@timestamp": {"gte": f"now-{arguments.since}"}}}
    try:
        if arguments.show:
            for path in arguments.rules:
                for detection in read(path, arguments.show):
                    print(json.dumps(detection.body(recent), indent=2))
            return 0
        engine = Engine.from_environment(arguments.url)
        product = engine.product()
        for path in arguments.rules:
            for detection in read(path, product):
                found = detection.run(engine, arguments.index, recent)
                print(f"{detection.level:8}  {len(found):6}  {detection.title}")
                for one in found[:5]:
                    print(f"{'':18}{json.dumps(one)}")
    except (CannotHunt, SearchError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
