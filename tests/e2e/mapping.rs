//! Every log type and every hostile event, mapped and indexed for real: neither engine refuses one, and
//! none is lost or harms the engine.

use std::collections::{BTreeMap, HashSet};

use auth0_ecs::input::{split, types};
use auth0_ecs::{Document, Input, Mapper, Piece};
use chrono::Utc;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Value, json};
use support::engine::{DataStream, push_create};
use support::hostile::cases;
use support::invariants::mapper_for;
use support::stack::{self, EngineKind};

on_both_engines!(
    sample_event_is_read_from_the_engine_as_it_was_written,
    log_type_is_found_by_code_with_its_details,
    hostile_event_is_neither_refused_nor_lost,
);

/// The order of members in arrays, numbers, names with dots: an engine may keep a document or put it together anew.
async fn sample_event_is_read_from_the_engine_as_it_was_written(engine: EngineKind) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/auth0");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let samples: Vec<_> = files.map(|file| std::fs::read(file).unwrap()).collect();
    for details in ["flat", "fields", "none"] {
        let stream = Stream::new(engine, details).await;
        let mut ids = HashSet::new();
        let events = samples.iter().flat_map(|sample| split::split(sample));
        let mapped: Vec<_> = events
            .map(|event| stream.map("sample", event))
            .filter(|mapped| ids.insert(mapped.document.id.clone()))
            .collect();
        assert!(mapped.len() > 30, "{} samples", mapped.len());
        stream.index(&mapped).await;
        let found = stream.found(&["*"]).await;
        assert_eq!(found.len(), mapped.len());
        for Mapped { document, bytes, .. } in &mapped {
            let written: Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(found[&document.id], written, "{details}");
        }
    }
}

/// Events per type, each with its own details.
const EVENTS_PER_TYPE: usize = 3;

