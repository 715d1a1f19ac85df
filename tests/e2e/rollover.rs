//! One document an event across rollovers, where the engine itself would take a second copy: `_id`
//! is unique in one backing index only.

use support::events::{json_lines, log_ids};
use support::proxy::Fault;
use support::stack::EngineKind;

use crate::world::{SHORT, World, deliver, deliver_within, events, poll};

on_both_engines![
    a_batch_before_and_after_a_rollover_is_there_once,
    what_was_parked_before_a_rollover_and_stored_meanwhile_is_there_once,
    new_events_after_a_rollover_cost_no_further_request,
];

async fn a_batch_before_and_after_a_rollover_is_there_once(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    let mut sent = source.take(30);
    world.tenant.add(&sent);
    deliver(&webhook, json_lines(&sent).as_bytes()).await;
    for _ in 0..2 {
        world.stream.rollover().await;
        // Old and new in one batch.
        sent.extend(source.take(10));
        deliver(&webhook, json_lines(&sent).as_bytes()).await;
        world.stream.assert_holds_exactly(&log_ids(&sent)).await;
    }
    // The poller comes late, and not from the same form of the events.
    world.stream.rollover().await;
    world.tenant.add(&sent);
    poll(&world.poller()).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&sent)).await;
}

async fn what_was_parked_before_a_rollover_and_stored_meanwhile_is_there_once(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    let first = source.take(5);
    deliver(&webhook, json_lines(&first).as_bytes()).await;
    let batch = source.take(30);
    // Written, but the answer never comes: parked although it is there.
    world.proxy.fail(Fault::CutAfterWrite).await;
    deliver_within(&webhook, json_lines(&batch).as_bytes(), SHORT).await;
    assert!(world.queues.parked().await > 0);
    world.proxy.heal().await;
    world.stream.rollover().await;
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&[first, batch].concat())).await;
}

async fn new_events_after_a_rollover_cost_no_further_request(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    // Younger than any index here.
    let mut source = support::events::Events::new(fastrand::u64(..), chrono::Utc::now());
    deliver(&webhook, json_lines(&source.take(5)).as_bytes()).await;
    deliver(&webhook, json_lines(&source.take(5)).as_bytes()).await;
    let before = world.proxy.requests();
    deliver(&webhook, json_lines(&source.take(5)).as_bytes()).await;
    assert_eq!(world.proxy.requests() - before, 1, "one _bulk and nothing else");
}
