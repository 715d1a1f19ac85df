"""Compiles the detections of `detections/rules` into the file that functions/detect includes.

    make detections            writes functions/detect/src/rules.json
    make detections CHECK=1    fails if it is not up to date

A rule may have two members that Sigma leaves to its users: `response` says what to do about a
finding, and `custom` is the part of a correlation that Sigma has no words for
(detections/README.md).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

import hunt

COMPILED = hunt.DETECTIONS.parents[2] / "functions/detect/src/rules.json"
LAYOUTS = ("flat", "fields")
UNITS = {"m": 60, "h": 3600, "d": 86400}

# https://attack.mitre.org: those that the rules name.
TACTICS = {
    "reconnaissance": ("TA0043", "Reconnaissance"),
    "initial-access": ("TA0001", "Initial Access"),
    "persistence": ("TA0003", "Persistence"),
    "privilege-escalation": ("TA0004", "Privilege Escalation"),
    "defense-evasion": ("TA0005", "Defense Evasion"),
    "credential-access": ("TA0006", "Credential Access"),
    "discovery": ("TA0007", "Discovery"),
    "collection": ("TA0009", "Collection"),
    "exfiltration": ("TA0010", "Exfiltration"),
    "impact": ("TA0040", "Impact"),
}
TECHNIQUES = {
    "t1078": "Valid Accounts",
    "t1078.004": "Valid Accounts: Cloud Accounts",
    "t1087.004": "Account Discovery: Cloud Account",
    "t1098": "Account Manipulation",
    "t1098.001": "Account Manipulation: Additional Cloud Credentials",
    "t1098.003": "Account Manipulation: Additional Cloud Roles",
    "t1098.005": "Account Manipulation: Device Registration",
    "t1110": "Brute Force",
    "t1110.001": "Brute Force: Password Guessing",
    "t1110.003": "Brute Force: Password Spraying",
    "t1110.004": "Brute Force: Credential Stuffing",
    "t1136.003": "Create Account: Cloud Account",
    "t1213": "Data from Information Repositories",
    "t1484.002": "Domain or Tenant Policy Modification: Trust Modification",
    "t1496.003": "Resource Hijacking: SMS Pumping",
    "t1528": "Steal Application Access Token",
    "t1531": "Account Access Removal",
    "t1546": "Event Triggered Execution",
    "t1550": "Use Alternate Authentication Material",
    "t1550.001": "Use Alternate Authentication Material: Application Access Token",
    "t1552": "Unsecured Credentials",
    "t1552.004": "Unsecured Credentials: Private Keys",
    "t1556": "Modify Authentication Process",
    "t1556.006": "Modify Authentication Process: Multi-Factor Authentication",
    "t1562.001": "Impair Defenses: Disable or Modify Tools",
    "t1562.008": "Impair Defenses: Disable or Modify Cloud Logs",
    "t1589": "Gather Victim Identity Information",
    "t1621": "Multi-Factor Authentication Request Generation",
}


def seconds(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


def mapped(fields: list[str], pipeline: ProcessingPipeline) -> list[str]:
    """Returns the fields of the documents for fields of the raw log. Raises RuleError."""
    text = {"title": "t", "logsource": {"product": "auth0"}}
    found = []
    for field in fields:
        rule = SigmaRule.from_dict(text | {"detection": {"s": {field: "x"}, "condition": "s"}})
        pipeline.apply(rule)
        (item,) = rule.detection.detections["s"].detection_items
        found.append(item.field)
    return found


def measure(
    rule: SigmaCorrelationRule, custom: dict[str, Any], pipeline: ProcessingPipeline
) -> Any:
    if "kmh" in custom:
        return {"travel": {"kmh": custom["kmh"]}}
    if rule.type is SigmaCorrelationType.TEMPORAL_ORDERED:
        return "ordered"
    count = rule.condition.count + {"GTE": 0, "GT": 1}[rule.condition.op.name]
    if rule.type is SigmaCorrelationType.VALUE_COUNT:
        return {"values": {"field": mapped([rule.condition.fieldref], pipeline)[0], "count": count}}
    if rule.type is SigmaCorrelationType.EVENT_COUNT:
        return {"events": count}
    raise hunt.RuleError(f"{rule.type.name.lower()} is not supported")


def correlation(rule: SigmaCorrelationRule, pipeline: ProcessingPipeline) -> dict[str, Any]:
    custom = rule.custom_attributes.get("custom", {})
    group_by = mapped(rule.group_by or [], pipeline)
    made = {"group_by": group_by, "seconds": rule.timespan.seconds}
    made["measure"] = measure(rule, custom, pipeline)
    if "new" in custom:
        fields = mapped(custom["new"], pipeline)
        made["check"] = {"new": {"fields": fields, "seconds": seconds(custom["history"])}}
    if "spike" in custom:
        spike = {"factor": custom["spike"], "seconds": seconds(custom["history"])}
        made["check"] = {"spike": spike}
    if "realert" in custom:
        made["realert"] = seconds(custom["realert"])
    return made


def threat(tags: list[str]) -> dict[str, Any]:
    techniques = [tag for tag in tags if tag in TECHNIQUES]
    if unknown := [tag for tag in tags if tag not in TECHNIQUES and tag not in TACTICS]:
        raise hunt.RuleError(f"not in the tables of compile.py: {', '.join(unknown)}")
    return {
        "framework": "MITRE ATT&CK",
        "tactic": {
            "id": [TACTICS[tag][0] for tag in tags if tag in TACTICS],
            "name": [TACTICS[tag][1] for tag in tags if tag in TACTICS],
        },
        "technique": {
            "id": [tag.upper() for tag in techniques],
            "name": [TECHNIQUES[tag] for tag in techniques],
        },
    }


def queries(path: Path, product: str, details: str) -> list[str]:
    """Returns the query of each rule that counts, in the order of the correlation."""
    collection = SigmaCollection.from_yaml(path.read_text())
    converted = hunt.converted(collection, product, details)
    last = collection.rules[-1]
    if isinstance(last, SigmaCorrelationRule):
        return [converted[reference.reference] for reference in last.rules]
    return list(converted.values())


def compiled(path: Path) -> dict[str, Any]:
    rules = SigmaCollection.from_yaml(path.read_text()).rules
    first, last = rules[0], rules[-1]
    if len(rules) > 1 and not isinstance(last, SigmaCorrelationRule):
        raise hunt.RuleError("a file has one rule, or a correlation after its rules")

    def said(name: str) -> str:
        """Returns what the correlation says, or else the rule."""
        texts = [rule.custom_attributes.get(name, getattr(rule, name, None)) for rule in rules]
        return " ".join((texts[-1] or texts[0] or "").split())

    if not said("response") or not first.falsepositives:
        raise hunt.RuleError("response and falsepositives are missing")
    rule = {
        "name": path.stem,
        "id": str(last.id),
        "title": last.title,
        "level": str(last.level),
        "description": said("description"),
        "response": said("response"),
        "threat": threat([tag.name for tag in last.tags or first.tags]),
        "queries": {
            f"{product}-{details}": queries(path, product, details)
            for product in hunt.BACKENDS
            for details in LAYOUTS
        },
        "correlation": None,
    }
    if len(rules) > 1:
        rule["correlation"] = correlation(last, hunt.pipeline("opensearch"))
    return rule


def compile_all() -> str:
    rules = []
    for path in sorted(hunt.RULES.glob("*.yml")):
        try:
            rules.append(compiled(path))
        except Exception as error:
            raise hunt.RuleError(f"{path.name}: {error}") from error
    return json.dumps(rules, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    try:
        text = compile_all()
    except hunt.RuleError as error:
        print(error, file=sys.stderr)
        return 1
    if not os.environ.get("CHECK"):
        COMPILED.write_text(text)
    elif text != COMPILED.read_text():
        print("rules.json is not up to date: make detections", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
