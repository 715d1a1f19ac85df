//! Every type and every hostile event, mapped and indexed for real: neither engine refuses one, and
//! none is lost or harms the engine.

use std::collections::BTreeMap;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::types;
use auth0_ecs::{Document, Input, Mapper, MapperSettings};
use chrono::Utc;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::engine::DataStream;
use support::stack::EngineKind;

use support::hostile::{cases, runner};

on_both_engines!(
    each_type_is_found_by_its_code_with_its_details,
    no_hostile_event_is_refused_or_lost,
);

/// Events of each type, each with details of its own.
const EVENTS_PER_TYPE: usize = 3;

async fn each_type_is_found_by_its_code_with_its_details(engine: EngineKind) {
    let stream = Stream::new(engine, "mapping_types").await;
    let mut runner = runner();
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
    let answer = stream.search(by_code).await;
    let buckets = answer["aggregations"]["codes"]["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), types::LOG_TYPES.len());
    for bucket in buckets {
        assert!(types::find(bucket["key"].as_str().unwrap()).is_some());
        assert_eq!(bucket["doc_count"], EVENTS_PER_TYPE);
    }
}

async fn no_hostile_event_is_refused_or_lost(engine: EngineKind) {
    let stream = Stream::new(engine, "mapping_hostile").await;
    let cases = cases(1_500);
    let mapped: Vec<Mapped> = cases.iter().map(|case| stream.map(&case.name, &case.raw)).collect();
    stream.index(&mapped).await;

    let found = stream.found(&["event.id", "event.kind", "auth0.logs.data.type_id"]).await;
    assert_eq!(found.len(), cases.len(), "each event once, and nothing else");
    for (case, mapped) in cases.iter().zip(&mapped) {
        let source = &found.get(&mapped.document.id).unwrap_or_else(|| {
            panic!("{} is not found under {:?}", case.name, mapped.document.id);
        });
        assert_eq!(source["event"]["id"], mapped.document.id, "{}", case.name);
        if let Some(code) = &case.code {
            assert_eq!(source["auth0"]["logs"]["data"]["type_id"], *code, "{}", case.name);
        }
    }
    // What kills a node does so again when the shard is recovered.
    let stream = &stream.stream;
    stream.call(Method::POST, &format!("{}/_flush", stream.name), None).await;
    let health = stream.call(Method::GET, &format!("_cluster/health/{}", stream.name), None).await;
    assert!(health["status"] == "green" || health["status"] == "yellow", "{health}");
}

/// Details that every engine takes as they are.
fn details() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Few digits: the engine writes numbers anew where only a part of a document is asked for.
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

/// An event's document, as it goes into the bulk body.
struct Mapped {
    /// What a failure is reported by.
    name: String,
    document: Document,
    bytes: Vec<u8>,
}

/// A data stream under the product's own template, and a mapper for it.
struct Stream {
    stream: DataStream,
    mapper: Mapper,
    client: Client,
}

impl Stream {
    async fn new(engine: EngineKind, name: &str) -> Self {
        // A stack that is up may have the documents of an earlier run.
        let namespace = &format!("{name}_{}", Utc::now().timestamp_millis());
        let stream = DataStream::new(engine, namespace);
        stream.install_template().await;
        let settings = MapperSettings {
            namespace,
            tags: &[],
            preserve_original_event: false,
            agent_name: "webhook",
            ephemeral_id: "e2e",
        };
        let geoip = GeoIp::open(None, None).expect("no file is opened");
        Self { stream, mapper: Mapper::new(&settings, geoip), client: Client::new() }
    }

    fn map(&self, name: &str, raw: &[u8]) -> Mapped {
        let mut bytes = Vec::new();
        let document = self.mapper.document(raw, Input::HttpEndpoint, Utc::now(), &mut bytes);
        Mapped { name: name.to_owned(), document, bytes }
    }

    /// Indexes all of them.
    ///
    /// # Panics
    /// Where one is refused; names each with the engine's reason.
    async fn index(&self, mapped: &[Mapped]) {
        let mut refused = Vec::new();
        let mut body = Vec::new();
        let mut sent = Vec::new();
        for (index, item) in mapped.iter().enumerate() {
            let action = json!({"create": {"_id": item.document.id}});
            body.extend_from_slice(format!("{action}\n").as_bytes());
            body.extend_from_slice(&item.bytes);
            body.push(b'\n');
            sent.push(item.name.as_str());
            if body.len() > 2_000_000 || index + 1 == mapped.len() {
                let answer = self.bulk(std::mem::take(&mut body)).await;
                let items = answer["items"].as_array();
                let items = items.unwrap_or_else(|| panic!("{answer} for {sent:#?}"));
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

    async fn bulk(&self, body: Vec<u8>) -> Value {
        let url = format!("{}/{}/_bulk", self.stream.engine, self.stream.name);
        let request = self.client.post(url).header("content-type", "application/x-ndjson");
        let answer = request.body(body).send().await.expect("the engine answers");
        answer.json().await.expect("the engine answers in JSON")
    }

    async fn search(&self, search: Value) -> Value {
        let path = format!("{}/_search", self.stream.name);
        self.stream.call(Method::POST, &path, Some(search)).await
    }

    /// These fields of each document, by its `_id`.
    ///
    /// # Panics
    /// Where an `_id` is there twice.
    async fn found(&self, fields: &[&str]) -> BTreeMap<String, Value> {
        self.stream.call(Method::POST, &format!("{}/_refresh", self.stream.name), None).await;
        let mut found = BTreeMap::new();
        let mut search = json!({"size": 5_000, "_source": fields, "sort": ["event.id"]});
        loop {
            let answer = self.search(search.clone()).await;
            let hits = answer["hits"]["hits"].as_array();
            let hits = hits.unwrap_or_else(|| panic!("a search failed: {answer}"));
            let Some(last) = hits.last() else { return found };
            search["search_after"] = last["sort"].clone();
            for hit in hits {
                let id = hit["_id"].as_str().unwrap().to_owned();
                assert!(found.insert(id, hit["_source"].clone()).is_none(), "{hit} is there twice");
            }
        }
    }
}
