//! User data is masked, and unwanted types are left out, before anything leaves a function.

use serde_json::{Value, json};
use support::aws::create_secret;
use support::events::{json_lines, log_ids};
use support::parked;
use support::proxy::Fault;
use support::runtime::{Function, eventually};
use support::stack::EngineKind;

use crate::world::{World, deliver, events, poll, post};

on_both_engines![
    masked_user_data_is_nowhere_plain,
    hashed_user_data_joins_whatever_way_it_came,
    nothing_is_stored_or_parked_without_the_key_of_the_hashes,
    unwanted_types_are_left_out_and_counted,
];

/// Events whose user data has a word that is nowhere else, and a line that was cut within it.
fn body() -> (Vec<Value>, String) {
    let mut events = events().take(12);
    for event in &mut events {
        let data = &mut event["data"];
        data["user_name"] = json!("zyxanna@example.com");
        data["description"] = json!("Mail to zyxanna@example.com bounced");
        data["details"]["request"] = json!({
            "path": "/api/v2/users-by-email?email=zyxanna%40example.com",
            "auth": { "user": { "name": "Zyxanna Berg", "email": "zyxanna@example.com" } },
        });
    }
    let cut = r#"{"log_id":"900cut","data":{"type":"s","user_name":"zyxanna"#;
    let body = format!("{}{cut}\n", json_lines(&events));
    (events, body)
}

fn is_plain(text: &str) -> bool {
    text.to_lowercase().contains("zyxanna")
}

fn filtered(function: &Function) -> u64 {
    let logs = function.logs();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["EventsFiltered"].as_u64()).sum()
}

async fn masked_user_data_is_nowhere_plain(kind: EngineKind) {
    let world = World::new(kind).await;
    let (events, body) = body();
    let settings = [("MASK_USER_DATA", "mask"), ("PRESERVE_ORIGINAL_EVENT", "true")];
    // What is parked goes to the queue whose messages the test can read.
    let parks = [settings[0], settings[1], ("RETRY_QUEUE_URL", world.queues.dead.as_str())];
    world.proxy.fail(Fault::Refuse).await;
    deliver(&world.function_with("webhook", 1, &parks), body.as_bytes()).await;
    world.proxy.heal().await;
    let messages = world.queues.dead_bodies().await;
    let parked: Vec<_> = messages.iter().flat_map(|message| parked::unpack(message).1).collect();
    assert_eq!(parked.len(), events.len() + 1);
    assert!(parked.iter().all(|event| !is_plain(&String::from_utf8_lossy(event))));

    for message in &messages {
        world.queues.park(message).await;
    }
    // One that was parked before masking was switched on.
    let older = json!({ "log_id": "900older", "data": { "type": "s", "user_name": "zyxanna" } });
    let header = json!({
        "version": 1,
        "input": "http_endpoint",
        "received_at": "2026-11-29T10:00:00Z",
        "count": 1,
    });
    world.queues.park(&parked::pack(&header, [older.to_string().as_bytes()])).await;
    world.queues.drain(&world.function_with("redrive", 1, &settings)).await;
    let webhook = world.function_with("webhook", 1, &settings);
    deliver(&webhook, body.as_bytes()).await;
    world.tenant.add(&events);
    poll(&world.function_with("poller", 1, &settings)).await.unwrap();

    let documents = world.stream.documents().await;
    assert_eq!(documents.len(), events.len() + 2, "each event once");
    assert!(documents.iter().all(|document| !is_plain(&document.to_string())), "{documents:?}");
    let broken = |hit: &&Value| hit["_source"]["event"]["kind"] == "pipeline_error";
    let broken: Vec<_> = documents.iter().filter(broken).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0]["_source"]["auth0"]["logs"]["data"]["log_id"], "900cut");
    let related = |hit: &Value| hit["_source"]["related"]["user"].to_string();
    assert!(documents.iter().all(|hit| !related(hit).contains('*')), "a mask is nobody");
    assert!(!is_plain(&webhook.logs()));
}

