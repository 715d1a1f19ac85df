//! A stand-in for an Auth0 tenant: the endpoints that the poller and the package's scripts call, with
//! the behavior that Auth0 documents, and faults on demand.
//!
//! - `POST /oauth/token`: client credentials as JSON for the audience `<url>/api/v2/`.
//! - `GET /api/v2/logs?from=&take=`: retrieval by checkpoint. Returns the events after `from` in the
//!   order of their log ids; `Link: rel="next"` starts at the last of them, or repeats `from` on an
//!   empty page; each response has `x-ratelimit-*`.
//! - `GET /api/v2/logs?q=type:<code>`: the latest events of a type.
//! - log streams, clients and client grants: see `management`.
//! - `POST /_stand-in/events`: adds events, a JSON array of them in either form. Auth0 has no such
//!   endpoint.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use shared::clock;

use crate::events::{Events, pulled};
use crate::server::{Port, Server};

mod management;

/// Auth0's limit for `take`.
const MOST_PER_PAGE: usize = 100;
/// The value of `x-ratelimit-limit`; the order of magnitude is the free plan's.
const RATE_LIMIT: u32 = 50;
/// A log id made from a time, which no event has, ends in this many zeros.
const INITIAL_ZEROS: usize = 39;

/// A wrong response to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 401, as for a token that was revoked.
    Unauthorized,
    /// 429 with `x-ratelimit-reset` this far away.
    RateLimited(Duration),
    /// This status with an error body.
    Status(u16),
    /// No response, ever; the connection stays open.
    Hang,
    /// A page of HTML with status 200, as from a proxy or during maintenance.
    Html,
    /// The right response, cut in the middle.
    HalfBody,
    /// The right response, this much later.
    Slow(Duration),
    /// `[]`, although there are events.
    EmptyPage,
    /// The right page without any log id; the link still leads on.
    NoIds,
    /// The right page without any log id and without a link.
    NoIdsNorLink,
    /// The right page with a link to the event before its last one.
    LinkBehind,
    /// The right page with a link to another host.
    LinkElsewhere,
    /// The right page, after which no request is allowed for this long.
    LastRequest(Duration),
    /// 400, as for a checkpoint that is older than the retention.
    ExpiredCheckpoint,
    /// A token that is valid for more seconds than a clock can count.
    EndlessToken,
}

/// The requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Access tokens issued; Auth0 bills them.
    pub tokens: usize,
    /// Requests for a page, whatever the response.
    pub requests: usize,
    /// Pages returned with at least one event.
    pub pages: usize,
    /// Each `from` that was asked for, in order.
    pub from: Vec<String>,
    /// Requests for a page that had no valid token.
    pub unauthorized: usize,
    /// Faults injected into requests for a page.
    pub page_faults: usize,
    /// Faults injected into requests for a token.
    pub token_faults: usize,
}

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Tenant {
    shared: Arc<Shared>,
    _server: Server,
}

#[derive(Debug)]
struct Shared {
    url: String,
    client_id: String,
    state: Mutex<Inner>,
}

#[derive(Debug)]
struct Token {
    expires: DateTime<Utc>,
    /// The permissions; without a list, every one.
    scope: Option<Vec<String>>,
}

#[derive(Debug, Default)]
struct Inner {
    client_secret: String,
    events: BTreeMap<String, Value>,
    /// Checkpoints before this one are older than the retention.
    oldest: String,
    tokens: HashMap<String, Token>,
    token_life: Option<TimeDelta>,
    page_faults: VecDeque<Fault>,
    token_faults: VecDeque<Fault>,
    counters: Counters,
    management: management::Resources,
}

