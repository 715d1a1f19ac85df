//! The third input: what `EventBridge` delivers into a queue is stored once, whatever fails.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use support::aws::Queues;
use support::events::{json_lines, log_ids};
use support::parked;
use support::proxy::Fault;
use support::runtime::Function;
use support::stack::{EngineKind, unique};
use support::world::RECEIVES;

use crate::world::{SHORT, World, deliver, events, poll};

on_both_engines![
    event_by_eventbridge_webhook_and_poll_is_stored_once,
    ingest_writes_all_messages_in_one_request,
    broken_message_becomes_error_document_and_harms_no_other,
    ingest_returns_only_messages_it_could_not_write,
    outage_leaves_events_in_the_ingest_queue,
    undeliverable_event_becomes_dead_letter_byte_for_byte,
    refused_event_of_a_message_is_kept_and_harms_no_other,
];

/// The ingest function and its queue, into which tests send what the rule would: one event a message.
struct Ingest {
    function: Function,
    queues: Queues,
}

impl Ingest {
    async fn new(world: &World, receives: u32) -> Self {
        let queues = Queues::create(&unique("ingest"), receives).await;
        Self { function: world.function("ingest", 1), queues }
    }

    /// Sends each event as the rule does, with `InputPath: $.detail`.
    async fn send(&self, events: &[Value]) {
        for event in events {
            self.queues.park(&event.to_string()).await;
        }
    }

    /// Delivers at most ten messages; returns how many were received and how many of them failed.
    async fn deliver(&self, timeout: Duration) -> (usize, usize) {
        self.queues.deliver_batch(&self.function, timeout).await
    }
}