async fn hashed_user_data_joins_whatever_way_it_came(kind: EngineKind) {
    let world = World::new(kind).await;
    let (events, _) = body();
    let secret = create_secret(&world.secret_id("mask"), &json!({ "key": "a key" })).await;
    let settings = [("MASK_USER_DATA", "hash"), ("MASK_SECRET_ID", secret.as_str())];
    let (posted, polled) = events.split_at(6);
    let webhook = world.function_with("webhook", 1, &settings);
    deliver(&webhook, json_lines(posted).as_bytes()).await;
    world.tenant.add(polled);
    poll(&world.function_with("poller", 1, &settings)).await.unwrap();

    let documents = world.stream.documents().await;
    assert_eq!(documents.len(), events.len());
    assert!(documents.iter().all(|document| !is_plain(&document.to_string())), "{documents:?}");
    let mut names: Vec<_> = documents.iter().map(|hit| &hit["_source"]["user"]["name"]).collect();
    names.dedup();
    assert_eq!(names.len(), 1, "one user: {names:?}");
    assert!(names[0].as_str().unwrap().starts_with("hmac-sha256-"), "{names:?}");
}

async fn nothing_is_stored_or_parked_without_the_key_of_the_hashes(kind: EngineKind) {
    let world = World::new(kind).await;
    let (events, _) = body();
    let body = json_lines(&events);
    let secret = create_secret(&world.secret_id("mask"), &json!({})).await;
    let settings = [("MASK_USER_DATA", "hash"), ("MASK_SECRET_ID", secret.as_str())];
    let webhook = world.function_with("webhook", 1, &settings);
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    world.tenant.add(&events);
    let poller = world.function_with("poller", 1, &settings);
    let outcome = format!("{:?}", poll(&poller).await.unwrap_err());
    assert!(outcome.contains("MaskKeyUnavailable"), "{outcome}");
    assert_eq!(world.table.checkpoint().await, None);
    assert_eq!((world.stream.count().await, world.queues.parked().await), (0, 0));

    support::aws::rotate_secret(&secret, &json!({ "key": "a key" })).await;
    deliver(&webhook, body.as_bytes()).await;
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn unwanted_types_are_left_out_and_counted(kind: EngineKind) {
    let world = World::new(kind).await;
    let mut events = events().take(40);
    events[0]["data"]["type"] = json!("brand_new");
    let is_wanted =
        |event: &&Value| !["s", "fp", "fn"].contains(&event["data"]["type"].as_str().unwrap());
    let wanted: Vec<Value> = events.iter().filter(is_wanted).cloned().collect();
    let unwanted = events.len() - wanted.len();
    assert!(unwanted > 0);
    let settings = [
        (
            "INCLUDE_TYPES",
            "seacft, Login - Failure, Management API - Success, System - Notification",
        ),
        ("EXCLUDE_TYPES", "fp"),
    ];
    let body = format!("{}\"type\":\"s\" is not JSON\n", json_lines(&events));
    let webhook = world.function_with("webhook", 1, &settings);
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["received"], events.len() + 1, "{answer:?}");
    assert_eq!(answer.body["filtered"], unwanted, "{answer:?}");
    assert_eq!(answer.body["rejected"], 1, "a broken line is never left out");
    eventually("the metric is written", || async { filtered(&webhook) == unwanted as u64 }).await;

    world.tenant.add(&events);
    let poller = world.function_with("poller", 1, &settings);
    let outcome = poll(&poller).await.unwrap();
    assert_eq!(outcome["filtered"], unwanted, "{outcome}");
    assert_eq!(outcome["duplicates"], wanted.len(), "{outcome}");
    assert_eq!(world.table.checkpoint().await.as_ref(), log_ids(&events).last());
    let documents = world.stream.documents().await;
    assert_eq!(documents.len(), wanted.len() + 1);
}
