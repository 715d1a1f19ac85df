//! What a log stream sees: formats, tokens, answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::engine::DataStream;
use support::events::{json_lines, log_ids};
use support::proxy::Fault;
use support::runtime::{gateway_request, gzip};
use support::stack::EngineKind;

use crate::world::{TOKEN, World, deliver, events, poll, post, send};

on_both_engines![
    all_formats_give_the_same_documents,
    a_batch_posted_twice_and_polled_then_is_there_once,
    a_wrong_token_is_refused_and_nothing_is_written,
    broken_lines_harm_no_others_and_are_kept,
    the_engine_away_and_the_queue_too_is_a_503_and_a_repeat_stores_all,
];

/// The documents without what is different from writing to writing.
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

async fn all_formats_give_the_same_documents(kind: EngineKind) {
    let world = World::new(kind).await;
    let events = events().take(8);
    let lines = json_lines(&events).into_bytes();
    let array = json!(events).to_string().into_bytes();
    let objects = events.iter().map(|event| event.to_string().into_bytes());
    let forms = [vec![lines.clone()], vec![array], objects.collect(), vec![gzip(&lines)]];

    let mut seen = Vec::new();
    for bodies in forms {
        let namespace = format!("e2e{:012x}", fastrand::u64(..1 << 48));
        let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
        let webhook = world.function_with("webhook", 1, &changes);
        for body in bodies {
            // Auth0 does not compress; what stands between may, and the gateway makes base64 of it.
            let mut headers = vec![("authorization", TOKEN)];
            if body.starts_with(&[0x1f, 0x8b]) {
                headers.push(("content-encoding", "gzip"));
            }
            let request = gateway_request("POST", "/auth0/logs", &headers, &body);
            let answer = send(&webhook, &request).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        seen.push(comparable(&DataStream::new(kind, &namespace)).await);
    }
    assert_eq!(seen[0].keys().cloned().collect::<Vec<_>>(), log_ids(&events));
    assert_eq!(seen[0], seen[1], "lines and array");
    assert_eq!(seen[0], seen[2], "lines and single objects");
    assert_eq!(seen[0], seen[3], "plain and compressed");
}

async fn a_batch_posted_twice_and_polled_then_is_there_once(kind: EngineKind) {
    let world = World::new(kind).await;
    let events = events().take(120);
    let webhook = world.webhook();
    let body = json_lines(&events);
    deliver(&webhook, body.as_bytes()).await;
    let again = post(&webhook, body.as_bytes()).await.unwrap();
    assert_eq!(again.body["duplicates"], events.len(), "{again:?}");
    world.tenant.add(&events);
    poll(&world.poller()).await.unwrap();
    assert!(world.tenant.counters().pages >= 2, "the poller has seen the events too");
    assert_eq!(world.queues.dead_letters().await, 0, "what is there already is no refusal");
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

async fn a_wrong_token_is_refused_and_nothing_is_written(kind: EngineKind) {
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
        let answer = send(&webhook, &request).await.unwrap();
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
    }
    assert_eq!(world.stream.count().await, 0);
    assert_eq!(world.queues.parked().await, 0);
    // The stream is empty because of the token, not because nothing works.
    deliver(&webhook, &body).await;
    assert_eq!(world.stream.count().await, 3);
    assert!(!webhook.logs().contains("a-token-of-the-tests"), "tokens stay out of the logs");
}

async fn broken_lines_harm_no_others_and_are_kept(kind: EngineKind) {
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
    assert_eq!(stored, log_ids(&events), "the good ones");
    // A repeated batch brings no second copy of a broken line either.
    let mut originals: Vec<_> =
        broken.iter().map(|hit| hit["_source"]["event"]["original"].as_str().unwrap()).collect();
    originals.sort_unstable();
    let mut expected = [half.as_str(), "not json at all", "\"only a text\""];
    expected.sort_unstable();
    assert_eq!(originals, expected);
    assert!(broken.iter().all(|hit| hit["_source"]["error"]["message"].is_string()));
}

async fn the_engine_away_and_the_queue_too_is_a_503_and_a_repeat_stores_all(kind: EngineKind) {
    let world = World::new(kind).await;
    let nowhere = [("RETRY_QUEUE_URL", "http://127.0.0.1:9/123456789012/nowhere")];
    let sqs_away = [nowhere[0], ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")];
    let webhook = world.function_with("webhook", 1, &sqs_away);
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
