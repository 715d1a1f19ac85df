//! The custom resource: what it reports to CloudFormation and installs in the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use reqwest::Method;
use serde_json::{Value, json};
use support::aws;
use support::engine::{DataStream, Engine};
use support::events::{json_lines, log_ids};
use support::runtime::Function;
use support::server::{Port, Server};
use support::stack::{self, EngineKind, unique};

use crate::world::{World, deliver, events};

on_both_engines![
    create_and_update_install_every_exported_field,
    install_over_existing_stream_keeps_its_documents,
    delete_keeps_the_index_template,
    former_template_gives_way_and_may_come_back,
    elastics_integration_changes_no_document,
    operators_own_settings_apply_and_are_kept,
    template_of_higher_priority_is_named_as_the_reason,
];

/// Elastic's exported fields and their types.
#[rustfmt::skip]
const EXPORTED: &[(&str, &str)] = &[
    ("@timestamp", "date"),
    ("auth0.logs.data.audience", "keyword"),
    ("auth0.logs.data.classification", "keyword"),
    ("auth0.logs.data.client_id", "keyword"),
    ("auth0.logs.data.client_name", "keyword"),
    ("auth0.logs.data.connection", "keyword"),
    ("auth0.logs.data.connection_id", "keyword"),
    ("auth0.logs.data.date", "date"),
    ("auth0.logs.data.description", "text"),
    ("auth0.logs.data.details", "flattened"),
    ("auth0.logs.data.hostname", "keyword"),
    ("auth0.logs.data.ip", "ip"),
    ("auth0.logs.data.is_mobile", "boolean"),
    ("auth0.logs.data.location_info.city_name", "keyword"),
    ("auth0.logs.data.location_info.continent_code", "keyword"),
    ("auth0.logs.data.location_info.country_code", "keyword"),
    ("auth0.logs.data.location_info.country_code3", "keyword"),
    ("auth0.logs.data.location_info.country_name", "keyword"),
    ("auth0.logs.data.location_info.latitude", "keyword"),
    ("auth0.logs.data.location_info.longitude", "keyword"),
    ("auth0.logs.data.location_info.time_zone", "keyword"),
    ("auth0.logs.data.log_id", "keyword"),
    ("auth0.logs.data.login.completedAt", "date"),
    ("auth0.logs.data.login.elapsedTime", "long"),
    ("auth0.logs.data.login.initiatedAt", "date"),
    ("auth0.logs.data.login.stats.loginsCount", "long"),
    ("auth0.logs.data.scope", "keyword"),
    ("auth0.logs.data.strategy", "keyword"),
    ("auth0.logs.data.strategy_type", "keyword"),
    ("auth0.logs.data.tenant_name", "keyword"),
    ("auth0.logs.data.type", "keyword"),
    ("auth0.logs.data.type_id", "keyword"),
    ("auth0.logs.data.user_agent", "text"),
    ("auth0.logs.data.user_id", "keyword"),
    ("auth0.logs.data.user_name", "keyword"),
    ("auth0.logs.log_id", "keyword"),
    ("data_stream.dataset", "constant_keyword"),
    ("data_stream.namespace", "constant_keyword"),
    ("data_stream.type", "constant_keyword"),
    ("event.dataset", "constant_keyword"),
    ("event.module", "constant_keyword"),
    ("input.type", "keyword"),
];

/// The id of a resource with the properties in [`CloudFormation::request`], without a retention.
const INSTALLED: &str = "auth0-log-streams-f70f8f874614e7aa9917e26d5969b050";

/// Enough for all retries of a call that fails at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// CloudFormation's side: a URL for the response, and the responses received there.
#[derive(Clone, Default)]
struct CloudFormation {
    answers: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    /// How many of the next responses are rejected.
    failures: Arc<Mutex<u32>>,
    /// The property `RetentionDays`.
    retention: Option<&'static str>,
}

impl CloudFormation {
    fn keeping(days: &'static str) -> Self {
        Self { retention: Some(days), ..Self::default() }
    }

    fn request(&self, kind: &str, server: &Server) -> Value {
        let url = format!("{}/answer?X-Amz-Signature=secret", server.url());
        let mut request = json!({
            "RequestType": kind,
            "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:setup",
            "ResponseURL": url,
            "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/auth0/1",
            "RequestId": "request-1",
            "ResourceType": "Custom::Auth0IndexTemplate",
            "LogicalResourceId": "IndexTemplate",
            "ResourceProperties": { "Namespace": "default", "Endpoint": "https://search.example.com" },
        });
        if let Some(days) = self.retention {
            request["ResourceProperties"]["RetentionDays"] = json!(days);
        }
        if kind != "Create" {
            request["PhysicalResourceId"] = json!("the-id-of-old");
        }
        if kind == "RollBack" {
            request["RequestType"] = json!("Update");
            request["PhysicalResourceId"] = json!(INSTALLED);
            request["OldResourceProperties"] = json!({});
        }
        if kind == "Update" {
            request["OldResourceProperties"] = json!({});
        }
        request
    }

