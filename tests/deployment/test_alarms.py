"""Alarms watch what the functions emit, and that of their own stack only."""

from __future__ import annotations

import json
import time

import pytest

from templates import transformed
from tools import ROOT
from world import Cloud, Dimensions, Engine, Seen, Stack, StackOf


def dimensions(metric: dict, stack: Stack) -> Dimensions:
    """Returns what an alarm watches, of the template or deployed."""
    named = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
    if named.get("Stack") == {"Ref": "AWS::StackName"}:
        named["Stack"] = stack.name
    return tuple(sorted(named.items()))


def emitters(stack: Stack) -> set[str]:
    """Returns the functions that have emitted metrics."""
    stack.note_metrics()
    return {dict(found)["Function"] for every in stack.emitted.values() for found in every}


def sample(function: str) -> dict:
    return json.loads((ROOT / f"events/{function}.json").read_text())


@pytest.fixture
def emitting(main: Stack) -> Stack:
    """Returns the complete stack, of which each function has emitted, here or in other tests."""
    if "ingest" not in emitters(main):
        main.ensure(Inputs="eventbridge").invoke("ingest", sample("ingest"))
    main.ensure(Inputs="both", Detections="on")
    if not {"webhook", "poller", "redrive", "detect"} <= emitters(main):
        main.stores_events()
        main.invoke("poller")
        main.invoke("redrive", sample("redrive"))
        main.invoke("detect")
        main.note_metrics()
    return main


def test_alarm_watches_what_is_emitted(emitting: Stack, seen: Seen) -> None:
    every = set().union(*emitting.emitted.values())
    resources = transformed(**emitting.parameters)["Resources"].values()
    if any(resource["Type"] == "AWS::Logs::MetricFilter" for resource in resources):
        every.add((("Stack", emitting.name),))
    watching = 0
    for resource in resources:
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        alarm = resource["Properties"]
        queries = [q["MetricStat"]["Metric"] for q in alarm.get("Metrics", []) if "MetricStat" in q]
        for metric in queries or [alarm]:
            if metric["Namespace"] == "Auth0LogStreams":
                watched = dimensions(metric, emitting)
                assert watched in every, metric
                watching += watched in emitting.emitted.get(metric["MetricName"], ())
    names = len(emitting.emitted)
    seen(f"{names} metrics emitted; {watching} of them, as emitted, are watched by alarms")


def test_alarm_of_a_queue_watches_this_queue(complete: Stack, cloud: Cloud) -> None:
    queues = complete.resources
    for alarm in cloud.alarms():
        name = alarm["AlarmName"]
        if name.startswith(f"{complete.name}-") and alarm["Namespace"] == "AWS/SQS":
            queue = queues["DeadLetterQueue" if "-DeadLetters-" in name else "RetryQueue"]
            assert [d["Value"] for d in alarm["Dimensions"]] == [queue.rpartition("/")[2]], name


def test_stack_keeps_no_alarm_of_another_quiet(
    both: Stack,
    cloud: Cloud,
    opensearch: Engine,
    stack_of: StackOf,
    seen: Seen,
) -> None:
    alive = both
    dead = stack_of("dead", opensearch, Inputs="both", InstallIndexTemplate="false")
    dead.expect("CREATE_COMPLETE")
    since = time.time()
    with dead.without("PollerRole", "ReadSecrets"):
        assert not dead.invoke("poller")[0]
    alive.stores_events()
    assert alive.invoke("poller")[0]
    emitted = [*alive.metrics(since), *dead.metrics(since)]
    ringing = set()
    for alarm in cloud.alarms():
        stack, _, name = alarm["AlarmName"].partition("-")
        if stack in (alive.name, dead.name) and name.startswith(
            ("PollerNoProgress-", "WebhookSil")
        ):
            watched = (alarm["MetricName"], dimensions(alarm, alive))
            if sum(v for n, d, v in emitted if (n, d) == watched) < alarm["Threshold"]:
                ringing.add((stack, name.partition("-")[0]))
    assert ringing == {(dead.name, "PollerNoProgress"), (dead.name, "WebhookSilence")}
    cloud.delete(dead.name)
    seen("a stack that polls and receives nothing would ring next to one that does")
