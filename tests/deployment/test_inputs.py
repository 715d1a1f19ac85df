"""Each value of Inputs, as an update: its functions are there, and store what they are given."""

import json

import pytest
from botocore.exceptions import ClientError

from world import EVENT_SOURCE, EVENTS, Cloud, Seen, Stack, fresh_events

# What each value switches on.
INPUTS = {
    "both": {"Webhook", "Poller"},
    "eventbridge+poller": {"Ingest", "Poller"},
    "poller": {"Poller"},
    "webhook": {"Webhook"},
    "eventbridge": {"Ingest"},
}


@pytest.mark.parametrize("value", INPUTS)
def test_update_leaves_the_functions_of_the_value(value: str, main: Stack) -> None:
    main.expect("UPDATE_COMPLETE", Inputs=value)
    names = main.resources
    for prefix in ("Webhook", "Ingest", "Poller"):
        for kind in ("Function", "Role", "Logs"):
            assert (prefix + kind in names) == (prefix in INPUTS[value]), prefix + kind


def test_eventbridge_stores_log_events_only(main: Stack, cloud: Cloud, seen: Seen) -> None:
    """Sends events as Auth0's event source does, and one that is none of its log events."""
    main.ensure(Inputs="eventbridge")
    before = main.engine.count()
    another, *events = fresh_events(EVENTS + 1)
    entries = [
        {
            # Only AWS and its partners may name the real source, and the rule does not ask.
            "Source": "auth0",
            "DetailType": kind,
            "Detail": json.dumps(event),
            "EventBusName": EVENT_SOURCE,
        }
        for kind, event in [("another one", another), *(("Auth0 log", one) for one in events)]
    ]
    for start in (0, 10):
        put = cloud.events.put_events(Entries=entries[start : start + 10])
        assert put["FailedEntryCount"] == 0
    main.await_count(before + EVENTS)
    for queue in ("IngestQueue", "IngestDeadLetterQueue"):
        with pytest.raises(ClientError):
            main.depth(queue)
    seen(f"{EVENTS} events of the bus stored, by way of rule and queue; no reader without TLS")


def test_poll_stores_the_events_of_the_tenant(both: Stack, cloud: Cloud, seen: Seen) -> None:
    # The schedule may have been first.
    table = both.resources["CheckpointTable"]
    for item in cloud.dynamodb.scan(TableName=table)["Items"]:
        cloud.dynamodb.delete_item(TableName=table, Key={"id": item["id"]})
    seen(both.polls())


def test_outage_of_the_engine_loses_nothing(both: Stack, cloud: Cloud, seen: Seen) -> None:
    # A message that redrive could not write is back after 3 s instead of 6 minutes.
    queue, visibility = both.resources["RetryQueue"], {"VisibilityTimeout": "3"}
    cloud.sqs.set_queue_attributes(QueueUrl=queue, Attributes=visibility)
    before = both.engine.count()
    with both.engine.away():
        answers = [both.post(fresh_events(EVENTS)) for _ in range(2)]
        parked = both.depth("RetryQueue")
    assert answers == [200, 200] and parked, both.log("webhook")[-1500:]
    both.await_count(before + 2 * EVENTS)
    assert both.depth("DeadLetterQueue") == 0
    seen(f"engine away: {parked} messages parked with 200; back: redrive stored all of them")
