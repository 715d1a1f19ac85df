//! One document per event across rollovers, after which the engine itself would accept a second copy:
//! `_id` is unique within one backing index only.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Json, Router};
use chrono::{SecondsFormat, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use support::events::{json_lines, log_ids};
use support::payload::webhook_post;
use support::proxy::Fault;
use support::runtime::{InvokeError, eventually};
use support::server::Server;
use support::stack::EngineKind;

use crate::world::{SHORT, TIMEOUT, TOKEN, World, deliver, deliver_within, events, poll, post};

on_both_engines![
    rollover_between_two_deliveries_leaves_one_document,
    batch_parked_and_stored_before_rollover_leaves_one_document,
    fresh_events_after_rollover_cost_one_request,
    request_in_flight_during_rollover_leaves_one_document,
    second_look_that_cannot_be_queued_is_no_success,
    thousands_of_events_before_and_after_rollover_leave_one_document_each,
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

/// A stand-in for SQS: takes each message, and keeps it.
async fn queue() -> (Server, Arc<Mutex<Vec<Value>>>) {
    let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
    let sink = Arc::clone(&messages);
    let send = move |body: String| async move {
        sink.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        Json(json!({ "MessageId": "1" }))
    };
    (Server::start(Router::new().fallback(send)).await, messages)
}

async fn request_in_flight_during_rollover_leaves_one_document(kind: EngineKind) {
    let world = World::new(kind).await;
    let engine = &world.stream.engine;
    let batch = events().take(1);
    let body = json_lines(&batch);
    let id = &log_ids(&batch)[0];

    // The first delivery's request waits in the engine for a shard that no node can take.
    let old = world.stream.write_index().await;
    let waits = json!({ "index": {
        "number_of_replicas": 1, "auto_expand_replicas": false,
        "write.wait_for_active_shards": "all",
    } });
    engine.call(Method::PUT, &format!("{old}/_settings"), Some(waits)).await;
    let first = world.webhook();
    let request = webhook_post(TOKEN, body.as_bytes());
    let delivery = async {
        assert_eq!(first.invoke(request, TIMEOUT).await, Err(InvokeError::Died));
    };
    let kill = async {
        eventually("the request is sent", async || world.proxy.requests() > 0).await;
        // It has to pass the proxy, too, and to find its index.
        tokio::time::sleep(Duration::from_secs(2)).await;
        first.kill();
    };
    tokio::join!(delivery, kill);
    assert_eq!(world.stream.count().await, 0);

    world.stream.rollover().await;
    let (sqs, messages) = queue().await;
    let second = world.function_with("webhook", 1, &[("AWS_ENDPOINT_URL_SQS", sqs.url())]);
    deliver(&second, body.as_bytes()).await;
    world.stream.assert_holds_exactly(&log_ids(&batch)).await;

    let goes_on = json!({ "index": { "number_of_replicas": 0 } });
    engine.call(Method::PUT, &format!("{old}/_settings"), Some(goes_on)).await;
    eventually("the first request is executed", async || {
        world.stream.copies().await.get(id) == Some(&2)
    })
    .await;

    // A quarter of an hour later, redrive receives what the second delivery sent to the queue.
    let sent = messages.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "{}", second.last_logs());
    assert_eq!(sent[0]["DelaySeconds"], 14 * 60);
    world.queues.park(sent[0]["MessageBody"].as_str().unwrap()).await;
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&batch)).await;
}

async fn second_look_that_cannot_be_queued_is_no_success(kind: EngineKind) {
    let world = World::new(kind).await;
    let batch = events().take(3);
    world.stream.rollover().await;
    let nowhere = [("RETRY_QUEUE_URL", "http://127.0.0.1:9/123456789012/nowhere")];
    let webhook = world.function_with("webhook", 1, &nowhere);
    let answer = post(&webhook, json_lines(&batch).as_bytes()).await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    world.tenant.add(&batch);
    let poller = world.function_with("poller", 1, &nowhere);
    poll(&poller).await.unwrap_err();
    assert_eq!(world.table.checkpoint().await, None);
    // Auth0 repeats the batch, and the queue is back.
    deliver(&world.webhook(), json_lines(&batch).as_bytes()).await;
    assert_eq!(world.queues.delayed().await, 1);
    world.stream.assert_holds_exactly(&log_ids(&batch)).await;
}

async fn thousands_of_events_before_and_after_rollover_leave_one_document_each(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let batch = events().take(2_500);
    let body = json_lines(&batch);
    deliver(&webhook, body.as_bytes()).await;
    world.stream.rollover().await;
    deliver(&webhook, body.as_bytes()).await;
    world.stream.assert_holds_exactly(&log_ids(&batch)).await;
}
