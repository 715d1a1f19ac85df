//! The part of the Management API that sets a tenant up, as far as `auth0-setup.sh` calls it. A token of a client
//! that was created here has the permissions of its grant; any other token has every one.
//!
//! - [Log streams](https://auth0.com/docs/api/management/v2/log-streams/post-log-streams): the `type` decides on
//!   the members of `sink`; a new stream is `active`, others are `paused` or `suspended`. The sink of a stream to
//!   EventBridge cannot be changed, and gets `awsPartnerEventSource`.
//! - [Clients](https://auth0.com/docs/api/management/v2/clients/post-clients): the secret is made up by Auth0, and read with
//!   `read:client_keys` only. Lists come in pages of 50, or `per_page` up to 100, counted from 0.
//! - [Client grants](https://auth0.com/docs/api/management/v2/client-grants/post-client-grants): one for each
//!   client and audience.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{MOST_PER_PAGE, Shared, api_error, invalid_query};

/// The members of `sink` that a type of stream requires, of those that the project uses.
const SINKS: [(&str, &[&str]); 2] =
    [("http", &["httpEndpoint"]), ("eventbridge", &["awsAccountId", "awsRegion"])];

/// What was created.
#[derive(Debug, Default)]
pub(super) struct Resources {
    kinds: HashMap<&'static str, Vec<Value>>,
    created: usize,
}

impl Resources {
    /// Returns the permissions of the client whose id and secret are in a request for a token, if it has a grant.
    pub(super) fn granted(&self, request: &Value) -> Option<Vec<String>> {
        let find = |kind, members: &[&str]| {
            let same = |one: &&Value| members.iter().all(|member| one[member] == request[member]);
            self.kinds.get(kind)?.iter().find(same)
        };
        find("clients", &["client_id", "client_secret"])?;
        let grant = find("client-grants", &["client_id"])?;
        serde_json::from_value(grant["scope"].clone()).ok()
    }

    fn create(&mut self, kind: &'static str, mut new: Value) -> Result<Value, &'static str> {
        self.created += 1;
        let id = format!("{kind}-{}", self.created);
        match kind {
            "log-streams" => {
                let sink = SINKS.iter().find(|(name, _)| new["type"] == *name);
                let (name, required) = sink.ok_or("'type' is not supported")?;
                if required.iter().any(|member| !new["sink"][member].is_string()) {
                    return Err("'sink' lacks a member");
                }
                if *name == "eventbridge" {
                    let source = format!("aws.partner/auth0.com/stand-in-{id}/auth0.logs");
                    new["sink"]["awsPartnerEventSource"] = json!(source);
                }
                new["status"] = json!("active");
            }
            "clients" => {
                if !new["name"].is_string() {
                    return Err("'name' is missing");
                }
                new["client_secret"] = json!(format!("{:032x}", fastrand::u128(..)));
                new["client_id"] = json!(id);
            }
            _ => {
                if !new["client_id"].is_string() || !new["scope"].is_array() {
                    return Err("'client_id' or 'scope' is missing");
                }
            }
        }
        new["id"] = json!(id);
        self.kinds.entry(kind).or_default().push(new.clone());
        Ok(new)
    }

    fn change(&mut self, kind: &'static str, id: &str, changes: &Value) -> Option<Value> {
        let all = self.kinds.get_mut(kind)?;
        let found = all.iter_mut().find(|one| one["id"] == id)?;
        for (name, value) in changes.as_object()? {
            if name == "sink" && found["type"] == "eventbridge" {
                return None;
            }
            found[name] = value.clone();
        }
        Some(found.clone())
    }

    fn list(
        &self,
        kind: &'static str,
        query: &HashMap<String, String>,
    ) -> Result<Vec<Value>, &'static str> {
        let number =
            |name, default| query.get(name).map_or(Ok(default), |value| value.parse::<usize>());
        let (Ok(page), Ok(size @ 1..=MOST_PER_PAGE)) = (number("page", 0), number("per_page", 50))
        else {
            return Err("'page' or 'per_page' is not a number, or too large");
        };
        // Streams are few, and come all at once.
        let size = if kind == "log-streams" { usize::MAX } else { size };
        let filters = ["client_id", "audience"];
        let asked = |one: &&Value| {
            filters.iter().all(|name| query.get(*name).is_none_or(|value| one[name] == **value))
        };
        let all = self.kinds.get(kind).into_iter().flatten();
        Ok(all.filter(asked).skip(page.saturating_mul(size)).take(size).cloned().collect())
    }