impl Tenant {
    /// Starts on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(client_id: &str, client_secret: &str) -> std::io::Result<Self> {
        Self::start_on(0, client_id, client_secret).await
    }

    /// Starts on this port of the loopback interface.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start_on(
        port: u16,
        client_id: &str,
        client_secret: &str,
    ) -> std::io::Result<Self> {
        let port = Port::bind(port).await?;
        let state = Inner { client_secret: client_secret.to_owned(), ..Inner::default() };
        let shared = Arc::new(Shared {
            url: port.url().to_owned(),
            client_id: client_id.to_owned(),
            state: Mutex::new(state),
        });
        let router = Router::new()
            .route("/oauth/token", post(token))
            .route("/api/v2/logs", get(logs))
            .route("/_stand-in/events", post(add_events))
            .merge(management::routes())
            .with_state(Arc::clone(&shared));
        Ok(Self { shared, _server: port.serve(router) })
    }

    /// The base URL, for `AUTH0_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Adds events in either form; they are returned in the pulled form.
    pub fn add(&self, events: &[Value]) {
        self.shared.lock().add(events);
    }

    /// Adds the next `count` events, and returns them in the log stream's form.
    pub fn add_next(&self, source: &mut Events, count: usize) -> Vec<Value> {
        let events = source.take(count);
        self.add(&events);
        events
    }

    /// Injects these faults into the next requests for a page, one each.
    pub fn fail_pages(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().page_faults.extend(faults);
    }

    /// Injects these faults into the next requests for a token, one each.
    pub fn fail_tokens(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().token_faults.extend(faults);
    }

    /// Returns whether a fault has not been injected yet.
    #[must_use]
    pub fn has_faults_left(&self) -> bool {
        let state = self.shared.lock();
        !state.page_faults.is_empty() || !state.token_faults.is_empty()
    }

    /// Drops all faults that have not been injected yet.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        state.page_faults.clear();
        state.token_faults.clear();
    }

    /// Sets the lifetime of the tokens issued from now on; it is 24 hours before.
    pub fn token_life(&self, life: TimeDelta) {
        self.shared.lock().token_life = Some(life);
    }

    /// Accepts only this secret from now on, and no token issued before.
    pub fn rotate_client_secret(&self, client_secret: &str) {
        let mut state = self.shared.lock();
        client_secret.clone_into(&mut state.client_secret);
        state.tokens.clear();
    }

    /// Deletes the events before this log id, as at the end of the retention. A checkpoint among them
    /// is no longer accepted.
    pub fn forget_before(&self, log_id: &str) {
        let mut state = self.shared.lock();
        state.events = state.events.split_off(log_id);
        log_id.clone_into(&mut state.oldest);
    }

    /// The requests so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Inner {
    /// The response to a request without a valid token, or with one that lacks the permission.
    fn refusal(&mut self, headers: &HeaderMap, permission: &str) -> Option<Response> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.tokens.get(token));
        let message = match token {
            None => "Invalid token",
            Some(token) if token.expires <= clock::now() => "Expired token received",
            Some(token) => {
                let lacks = token
                    .scope
                    .as_ref()
                    .is_some_and(|all| !all.iter().any(|one| one == permission));
                let message = format!("Insufficient scope, expected any of: {permission}");
                return lacks
                    .then(|| api_error(StatusCode::FORBIDDEN, &message, "insufficient_scope"));
            }
        };
        self.counters.unauthorized += 1;
        Some(api_error(StatusCode::UNAUTHORIZED, message, "invalid_token"))
    }

    fn add(&mut self, events: &[Value]) {
        for event in events {
            let event = pulled(event);
            let id = event["log_id"].as_str().or_else(|| event["_id"].as_str());
            self.events.insert(id.expect("an event has a log id").to_owned(), event);
        }
    }
}

async fn token(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let fault = {
        let mut state = shared.lock();
        let fault = state.token_faults.pop_front();
        state.counters.token_faults += usize::from(fault.is_some());
        fault
    };
    let right = issue(&shared, &body, fault);
    spoil(fault, right, || json!({ "error": "access_denied" })).await
}

