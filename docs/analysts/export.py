"""Exports the detections for those who have a SIEM: `make exports`.

    elastic-rules.ndjson             Kibana: rules to import
    monitors/<rule>.json             OpenSearch: bodies for _plugins/_alerting/monitors
    security-analytics/logtype.json  OpenSearch: body for _plugins/_security_analytics/logtype
    security-analytics/<rule>.yml    OpenSearch: bodies for _plugins/_security_analytics/rules

A rule that a format cannot express is left out there; functions/detect runs all of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sigma.collection import SigmaCollection

import hunt
from compile import TECHNIQUES, compiled, mapped

INDEX = "logs-auth0.logs-*"
Json = dict[str, Any]
# "Create a detection rule" of Elastic's documentation gives these scores to these levels.
RISK = {"low": 21, "medium": 47, "high": 73, "critical": 99}
# OpenSearch counts from 1, the highest.
SEVERITY = {"critical": "1", "high": "2", "medium": "3", "low": "4"}
# The tactics of https://attack.mitre.org that a technique serves.
SERVES = {
    "TA0001": ("T1078",),
    "TA0003": ("T1078", "T1098", "T1136", "T1546", "T1556"),
    "TA0004": ("T1078", "T1098", "T1484", "T1546"),
    "TA0005": ("T1078", "T1484", "T1550", "T1556", "T1562"),
    "TA0006": ("T1110", "T1528", "T1552", "T1556", "T1621"),
    "TA0007": ("T1087",),
    "TA0009": ("T1213",),
    "TA0040": ("T1496", "T1531"),
    "TA0043": ("T1589",),
}
# Seconds between two runs, and for how long an event may be late.
EVERY, LATE = 300, 600


def detections() -> Iterator[Json]:
    """Yields the compiled rules with what people should know of them."""
    for path in sorted(hunt.RULES.glob("*.yml")):
        first, *_ = SigmaCollection.from_yaml(path.read_text()).rules
        yield compiled(path) | {"path": path, "false_positives": first.falsepositives}


# --- Kibana ----------------------------------------------------------------------------------
# "Create a detection rule" and "Import detection rules" of Kibana's API reference; the schema is
# rule_schemas.schema.yaml of elastic/kibana.


def elastic_rule(rule: Json, details: str) -> Json | None:
    """Returns the rule as a line of the file to import, or None if Kibana has no such rule."""
    kind = _elastic_kind(rule["correlation"])
    if kind is None:
        return None
    seconds = rule["correlation"]["seconds"] if rule["correlation"] else 0
    return {
        "rule_id": rule["id"],
        "name": f"Auth0: {rule['title']}",
        "description": rule["description"],
        "risk_score": RISK[rule["level"]],
        "severity": rule["level"],
        "language": "lucene",
        "index": [INDEX],
        "query": _query(rule, "elasticsearch", details),
        "interval": f"{EVERY}s",
        "from": f"now-{seconds + EVERY + LATE}s",
        "enabled": False,
        "tags": ["Auth0", rule["name"]],
        "threat": _threat(rule["threat"]),
        "false_positives": rule["false_positives"],
        "note": f"## Response\n\n{rule['response']}",
        "author": ["auth0-log-streams"],
        "version": 1,
        **kind,
    }


def _elastic_kind(correlation: Json | None) -> Json | None:
    if correlation is None:
        return {"type": "query"}
    check = correlation.get("check", {})
    if "new" in check and len(correlation["group_by"]) <= 3:
        history = f"now-{check['new']['seconds']}s"
        terms = {"new_terms_fields": correlation["group_by"], "history_window_start": history}
        return {"type": "new_terms", **terms}
    measure = correlation["measure"]
    if check or not isinstance(measure, dict) or "travel" in measure:
        return None
    threshold: Json = {"field": correlation["group_by"], "value": measure.get("events", 1)}
    if values := measure.get("values"):
        threshold["cardinality"] = [{"field": values["field"], "value": values["count"]}]
    return {"type": "threshold", "threshold": threshold}


def _threat(threat: Json) -> list[Json]:
    """Returns ATT&CK's tactics, each with the techniques that serve it."""

    def entry(kind: str, id: str, name: str) -> Json:
        page = f"https://attack.mitre.org/{kind}/{id.replace('.', '/')}/"
        return {"id": id, "name": name, "reference": page}

    found = []
    serving = {parent for id in threat["tactic"]["id"] for parent in SERVES.get(id, ())}
    for id, name in zip(threat["tactic"]["id"], threat["tactic"]["name"], strict=True):
        techniques: dict[str, Json] = {}
        for technique in threat["technique"]["id"]:
            parent, _, sub = technique.partition(".")
            # One that serves none of the tactics is kept with the first.
            if parent not in (SERVES.get(id, ()) if found or parent in serving else (parent,)):
                continue
            whole, _, part = TECHNIQUES[technique.lower()].partition(": ")
            of = techniques.setdefault(parent, entry("techniques", parent, whole))
            if sub:
                of.setdefault("subtechnique", []).append(entry("techniques", technique, part))
        tactic = {"framework": "MITRE ATT&CK", "tactic": entry("tactics", id, name)}
        found.append(tactic | {"technique": list(techniques.values())})
    return found


# --- OpenSearch alerting -----------------------------------------------------------------------
# "Alerting API": "Create a query-level monitor" and "Create a bucket-level monitor".


