"""A deleted stack leaves the events and what leads to them, and nothing else."""

from world import INDEX_TEMPLATE, Cloud, Seen, Stack


def test_events_are_kept(on_each_engine: Stack, cloud: Cloud, seen: Seen) -> None:
    stack, names = on_each_engine, on_each_engine.resources.values()
    assert cloud.delete(stack.name) == "DELETE_COMPLETE"
    left = {
        what: [name for name in found if f"{stack.name}-" in name or name in names]
        for what, found in cloud.left().items()
    }
    assert {what for what, found in left.items() if found} == {"queues", "tables"}, left
    assert stack.engine.call("GET", INDEX_TEMPLATE)["index_templates"]
    seen("queues, checkpoint table, index template and documents are kept, nothing else")