    async fn receive(State(this): State<Self>, request: Request) -> StatusCode {
        assert_eq!(request.method(), "PUT");
        if this.rejects() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 4_096).await.expect("CloudFormation's own limit");
        let answer = serde_json::from_slice(&body).expect("the answer is JSON");
        this.answers.lock().unwrap().push((head.headers, answer));
        StatusCode::OK
    }

    fn rejects(&self) -> bool {
        let mut failures = self.failures.lock().unwrap();
        let rejects = *failures > 0;
        *failures = failures.saturating_sub(1);
        rejects
    }

    /// Invokes a new process with these settings; returns its one response.
    async fn ask(&self, kind: &str, settings: &[(&'static str, &str)], timeout: Duration) -> Value {
        let variables = aws::variables().with(settings.iter().copied());
        let setup = Function::new(stack::binary("setup"), 1, variables);
        let router = Router::new().fallback(Self::receive).with_state(self.clone());
        let server = Server::start(router).await;
        let request = self.request(kind, &server);
        setup.invoke(request, timeout).await.unwrap_or_else(|e| panic!("{e}\n{}", setup.logs()));
        assert!(!setup.logs().contains("X-Amz-Signature"), "{}", setup.logs());
        let (headers, answer) = self.answers.lock().unwrap().pop().expect("a response");
        // The URL is signed for an empty content type.
        assert_eq!(headers["content-type"], "");
        for field in ["StackId", "RequestId", "LogicalResourceId"] {
            assert!(answer[field].is_string(), "{answer}");
        }
        answer
    }
}

/// Creates the resource with this engine and these further settings, which has to fail; returns the
/// reason.
async fn reason(endpoint: &str, settings: &[(&'static str, &str)], timeout: Duration) -> String {
    let mut all = vec![("SEARCH_ENDPOINT", endpoint)];
    all.extend(settings);
    let answer = CloudFormation::default().ask("Create", &all, timeout).await;
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    answer["Reason"].as_str().expect("a reason").to_owned()
}

/// An engine that responds with this function of method and path.
async fn stand_in(answer: fn(&str, &str) -> (u16, Value)) -> (Server, Requests) {
    stand_in_that_reads(move |method, uri, _| answer(method, uri.path())).await
}

/// The same with a function that also sees the body, or null if it is not JSON.
async fn stand_in_that_reads(
    answer: impl Fn(&str, &Uri, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Server, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let handler = move |request: Request| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let (method, uri) = (request.method().to_string(), request.uri().clone());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            let (status, json) = answer(&method, &uri, &json);
            seen.lock().unwrap().push((method, uri.path().to_owned(), body));
            (StatusCode::from_u16(status).unwrap(), axum::Json(json)).into_response()
        }
    };
    (Server::start(Router::new().fallback(handler)).await, requests)
}

type Requests = Arc<Mutex<Vec<(String, String, Bytes)>>>;

/// The type of a field in these mappings.
fn type_of<'a>(mappings: &'a Value, field: &str) -> &'a Value {
    let mut mapping = mappings;
    for part in field.split('.') {
        mapping = &mapping["properties"][part];
    }
    &mapping["type"]
}

async fn create_and_update_install_every_exported_field(kind: EngineKind) {
    let namespace = unique("e2e");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    let engine = kind.url();
    let settings = [
        ("SEARCH_ENDPOINT", engine.as_str()),
        ("DATA_STREAM_NAMESPACE", namespace.as_str()),
        ("DETAILS_INDEXING", "flat"),
    ];

    let created = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    assert_eq!(created["Status"], "SUCCESS", "{created}");
    assert_eq!(created["PhysicalResourceId"], INSTALLED);
    let said = created["Reason"].as_str().unwrap();
    assert!(
        said.contains(&format!("index template auth0-log-streams-{namespace} is installed"))
            && said.contains("is installed, details: flat, codec: best_compression")
            && (said.contains("; lifecycle: none") || said.contains("data stream lifecycle: on")),
        "{said}"
    );
    // This Elasticsearch is one of those whose own default it is.
    assert_eq!(said.contains(", mode: logsdb"), kind == EngineKind::Elasticsearch, "{said}");
    let updated = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
    assert_eq!(updated["Status"], "SUCCESS", "{updated}");
    assert_eq!(updated["PhysicalResourceId"], INSTALLED);

    let path = format!("_index_template/auth0-log-streams-{namespace}");
    let template = stream.engine.call(Method::GET, &path, None).await;
    let template = &template["index_templates"][0]["index_template"];
    let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
    let path = format!("{}/_doc?op_type=create", stream.name);
    stream.engine.call(Method::POST, &path, Some(document)).await;
    let indices = stream.engine.call(Method::GET, &format!("{}/_mapping", stream.name), None).await;
    let index = indices.as_object().unwrap().values().next().unwrap();
    for (field, wanted) in EXPORTED {
        let wanted = match *wanted {
            "flattened" if kind == EngineKind::OpenSearch => "flat_object",
            // Neither of these two builds has one that can be used; see `docs/fields.md`.
            "constant_keyword" => "keyword",
            wanted => wanted,
        };
        assert_eq!(type_of(&template["template"]["mappings"], field), wanted, "{field}");
        assert_eq!(type_of(&index["mappings"], field), wanted, "{field}");
    }
}

/// An upgrade: each update of a deployed stack, and each second stack, installs over a live stream.
async fn install_over_existing_stream_keeps_its_documents(kind: EngineKind) {
    let namespace = unique("e2e");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    let engine = kind.url();
    let settings =
        [("SEARCH_ENDPOINT", engine.as_str()), ("DATA_STREAM_NAMESPACE", namespace.as_str())];
    let update = async || CloudFormation::default().ask("Update", &settings, TIMEOUT).await;

    let other = async |priority: u32| {
        let template =
            json!({ "index_patterns": [stream.name], "data_stream": {}, "priority": priority });
        stream
            .engine
            .call(Method::PUT, &format!("_index_template/{namespace}"), Some(template))
            .await;
    };
    let create = async || {
        let path = format!("{}/_doc?op_type=create&refresh", stream.name);
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
        stream.engine.call(Method::POST, &path, Some(document)).await;
    };

    assert_eq!(update().await["Status"], "SUCCESS");
    // The stream was created from another template, as by an older release: its next backing index gets ours.
    other(501).await;
    create().await;
    other(498).await;
    let first = update().await;
    assert_eq!(first["Status"], "SUCCESS", "{first}");
    let rolled_over =
        format!("; {} is rolled over, because its write index had another template", stream.name);
    assert!(first["Reason"].as_str().unwrap().ends_with(&rolled_over), "{first}");
    create().await;
    let indices = async || {
        let path = format!("{}/_mapping", stream.name);
        let indices = stream.engine.call(Method::GET, &path, None).await;
        indices.as_object().unwrap().len()
    };
    assert_eq!(indices().await, 2);
    for _ in 0..2 {
        let again = update().await;
        assert_eq!(again["Status"], "SUCCESS", "{again}");
        assert!(!again["Reason"].as_str().unwrap().contains("rolled over"), "{again}");
    }
    assert_eq!(indices().await, 2, "one rollover is enough");
    assert_eq!(stream.count().await, 2);

    other(501).await;
    let shadowed = update().await;
    stream.engine.call(Method::DELETE, &format!("_data_stream/{}", stream.name), None).await;
    stream.engine.call(Method::DELETE, &format!("_index_template/{namespace}"), None).await;
    assert_eq!(shadowed["Status"], "FAILED", "{shadowed}");
    assert!(
        shadowed["Reason"].as_str().unwrap().starts_with("another index template"),
        "{shadowed}"
    );
}

