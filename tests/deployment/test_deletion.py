"""A deleted stack leaves the events and what leads to them, and nothing else."""

from world import INDEX_TEMPLATE, Cloud, Seen, Stack

KEPT = {"queues", "tables"}


def test_events_are_kept(on_each_engine: Stack, cloud: Cloud, seen: Seen) -> None:
    stack = on_each_engine.ensure(Inputs="both", Detections="on")
    names = stack.resources.values()

    def left() -> set[str]:
        return {
            what
            for what, found in cloud.left().items()
            if any(f"{stack.name}-" in name or name in names for name in found)
        }

    # The stack has been given its secrets, and has no event source.
    assert left() == set(cloud.left()) - {"secrets", "event buses"}
    assert cloud.delete(stack.name) == "DELETE_COMPLETE"
    assert left() == KEPT
    assert stack.engine.call("GET", INDEX_TEMPLATE)["index_templates"]
    seen("queues, checkpoint table, index template and documents are kept, nothing else")
