//! One document per event across rollovers of the data stream.
//!
//! `_id` is unique within one backing index only. An event that was stored before a rollover and is
//! delivered again after it is new to the new write index. Each `_bulk` item names its backing index;
//! only an event older than that index may have a copy in an earlier one. The copy is looked up there
//! by id (a real-time get), and the later copy is deleted. In the normal case, a fresh event in an
//! older index, no request is made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::engine::client::{Engine, EngineError, Method, Payload};
use crate::error::chain;
use crate::retry::Deadline;

/// The largest difference expected between Auth0's clock and the engine's.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// A document that the engine has, new or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) id: &'a str,
    /// The backing index that holds it.
    pub(super) index: &'a str,
    /// Auth0's date of the event.
    pub(super) date: Option<DateTime<Utc>>,
}

/// Why copies could not be found or deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum RolloverError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{step}: HTTP {status}")]
    Refused { step: &'static str, status: u16 },
    #[error("{step}: the response is not an engine's")]
    NotReadable { step: &'static str, source: serde_json::Error },
}

impl RolloverError {
    /// Returns `true` if trying again is useless: a privilege is missing.
    const fn is_final(&self) -> bool {
        match self {
            Self::Engine(_) | Self::NotReadable { .. } => false,
            Self::Refused { status, .. } => matches!(status, 400..=428 | 430..=499),
        }
    }
}

/// Name and creation time of each backing index, oldest first.
type BackingIndices = Vec<(String, DateTime<Utc>)>;

/// Finds and deletes later copies; remembers the data stream's backing indices.
#[derive(Debug)]
pub(super) struct Rollovers {
    stream: String,
    /// Read again when an unknown index appears.
    backing: Mutex<BackingIndices>,
}

impl Rollovers {
    pub(super) const fn new(stream: String) -> Self {
        Self { stream, backing: Mutex::new(Vec::new()) }
    }

    /// Deletes those of `placed` that an earlier backing index already has, and returns their ids.
    ///
    /// # Errors
    /// The search or the deletion failed and can be repeated. A missing privilege is logged instead,
    /// since repeating would fail forever.
    pub(super) async fn delete_later_copies(
        &self,
        engine: &Engine,
        placed: &[Placed<'_>],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Vec<String>, RolloverError> {
        let copies = match self.later_copies(engine, placed, now, deadline).await {
            Ok(copies) if copies.is_empty() => return Ok(Vec::new()),
            Ok(copies) => delete(engine, &copies, deadline).await.map(|()| copies),
            Err(error) => Err(error),
        };
        match copies {
            Ok(copies) => Ok(copies.iter().map(|copy| copy.id.to_owned()).collect()),
            Err(error) if error.is_final() => {
                tracing::error!(
                    error = %chain(&error),
                    "events that span a rollover may be duplicated in the data stream"
                );
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns those of `placed` that an earlier backing index already has.
    async fn later_copies<'p, 'a>(
        &self,
        engine: &Engine,
        placed: &'p [Placed<'a>],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Vec<&'p Placed<'a>>, RolloverError> {
        // The first backing index has no earlier one.
        let later: Vec<_> = placed.iter().filter(|p| generation(p.index) > 1).collect();
        let Some(first) = later.first() else { return Ok(Vec::new()) };
        let mut backing = self.backing().clone();
        if !backing.iter().any(|(name, _)| name == first.index) {
            backing = self.read_backing(engine, deadline).await?;
            self.backing().clone_from(&backing);
        }
        let candidates: Vec<_> = later
            .into_iter()
            .flat_map(|p| may_hold(&backing, p, now).into_iter().map(move |index| (p, index)))
            .collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let lookups = candidates.iter().map(|(p, index)| json!({"_index": index, "_id": p.id}));
        let found = get(engine, lookups.collect(), deadline).await?;
        let copies = candidates.iter().zip(found).filter(|(_, found)| found.found);
        Ok(copies.map(|((placed, _), _)| *placed).collect())
    }

    fn backing(&self) -> MutexGuard<'_, BackingIndices> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_backing(
        &self,
        engine: &Engine,
        deadline: Deadline,
    ) -> Result<BackingIndices, RolloverError> {
        const STEP: &str = "reading the creation dates of the backing indices \
                            (privilege view_index_metadata or indices:monitor/settings/get)";
        #[derive(Deserialize)]
        struct Index {
            settings: Settings,
        }
        #[derive(Deserialize)]
        struct Settings {
            #[serde(rename = "index.creation_date")]
            creation_date: String,
        }
        let path = format!("{}/_settings/index.creation_date?flat_settings=true", self.stream);
        let body = send(engine, Method::Get, &path, Payload::None, STEP, deadline).await?;
        let indices: BTreeMap<String, Index> = parse(&body, STEP)?;
        let mut backing: BackingIndices = indices
            .into_iter()
            .filter_map(|(name, index)| {
                let created = index.settings.creation_date.parse().ok()?;
                Some((name, DateTime::from_timestamp_millis(created)?))
            })
            .collect();
        backing.sort_by_key(|(name, created)| (*created, generation(name)));
        Ok(backing)
    }
}

/// Returns the number at the end of a backing index's name: 2 for `.ds-logs-auth0.logs-default-000002`.
/// Other names are not backing indices and return 0.
#[must_use]
pub fn generation(index: &str) -> u64 {
    index.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Returns the earlier backing indices that may hold the event: those that were still written to when
/// it happened.
fn may_hold<'b>(
    backing: &'b [(String, DateTime<Utc>)],
    placed: &Placed<'_>,
    now: DateTime<Utc>,
) -> Vec<&'b str> {
    let own = backing.iter().position(|(name, _)| name == placed.index).unwrap_or(backing.len());
    // Without a date, or with one in the future, the event may have been delivered at any time.
    let since = placed.date.filter(|date| *date <= now + CLOCK_SKEW).map(|date| date - CLOCK_SKEW);
    let ends = backing.iter().skip(1).map(|(_, created)| *created);
    backing
        .iter()
        .zip(ends)
        .take(own)
        .filter(|(_, end)| since.is_none_or(|since| since < *end))
        .map(|((name, _), _)| name.as_str())
        .collect()
}

#[derive(Deserialize)]
struct FoundDocument {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_seq_no")]
    seq_no: Option<u64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<u64>,
    error: Option<LookupError>,
}

#[derive(Deserialize)]
struct LookupError {
    #[serde(rename = "type")]
    kind: String,
}

impl LookupError {
    /// Returns the status that the error would have in a request of its own. `None` if it is an answer
    /// too: an index that has been deleted holds no copy.
    fn status(&self) -> Option<u16> {
        match self.kind.as_str() {
            "index_not_found_exception" => None,
            "security_exception" => Some(403),
            _ => Some(503),
        }
    }
}

/// Looks documents up in real time; the result is in the order of the lookups.
async fn get(
    engine: &Engine,
    lookups: Vec<serde_json::Value>,
    deadline: Deadline,
) -> Result<Vec<FoundDocument>, RolloverError> {
    const STEP: &str = "looking for an earlier copy (privilege read or indices:data/read/mget)";
    #[derive(Deserialize)]
    struct MgetResponse {
        docs: Vec<FoundDocument>,
    }
    let payload = Payload::Json(json!({ "docs": lookups }).to_string().into());
    let body = send(engine, Method::Post, "_mget?_source=false", payload, STEP, deadline).await?;
    let MgetResponse { docs } = parse(&body, STEP)?;
    // OpenSearch answers 200 where a role allows the request, but not for this index.
    match docs.iter().filter_map(|doc| doc.error.as_ref()).find_map(LookupError::status) {
        Some(status) => Err(RolloverError::Refused { step: STEP, status }),
        None => Ok(docs),
    }
}

/// Deletes these copies, each only if it has not changed meanwhile.
async fn delete(
    engine: &Engine,
    copies: &[&Placed<'_>],
    deadline: Deadline,
) -> Result<(), RolloverError> {
    const STEP: &str = "deleting a later copy (privilege delete or indices:data/write/delete)";
    #[derive(Deserialize)]
    struct DeleteResponse {
        items: Vec<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        delete: Deleted,
    }
    #[derive(Deserialize)]
    struct Deleted {
        status: u16,
    }
    let lookups = copies.iter().map(|p| json!({"_index": p.index, "_id": p.id}));
    let found = get(engine, lookups.collect(), deadline).await?;
    let mut lines = String::new();
    for (placed, found) in copies.iter().zip(found) {
        if let (Some(seq_no), Some(term)) = (found.seq_no, found.primary_term) {
            let delete = json!({"delete": {"_index": placed.index, "_id": placed.id,
                "if_seq_no": seq_no, "if_primary_term": term}});
            lines.push_str(&delete.to_string());
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        // Another delivery of the same events has deleted them.
        return Ok(());
    }
    let payload = Payload::Ndjson { bytes: lines.into(), gzip: false };
    let path = "_bulk?filter_path=items.*.status";
    let body = send(engine, Method::Post, path, payload, STEP, deadline).await?;
    let DeleteResponse { items } = parse(&body, STEP)?;
    // 404 and 409: another delivery of the same event was faster.
    match items.iter().map(|item| item.delete.status).find(|s| !matches!(s, 200 | 404 | 409)) {
        Some(status) => Err(RolloverError::Refused { step: STEP, status }),
        None => Ok(()),
    }
}

async fn send(
    engine: &Engine,
    method: Method,
    path: &str,
    payload: Payload,
    step: &'static str,
    deadline: Deadline,
) -> Result<Bytes, RolloverError> {
    let response = engine.send(method, path, payload, deadline).await?;
    if response.is_success() {
        Ok(response.body)
    } else {
        Err(RolloverError::Refused { step, status: response.status })
    }
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], step: &'static str) -> Result<T, RolloverError> {
    serde_json::from_slice(body).map_err(|source| RolloverError::NotReadable { step, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minutes * 60, 0).unwrap()
    }

    fn candidates(index: &str, date: Option<DateTime<Utc>>) -> Vec<String> {
        let backing =
            [("i-000001", 0), ("i-000002", 100), ("i-000003", 200)].map(|(n, m)| (n.into(), at(m)));
        let placed = Placed { id: "1", index, date };
        may_hold(&backing, &placed, at(300)).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn fresh_event_needs_no_lookup() {
        assert!(candidates("i-000003", Some(at(206))).is_empty());
        assert!(candidates("i-000001", Some(at(-50))).is_empty());
    }

    #[test]
    fn older_event_may_be_in_the_indices_written_to_since_it_happened() {
        assert_eq!(candidates("i-000003", Some(at(150))), ["i-000002"]);
        assert_eq!(candidates("i-000003", Some(at(104))), ["i-000001", "i-000002"]);
        assert_eq!(candidates("i-000002", Some(at(50))), ["i-000001"]);
    }

    #[test]
    fn event_without_a_plausible_date_may_be_in_any_earlier_index() {
        assert_eq!(candidates("i-000003", None), ["i-000001", "i-000002"]);
        assert_eq!(candidates("i-000003", Some(at(10_000))), ["i-000001", "i-000002"]);
    }

    #[test]
    fn generation_is_the_number_at_the_end_of_the_name() {
        assert_eq!(generation(".ds-logs-auth0.logs-default-000002"), 2);
        assert_eq!(generation(".ds-logs-auth0.logs-default-2026.11.22-000013"), 13);
        assert_eq!(generation("logs"), 0);
    }
}