async fn delete_keeps_the_index_template(kind: EngineKind) {
    let engine = kind.url();
    let settings = [("SEARCH_ENDPOINT", engine.as_str())];
    let created = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    assert_eq!(created["Status"], "SUCCESS", "{created}");
    // Even without any setting: a rollback must not hang on what failed before it.
    for settings in [&settings[..], &[]] {
        let deleted = CloudFormation::default().ask("Delete", settings, TIMEOUT).await;
        assert_eq!(deleted["Status"], "SUCCESS", "{deleted}");
        assert_eq!(deleted["PhysicalResourceId"], "the-id-of-old");
    }
    let stream = DataStream::new(Engine::new(kind), "unused");
    let path = "_index_template/auth0-log-streams-default";
    let found = stream.engine.call(Method::GET, path, None).await;
    assert_eq!(found["index_templates"][0]["name"], "auth0-log-streams-default", "{found}");
}

/// Held while a template has the name that earlier versions and Elastic's integration share.
static SHARED_NAME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const SHARED_TEMPLATE: &str = "_index_template/logs-auth0.logs";

async fn former_template_gives_way_and_may_come_back(kind: EngineKind) {
    let _guard = SHARED_NAME.lock().await;
    let namespace = unique("former");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    let engine = &stream.engine;
    // The earlier version's applies to all namespaces, but other tests run, too.
    let former = json!({
        "index_patterns": [stream.name], "priority": 500, "data_stream": {},
        "template": { "mappings": { "_meta": { "managed_by": "auth0-log-streams", "hash": "old" } } },
        "_meta": { "managed_by": "auth0-log-streams", "version": "0.1.0" },
    });
    let install_former = async || {
        let answer = engine.call(Method::PUT, SHARED_TEMPLATE, Some(former.clone())).await;
        assert_eq!(answer["acknowledged"], true, "{answer}");
    };
    let hash = async || {
        let mapping = engine
            .call(Method::GET, &format!("{}/_mapping", stream.write_index().await), None)
            .await;
        mapping.as_object().unwrap().values().next().unwrap()["mappings"]["_meta"]["hash"].clone()
    };
    // Another test's setup can lower the shared template between two requests.
    let roll_back = async || {
        for _ in 0..20 {
            if hash().await == "old" {
                return;
            }
            install_former().await;
            stream.rollover().await;
        }
        panic!("the earlier version's template does not apply");
    };
    install_former().await;
    let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
    let path = format!("{}/_doc?op_type=create&refresh", stream.name);
    engine.call(Method::POST, &path, Some(document)).await;
    roll_back().await;

    let url = kind.url();
    let settings =
        [("SEARCH_ENDPOINT", url.as_str()), ("DATA_STREAM_NAMESPACE", namespace.as_str())];
    for _ in 0..2 {
        let updated = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
        assert_eq!(updated["Status"], "SUCCESS", "{updated}");
        assert!(updated["Reason"].as_str().unwrap().contains("is rolled over"), "{updated}");
        let found = engine.call(Method::GET, SHARED_TEMPLATE, None).await;
        assert_eq!(found["index_templates"][0]["index_template"]["priority"], 498, "{found}");
        assert_ne!(hash().await, "old");
        // Rolled back to the earlier version, which installs its own again.
        roll_back().await;
    }
    assert_eq!(stream.count().await, 1);
    engine.call(Method::DELETE, &format!("_data_stream/{}", stream.name), None).await;
    engine.call(Method::DELETE, SHARED_TEMPLATE, None).await;
}

