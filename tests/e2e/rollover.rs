//! One document per event across rollovers, after which the engine itself would accept a second copy:
//! `_id` is unique within one backing index only.

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use support::events::{json_lines, log_ids};
use support::proxy::Fault;
use support::stack::EngineKind;

use crate::world::{SHORT, World, deliver, deliver_within, events, poll};

on_both_engines![
    rollover_between_two_deliveries_leaves_one_document,
    batch_parked_and_stored_before_rollover_leaves_one_document,
    fresh_events_after_rollover_cost_one_request,
];

async fn rollover_between_two_deliveries_leaves_one_document(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    let mut sent = source.take(30);
    world.tenant.add(&sent);
    deliver(&webhook, json_lines(&sent).as_bytes()).await;
    for _ in 0..2 {
        world.stream.rollover().await;
        // Old and new events in one batch.
        sent.extend(source.take(10));
        deliver(&webhook, json_lines(&sent).as_bytes()).await;
        world.stream.assert_holds_exactly(&log_ids(&sent)).await;
    }
    // The poller is late, and reads another form of the events.
    world.stream.rollover().await;
    world.tenant.add(&sent);
    poll(&world.poller()).await.unwrap();
    assert!(world.tenant.counters().pages > 0, "the poller read no event");
    world.stream.assert_holds_exactly(&log_ids(&sent)).await;
}

async fn batch_parked_and_stored_before_rollover_leaves_one_document(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    let first = source.take(5);
    deliver(&webhook, json_lines(&first).as_bytes()).await;
    let batch = source.take(30);
    // Written, but the response never arrives: the batch is parked although it is stored.
    world.proxy.fail(Fault::CutAfterWrite).await;
    deliver_within(&webhook, json_lines(&batch).as_bytes(), SHORT).await;
    assert!(world.queues.parked().await > 0);
    assert_eq!(world.stream.count().await, 35, "not stored before the rollover");
    world.proxy.heal().await;
    world.stream.rollover().await;
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&[first, batch].concat())).await;
}

async fn fresh_events_after_rollover_cost_one_request(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    deliver(&webhook, json_lines(&source.take(5)).as_bytes()).await;
    world.stream.rollover().await;
    // Younger than the new index by the five minutes that two clocks may be apart, and not yet too far
    // in the future to be credible.
    let date = Utc::now() + TimeDelta::minutes(5);
    let mut fresh = || {
        let mut events = source.take(5);
        for event in &mut events {
            event["data"]["date"] = json!(date.to_rfc3339_opts(SecondsFormat::Millis, true));
        }
        json_lines(&events)
    };
    // The first batch in the new index asks when the index was created.
    deliver(&webhook, fresh().as_bytes()).await;
    let before = world.proxy.requests();
    deliver(&webhook, fresh().as_bytes()).await;
    assert_eq!(world.proxy.requests() - before, 1, "one _bulk and nothing else");
}