async fn event_by_eventbridge_webhook_and_poll_is_stored_once(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let events = world.tenant.add_next(&mut events(), 5);
    ingest.send(&events).await;
    // EventBridge delivers at least once.
    ingest.send(&events[..2]).await;
    ingest.queues.drain(&ingest.function).await;
    let documents = world.stream.documents().await;
    assert_eq!(documents.len(), 5, "{}", ingest.function.last_logs());
    for hit in documents {
        assert_eq!(hit["_source"]["input"]["type"], "aws_eventbridge", "{hit}");
    }

    deliver(&world.webhook(), json_lines(&events).as_bytes()).await;
    poll(&world.poller()).await.unwrap();
    assert!(world.tenant.counters().pages > 0, "the poller read no event");
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn ingest_writes_all_messages_in_one_request(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let mut source = events();
    // The first write makes the data stream, and asks for its backing indices.
    let mut sent = source.take(1);
    ingest.send(&sent).await;
    ingest.queues.drain(&ingest.function).await;
    let batch = source.take(10);
    ingest.send(&batch).await;
    sent.extend(batch);
    let before = world.proxy.requests();
    assert_eq!(ingest.deliver(SHORT).await, (10, 0), "{}", ingest.function.last_logs());
    assert_eq!(world.proxy.requests() - before, 1, "{}", ingest.function.last_logs());
    world.stream.assert_holds_exactly(&log_ids(&sent)).await;
}

async fn broken_message_becomes_error_document_and_harms_no_other(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let events = events().take(3);
    let broken = ["<html>502</html>", r#"{"log_id":"cut"#, r#"{"nothing":"of Auth0's"}"#, "null"];
    ingest.send(&events).await;
    for body in broken {
        ingest.queues.park(body).await;
    }
    assert_eq!(ingest.deliver(SHORT).await, (7, 0), "{}", ingest.function.last_logs());
    assert_eq!(ingest.queues.parked().await, 0);
    assert_eq!(ingest.queues.dead_letters().await + world.queues.dead_letters().await, 0);

    let documents = world.stream.documents().await;
    let (errors, stored): (Vec<_>, Vec<_>) =
        documents.iter().partition(|hit| hit["_source"]["event"]["kind"] == "pipeline_error");
    assert_eq!(stored.len(), events.len());
    let mut texts: Vec<&str> =
        errors.iter().map(|hit| hit["_source"]["event"]["original"].as_str().unwrap()).collect();
    texts.sort_unstable();
    let mut expected = broken;
    expected.sort_unstable();
    assert_eq!(texts, expected);
    assert!(!ingest.function.logs().contains("of Auth0's"), "{}", ingest.function.logs());
}

async fn ingest_returns_only_messages_it_could_not_write(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let events = events().take(40);
    ingest.send(&events).await;
    // About half of the items lack a privilege, and are not tried again.
    world.proxy.fail(Fault::Items(403)).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(ingest.deliver(SHORT).await);
    }
    let is_partial = |(received, failed): &(usize, usize)| (1..*received).contains(failed);
    assert!(deliveries.iter().any(is_partial), "(received, failed): {deliveries:?}");
    world.proxy.heal().await;
    ingest.queues.drain(&ingest.function).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    assert_eq!(ingest.queues.dead_letters().await, 0);
}

async fn outage_leaves_events_in_the_ingest_queue(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let events = events().take(5);
    ingest.send(&events).await;
    for fault in [Fault::Refuse, Fault::Status(503)] {
        world.proxy.fail(fault).await;
        assert_eq!(ingest.deliver(SHORT).await, (5, 5), "{fault:?}");
        assert_eq!(ingest.queues.parked().await, 5, "{fault:?}");
    }
    assert_eq!(world.stream.count().await, 0);
    // The retry queue is for events that have no other place.
    assert_eq!(world.queues.parked().await, 0);
    let logs = ingest.function.logs();
    let line = "events not stored, returning their messages to the queue";
    assert!(logs.contains(line), "{logs}");

    world.proxy.heal().await;
    ingest.queues.drain(&ingest.function).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    assert_eq!(ingest.queues.dead_letters().await, 0);
}

async fn undeliverable_event_becomes_dead_letter_byte_for_byte(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, 2).await;
    let events = events().take(1);
    ingest.send(&events).await;
    world.proxy.fail(Fault::Refuse).await;
    for _ in 0..2 {
        let delivered = ingest.deliver(SHORT).await;
        assert_eq!(delivered, (1, 1), "{}", ingest.function.last_logs());
    }
    // The third receive makes it a dead letter.
    assert_eq!(ingest.deliver(SHORT).await, (0, 0));
    assert_eq!(ingest.queues.parked().await, 0);
    let bodies = ingest.queues.dead_bodies().await;
    assert_eq!(bodies, [events[0].to_string()]);

    // Moved back, it is stored.
    world.proxy.heal().await;
    ingest.queues.park(&bodies[0]).await;
    ingest.queues.drain(&ingest.function).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn refused_event_of_a_message_is_kept_and_harms_no_other(kind: EngineKind) {
    let world = World::new(kind).await;
    let ingest = Ingest::new(&world, RECEIVES).await;
    let events = events().take(10);
    ingest.send(&events).await;
    // About half of the items are refused, then about half of their error documents.
    world.proxy.fail(Fault::Items(400)).await;
    ingest.deliver(SHORT).await;
    // On a slow machine some events may have been returned for lack of time.
    world.proxy.heal().await;
    ingest.queues.drain(&ingest.function).await;

    let mut kept = BTreeSet::new();
    for hit in world.stream.documents().await {
        kept.insert(hit["_source"]["event"]["id"].as_str().unwrap().to_owned());
    }
    for body in world.queues.dead_bodies().await {
        let (header, events) = parked::unpack(&body);
        assert_eq!(header["input"], "aws_eventbridge");
        let events = events.iter().map(|event| serde_json::from_slice(event).unwrap());
        kept.extend(log_ids(&events.collect::<Vec<Value>>()));
    }
    let logs = ingest.function.last_logs();
    assert_eq!(kept, log_ids(&events).into_iter().collect(), "{logs}");
}