/// What Fleet does when Elastic's Auth0 integration is added: component templates, an index template of
/// priority 200 for all namespaces, and a default pipeline, also for the write index of a live stream
/// (`updateCurrentWriteIndices` in Fleet's `template.ts`).
async fn elastics_integration_changes_no_document(kind: EngineKind) {
    const PIPELINE: &str = "logs-auth0.logs-1.25.0";
    let _guard = SHARED_NAME.lock().await;
    let world = World::new(kind).await;
    let stream = &world.stream;
    let engine = &stream.engine;
    let webhook = world.webhook();
    let batch = events().take(20);
    let body = json_lines(&batch);

    let documents = async || -> BTreeMap<String, Value> {
        let mut documents = BTreeMap::new();
        for hit in stream.documents().await {
            let mut source = hit["_source"].clone();
            source["event"].as_object_mut().unwrap().remove("ingested");
            documents.insert(hit["_id"].as_str().unwrap().to_owned(), source);
        }
        documents
    };
    deliver(&webhook, body.as_bytes()).await;
    let before = documents().await;
    assert_eq!(before.len(), batch.len());
    let mapping = async || {
        let path = format!("{}/_mapping", stream.write_index().await);
        let mapping = engine.call(Method::GET, &path, None).await;
        mapping.as_object().unwrap().values().next().unwrap()["mappings"].clone()
    };
    let mapping_before = mapping().await;

    let put = async |path: &str, body: Value| {
        let answer = engine.call(Method::PUT, path, Some(body)).await;
        assert_eq!(answer["acknowledged"], true, "{path}: {answer}");
    };
    if kind == EngineKind::OpenSearch {
        let set = json!({ "set": { "field": "event.action", "value": "changed" } });
        put(&format!("_ingest/pipeline/{PIPELINE}"), json!({ "processors": [set] })).await;
    }
    // Elasticsearch's minimal distribution has no processors. There, the pipeline does not exist, so that
    // every document that is sent through it is refused.
    let package = json!({ "template": {
        "settings": { "index": { "default_pipeline": PIPELINE } },
        "mappings": { "properties": { "event": { "properties": { "id": { "type": "text" } } } } },
    } });
    put("_component_template/logs-auth0.logs@package", package).await;
    let theirs = json!({
        "index_patterns": ["logs-auth0.logs-*"], "priority": 200, "data_stream": {},
        "composed_of": ["logs-auth0.logs@package"],
        "_meta": { "managed_by": "fleet", "managed": true, "package": { "name": "auth0" } },
    });
    put(SHARED_TEMPLATE, theirs).await;
    let default = json!({ "index.default_pipeline": PIPELINE });
    put(&format!("{}/_settings", stream.write_index().await), default).await;

    let more = events().take(20);
    deliver(&webhook, json_lines(&more).as_bytes()).await;
    for id in batch.iter().map(|event| event["log_id"].as_str().unwrap()) {
        let path = format!("{}/_doc/{id}", stream.write_index().await);
        assert_eq!(engine.call(Method::DELETE, &path, None).await["result"], "deleted");
    }
    deliver(&webhook, body.as_bytes()).await;
    let mut after = documents().await;
    after.retain(|id, _| before.contains_key(id));
    assert_eq!(after, before);
    stream.assert_holds_exactly(&log_ids(&[batch, more].concat())).await;

    // Neither does it in the next backing index, nor after an upgrade of ours, which leaves theirs alone.
    let url = kind.url();
    let settings =
        [("SEARCH_ENDPOINT", url.as_str()), ("DATA_STREAM_NAMESPACE", world.table.name.as_str())];
    let updated = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
    assert_eq!(updated["Status"], "SUCCESS", "{updated}");
    let found = engine.call(Method::GET, SHARED_TEMPLATE, None).await;
    assert_eq!(found["index_templates"][0]["index_template"]["priority"], 200, "{found}");
    stream.rollover().await;
    assert_eq!(mapping().await, mapping_before);
    engine.call(Method::DELETE, SHARED_TEMPLATE, None).await;
    engine.call(Method::DELETE, "_component_template/logs-auth0.logs@package", None).await;
}

async fn operators_own_settings_apply_and_are_kept(kind: EngineKind) {
    const CUSTOM: &str = "_component_template/logs-auth0.logs@custom";
    let namespace = unique("custom");
    let stream = DataStream::create(kind, &namespace).await;
    // All streams of these tests share it, so it is harmless.
    let own = json!({ "template": { "settings": { "index": { "priority": "7" } } } });
    stream.engine.call(Method::PUT, CUSTOM, Some(own.clone())).await;
    let url = kind.url();
    let settings =
        [("SEARCH_ENDPOINT", url.as_str()), ("DATA_STREAM_NAMESPACE", namespace.as_str())];
    let updated = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
    assert_eq!(updated["Status"], "SUCCESS", "{updated}");
    stream.rollover().await;
    let index = stream.write_index().await;
    let found = stream.engine.call(Method::GET, &format!("{index}/_settings"), None).await;
    let found = &found[&index]["settings"]["index"];
    assert_eq!((&found["priority"], &found["codec"]), (&json!("7"), &json!("best_compression")));
    let found = stream.engine.call(Method::GET, CUSTOM, None).await;
    let found = &found["component_templates"][0]["component_template"]["template"];
    assert_eq!(found, &own["template"]);
}

async fn template_of_higher_priority_is_named_as_the_reason(kind: EngineKind) {
    let namespace = unique("shadow");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    let path = format!("_index_template/{namespace}");
    let shadow = json!({ "index_patterns": [stream.name], "data_stream": {}, "priority": 501 });
    stream.engine.call(Method::PUT, &path, Some(shadow)).await;
    let reason = reason(&kind.url(), &[("DATA_STREAM_NAMESPACE", &namespace)], TIMEOUT).await;
    stream.engine.call(Method::DELETE, &path, None).await;
    let expected = format!(
        "another index template overrides auth0-log-streams-{namespace} for {}: give it a priority \
         below 499",
        stream.name
    );
    assert!(reason.starts_with(&expected), "{reason}");
}

/// Happens after a write before the template exists. Elasticsearch's own template for `logs-*-*`
/// prevents it.
#[tokio::test]
async fn plain_index_in_place_of_the_data_stream_is_named() {
    let kind = EngineKind::OpenSearch;
    let namespace = unique("plain");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    // A template without `data_stream` allows an index of that name.
    let template = json!({ "index_patterns": [stream.name], "priority": 501 });
    let path = format!("_index_template/{namespace}");
    stream.engine.call(Method::PUT, &path, Some(template)).await;
    stream.engine.call(Method::PUT, &stream.name, None).await;
    stream.engine.call(Method::DELETE, &path, None).await;
    let reason = reason(&kind.url(), &[("DATA_STREAM_NAMESPACE", &namespace)], TIMEOUT).await;
    stream.engine.call(Method::DELETE, &stream.name, None).await;
    let expected = format!("{} is an index, not a data stream", stream.name);
    assert!(reason.starts_with(&expected), "{reason}");
}

