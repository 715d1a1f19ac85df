"""Every query of docs/analysts/searching.md returns the right result on both engines.

The expected results are counted here from the raw events, without our mapper or an engine."""

import json
import re
import unittest
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime

import alerts
import seed
import world
from tools import ROOT

DAY = [event["data"] for event in seed.day(datetime(2026, 3, 14, 12))]
FAILED = {"f", "fp", "fu", "fc", "fco", "fcoa"}
ATTACKER = seed.ATTACKER


def request(event: dict) -> dict:
    details = event.get("details", {})
    return details.get("request", {}) if isinstance(details, dict) else {}


def detail(event: dict, name: str) -> str | None:
    details = event.get("details", {})
    return details.get(name) if isinstance(details, dict) else None


def where(wanted: Callable[[dict], object]) -> list[dict]:
    return [event for event in DAY if wanted(event)]


def of_type(*types: str) -> list[dict]:
    return where(lambda event: event["type"] in types)


def count(events: Iterable[dict], name: str) -> dict[str, int]:
    return dict(Counter(event[name] for event in events if name in event))


def distinct(
    events: Iterable[dict], name: Callable[[dict], str | None], value: str
) -> dict[str, int]:
    found = defaultdict(set)
    for event in events:
        if name(event) and value in event:
            found[name(event)].add(event[value])
    return {key: len(values) for key, values in found.items()}


def path(event: dict, *parts: str) -> bool:
    return all(part in request(event).get("path", "") for part in parts)


WRITES = ("post", "patch", "put", "delete")
ACTIONS = {
    "s": "successful-login",
    "seacft": "success-exchange-auth-code-for-access-token",
    "scp": "user-password-changed-successfully",
    "slo": "user-logout-successful",
    "gd_send_pn": "push-notification-sent",
    "gd_auth_succeed": "mfa-authentication-succeeded",
    "gd_auth_rejected": "user-rejected-mfa-request",
    "fp": "incorrect-password",
    "du": "user-deleted",
    "mgmt_api_read": "success-mgmt-api-op-secrets-returned",
}


def actions(events: Iterable[dict]) -> dict[str, int]:
    return dict(Counter(ACTIONS[event["type"]] for event in events))


in_session = where(lambda e: detail(e, "session_id") == seed.SESSION)
grace = where(lambda e: e.get("user_name") == "grace@example.com")
swedish = where(lambda e: e.get("ip") == "89.160.20.112" and e["type"] in ("fp", "f", "fu"))
breached = of_type("pwd_leak", "signup_pwd_leak", "reset_pwd_leak")
risky = where(lambda e: (detail(e, "riskAssessment") or {}).get("confidence") == "low")
refused = where(lambda e: (detail(e, "response") or {}).get("statusCode", 0) >= 400)
strange = where(lambda e: e["type"] == "brand_new_type" or isinstance(e.get("details"), str))
by_admin = where(lambda e: e.get("user_id") == "auth0|admin")
sign_ups = of_type("ss", "fs", "signup_pwd_leak")
refused_sign_ups = of_type("fs", "signup_pwd_leak")
OUTCOMES = {"ss": "success", "fs": "failure", "signup_pwd_leak": "unknown"}
of_grace = [
    rule
    for _, rule, wanted in alerts.ALERTS
    if any(e.get("user_name") == "grace@example.com" for e in alerts.events_of(wanted))
]

# For each question: hits of the query, and counts of the search.
ANSWERS: list[tuple[int, dict]] = [
    (len(of_type(*FAILED)), count(of_type(*FAILED), "user_name")),
    (
        len(of_type("f", "fp", "fu")),
        distinct(of_type("f", "fp", "fu"), lambda e: e["ip"], "user_name"),
    ),
    (1, {"grace@example.com": 1}),
    (2, {"limit_mu": 1, "limit_wc": 1}),
    (len(breached), count(breached, "user_name")),
    (10, {"auth0|grace": 10}),
    (len(of_type("s")), dict(Counter(seed.PLACES[e["ip"]][2] for e in of_type("s")))),
    (1, {"fam-ida": 1}),
    (8, distinct(of_type("sertft"), lambda e: detail(e, "familyId"), "ip")),
    (4, actions(in_session)),
    (len(grace), actions(grace)),
    (len(swedish), actions(swedish)),
    (9, dict(Counter(request(e)["auth"]["user"]["name"] for e in of_type("sapi")))),
    (1, {"Root Admin": 1}),
    (1, {"auth0|grace": 1}),
    (1, {"Root Admin": 1}),
    (1, {"Update a log stream": 1}),
    (len(risky), {"low": len(risky), "medium": 0, "high": len(of_type("s")) - len(risky) - 1}),
    (len(refused), {403: 1, 429: 3}),
    (len(strange), count(strange, "type")),
    (1, {"Root Admin": 1}),
    (len(by_admin), count(by_admin, "description")),
    (10, {"https://manage.auth0.com/": 10}),
    (1, {"/api/v2/clients/abc": 1}),
    (len(sign_ups), dict(Counter(OUTCOMES[event["type"]] for event in sign_ups))),
    (len(refused_sign_ups), count(refused_sign_ups, "description")),
    (len(sign_ups), distinct(sign_ups, lambda e: e["ip"], "user_name")),
    (len(alerts.ALERTS), dict.fromkeys((rule for _, rule, _ in alerts.ALERTS), 1)),
    (len(of_grace), dict.fromkeys(of_grace, 1)),
    (
        len(risky),
        {
            "impossible_travel_from_last_login": len(risky),
            "minimal_travel_from_last_login": len(of_type("s")) - len(risky) - 1,
        },
    ),
]