def monitor(rule: Json, details: str) -> Json | None:
    """Returns the body that creates the rule's monitor, or None if a monitor cannot run it."""
    correlation = rule["correlation"]
    measure = correlation["measure"] if correlation else {"events": 1}
    if not isinstance(measure, dict) or "travel" in measure or (correlation or {}).get("check"):
        return None
    seconds = correlation["seconds"] if correlation else EVERY + LATE
    period = {
        "gte": f"{{{{period_end}}}}||-{seconds}s",
        "lte": "{{period_end}}",
        "format": "epoch_millis",
    }
    lucene = {"query_string": {"query": _query(rule, "opensearch", details)}}
    lucene["query_string"]["analyze_wildcard"] = True
    search: Json = {
        "size": 0,
        "query": {"bool": {"filter": [{"range": {"@timestamp": period}}, lucene]}},
    }
    trigger = {"name": rule["title"], "severity": SEVERITY[rule["level"]], "actions": []}
    values = measure.get("values")
    counted = {"counted": hunt.distinct(values["field"], values["count"])} if values else {}
    groups = correlation["group_by"] if correlation else []
    if groups:
        # All groups; ten is what a composite aggregation returns otherwise.
        sources = [{name: {"terms": {"field": name}}} for name in groups]
        composite: Json = {"composite": {"size": 1000, "sources": sources}}
        search["aggregations"] = {"groups": composite | {"aggregations": counted}}
        path, count = ("counted", values["count"]) if values else ("_count", measure["events"])
        trigger["condition"] = {
            "buckets_path": {path: path},
            "parent_bucket_path": "groups",
            "script": {"source": f"params.{path} >= {count}", "lang": "painless"},
        }
        triggers = [{"bucket_level_trigger": trigger}]
    else:
        search |= {"aggregations": counted, "track_total_hits": True}
        found = "aggregations.counted.value" if values else "hits.total.value"
        count = values["count"] if values else measure["events"]
        script = {"source": f"ctx.results[0].{found} >= {count}", "lang": "painless"}
        triggers = [{"query_level_trigger": trigger | {"condition": {"script": script}}}]
    return {
        "type": "monitor",
        "name": f"Auth0: {rule['title']}",
        "monitor_type": "bucket_level_monitor" if groups else "query_level_monitor",
        "enabled": True,
        "schedule": {"period": {"interval": EVERY // 60, "unit": "MINUTES"}},
        "inputs": [{"search": {"indices": [INDEX], "query": search}}],
        "triggers": triggers,
    }


# --- OpenSearch Security Analytics ---------------------------------------------------------------
# "Log type APIs" and "Rule APIs". It knows Sigma's rules, but not its correlations; and modifiers
# (SigmaModifierFacade.java in opensearch-project/security-analytics), but not `exists`.

LOG_TYPE = {
    "name": "auth0",
    "description": "Events of an Auth0 tenant, as auth0-log-streams writes them",
    "source": "Custom",
}


def security_rule(rule: Json, details: str) -> str | None:
    """Returns the rule with the fields of the documents, so that it needs no field mapping."""
    if rule["correlation"]:
        return None
    pipeline = hunt.pipeline("opensearch", details)
    source = yaml.safe_load(rule["path"].read_text())

    def with_fields(part: Any) -> Any:
        if isinstance(part, list):
            return [with_fields(one) for one in part]
        if not isinstance(part, dict):
            return part
        renamed = {}
        for name, value in part.items():
            field, bar, modifiers = name.partition("|")
            (target,) = mapped([field], pipeline)
            exists = modifiers == "exists" and value
            renamed |= {target: "*"} if exists else {target + bar + modifiers: value}
        return renamed

    detection = source["detection"]
    return yaml.safe_dump(
        {
            "title": f"Auth0: {rule['title']}",
            "id": rule["id"],
            "status": source["status"],
            "description": rule["description"],
            "author": source["author"],
            "date": str(source["date"]).replace("-", "/"),
            "logsource": {"product": "auth0"},
            "tags": source["tags"],
            "level": rule["level"],
            "falsepositives": rule["false_positives"],
            "detection": {
                name: part if name == "condition" else with_fields(part)
                for name, part in detection.items()
            },
        },
        sort_keys=False,
    )


def _query(rule: Json, product: str, details: str) -> str:
    return " OR ".join(f"({query})" for query in rule["queries"][f"{product}-{details}"])


def write(folder: Path, elastic: str, opensearch: str) -> dict[str, int]:
    """Writes all files; returns how many rules each format has.

    `elastic` and `opensearch` are the setting of DetailsIndexing there."""
    written: dict[str, int] = {}
    files = {"security-analytics/logtype.json": json.dumps(LOG_TYPE, indent=2)}
    lines = []
    for rule in detections():
        if line := elastic_rule(rule, elastic):
            lines.append(json.dumps(line))
        if body := monitor(rule, opensearch):
            files[f"monitors/{rule['name']}.json"] = json.dumps(body, indent=2)
        if text := security_rule(rule, opensearch):
            files[f"security-analytics/{rule['name']}.yml"] = text
    files["elastic-rules.ndjson"] = "\n".join(lines)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip() + "\n")
        written[name.partition("/")[0]] = written.get(name.partition("/")[0], 0) + 1
    return written | {"elastic-rules.ndjson": len(lines)}


def main() -> int:
    folder = Path(sys.argv[1])
    details = os.environ.get("DETAILS", "")
    try:
        written = write(folder, details or "flat", details or "fields")
    except hunt.RuleError as error:
        print(error, file=sys.stderr)
        return 1
    for name, count in written.items():
        print(f"{folder / name}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
