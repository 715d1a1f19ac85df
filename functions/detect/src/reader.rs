//! Requests to the engine: searches of both data streams, and writing alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use auth0_ecs::index_template::{alerts_stream, data_stream};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::delivery::bulk::{BulkResponseError, parse_response};
use shared::delivery::rollover::generation;
use shared::delivery::verdict::{self, Verdict};
use shared::engine::client::{Engine, EngineError, EngineResponse, Method, Payload};
use shared::retry::Deadline;

use crate::alert::Alert;
use crate::rules::Layout;
use crate::search;

/// Upper bound for one request.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Where a mapping says how details are indexed.
const DETAILS: &str = "auth0.properties.logs.properties.data.properties.details.type";
const OTHERS: &str = "auth0.properties.logs.properties.details_other.type";

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No other request will succeed now, either.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine, or a proxy in front of it, is overloaded or starting.
    #[error("the engine is busy: {0}")]
    Busy(String),
    /// A missing privilege, or a search that this engine does not know.
    #[error("the engine refused to {0}: {1}")]
    Refused(&'static str, String),
    /// A response that looks complete, and is not.
    #[error("the response is incomplete: {0}")]
    Incomplete(String),
    #[error(transparent)]
    Written(#[from] BulkResponseError),
}

/// The two data streams of a namespace.
#[derive(Debug)]
pub(crate) struct Reader {
    engine: Engine,
    logs: String,
    alerts: String,
    deadline: Deadline,
}

impl Reader {
    pub(crate) fn new(engine: Engine, namespace: &str, deadline: Deadline) -> Self {
        Self { engine, logs: data_stream(namespace), alerts: alerts_stream(namespace), deadline }
    }

    /// Returns how the write index has indexed details. `None` without a data stream, which has no events.
    pub(crate) async fn layout(&self) -> Result<Option<Layout>, ReadError> {
        let filter = [DETAILS, OTHERS, "@timestamp.type"]
            .map(|path| format!("*.mappings.properties.{path}"));
        let path = format!("{}/_mapping?filter_path={}", self.logs, filter.join(","));
        let response = self.send(Method::Get, &path, Payload::None).await?;
        if response.status == 404 {
            return Ok(None);
        }
        let indices: BTreeMap<String, Value> = parse("read the mapping", &response)?;
        let newest = indices.iter().max_by_key(|(name, _)| generation(name));
        let kind = |path: &str| {
            let pointer = format!("/mappings/properties/{}", path.replace('.', "/"));
            newest?.1.pointer(&pointer)?.as_str()
        };
        Ok(match (kind(OTHERS), kind(DETAILS)) {
            (Some("flattened"), _) => Some(Layout::ElasticsearchFields),
            (Some(_), _) => Some(Layout::OpenSearchFields),
            (None, Some("flattened")) => Some(Layout::ElasticsearchFlat),
            // Also if details are not indexed: rules that need them find nothing.
            _ => Some(Layout::OpenSearchFlat),
        })
    }

    /// Searches the logs.
    pub(crate) async fn search(&self, body: &Value) -> Result<Value, ReadError> {
        self.search_in(&self.logs, body).await
    }

    /// Returns the alerts of a rule that end at `since` or later: the start of each, with its group.
    pub(crate) async fn known(
        &self,
        rule: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<(String, DateTime<Utc>)>, ReadError> {
        let response = self.search_in(&self.alerts, &search::alerts(rule, since)).await?;
        let hits = response.pointer("/hits/hits").and_then(Value::as_array);
        let known = hits.into_iter().flatten().filter_map(|hit| {
            let group = hit.pointer("/_source/auth0/alerts/group")?.as_str()?.to_owned();
            Some((group, hit.pointer("/_source/event/start")?.as_str()?.parse().ok()?))
        });
        Ok(known.collect())
    }

    /// Returns those of these alerts that exist.
    pub(crate) async fn alerts(&self, ids: &[String]) -> Result<Vec<Alert>, ReadError> {
        let body = json!({"size": search::MOST_HITS, "query": {"ids": {"values": ids}}});
        let mut response = self.search_in(&self.alerts, &body).await?;
        let hits = response.pointer_mut("/hits/hits").map(Value::take).unwrap_or_default();
        let found = hits.as_array().into_iter().flatten().filter_map(|hit| {
            let id = hit.get("_id")?.as_str()?.to_owned();
            Some(Alert { id, document: hit.get("_source")?.clone() })
        });
        Ok(found.collect())
    }

    async fn search_in(&self, stream: &str, body: &Value) -> Result<Value, ReadError> {
        // Without `ignore_unavailable`: Elasticsearch answers it with no hits if the privilege is missing.
        let path = format!("{stream}/_search");
        let payload = Payload::Json(body.to_string().into());
        let response = self.send(Method::Post, &path, payload).await?;
        if response.status == 404 && stream == self.alerts {
            // The first alert creates it.
            return Ok(Value::Null);
        }
        let found: Value = parse("search", &response)?;
        let failed = found.pointer("/_shards/failed").and_then(Value::as_u64).unwrap_or(0);
        if failed > 0 || found.get("timed_out") == Some(&Value::Bool(true)) {
            let reason = found.pointer("/_shards/failures/0/reason/reason");
            let reason = reason.and_then(Value::as_str).unwrap_or("it timed out");
            return Err(ReadError::Incomplete(reason.to_owned()));
        }
        Ok(found)
    }

    /// Writes alerts. Returns for each whether it is new.
    pub(crate) async fn create(&self, alerts: &[Alert]) -> Result<Vec<bool>, ReadError> {
        let mut lines = String::new();
        for alert in alerts {
            let action = json!({"create": {"_id": alert.id}});
            lines.push_str(&format!("{action}\n{}\n", alert.document));
        }
        let payload = Payload::Ndjson { bytes: lines.into(), gzip: false };
        let response = self.send(Method::Post, &format!("{}/_bulk", self.alerts), payload).await?;
        if !response.is_success() {
            return Err(ReadError::Refused("write alerts", response.reason()));
        }
        let ids = alerts.iter().map(|alert| alert.id.as_str());
        let items = parse_response(&response.body, ids)?;
        let is_new = |item| match verdict::of_item(item, None) {
            Verdict::Stored(_) => Ok(true),
            Verdict::Duplicate(_) => Ok(false),
            Verdict::Failed(_, reason) => {
                Err(ReadError::Refused("write an alert", reason.to_string()))
            }
        };
        items.into_iter().map(is_new).collect()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<EngineResponse, ReadError> {
        let deadline = self.deadline.at_most(REQUEST_TIME);
        let response = self.engine.send(method, path, payload, deadline).await?;
        match response.is_busy() {
            true => Err(ReadError::Busy(response.reason())),
            false => Ok(response),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    verb: &'static str,
    response: &EngineResponse,
) -> Result<T, ReadError> {
    if !response.is_success() {
        return Err(ReadError::Refused(verb, response.reason()));
    }
    serde_json::from_slice(&response.body).map_err(|error| ReadError::Incomplete(error.to_string()))
}