/// CloudFormation asks for the former properties again after a failure, which may be the engine's.
#[tokio::test]
async fn rollback_needs_no_engine() {
    let settings = [("SEARCH_ENDPOINT", "http://127.0.0.1:1")];
    let failed = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
    assert_eq!(failed["Status"], "FAILED", "{failed}");
    assert_eq!(failed["PhysicalResourceId"], "the-id-of-old", "nothing was replaced");
    let back = CloudFormation::default().ask("RollBack", &settings, TIMEOUT).await;
    assert_eq!(back["Status"], "SUCCESS", "{back}");
    assert_eq!(back["PhysicalResourceId"], INSTALLED);
}

/// An engine that is starting answers through its proxy, and one response may get lost.
#[tokio::test]
async fn busy_engine_is_asked_again() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (engine, _) = stand_in(|method, path| match (method, path) {
        ("GET", "/") if ASKED.fetch_add(1, Ordering::Relaxed) == 0 => (503, json!("starting")),
        ("GET", "/") => (200, json!({ "version": { "number": "9.2.0" } })),
        _ => (400, json!({ "error": { "reason": "not today" } })),
    })
    .await;
    let reason = reason(engine.url(), &[], TIMEOUT).await;
    assert!(reason.ends_with("not today"), "{reason}");
    let (busy, _) = stand_in(|_, _| (503, json!("starting"))).await;
    let reason = self::reason(busy.url(), &[], TIMEOUT).await;
    assert!(reason.starts_with("the engine is overloaded or starting: 127.0.0.1:"), "{reason}");
}

/// Installs over a data stream whose write index has another template, into a stand-in whose response to the
/// rollover is `status`. Returns setup's reason, and how often it was asked to roll over.
async fn install_and_roll_over(status: u16, happens: bool) -> (String, u32) {
    let engine = Arc::new(Mutex::new((json!({}), 0)));
    let seen = engine.clone();
    let handler = move |request: Request| {
        let engine = engine.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let path = head.uri.path();
            let (meta, rollovers) = &mut *engine.lock().unwrap();
            let (status, answer) = match path {
                "/" => (200, json!({ "version": { "number": "9.2.0" } })),
                "/_index_template/logs-auth0.logs"
                | "/_index_template/auth0-log-streams-default"
                    if head.method == "GET" =>
                {
                    (404, json!({}))
                }
                "/_index_template/auth0-log-streams-default" => {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    *meta = body["template"]["mappings"]["_meta"].clone();
                    (200, json!({}))
                }
                "/_index_template/auth0-log-streams-alerts-default" => (200, json!({})),
                "/logs-auth0.logs-default/_mapping" => {
                    let mut indices = json!({ ".ds-x-000001": { "mappings": {} } });
                    if *rollovers > 0 && happens {
                        indices[".ds-x-000002"] = json!({ "mappings": { "_meta": meta } });
                    }
                    (200, indices)
                }
                "/_data_stream/logs-auth0.logs-default" => {
                    (200, json!({ "data_streams": [{ "template": "auth0-log-streams-default" }] }))
                }
                "/logs-auth0.logs-default/_rollover" => {
                    *rollovers += 1;
                    (status, json!({}))
                }
                // There is no ILM.
                _ => (400, json!({})),
            };
            (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response()
        }
    };
    let server = Server::start(Router::new().fallback(handler)).await;
    let settings = [("SEARCH_ENDPOINT", server.url())];
    let answer = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    let rollovers = seen.lock().unwrap().1;
    (answer["Reason"].as_str().unwrap().to_owned(), rollovers)
}

#[tokio::test]
async fn rollover_happens_once_even_if_its_response_is_lost() {
    let (said, rollovers) = install_and_roll_over(504, true).await;
    assert!(said.contains("logs-auth0.logs-default is rolled over"), "{said}");
    assert_eq!(rollovers, 1);
    let (said, rollovers) = install_and_roll_over(503, false).await;
    assert!(said.starts_with("the engine refused to roll the data stream over"), "{said}");
    assert_eq!(rollovers, 3);
}

#[tokio::test]
async fn rollover_that_is_forbidden_is_left_to_the_operator() {
    let (said, rollovers) = install_and_roll_over(403, false).await;
    let hint = "(the engine's user lacks the privilege manage): \
                POST logs-auth0.logs-default/_rollover creates one now";
    assert!(said.ends_with(hint), "{said}");
    assert_eq!(rollovers, 1);
}

#[tokio::test]
async fn setup_failure_is_answered_with_its_reason() {
    let nobody = reason("http://127.0.0.1:1", &[], TIMEOUT).await;
    assert!(nobody.contains("no response from 127.0.0.1:1: "), "{nobody}");
    assert!(nobody.contains(": Connection refused"), "{nobody}");
    assert!(nobody.contains("check SEARCH_ENDPOINT"), "{nobody}");

    let settings = reason("search.example.com", &[("SEARCH_SIGV4_SERVICE", "s3")], TIMEOUT).await;
    assert!(settings.starts_with("2 setting(s) cannot be used"), "{settings}");

    let secret = [("SEARCH_SECRET_ID", "no-such-secret")];
    let secret = reason("http://127.0.0.1:1", &secret, TIMEOUT).await;
    assert_eq!(secret, "the secret no-such-secret does not exist, or has no value yet");

    let (website, _) = stand_in(|_, _| (200, json!("hello"))).await;
    let website = reason(website.url(), &[], TIMEOUT).await;
    assert!(website.contains("neither OpenSearch nor Elasticsearch"), "{website}");

    let (refusing, _) = stand_in(|_, _| (401, json!({}))).await;
    let refused = reason(refusing.url(), &[], TIMEOUT).await;
    assert!(refused.contains("did not accept the credentials"), "{refused}");
}

