//! The custom resource: what it reports to CloudFormation and installs in the engine.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use reqwest::Method;
use serde_json::{Value, json};
use support::aws;
use support::engine::{DataStream, Engine};
use support::runtime::Function;
use support::server::{Port, Server};
use support::stack::{self, EngineKind, unique};

on_both_engines![
    create_and_update_install_every_exported_field,
    install_over_existing_stream_keeps_its_documents,
    delete_keeps_the_index_template,
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

/// The id of a resource with the properties in [`CloudFormation::request`].
const INSTALLED: &str = "auth0-log-streams-f70f8f874614e7aa9917e26d5969b050";

/// Enough for all retries of a call that fails at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// CloudFormation's side: a URL for the response, and the responses received there.
#[derive(Clone, Default)]
struct CloudFormation {
    answers: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    /// How many of the next responses are rejected.
    failures: Arc<Mutex<u32>>,
}

impl CloudFormation {
    fn request(kind: &str, server: &Server) -> Value {
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
        let request = Self::request(kind, &server);
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
    let requests = Requests::default();
    let seen = requests.clone();
    let handler = move |request: Request| {
        let seen = seen.clone();
        async move {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let (status, json) = answer(&method, &path);
            seen.lock().unwrap().push((method, path, body));
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
    let settings =
        [("SEARCH_ENDPOINT", engine.as_str()), ("DATA_STREAM_NAMESPACE", namespace.as_str())];

    let created = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    assert_eq!(created["Status"], "SUCCESS", "{created}");
    assert_eq!(created["PhysicalResourceId"], INSTALLED);
    let said = created["Reason"].as_str().unwrap();
    assert!(
        said.contains("is installed, details: fields, codec: best_compression; lifecycle: none")
            || said.contains("details: flat") && said.contains("data stream lifecycle: on"),
        "{said}"
    );
    let updated = CloudFormation::default().ask("Update", &settings, TIMEOUT).await;
    assert_eq!(updated["Status"], "SUCCESS", "{updated}");
    assert_eq!(updated["PhysicalResourceId"], INSTALLED);

    let template = stream.engine.call(Method::GET, "_index_template/logs-auth0.logs", None).await;
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
    other(499).await;
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
    let found = stream.engine.call(Method::GET, "_index_template/logs-auth0.logs", None).await;
    assert_eq!(found["index_templates"][0]["name"], "logs-auth0.logs", "{found}");
}

async fn template_of_higher_priority_is_named_as_the_reason(kind: EngineKind) {
    let namespace = unique("shadow");
    let stream = DataStream::new(Engine::new(kind), &namespace);
    let path = format!("_index_template/{namespace}");
    let shadow = json!({ "index_patterns": [stream.name], "data_stream": {}, "priority": 501 });
    stream.engine.call(Method::PUT, &path, Some(shadow)).await;
    let reason = reason(&kind.url(), &[("DATA_STREAM_NAMESPACE", &namespace)], TIMEOUT).await;
    stream.engine.call(Method::DELETE, &path, None).await;
    let expected = "another index template overrides logs-auth0.logs for logs-auth0.logs-shadow";
    assert!(reason.starts_with(expected), "{reason}");
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
                "/_index_template/logs-auth0.logs" => {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    *meta = body["template"]["mappings"]["_meta"].clone();
                    (200, json!({}))
                }
                "/logs-auth0.logs-default/_mapping" => {
                    let mut indices = json!({ ".ds-x-000001": { "mappings": {} } });
                    if *rollovers > 0 && happens {
                        indices[".ds-x-000002"] = json!({ "mappings": { "_meta": meta } });
                    }
                    (200, indices)
                }
                "/_data_stream/logs-auth0.logs-default" => {
                    (200, json!({ "data_streams": [{ "template": "logs-auth0.logs" }] }))
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
        "the engine's user may not write the index template: it lacks the privilege \
         indices:admin/index_template/put; the engine says: no permissions for [it]"
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

/// The minimal builds have neither ISM nor ILM, so a stand-in responds instead.
#[tokio::test]
async fn missing_policy_is_installed_and_existing_one_is_kept() {
    fn done(method: &str, path: &str) -> (u16, Value) {
        let simulated = json!({ "template": { "mappings": { "_meta": { "managed_by": "auth0-log-streams" } } } });
        match (method, path.rsplit('/').next()) {
            ("POST", _) if path.contains("_simulate_index") => (200, simulated),
            ("GET", Some("_mapping")) => (404, json!({ "status": 404 })),
            _ => (200, json!({ "acknowledged": true })),
        }
    }
    let (missing, requests) = stand_in(|method, path| match (method, path) {
        ("GET", "/") => (200, json!({ "version": { "number": "9.2.0" } })),
        ("GET", "/_ilm/policy/logs-auth0.logs") => (404, json!({})),
        _ => done(method, path),
    })
    .await;
    let settings = [("SEARCH_ENDPOINT", missing.url())];
    let answer = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    assert!(
        answer["Reason"].as_str().unwrap().ends_with("ILM policy logs-auth0.logs is installed")
    );
    let put = |path: &str| {
        let requests = requests.lock().unwrap();
        let found = requests.iter().find(|(method, p, _)| method == "PUT" && p == path);
        serde_json::from_slice::<Value>(&found.unwrap().2).unwrap()
    };
    let policy = put("/_ilm/policy/logs-auth0.logs");
    assert!(policy["policy"]["phases"]["hot"]["actions"]["rollover"].is_object(), "{policy}");
    assert!(policy["policy"]["phases"]["delete"].is_null(), "{policy}");
    let template = put("/_index_template/logs-auth0.logs");
    assert_eq!(template["template"]["settings"]["index"]["lifecycle"]["name"], "logs-auth0.logs");

    let (there, requests) = stand_in(|method, path| match (method, path) {
        ("GET", "/") => {
            (200, json!({ "version": { "number": "3.8.0", "distribution": "opensearch" } }))
        }
        _ => done(method, path),
    })
    .await;
    let settings = [("SEARCH_ENDPOINT", there.url())];
    let answer = CloudFormation::default().ask("Create", &settings, TIMEOUT).await;
    let said = answer["Reason"].as_str().unwrap();
    assert!(said.ends_with("ISM policy logs-auth0.logs already exists and is unchanged"), "{said}");
    let requests = requests.lock().unwrap();
    assert!(!requests.iter().any(|(method, path, _)| method == "PUT" && path.contains("_ism")));
}
