//! The webhook as a log stream sees it: formats, tokens, responses.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::engine::DataStream;
use support::events::{json_lines, log_ids};
use support::payload::{gateway_request, gzip, webhook_post};
use support::proxy::Fault;
use support::stack::{self, EngineKind};

use crate::world::{TIMEOUT, TOKEN, World, deliver, events, poll, post, send};

on_both_engines![
    body_formats_yield_the_same_documents,
    batch_posted_twice_and_polled_is_stored_once,
    wrong_token_is_rejected_and_nothing_is_written,
    source_outside_of_the_list_is_rejected_and_nothing_is_written,
    event_that_cannot_be_read_fails_alone,
    broken_lines_become_error_documents_and_harm_no_other,
    webhook_answers_503_when_engine_and_queue_are_down,
];

/// The documents without the fields that differ from one write to the next.
async fn comparable(stream: &DataStream) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    for hit in stream.documents().await {
        let mut document = hit["_source"].clone();
        let fields = document.as_object_mut().unwrap();
        fields.remove("agent");
        fields.remove("data_stream");
        fields.get_mut("event").unwrap().as_object_mut().unwrap().remove("ingested");
        documents.insert(hit["_id"].as_str().unwrap().to_owned(), document);
    }
    documents
}

async fn body_formats_yield_the_same_documents(kind: EngineKind) {
    let world = World::new(kind).await;
    let events = events().take(8);
    let lines = json_lines(&events).into_bytes();
    let array = json!(events).to_string().into_bytes();
    let objects = events.iter().map(|event| event.to_string().into_bytes());
    let forms = [vec![lines.clone()], vec![array], objects.collect(), vec![gzip(&lines)]];

    let mut seen = Vec::new();
    for bodies in forms {
        let namespace = stack::unique("e2e");
        let stream = DataStream::create(kind, &namespace).await;
        let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
        let webhook = world.function_with("webhook", 1, &changes);
        for body in bodies {
            let answer = send(&webhook, webhook_post(TOKEN, &body)).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        seen.push(comparable(&stream).await);
    }
    assert_eq!(seen[0].keys().cloned().collect::<Vec<_>>(), log_ids(&events));
    assert_eq!(seen[0], seen[1], "lines and array");
    assert_eq!(seen[0], seen[2], "lines and single objects");
    assert_eq!(seen[0], seen[3], "plain and compressed");
}

async fn batch_posted_twice_and_polled_is_stored_once(kind: EngineKind) {
    let world = World::new(kind).await;
    let events = events().take(120);
    let webhook = world.webhook();
    let body = json_lines(&events);
    deliver(&webhook, body.as_bytes()).await;
    let again = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(again.body["duplicates"], events.len(), "{again:?}");
    world.tenant.add(&events);
    poll(&world.poller()).await.unwrap();
    assert!(world.tenant.counters().pages >= 2, "the poller read no event");
    assert_eq!(world.queues.dead_letters().await, 0, "a duplicate is not a rejection");
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn wrong_token_is_rejected_and_nothing_is_written(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let body = json_lines(&events().take(3)).into_bytes();
    for headers in [
        vec![],
        vec![("authorization", "")],
        vec![("authorization", "Bearer guess")],
        vec![("authorization", "Bearer a-token-of-the-test")],
        vec![("authorization", "bearer a-token-of-the-tests")],
    ] {
        let request = gateway_request("POST", "/auth0/logs", &headers, &body);
        let answer = send(&webhook, request).await.unwrap();
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
    }
    assert_eq!(world.stream.count().await, 0);
    assert_eq!(world.queues.parked().await, 0);
    // The stream is empty because of the token, not because nothing works.
    deliver(&webhook, &body).await;
    assert_eq!(world.stream.count().await, 3);
    assert!(!webhook.logs().contains("a-token-of-the-tests"), "the logs show a token");
}

async fn source_outside_of_the_list_is_rejected_and_nothing_is_written(kind: EngineKind) {
    let world = World::new(kind).await;
    let body = json_lines(&events().take(3)).into_bytes();
    // The requests of these tests come from 192.0.2.1.
    let elsewhere = [("ALLOWED_SOURCE_CIDRS", "198.51.100.0/24,2001:db8::/32")];
    let webhook = world.function_with("webhook", 1, &elsewhere);
    let answer = send(&webhook, webhook_post(TOKEN, &body)).await.unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    let answer = send(&webhook, webhook_post("Bearer guess", &body)).await.unwrap();
    assert_eq!(answer.status, 401, "a guess learns nothing about the list: {answer:?}");
    assert_eq!(world.stream.count().await, 0);
    assert_eq!(world.queues.parked().await, 0);
    let webhook = world.function_with("webhook", 1, &[("ALLOWED_SOURCE_CIDRS", "192.0.2.0/30")]);
    deliver(&webhook, &body).await;
    assert_eq!(world.stream.count().await, 3);
}

async fn event_that_cannot_be_read_fails_alone(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let batch = events().take(3);
    let good = webhook_post(TOKEN, json_lines(&batch).as_bytes()).to_string();
    // No escape of JSON's, and a byte that is not UTF-8, in the path: another path.
    for (odd, status) in [(br"Beno\xEEt".as_slice(), 400), (b"Beno\xeet", 404)] {
        let (before, after) = good.split_once("/auth0/logs").unwrap();
        let broken = [before.as_bytes(), odd, after.as_bytes()].concat();
        let answer = webhook.invoke_bytes(broken.into(), TIMEOUT).await.unwrap();
        assert_eq!(answer["statusCode"], status, "{answer}\n{}", webhook.last_logs());
    }
    assert_eq!(world.stream.count().await, 0);
    deliver(&webhook, json_lines(&batch).as_bytes()).await;
    world.stream.assert_holds_exactly(&log_ids(&batch)).await;
    assert_eq!(webhook.starts(), 1, "{}", webhook.last_logs());
}

async fn broken_lines_become_error_documents_and_harm_no_other(kind: EngineKind) {
    let world = World::new(kind).await;
    let webhook = world.webhook();
    let events = events().take(6);
    let mut lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let half: String = lines[0].chars().take(lines[0].len() / 2).collect();
    lines.insert(2, half.clone());
    lines.insert(4, "not json at all".to_owned());
    lines.insert(5, "\"only a text\"".to_owned());
    let body = lines.join("\n");

    for _ in 0..2 {
        let answer = post(&webhook, body.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["received"], 9, "{answer:?}");
    }

    let documents = world.stream.documents().await;
    let (broken, good): (Vec<_>, Vec<_>) =
        documents.iter().partition(|hit| hit["_source"]["event"]["kind"] == "pipeline_error");
    let mut stored: Vec<_> = good.iter().map(|hit| hit["_id"].as_str().unwrap()).collect();
    stored.sort_unstable();
    assert_eq!(stored, log_ids(&events), "the unbroken ones");
    // The repeated batch did not add second copies of the broken lines either.
    let mut originals: Vec<_> =
        broken.iter().map(|hit| hit["_source"]["event"]["original"].as_str().unwrap()).collect();
    originals.sort_unstable();
    let mut expected = [half.as_str(), "not json at all", "\"only a text\""];
    expected.sort_unstable();
    assert_eq!(originals, expected);
    assert!(broken.iter().all(|hit| hit["_source"]["error"]["message"].is_string()));
}

async fn webhook_answers_503_when_engine_and_queue_are_down(kind: EngineKind) {
    let world = World::new(kind).await;
    let nowhere = [("RETRY_QUEUE_URL", "http://127.0.0.1:9/123456789012/nowhere")];
    let without_queue = [nowhere[0], ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")];
    let webhook = world.function_with("webhook", 1, &without_queue);
    let events = events().take(20);
    let body = json_lines(&events);

    world.proxy.fail(Fault::Refuse).await;
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers["retry-after"].is_string(), "{answer:?}");

    world.proxy.heal().await;
    let answer = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}