/// The right response to `POST /oauth/token`.
fn issue(shared: &Shared, body: &[u8], fault: Option<Fault>) -> Response {
    let refuse = |status: StatusCode, error: &str, description: &str| {
        let body = json!({ "error": error, "error_description": description });
        (status, axum::Json(body)).into_response()
    };
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request", "the body is not JSON");
    };
    if request["grant_type"] != "client_credentials" {
        return refuse(StatusCode::FORBIDDEN, "unauthorized_client", "grant type not allowed");
    }
    let mut state = shared.lock();
    let own =
        request["client_id"] == shared.client_id && request["client_secret"] == state.client_secret;
    let scope = if own { None } else { state.management.granted(&request) };
    if !own && scope.is_none() {
        return refuse(StatusCode::UNAUTHORIZED, "access_denied", "Unauthorized");
    }
    let audience = format!("{}/api/v2/", shared.url);
    if request["audience"] != audience {
        let description = format!("Service not found: {}", request["audience"]);
        return refuse(StatusCode::FORBIDDEN, "access_denied", &description);
    }
    state.counters.tokens += 1;
    let token = format!("stand-in.{}.{:016x}", state.counters.tokens, fastrand::u64(..));
    let life = state.token_life.unwrap_or(TimeDelta::hours(24));
    let permissions = scope.as_ref().map(|scope| scope.join(" "));
    state.tokens.insert(token.clone(), Token { expires: clock::now() + life, scope });
    let expires_in = match fault {
        Some(Fault::EndlessToken) => json!(u64::MAX),
        _ => json!(life.num_seconds()),
    };
    let answer = json!({
        "access_token": token,
        "scope": permissions.unwrap_or_else(|| "read:logs read:logs_users".to_owned()),
        "expires_in": expires_in,
        "token_type": "Bearer",
    });
    axum::Json(answer).into_response()
}

async fn logs(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let (fault, right) = {
        let mut state = shared.lock();
        state.counters.requests += 1;
        let from = query.get("from").cloned().unwrap_or_default();
        state.counters.from.push(from);
        let fault = state.page_faults.pop_front();
        state.counters.page_faults += usize::from(fault.is_some());
        (fault, page(&shared.url, &mut state, &query, &headers, fault))
    };
    spoil(
        fault,
        right,
        || json!({ "statusCode": 401, "error": "Unauthorized", "message": "Invalid token" }),
    )
    .await
}

/// The right response to `GET /api/v2/logs`.
fn page(
    url: &str,
    state: &mut Inner,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    fault: Option<Fault>,
) -> Response {
    if let Some(refusal) = state.refusal(headers, "read:logs") {
        return refusal;
    }
    if let Some(code) = query.get("q").and_then(|q| q.strip_prefix("type:")) {
        let latest: Vec<&Value> =
            state.events.values().rev().filter(|event| event["type"] == code).collect();
        return axum::Json(latest).into_response();
    }
    let Some(from) = query.get("from") else {
        // Without it, Auth0 searches; the stand-in does so by type only.
        return invalid_query("'from' is missing");
    };
    let take = query.get("take").map_or(Ok(50), |take| take.parse::<usize>());
    let Some(take) = take.ok().filter(|take| (1..=MOST_PER_PAGE).contains(take)) else {
        return invalid_query("'take' has to be a number from 1 to 100");
    };
    if !from.starts_with("900") || !from.bytes().all(|b| b.is_ascii_digit()) {
        return invalid_query("'from' is not a log id");
    }
    let made_from_a_time = from.ends_with(&"0".repeat(INITIAL_ZEROS));
    if !made_from_a_time && *from < state.oldest {
        return expired_checkpoint();
    }
    let found: Vec<(&String, &Value)> = if fault == Some(Fault::EmptyPage) {
        Vec::new()
    } else {
        let after = (std::ops::Bound::Excluded(from.clone()), std::ops::Bound::Unbounded);
        state.events.range(after).take(take).collect()
    };
    let passed = usize::from(fault == Some(Fault::LinkBehind));
    let next = found.iter().rev().nth(passed).map_or(from, |(id, _)| *id);
    let host = if fault == Some(Fault::LinkElsewhere) { "https://elsewhere.example" } else { url };
    let link = format!("<{host}/api/v2/logs?from={next}&take={take}>; rel=\"next\"");
    let mut events: Vec<Value> = found.iter().map(|(_, event)| (*event).clone()).collect();
    if matches!(fault, Some(Fault::NoIds | Fault::NoIdsNorLink)) {
        for event in events.iter_mut().filter_map(Value::as_object_mut) {
            event.retain(|name, _| !["log_id", "_id"].contains(&name.as_str()));
        }
    }
    let mut answer = axum::Json(events).into_response();
    if fault != Some(Fault::NoIdsNorLink) {
        answer.headers_mut().insert(header::LINK, link.parse().expect("a link is ASCII"));
    }
    if !found.is_empty() {
        state.counters.pages += 1;
    }
    match fault {
        Some(Fault::LastRequest(reset_in)) => with_rate_limit(answer, 0, reset_in),
        _ => with_rate_limit(answer, RATE_LIMIT - 1, Duration::from_secs(1)),
    }
}