# To be grouped by, parts of details have to be fields.
NEEDS_FIELDS = '"field": "auth0.logs.data.details'


class Searching(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        events = [{"log_id": data["log_id"], "data": data} for data in DAY]
        cls.streams = {d: world.index("day", events, d) for d in world.SETTINGS}
        for stream in cls.streams.values():
            alerts.index(stream)
        text = (ROOT / "docs/analysts/searching.md").read_text()
        sections = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]
        cls.questions = [section.partition("\n")[0] for section in sections]
        cls.lines = [re.search(r"```text\n(.*)\n```", section)[1] for section in sections]
        cls.searches = [
            json.loads(re.search(r"```json\n(.*?)\n```", section, re.DOTALL)[1])
            for section in sections
        ]

    def test_guide_has_thirty_questions(self) -> None:
        self.assertEqual(len(self.questions), 30)
        self.assertEqual(len(ANSWERS), 30)

    def test_query_finds_its_events(self) -> None:
        for question, line, (events, _) in zip(self.questions, self.lines, ANSWERS, strict=True):
            for product, engine, details, stream in self.places(line):
                with self.subTest(question=question, product=product, details=details):
                    self.assertGreater(events, 0)
                    query = {"query_string": {"query": line}}
                    hits = engine.search(
                        stream, {"size": 0, "query": query, "track_total_hits": True}
                    )
                    self.assertEqual(hits["hits"]["total"]["value"], events)

    def test_search_counts_its_events(self) -> None:
        for question, line, search, (_, answer) in zip(
            self.questions, self.lines, self.searches, ANSWERS, strict=True
        ):
            for product, engine, details, stream in self.places(line):
                if details == "flat" and NEEDS_FIELDS in json.dumps(search):
                    continue
                with self.subTest(question=question, product=product, details=details):
                    buckets = engine.search(stream, search)["aggregations"]["answer"]["buckets"]
                    if isinstance(buckets, dict):
                        buckets = [{"key": key, **bucket} for key, bucket in buckets.items()]
                    found = {bucket["key"]: self.counted(bucket) for bucket in buckets}
                    self.assertEqual(len(found), min(len(answer), 10))
                    self.assertLessEqual(found.items(), answer.items())
                    # The search returns the first ten only.
                    self.assertEqual(sorted(found.values()), sorted(answer.values())[-10:])

    def test_details_as_fields_take_wildcards_and_groupings(self) -> None:
        field = "auth0.logs.data.details.riskAssessment.confidence"
        query = {"query_string": {"query": f"{field}:*ig*"}}
        search = {"size": 0, "query": query, "aggs": {"answer": {"terms": {"field": field}}}}
        for product, engine in world.engines().items():
            with self.subTest(product=product):
                found = engine.search(self.streams["fields"], search)
                ((key, count),) = [
                    (bucket["key"], bucket["doc_count"])
                    for bucket in found["aggregations"]["answer"]["buckets"]
                ]
                self.assertEqual((key, count), ("high", ANSWERS[17][1]["high"]))

    def places(self, line: str) -> list[tuple]:
        """Returns product, engine, setting and data stream of each place that answers a query."""
        # Questions about alerts search the stream next to that of the events.
        kind = ".alerts-" if line.startswith("event.kind:alert") else ".logs-"
        return [
            (product, engine, details, stream.replace(".logs-", kind))
            for product, engine in world.engines().items()
            for details, stream in self.streams.items()
        ]

    @staticmethod
    def counted(bucket: dict) -> int:
        """Returns the distinct values if the search counts them, or else the events."""
        for name in ("users", "addresses"):
            if name in bucket:
                return bucket[name]["value"]
        return bucket["doc_count"]

    def test_query_fields_are_in_the_template(self) -> None:
        for question, line, search in zip(self.questions, self.lines, self.searches, strict=True):
            names = set(re.findall(r"([A-Za-z_@][\w.@]*\.[\w.]+|tags):", line)) | fields_of(search)
            self.assertTrue(names, question)
            for name in names - alerts.FIELDS:
                for details in world.SETTINGS:
                    found = world.in_template(name, details)
                    self.assertTrue(found, f"{question}: {name} with {details}")


def fields_of(search: object) -> set[str]:
    """Returns the fields in a search's queries and aggregations."""
    names: set[str] = set()
    if isinstance(search, list):
        for part in search:
            names |= fields_of(part)
    elif isinstance(search, dict):
        for key, value in search.items():
            if key == "field":
                names.add(value)
            elif key in ("term", "terms", "prefix", "wildcard", "range") and "field" not in value:
                names |= set(value)
            else:
                names |= fields_of(value)
    return names


if __name__ == "__main__":
    unittest.main()
