"""Runs the detections of `detections/rules` against an engine and prints their hits.

Sigma's Lucene backends convert rules but not correlations. Its ES|QL backend converts both, but
ES|QL cannot read Auth0's details (detections/README.md). Here a correlation is an aggregation over
the converted query of its rule. That works on Elasticsearch and OpenSearch alike, without scripts
or plugins.

    make hunt SEARCH_ENDPOINT=https://… SINCE=24h
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigma.backends.elasticsearch import LuceneBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations.base import ValueTransformation
from sigma.rule import SigmaRule
from sigma.types import SigmaRegularExpression
from yaml import YAMLError

from search import Engine, SearchError

DETECTIONS = Path(__file__).resolve().parent / "detections"
RULES = DETECTIONS / "rules"
BACKENDS = {"opensearch": OpensearchLuceneBackend, "elasticsearch": LuceneBackend}
PAGE = 1000

# Fields printed for a hit: the event, who acted and on whom.
SHOWN = ("event.id", "user.name", "user.id", "user.target.id")


class RuleError(Exception):
    """A rule that cannot be run here; the text names the rule and the reason."""


class DetectOnlyError(RuleError):
    """A correlation of a kind that only functions/detect knows."""


def shown(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the fields of `SHOWN` that a document has."""
    for field in SHOWN:
        value: Any = document
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            yield field, value


class LuceneExpression(ValueTransformation):
    """Rewrites an expression for Lucene, where it has to match the whole value.

    Lucene has more operators, but not `^` and `$`: those at the ends are replaced. A file with a
    pipeline cannot name such a transformation."""

    def apply_value(self, field: str | None, val: SigmaRegularExpression) -> SigmaRegularExpression:
        literal = re.sub(
            r'(\\.)|([@#&<>~"])', lambda found: found[1] or f"\\{found[2]}", str(val.regexp)
        )
        start, body, end = re.fullmatch(r"(\^?)((?:\\.|[^\\])*?)(\$?)", literal, re.DOTALL).groups()
        anywhere = f"{'' if start else '.*'}({body}){'' if end else '.*'}"
        return SigmaRegularExpression(anywhere, val.flags)


def pipeline(product: str, details: str = "flat") -> ProcessingPipeline:
    """Returns the pipeline for an engine with this setting of DetailsIndexing."""
    fields = ("auth0-ecs-fields.yml",) if details == "fields" else ()
    names = ("auth0-ecs.yml", *fields, f"auth0-ecs-{product}.yml")
    parts = (ProcessingPipeline.from_yaml((DETECTIONS / name).read_text()) for name in names)
    return sum(parts, ProcessingPipeline([ProcessingItem(LuceneExpression())]))