/// An error of the Management API.
fn api_error(status: StatusCode, message: &str, code: &str) -> Response {
    let body = json!({
        "statusCode": status.as_u16(),
        "error": status.canonical_reason(),
        "message": message,
        "errorCode": code,
    });
    (status, axum::Json(body)).into_response()
}

fn invalid_query(message: &str) -> Response {
    let message = format!("Query validation error: {message}");
    api_error(StatusCode::BAD_REQUEST, &message, "invalid_query_string")
}

/// Auth0 documents the retention and the form of its errors, which name the parameter, but not this
/// message.
fn expired_checkpoint() -> Response {
    invalid_query("'Log id not found' on property from (Log Event Id to start retrieving logs)")
}

fn with_rate_limit(mut answer: Response, remaining: u32, reset_in: Duration) -> Response {
    // Whole seconds since the epoch, rounded up: the limit is over by then.
    let reset = (clock::now() + reset_in).timestamp_millis().div_euclid(1_000) + 1;
    let headers = answer.headers_mut();
    headers.insert("x-ratelimit-limit", RATE_LIMIT.into());
    headers.insert("x-ratelimit-remaining", remaining.into());
    headers.insert("x-ratelimit-reset", reset.into());
    answer
}

/// The response that the fault makes of the right one.
async fn spoil(
    fault: Option<Fault>,
    right: Response,
    unauthorized: impl FnOnce() -> Value,
) -> Response {
    match fault {
        None
        | Some(
            Fault::EmptyPage
            | Fault::NoIds
            | Fault::NoIdsNorLink
            | Fault::LinkBehind
            | Fault::LinkElsewhere
            | Fault::LastRequest(_)
            | Fault::EndlessToken,
        ) => right,
        Some(Fault::Unauthorized) => {
            (StatusCode::UNAUTHORIZED, axum::Json(unauthorized())).into_response()
        }
        Some(Fault::RateLimited(reset_in)) => {
            let message = "Global limit has been reached";
            let answer = api_error(StatusCode::TOO_MANY_REQUESTS, message, "too_many_requests");
            with_rate_limit(answer, 0, reset_in)
        }
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a test names a real status");
            api_error(status, "The server is in trouble", "server_error")
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => {
            let page = "<!DOCTYPE html><html><body>Down for maintenance</body></html>";
            ([(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Some(Fault::HalfBody) => half_of(right).await,
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            right
        }
        Some(Fault::ExpiredCheckpoint) => expired_checkpoint(),
    }
}

/// The same head, which announces the whole length, and half of the body.
async fn half_of(right: Response) -> Response {
    let (mut head, body) = right.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("the body is in memory");
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    // The pause lets the server flush the half before the error ends the connection.
    let cut = stream::once(async { Ok(half) }).chain(stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    }));
    Response::from_parts(head, Body::from_stream(cut))
}

async fn add_events(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Vec<Value>>(&body) {
        Ok(events) if events.iter().all(has_id) => {
            shared.lock().add(&events);
            (StatusCode::CREATED, axum::Json(json!({ "added": events.len() }))).into_response()
        }
        _ => invalid_query("the body has to be an array of events with log ids"),
    }
}

fn has_id(event: &Value) -> bool {
    [&event["data"]["log_id"], &event["log_id"], &event["_id"]].iter().any(|id| id.is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::log_ids;

    struct Client {
        tenant: Tenant,
        http: reqwest::Client,
    }

    impl Client {
        async fn new() -> Self {
            let tenant = Tenant::start("client", "secret").await.unwrap();
            Self { tenant, http: reqwest::Client::new() }
        }

        async fn token(&self, changes: Value) -> reqwest::Response {
            let mut request = json!({
                "grant_type": "client_credentials",
                "client_id": "client",
                "client_secret": "secret",
                "audience": format!("{}/api/v2/", self.tenant.url()),
            });
            request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let url = format!("{}/oauth/token", self.tenant.url());
            self.http.post(url).json(&request).send().await.unwrap()
        }

        async fn good_token(&self) -> String {
            let answer: Value = self.token(json!({})).await.json().await.unwrap();
            answer["access_token"].as_str().unwrap().to_owned()
        }

        async fn page(&self, token: &str, from: &str, take: u32) -> reqwest::Response {
            let url = format!("{}/api/v2/logs?from={from}&take={take}", self.tenant.url());
            self.http.get(url).bearer_auth(token).send().await.unwrap()
        }
    }

    fn ids(page: &Value) -> Vec<String> {
        log_ids(page.as_array().unwrap())
    }

    fn initial(time: DateTime<Utc>) -> String {
        format!("900{}{}", time.format("%Y%m%d%H%M%S"), "0".repeat(INITIAL_ZEROS))
    }

    #[tokio::test]
    async fn token_is_issued_to_the_right_client_and_audience_only() {
        let client = Client::new().await;
        assert_eq!(client.token(json!({})).await.status(), 200);
        assert_eq!(client.token(json!({ "client_secret": "guess" })).await.status(), 401);
        assert_eq!(client.token(json!({ "audience": "https://other/" })).await.status(), 403);
        assert_eq!(client.token(json!({ "grant_type": "password" })).await.status(), 403);
        assert_eq!(client.tenant.counters().tokens, 1);
    }

    #[tokio::test]
    async fn pages_continue_at_the_last_id_until_one_is_empty() {
        let client = Client::new().await;
        let start = Utc::now() - TimeDelta::hours(1);
        let events = Events::new(1, start).take(250);
        client.tenant.add(&events);
        let token = client.good_token().await;

        let mut seen = Vec::new();
        let mut from = initial(start);
        loop {
            let answer = client.page(&token, &from, 100).await;
            let link = answer.headers()["link"].to_str().unwrap().to_owned();
            assert_eq!(answer.headers()["x-ratelimit-limit"], "50");
            let page = ids(&answer.json().await.unwrap());
            let Some(last) = page.last() else {
                assert!(link.contains(&from), "an empty page repeats its own `from`");
                break;
            };
            assert!(link.contains(last) && link.ends_with("rel=\"next\""), "{link}");
            from.clone_from(last);
            seen.extend(page);
        }
        assert_eq!(seen, log_ids(&events));
        assert_eq!(client.tenant.counters().pages, 3);
    }

    #[tokio::test]
    async fn time_as_checkpoint_returns_later_events() {
        let client = Client::new().await;
        let start = Utc::now() - TimeDelta::hours(2);
        client.tenant.add(&Events::new(1, start).take(5));
        let later = Events::new(2, start + TimeDelta::hours(1)).take(5);
        client.tenant.add(&later);
        let token = client.good_token().await;
        let from = initial(start + TimeDelta::minutes(59));
        let page = client.page(&token, &from, 100).await.json().await.unwrap();
        assert_eq!(ids(&page), log_ids(&later));
    }

    #[tokio::test]
    async fn wrong_request_is_answered_with_an_api_error() {
        let client = Client::new().await;
        let token = client.good_token().await;
        let from = initial(Utc::now());
        assert_eq!(client.page("guess", &from, 100).await.status(), 401);
        assert_eq!(client.page(&token, &from, 101).await.status(), 400);
        let answer = client.page(&token, "nonsense", 100).await;
        assert_eq!(answer.status(), 400);
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["statusCode"], 400);
        assert_eq!(error["errorCode"], "invalid_query_string");
    }

    #[tokio::test]
    async fn expired_token_is_rejected() {
        let client = Client::new().await;
        client.tenant.token_life(TimeDelta::zero());
        let token = client.good_token().await;
        assert_eq!(client.page(&token, &initial(Utc::now()), 100).await.status(), 401);
        assert_eq!(client.tenant.counters().unauthorized, 1);
    }

    #[tokio::test]
    async fn expired_checkpoint_is_rejected_and_a_time_is_not() {
        let client = Client::new().await;
        let start = Utc::now() - TimeDelta::hours(1);
        let events = Events::new(1, start).take(10);
        client.tenant.add(&events);
        let kept = log_ids(&events).split_off(5);
        client.tenant.forget_before(&kept[0]);
        let token = client.good_token().await;
        let expired = log_ids(&events).remove(2);
        assert_eq!(client.page(&token, &expired, 100).await.status(), 400);
        let page = client.page(&token, &initial(start), 100).await.json().await.unwrap();
        assert_eq!(ids(&page), kept);
    }

    #[tokio::test]
    async fn faults_are_injected_once_each_and_in_order() {
        let client = Client::new().await;
        client.tenant.add(&Events::new(1, Utc::now()).take(3));
        let token = client.good_token().await;
        let from = initial(Utc::now() - TimeDelta::hours(1));
        client.tenant.fail_pages([
            Fault::Unauthorized,
            Fault::RateLimited(Duration::from_secs(2)),
            Fault::Status(502),
            Fault::ExpiredCheckpoint,
            Fault::EmptyPage,
            Fault::Html,
            Fault::HalfBody,
        ]);
        assert_eq!(client.page(&token, &from, 100).await.status(), 401);
        let limited = client.page(&token, &from, 100).await;
        assert_eq!(limited.status(), 429);
        let reset: i64 = limited.headers()["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
        // Other tests of this process move the clock forward.
        assert!(reset > Utc::now().timestamp(), "{reset}");
        assert_eq!(client.page(&token, &from, 100).await.status(), 502);
        assert_eq!(client.page(&token, &from, 100).await.status(), 400);
        assert_eq!(client.page(&token, &from, 100).await.json::<Value>().await.unwrap(), json!([]));
        let html = client.page(&token, &from, 100).await;
        assert_eq!(html.status(), 200);
        assert!(html.text().await.unwrap().starts_with("<!DOCTYPE"));
        let half = client.page(&token, &from, 100).await;
        assert_eq!(half.status(), 200);
        assert!(half.bytes().await.is_err(), "the connection was cut in the middle");
        assert!(!client.tenant.has_faults_left());
        let page = client.page(&token, &from, 100).await.json().await.unwrap();
        assert_eq!(ids(&page).len(), 3);
        assert_eq!(client.tenant.counters().page_faults, 7);
    }

    #[tokio::test]
    async fn events_are_added_over_http_in_both_forms() {
        let client = Client::new().await;
        let events = Events::new(1, Utc::now()).take(2);
        let url = format!("{}/_stand-in/events", client.tenant.url());
        let body = json!([events[0], pulled(&events[1])]);
        assert_eq!(client.http.post(&url).json(&body).send().await.unwrap().status(), 201);
        let broken = json!([{ "type": "s" }]);
        assert_eq!(client.http.post(&url).json(&broken).send().await.unwrap().status(), 400);
        let token = client.good_token().await;
        let from = initial(Utc::now() - TimeDelta::hours(1));
        let page = client.page(&token, &from, 100).await.json().await.unwrap();
        assert_eq!(ids(&page), log_ids(&events));
    }
}