async fn log_type_is_found_by_code_with_its_details(engine: EngineKind) {
    let stream = Stream::new(engine, "flat").await;
    let mut runner = TestRunner::deterministic();
    let details = details();
    let mut events = BTreeMap::new();
    let mut mapped = Vec::new();
    for log_type in &types::LOG_TYPES {
        for n in 0..EVENTS_PER_TYPE {
            let log_id = format!("90020260314-{}-{n}", log_type.code);
            let details = details.new_tree(&mut runner).unwrap().current();
            let event = json!({"log_id": log_id, "data": {
                "log_id": log_id, "type": log_type.code, "date": "2026-03-14T10:05:13.013Z",
                "description": log_type.name, "ip": "81.2.69.143", "details": details,
            }});
            mapped.push(stream.map(&log_id, event.to_string().as_bytes()));
            events.insert(log_id, (log_type, details));
        }
    }
    stream.index(&mapped).await;

    let found = stream.found(&["event", "auth0.logs.data"]).await;
    assert_eq!(found.len(), events.len());
    for (id, source) in &found {
        let (log_type, details) = &events[id];
        let data = &source["auth0"]["logs"]["data"];
        assert_eq!(data["type_id"], log_type.code);
        assert_eq!(data["type"], log_type.name);
        assert_eq!(source["event"]["category"], json!(log_type.category));
        assert_eq!(source["event"]["type"], json!(log_type.kind));
        assert_eq!(data.get("details").unwrap_or(&json!({})), details, "{id}");
    }
    let by_code = json!({"size": 0, "aggs": {"codes": {
        "terms": {"field": "auth0.logs.data.type_id", "size": 1_000},
    }}});
    let path = format!("{}/_search", stream.stream.name);
    let answer = stream.stream.engine.call(Method::POST, &path, Some(by_code)).await;
    let buckets = answer["aggregations"]["codes"]["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), types::LOG_TYPES.len());
    for bucket in buckets {
        assert!(types::find(bucket["key"].as_str().unwrap()).is_some());
        assert_eq!(bucket["doc_count"], EVENTS_PER_TYPE);
    }
}

async fn hostile_event_is_neither_refused_nor_lost(engine: EngineKind) {
    for details in ["flat", "fields", "none"] {
        neither_refuses_nor_loses_hostile_events(&Stream::new(engine, details).await).await;
    }
}

async fn neither_refuses_nor_loses_hostile_events(stream: &Stream) {
    let all = cases(1_500);
    let count = all.len();
    // A log id as a number and the same one as text are one event.
    let mut ids = HashSet::new();
    let (cases, mapped): (Vec<_>, Vec<_>) = all
        .into_iter()
        .map(|case| {
            let mapped = stream.map(&case.name, &case.raw);
            (case, mapped)
        })
        .filter(|(_, mapped)| ids.insert(mapped.document.id.clone()))
        .unzip();
    assert!(cases.len() + 1 >= count, "{} of {count} have an id of their own", cases.len());
    stream.index(&mapped).await;

    let found = stream.found(&["event.id", "event.kind", "auth0.logs.data.type_id"]).await;
    assert_eq!(found.len(), cases.len(), "each event once and nothing else");
    for (case, mapped) in cases.iter().zip(&mapped) {
        let source = &found.get(&mapped.document.id).unwrap_or_else(|| {
            panic!("{} is not found under {:?}", case.name, mapped.document.id);
        });
        assert_eq!(source["event"]["id"], mapped.document.id, "{}", case.name);
        if let Some(code) = &case.code {
            assert_eq!(source["auth0"]["logs"]["data"]["type_id"], *code, "{}", case.name);
        }
    }
    // What kills a node would kill it again during the recovery of the shard.
    let stream = &stream.stream;
    stream.engine.call(Method::POST, &format!("{}/_flush", stream.name), None).await;
    let path = format!("_cluster/health/{}", stream.name);
    let health = stream.engine.call(Method::GET, &path, None).await;
    assert!(health["status"] == "green" || health["status"] == "yellow", "{health}");
}

/// Details that both engines accept and return unchanged.
fn details() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Few digits: the engine rewrites numbers when only a part of a document is requested.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        "[^\u{0}]{1,40}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(8, 40, 4, |inner| {
        let members = prop::collection::btree_map("[a-zA-Z_. é]{1,12}", inner.clone(), 1..5);
        prop_oneof![
            prop::collection::vec(inner, 1..5).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-zA-Z_]{1,12}", value, 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// An event and its document.
struct Mapped {
    /// Names the event in a failure.
    name: String,
    document: Document,
    bytes: Vec<u8>,
}

/// A data stream with the product's index template, and a mapper for it.
struct Stream {
    stream: DataStream,
    mapper: Mapper,
}

impl Stream {
    async fn new(engine: EngineKind, details: &str) -> Self {
        let namespace = stack::unique("mapping");
        let stream = DataStream::create_with(engine, &namespace, details).await;
        Self { stream, mapper: mapper_for(&namespace) }
    }

    fn map(&self, name: &str, raw: &[u8]) -> Mapped {
        let mut bytes = Vec::new();
        let piece = Piece { raw, input: Input::HttpEndpoint, received: Utc::now() };
        let document = self.mapper.document(piece, &mut bytes);
        Mapped { name: name.to_owned(), document, bytes }
    }

    /// Indexes all of them.
    ///
    /// # Panics
    /// If some are refused, with each one's name and the engine's reason.
    async fn index(&self, mapped: &[Mapped]) {
        let mut refused = Vec::new();
        let mut body = Vec::new();
        let mut sent = Vec::new();
        for (index, item) in mapped.iter().enumerate() {
            push_create(&mut body, &item.document.id, &item.bytes);
            sent.push(item.name.as_str());
            if body.len() > 2_000_000 || index + 1 == mapped.len() {
                let items = self.stream.bulk(std::mem::take(&mut body)).await;
                assert_eq!(items.len(), sent.len());
                for (name, item) in sent.drain(..).zip(items) {
                    if item["create"]["status"] != 201 {
                        refused.push(format!("{name}: {}", item["create"]["error"]));
                    }
                }
            }
        }
        assert!(
            refused.is_empty(),
            "{} of {} refused:\n{}",
            refused.len(),
            mapped.len(),
            refused.join("\n")
        );
    }

    /// These fields of each document, by its `_id`.
    ///
    /// # Panics
    /// If two documents have the same `_id`.
    async fn found(&self, fields: &[&str]) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for hit in self.stream.documents_with(fields).await {
            let id = hit["_id"].as_str().unwrap().to_owned();
            assert!(found.insert(id, hit["_source"].clone()).is_none(), "duplicated: {hit}");
        }
        found
    }
}