#[tokio::test]
async fn outdated_engine_is_named_with_the_minimum_version() {
    fn root(version: &Value) -> (u16, Value) {
        (200, json!({ "version": version }))
    }
    let (old, requests) =
        stand_in(|_, _| root(&json!({ "number": "2.5.0", "distribution": "opensearch" }))).await;
    let reason_given = reason(old.url(), &[], TIMEOUT).await;
    assert_eq!(reason_given, "OpenSearch 2.5 is too old: 2.7 or later is required");
    assert!(requests.lock().unwrap().iter().all(|(method, ..)| method == "GET"));
    let (old, _) = stand_in(|_, _| root(&json!({ "number": "7.17.29" }))).await;
    let reason_given = reason(old.url(), &[], TIMEOUT).await;
    assert_eq!(reason_given, "Elasticsearch 7.17 is too old: 8.8 or later is required");
}

#[tokio::test]
async fn missing_privilege_is_named() {
    let (engine, _) = stand_in(|method, path| match (method, path) {
        ("GET", "/") => {
            (200, json!({ "version": { "number": "3.8.0", "distribution": "opensearch" } }))
        }
        ("GET", _) => (400, json!({ "error": "no handler found for uri" })),
        _ => (403, json!({ "error": { "reason": "no permissions for [it]" } })),
    })
    .await;
    let reason = reason(engine.url(), &[], TIMEOUT).await;
    assert_eq!(
        reason,
        "the engine's user may not create the component template for settings of your own: it lacks the \
         privilege cluster:admin/component_template/put; the engine says: no permissions for [it]"
    );
}

#[tokio::test]
async fn hanging_engine_is_reported_before_the_timeout() {
    let silent = Port::bind(0).await.unwrap();
    let reason = reason(silent.url(), &[], Duration::from_secs(4)).await;
    assert!(
        reason.contains("took too long") || reason.contains("deadline has elapsed"),
        "{reason}"
    );
}

#[tokio::test]
async fn cloudformation_response_is_sent_until_it_is_accepted() {
    let cloudformation = CloudFormation::default();
    *cloudformation.failures.lock().unwrap() = 2;
    let answer = cloudformation.ask("Delete", &[], TIMEOUT).await;
    assert_eq!(answer["Status"], "SUCCESS");
}

#[tokio::test]
async fn role_that_is_not_mapped_is_named() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/auth0-log-streams-SetupRole-1";
    // As AWS quotes it: https://repost.aws/knowledge-center/opensearch-fgac-errors
    let (domain, _) = stand_in(|_, _| {
        let reason = format!(
            "no permissions for [cluster:monitor/main] and User [name={ROLE}, backend_roles=[{ROLE}], \
             requestedTenant=null]"
        );
        (403, json!({ "error": { "type": "security_exception", "reason": reason }, "status": 403 }))
    })
    .await;
    let signed = [("SEARCH_SIGV4_SERVICE", "es")];
    let reason_given = reason(domain.url(), &signed, TIMEOUT).await;
    let expected = format!(
        "the engine's user may not read the engine's version: the backend role {ROLE} is not mapped to \
         an engine role with the privilege"
    );
    assert!(reason_given.starts_with(&expected), "{reason_given}");

    // In front of the domain, IAM and the domain's access policy refuse.
    let (domain, _) = stand_in(|_, _| {
        let message = format!("User: {ROLE} is not authorized to perform: es:ESHttpGet");
        (403, json!({ "Message": message }))
    })
    .await;
    let reason_given = reason(domain.url(), &signed, TIMEOUT).await;
    assert!(
        reason_given.contains(": IAM or the domain's access policy refuses it"),
        "{reason_given}"
    );
}

/// The answer of a new engine of 9.2 or of 3.8 to everything but a lifecycle policy.
fn new_engine(method: &str, path: &str, root: &Value) -> (u16, Value) {
    let ours = json!({ "mappings": { "_meta": { "managed_by": "auth0-log-streams" } } });
    match (method, path) {
        ("GET", "/") => (200, json!({ "version": root })),
        ("GET", "/logs-auth0.logs-default/_mapping" | "/_index_template/logs-auth0.logs") => {
            (404, json!({ "status": 404 }))
        }
        ("POST", _) if path.contains("_simulate_index") => (200, json!({ "template": ours })),
        _ => (200, json!({ "acknowledged": true })),
    }
}

/// The lifecycle policies of an engine by name, each with its version. The minimal builds have none.
#[derive(Clone)]
struct Policies {
    kind: EngineKind,
    stored: Arc<Mutex<BTreeMap<String, (u64, Value)>>>,
}

impl Policies {
    fn new(kind: EngineKind) -> Self {
        Self { kind, stored: Arc::default() }
    }

    /// ISM's and ILM's answers, after their documentation.
    fn answer(&self, method: &str, name: &str, query: &str, body: &Value) -> (u16, Value) {
        let mut stored = self.stored.lock().unwrap();
        if method == "PUT" {
            // ISM refuses to overwrite a policy without knowing its version, as documented.
            let knows_version = query.contains("if_seq_no=") && query.contains("if_primary_term=");
            if self.kind == EngineKind::OpenSearch && stored.contains_key(name) && !knows_version {
                return (409, json!({ "error": { "reason": "version conflict" } }));
            }
            let version = stored.get(name).map_or(1, |(version, _)| version + 1);
            stored.insert(name.to_owned(), (version, body["policy"].clone()));
            return (200, json!({ "acknowledged": true }));
        }
        let Some((version, policy)) = stored.get(name) else { return (404, json!({})) };
        (
            200,
            match self.kind {
                EngineKind::OpenSearch => json!({
                    "_id": name, "_version": version, "_seq_no": version, "_primary_term": 1, "policy": policy,
                }),
                EngineKind::Elasticsearch => {
                    json!({ name: { "version": version, "policy": policy } })
                }
            },
        )
    }

    async fn serve(&self) -> (Server, Requests) {
        let this = self.clone();
        stand_in_that_reads(move |method, uri, body| {
            let path = uri.path();
            let (prefix, root) = match this.kind {
                EngineKind::OpenSearch => (
                    "/_plugins/_ism/policies/",
                    json!({ "number": "3.8.0", "distribution": "opensearch" }),
                ),
                EngineKind::Elasticsearch => ("/_ilm/policy/", json!({ "number": "9.2.0" })),
            };
            match path.strip_prefix(prefix) {
                Some(name) => this.answer(method, name, uri.query().unwrap_or_default(), body),
                None => new_engine(method, path, &root),
            }
        })
        .await
    }