    fn get(&self, kind: &'static str, id: &str) -> Option<Value> {
        self.kinds.get(kind)?.iter().find(|one| one["id"] == id).cloned()
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for kind in ["log-streams", "clients", "client-grants"] {
        let collection = move |method: Method,
                               State(shared): State<Arc<Shared>>,
                               Query(query): Query<HashMap<String, String>>,
                               headers: HeaderMap,
                               body: Bytes| async move {
            answer(&shared, &headers, &method, kind, None, &query, &body)
        };
        let one = move |method: Method,
                        State(shared): State<Arc<Shared>>,
                        Path(id): Path<String>,
                        headers: HeaderMap,
                        body: Bytes| async move {
            answer(&shared, &headers, &method, kind, Some(&id), &HashMap::new(), &body)
        };
        router = router
            .route(&format!("/api/v2/{kind}"), any(collection))
            .route(&format!("/api/v2/{kind}/{{id}}"), any(one));
    }
    router
}

fn answer(
    shared: &Shared,
    headers: &HeaderMap,
    method: &Method,
    kind: &'static str,
    id: Option<&str>,
    query: &HashMap<String, String>,
    body: &[u8],
) -> Response {
    let mut state = shared.lock();
    let verb = match method.as_str() {
        "GET" => "read",
        "POST" => "create",
        _ => "update",
    };
    if let Some(refusal) = state.refusal(headers, &format!("{verb}:{}", kind.replace('-', "_"))) {
        return refusal;
    }
    let shows_secrets = state.refusal(headers, "read:client_keys").is_none();
    let shown = |mut one: Value| {
        if let Some(members) = one.as_object_mut().filter(|_| !shows_secrets) {
            members.remove("client_secret");
        }
        one
    };
    let resources = &mut state.management;
    let body = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let invalid = |message: &str| {
        let message = format!("Payload validation error: {message}");
        api_error(StatusCode::BAD_REQUEST, &message, "invalid_body")
    };
    let one = |found: Option<Value>| match found {
        Some(found) => axum::Json(shown(found)).into_response(),
        None => api_error(StatusCode::NOT_FOUND, "It does not exist", "inexistent"),
    };
    match (method.as_str(), id) {
        ("GET", None) => match resources.list(kind, query) {
            Ok(found) => {
                axum::Json(found.into_iter().map(shown).collect::<Vec<_>>()).into_response()
            }
            Err(message) => invalid_query(message),
        },
        ("GET", Some(id)) => one(resources.get(kind, id)),
        ("POST", None) if body.is_object() => match resources.create(kind, body) {
            Ok(new) => (StatusCode::CREATED, axum::Json(new)).into_response(),
            Err(message) => invalid(message),
        },
        ("PATCH", Some(id)) if body.is_object() => one(resources.change(kind, id, &body)),
        _ => invalid("not supported"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::tenant::Tenant;

    #[tokio::test]
    async fn created_client_gets_a_token_once_it_has_a_grant() {
        let tenant = Tenant::start("client", "secret").await.unwrap();
        let http = reqwest::Client::new();
        let audience = format!("{}/api/v2/", tenant.url());
        let ask = |id: Value, secret: Value| {
            let body = json!({
                "grant_type": "client_credentials",
                "client_id": id,
                "client_secret": secret,
                "audience": audience,
            });
            http.post(format!("{}/oauth/token", tenant.url())).json(&body).send()
        };
        let first = ask(json!("client"), json!("secret")).await.unwrap();
        let token = first.json::<Value>().await.unwrap()["access_token"].clone();
        let create = async |path: &str, body: Value| {
            let post = http.post(format!("{audience}{path}")).bearer_auth(token.as_str().unwrap());
            post.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
        };
        let new = create("clients", json!({ "name": "poller" })).await;
        let credentials = || (new["client_id"].clone(), new["client_secret"].clone());
        let (id, secret) = credentials();
        assert_eq!(ask(id, secret).await.unwrap().status(), 401);
        let grant =
            json!({ "client_id": new["client_id"], "audience": audience, "scope": ["read:logs"] });
        create("client-grants", grant).await;
        let (id, secret) = credentials();
        let answer = ask(id, secret).await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(answer["scope"], "read:logs");
        let get = |path: &str| {
            let get = http.get(format!("{audience}{path}"));
            get.bearer_auth(answer["access_token"].as_str().unwrap()).send()
        };
        assert_eq!(get("logs?q=type:s").await.unwrap().status(), 200);
        assert_eq!(get("clients").await.unwrap().status(), 403);
    }
}