def distinct(field: str, count: int) -> dict[str, Any]:
    """Returns an aggregation of a field's values that is exact up to `count`, and some more.

    The engine reserves memory for each group: 16 KB by default, 1 KB for 100."""
    return {"cardinality": {"field": field, "precision_threshold": max(100, count + count // 4)}}


@dataclass(frozen=True)
class Correlation:
    """Counts events or distinct values by group and time window."""

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
    """A rule, or a correlation over a rule, ready to run."""

    title: str
    level: str
    # In Lucene syntax, for `query_string`.
    query: str
    correlation: Correlation | None = None

    def body(self, *filters: dict[str, Any]) -> dict[str, Any]:
        """Returns the body of the search for events, or for groups of events with their counts."""
        lucene = {"query_string": {"query": self.query, "analyze_wildcard": True}}
        query = {"bool": {"filter": [lucene, *filters]}}
        if self.correlation is None:
            return {"size": PAGE, "query": query, "_source": list(SHOWN)}
        window = {"field": "@timestamp", "fixed_interval": f"{self.correlation.seconds}s"}
        sources: list[dict[str, Any]] = [{"window": {"date_histogram": window}}]
        sources += [{name: {"terms": {"field": name}}} for name in self.correlation.group_by]
        # Pages through all groups: a terms aggregation returns only the most frequent ones.
        groups: dict[str, Any] = {"composite": {"size": PAGE, "sources": sources}}
        if self.correlation.field:
            groups["aggs"] = {"distinct": distinct(self.correlation.field, self.correlation.count)}
        return {"size": 0, "query": query, "aggs": {"groups": groups}}

    def run(self, engine: Engine, index: str, *filters: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the hits of the rule, at most one page, or the groups that reach the count."""
        body = self.body(*filters)
        if self.correlation is None:
            hits = engine.search(index, body)["hits"]["hits"]
            return [dict(shown(hit["_source"])) for hit in hits]
        groups = []
        while True:
            found = engine.search(index, body)["aggregations"]["groups"]
            for bucket in filter(self.correlation.reached, found["buckets"]):
                groups.append({name: bucket["key"][name] for name in self.correlation.group_by})
            if "after_key" not in found:
                return groups
            body["aggs"]["groups"]["composite"]["after"] = found["after_key"]


def converted(rules: SigmaCollection, product: str, details: str) -> dict[str, str]:
    """Returns the query of each rule that is no correlation, by its name or id."""
    queries = {}
    for rule in rules.rules:
        if isinstance(rule, SigmaRule):
            backend = BACKENDS[product](pipeline(product, details))
            # Returns nothing for a rule that a correlation refers to, but keeps its query.
            backend.convert_rule(rule)
            alternatives = (f"({query})" for query in rule.get_conversion_result())
            queries[rule.name or str(rule.id)] = " OR ".join(alternatives)
    return queries


def read(path: Path, product: str, details: str = "flat") -> list[Detection]:
    """Returns the detections of a file: its correlations, or its rules if it has none.

    Raises RuleError."""
    try:
        rules = SigmaCollection.from_yaml(path.read_text())
        queries = converted(rules, product, details)
        correlations = [rule for rule in rules.rules if isinstance(rule, SigmaCorrelationRule)]
        if correlations:
            return [_correlated(rule, queries, pipeline(product, details)) for rule in correlations]
        return [
            Detection(rule.title, str(rule.level), queries[rule.name or str(rule.id)])
            for rule in rules.rules
        ]
    except DetectOnlyError:
        raise
    # pySigma leaves the errors of its YAML reader and those of odd values as they are.
    except (SigmaError, RuleError, YAMLError, TypeError) as error:
        raise RuleError(f"{path.name}: {error}") from error


def _correlated(
    rule: SigmaCorrelationRule, queries: dict[str, str], pipeline: ProcessingPipeline
) -> Detection:
    counted = (SigmaCorrelationType.EVENT_COUNT, SigmaCorrelationType.VALUE_COUNT)
    if rule.type not in counted or rule.custom_attributes.get("custom"):
        raise DetectOnlyError(f"{rule.title}: only functions/detect runs this kind")
    # The number of events has no field, although the format allows one.
    is_distinct = rule.type is SigmaCorrelationType.VALUE_COUNT
    field = rule.condition.fieldref
    raw = [*(rule.group_by or []), *([field] if field else [])]
    pipeline.apply(rule)
    field = rule.condition.fieldref
    mapped = [*(rule.group_by or []), *([field] if field else [])]
    # pySigma checks the fields of rules, but not those of correlations.
    if unknown := [name for name in raw if name in mapped]:
        raise RuleError(f"The following fields are not mapped: {', '.join(unknown)}")
    referred = (queries[reference.reference] for reference in rule.rules)
    return Detection(
        rule.title,
        str(rule.level),
        " OR ".join(f"({query})" for query in referred),
        Correlation(
            group_by=tuple(rule.group_by or []),
            seconds=rule.timespan.seconds,
            field=field if is_distinct else None,
            op={"GTE": "ge", "GT": "gt", "LTE": "le", "LT": "lt", "EQ": "eq"}[
                rule.condition.op.name
            ],
            count=rule.condition.count,
        ),
    )


def indexing(engine: Engine, index: str) -> str:
    """Returns `fields` if an index of this pattern has details as fields, else `flat`."""
    other = "auth0.logs.details_other"
    known = engine.request("GET", f"{index}/_field_caps?fields={other}")["fields"]
    return "fields" if other in known else "flat"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the detections against an engine.")
    parser.add_argument("--url", default="", help="instead of SEARCH_ENDPOINT")
    parser.add_argument("--index", default="logs-auth0.logs-*")
    parser.add_argument(
        "--since", default=os.environ.get("SINCE") or "24h", help="such as 24h or 7d"
    )
    parser.add_argument("--show", choices=BACKENDS, help="only print the searches")
    parser.add_argument(
        "--details", choices=("flat", "fields"), help="DetailsIndexing, instead of the index's own"
    )
    parser.add_argument("rules", nargs="*", type=Path, default=sorted(RULES.glob("*.yml")))
    arguments = parser.parse_args()
    recent = {"range": {"@timestamp": {"gte": f"now-{arguments.since}"}}}
    failed = False
    try:
        engine = None if arguments.show else Engine.from_environment(arguments.url)
        product = arguments.show or engine.product()
        details = arguments.details or (indexing(engine, arguments.index) if engine else "flat")
        for path in arguments.rules:
            try:
                detections = read(path, product, details)
            except RuleError as error:
                print(error, file=sys.stderr)
                failed = failed or not isinstance(error, DetectOnlyError)
                continue
            for detection in detections:
                if engine is None:
                    print(json.dumps(detection.body(recent), indent=2))
                    continue
                found = detection.run(engine, arguments.index, recent)
                print(f"{detection.level:8}  {len(found):6}  {detection.title}")
                for one in found[:5]:
                    print(f"{'':18}{json.dumps(one)}")
    except SearchError as error:
        print(error, file=sys.stderr)
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
