"""Upgrades, on both engines: one that works, and two that fail and go back."""

import time

from world import EVENTS, Seen, Stack, fresh_events


def test_upgrade_rolls_the_data_stream_over_once(on_each_engine: Stack, seen: Seen) -> None:
    stack = on_each_engine.ensure(Inputs="both")
    documents = stack.engine.count() + 2 * EVENTS
    stack.post(fresh_events(EVENTS))
    stack.engine.make_older()
    stack.post(fresh_events(EVENTS))
    stack.await_count(documents)
    indices = stack.engine.indices()
    since = time.time()
    for content in ("newer", "newer still"):
        stack.template["Resources"]["IndexTemplate"]["Properties"]["ContentHash"] = content
        stack.expect("UPDATE_COMPLETE")
    assert len(stack.engine.indices()) == len(indices) + 1
    assert stack.log("setup", since).count("is rolled over, because") == 1
    assert stack.engine.count() == documents
    stack.stores_events()
    seen(f"over {documents} documents: rolled over once, said once, all kept")


def test_failed_upgrade_goes_back(on_each_engine: Stack, seen: Seen) -> None:
    """One that fails after setup, which has to go back, too."""
    alarm = {"AlarmName": {"Fn::Sub": "${IndexTemplate}"}, "Metrics": [{"Id": "m"}]}
    broken = {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}
    with on_each_engine.release("one that fails later", Broken=broken):
        on_each_engine.expect("UPDATE_ROLLBACK_COMPLETE")
    on_each_engine.stores_events()
    seen("UPDATE_ROLLBACK_COMPLETE, and events are stored")


def test_upgrade_without_the_engine_goes_back(on_each_engine: Stack, seen: Seen) -> None:
    with on_each_engine.release("one that meets no engine"), on_each_engine.engine.away():
        on_each_engine.expect("UPDATE_ROLLBACK_COMPLETE")
    on_each_engine.stores_events()
    seen("UPDATE_ROLLBACK_COMPLETE, and events are stored once it is back")