    fn get(&self, name: &str) -> Option<(u64, Value)> {
        self.stored.lock().unwrap().get(name).cloned()
    }

    /// Somebody saves the policy, perhaps unchanged.
    fn save(&self, name: &str) {
        self.stored.lock().unwrap().get_mut(name).unwrap().0 += 1;
    }
}

const POLICY: &str = "auth0-log-streams-default";

#[tokio::test]
async fn policy_follows_the_retention_until_somebody_changes_it() {
    for (kind, name) in [(EngineKind::OpenSearch, "ISM"), (EngineKind::Elasticsearch, "ILM")] {
        let policies = Policies::new(kind);
        let (server, _) = policies.serve().await;
        let settings = [("SEARCH_ENDPOINT", server.url())];
        let update = async |cloudformation: CloudFormation| {
            let answer = cloudformation.ask("Update", &settings, TIMEOUT).await;
            assert_eq!(answer["Status"], "SUCCESS", "{answer}");
            let said = answer["Reason"].as_str().unwrap();
            said.split_once(&format!("{name} policy {POLICY} ")).expect(said).1.to_owned()
        };
        assert_eq!(update(CloudFormation::default()).await, "is installed");
        assert!(!policies.get(POLICY).unwrap().1.to_string().contains("delete"));
        assert_eq!(update(CloudFormation::keeping("0")).await, "already exists and is unchanged");
        for version in [2, 3] {
            let days = if version == 2 { "7" } else { "90" };
            assert_eq!(update(CloudFormation::keeping(days)).await, "is updated");
            let (found, policy) = policies.get(POLICY).unwrap();
            assert_eq!(found, version);
            assert!(policy.to_string().contains(&format!("age\":\"{days}d\"")), "{policy}");
        }
        policies.save(POLICY);
        let kept = "is not as we made it, and is left unchanged";
        assert_eq!(update(CloudFormation::default()).await, kept);
        let kept = format!("{kept}, so RetentionDays does not apply");
        assert_eq!(update(CloudFormation::keeping("7")).await, kept);
        assert_eq!(policies.get(POLICY).unwrap().0, 4);
    }
}

/// Earlier versions told operators to add their retention to it.
#[tokio::test]
async fn former_policy_stays_in_use_if_somebody_has_changed_it() {
    let policies = Policies::new(EngineKind::Elasticsearch);
    let former = json!({ "phases": {}, "_meta": { "managed_by": "auth0-log-streams" } });
    policies.stored.lock().unwrap().insert("logs-auth0.logs".to_owned(), (2, former));
    let (server, requests) = policies.serve().await;
    let settings = [("SEARCH_ENDPOINT", server.url())];
    let install = async || {
        let answer = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
        let template = "/_index_template/auth0-log-streams-default";
        let requests = requests.lock().unwrap();
        let put = requests.iter().rfind(|(method, path, _)| method == "PUT" && path == template);
        let body: Value = serde_json::from_slice(&put.unwrap().2).unwrap();
        let policy = &body["template"]["settings"]["index"]["lifecycle"]["name"];
        (answer["Reason"].as_str().unwrap().to_owned(), policy.as_str().unwrap().to_owned())
    };
    let (said, policy) = install().await;
    assert!(said.contains("ILM policy logs-auth0.logs is not as we made it"), "{said}");
    assert_eq!((policy.as_str(), policies.get(POLICY)), ("logs-auth0.logs", None));
    // As we made it, it gives way.
    policies.stored.lock().unwrap().get_mut("logs-auth0.logs").unwrap().0 = 1;
    let (said, policy) = install().await;
    assert!(said.ends_with("ILM policy auth0-log-streams-default is installed"), "{said}");
    assert_eq!(policy, POLICY);
}

#[tokio::test]
async fn retention_that_is_no_number_is_named() {
    let answer = CloudFormation::keeping("30d").ask("Create", &[], TIMEOUT).await;
    let expected = "RetentionDays is \"30d\", but has to be a number of days, or 0 for never";
    assert_eq!(answer["Reason"], expected);
}

/// Elastic Cloud Serverless with these settings, and its words for others (Elasticsearch's
/// `PublicSettingsValidator` and `RestController`).
async fn serverless(known: &'static [&'static str]) -> (Server, Requests) {
    stand_in_that_reads(move |method, uri, body| {
        let path = uri.path();
        let gone = ["/_ilm", "/_nodes", "/_cluster", "/_plugins"];
        if gone.iter().any(|start| path.starts_with(start)) {
            let reason = format!(
                "Request for uri [{path}] with method [{method}] exists but is not available when \
                 running in serverless mode"
            );
            let kind = "api_not_available_exception";
            return (410, json!({ "error": { "type": kind, "reason": reason }, "status": 410 }));
        }
        let mut unknown = Vec::new();
        if let Some(index) = body["template"]["settings"]["index"].as_object() {
            for (name, value) in index {
                match value.as_object() {
                    Some(inner) => unknown.extend(inner.keys().map(|key| format!("{name}.{key}"))),
                    None => unknown.push(name.clone()),
                }
            }
        }
        unknown.retain(|name| !known.contains(&name.as_str()));
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown.iter().map(|name| format!("index.{name}")).collect();
            let reason = format!(
                "Settings [{}] are not available when running in serverless mode",
                unknown.join(",")
            );
            let error = json!({ "type": "illegal_argument_exception", "reason": reason });
            return (400, json!({ "error": error, "status": 400 }));
        }
        new_engine(method, path, &json!({ "number": "8.11.0", "build_flavor": "serverless" }))
    })
    .await
}

#[tokio::test]
async fn serverless_project_gets_what_it_knows() {
    // Those of `docs/reference/elasticsearch/index-settings/serverless.md` that a template may use.
    let (project, requests) =
        serverless(&["codec", "refresh_interval", "query.default_field"]).await;
    let settings = [("SEARCH_ENDPOINT", project.url())];
    let answer = CloudFormation::keeping("30").ask("Create", &settings, TIMEOUT).await;
    let said = "Elasticsearch Serverless: index template auth0-log-streams-default is installed, \
                details: flat, codec: best_compression; data stream lifecycle: on, in the template";
    assert_eq!(answer["Reason"], said);
    let template = |requests: &Requests| -> Value {
        let requests = requests.lock().unwrap();
        let put = requests.iter().rfind(|(method, ..)| method == "PUT").unwrap();
        serde_json::from_slice(&put.2).unwrap()
    };
    assert_eq!(template(&requests)["template"]["lifecycle"]["data_retention"], "30d");

    // A setting that it no longer knows is left out.
    let (project, requests) = serverless(&["refresh_interval"]).await;
    let settings = [("SEARCH_ENDPOINT", project.url())];
    let answer = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    let said = answer["Reason"].as_str().unwrap();
    let without = "(without index.codec, index.query.default_field, which this engine refuses)";
    assert!(said.contains(without), "{said}");
    assert_eq!(template(&requests)["template"]["settings"]["index"]["refresh_interval"], "5s");
}

/// A data stream lifecycle is part of the template, but a stream that exists keeps its own.
#[tokio::test]
async fn retention_of_an_existing_stream_is_changed_unless_somebody_else_has_done_so() {
    #[derive(Clone, Default)]
    struct Retentions {
        template: Value,
        stream: Value,
    }
    let retentions = Arc::new(Mutex::new(Retentions::default()));
    let state = retentions.clone();
    let (server, _) = stand_in_that_reads(move |method, uri, body| {
        let path = uri.path();
        let mut state = state.lock().unwrap();
        match (method, path) {
            ("PUT", "/_index_template/auth0-log-streams-default") => {
                state.template = body["template"]["lifecycle"].clone();
            }
            ("GET", "/_index_template/auth0-log-streams-default") => {
                let template = json!({ "template": { "lifecycle": state.template } });
                return (200, json!({ "index_templates": [{ "index_template": template }] }));
            }
            ("PUT", "/_data_stream/logs-auth0.logs-default/_lifecycle") => {
                state.stream = body.clone()
            }
            ("GET", "/_data_stream/logs-auth0.logs-default") => {
                return (200, json!({ "data_streams": [{ "lifecycle": state.stream }] }));
            }
            _ => {}
        }
        new_engine(method, path, &json!({ "number": "8.11.0", "build_flavor": "serverless" }))
    })
    .await;
    let settings = [("SEARCH_ENDPOINT", server.url())];
    for (days, kept) in [("30", json!("30d")), ("7", json!("7d")), ("0", Value::Null)] {
        let answer = CloudFormation::keeping(days).ask("Update", &settings, TIMEOUT).await;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        assert_eq!(retentions.lock().unwrap().stream["data_retention"], kept);
    }
    retentions.lock().unwrap().stream = json!({ "data_retention": "90d" });
    let answer = CloudFormation::keeping("30").ask("Update", &settings, TIMEOUT).await;
    assert_eq!(retentions.lock().unwrap().stream["data_retention"], "90d");
    let said = "; logs-auth0.logs-default keeps its retention, 90d: \
                PUT _data_stream/logs-auth0.logs-default/_lifecycle changes it";
    assert!(answer["Reason"].as_str().unwrap().ends_with(said), "{answer}");
}

/// A collection of OpenSearch Serverless that answers `_bulk` with `item`. It has no `/`, no data streams and
/// no ISM (<https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-genref.html>).
async fn collection(item: Value) -> Server {
    let (server, _) = stand_in_that_reads(move |method, uri, body| match (method, uri.path()) {
        (
            "PUT",
            "/_index_template/auth0-log-streams-default"
            | "/_index_template/auth0-log-streams-alerts-default",
        ) if body["data_stream"].is_null() && body["composed_of"].is_null() => {
            (200, json!({ "acknowledged": true }))
        }
        ("POST", "/logs-auth0.logs-default/_bulk") => {
            (200, json!({ "errors": true, "items": [{ "create": item }] }))
        }
        _ => (404, json!({ "error": { "type": "not_found" } })),
    })
    .await;
    server
}

#[tokio::test]
async fn collection_of_the_wrong_type_is_named() {
    let install = async |item: Value| {
        let collection = collection(item).await;
        let settings = [("SEARCH_ENDPOINT", collection.url()), ("SEARCH_SIGV4_SERVICE", "aoss")];
        let answer = CloudFormation::keeping("30").ask("Create", &settings, TIMEOUT).await;
        answer["Reason"].as_str().unwrap().to_owned()
    };
    let item = |status: u16, kind: &str, reason: &str| json!({ "status": status, "error": { "type": kind, "reason": reason } });
    let search = item(400, "mapper_parsing_exception", "failed to parse field [@timestamp]");
    let said = "OpenSearch Serverless: index template auth0-log-streams-default is installed, \
                details: fields; lifecycle: none, this engine has no such feature, so RetentionDays does not apply";
    assert_eq!(install(search).await, said);
    // https://github.com/opensearch-project/opensearch-py/issues/792
    let reason = "Document ID is not supported in create/index operation request";
    let said = install(item(400, "illegal_argument_exception", reason)).await;
    assert!(said.starts_with("the collection does not take documents with an id"), "{said}");
    let said = install(item(403, "security_exception", "not allowed")).await;
    assert!(
        said.contains("it lacks the privilege aoss:CreateIndex and aoss:WriteDocument"),
        "{said}"
    );
    let said = install(json!({ "status": 201 })).await;
    assert!(said.contains("already has another mapping than ours"), "{said}");
}
