//! One document per event across rollovers of the data stream.
//!
//! `_id` is unique in one backing index only: an event that was stored before a rollover and is
//! delivered again after it is new to the new write index. Each `_bulk` item names the backing index
//! it went to; an event older than that index may have a copy in an earlier one. Only then it is
//! looked for there by id (a real-time get), and the later copy is taken back. In the normal case,
//! a fresh event in an index that is older than it, nothing is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::clock;
use crate::engine::client::{Engine, EngineError, Method, Payload};
use crate::retry::Deadline;

/// How far Auth0's clock and the engine's may be apart.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// A document that the engine has, new or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) id: &'a str,
    /// The backing index it is in.
    pub(crate) index: &'a str,
    /// When the event happened, as Auth0 says.
    pub(crate) date: Option<DateTime<Utc>>,
}

/// Why copies could not be looked for or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloverError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{what}: HTTP {status}")]
    Refused { what: &'static str, status: u16 },
    #[error("{what}: the response is not an engine's")]
    NotReadable { what: &'static str, source: serde_json::Error },
}

impl RolloverError {
    /// Whether trying again is of no use: a privilege is missing.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Engine(_) | Self::NotReadable { .. } => false,
            Self::Refused { status, .. } => matches!(status, 400..=428 | 430..=499),
        }
    }
}

/// What is known of the data stream's backing indices.
#[derive(Debug)]
pub(crate) struct Rollovers {
    stream: String,
    /// Name and creation of each, oldest first; asked for when an unknown one appears.
    backing: Mutex<Vec<(String, DateTime<Utc>)>>,
}

impl Rollovers {
    pub(crate) const fn new(stream: String) -> Self {
        Self { stream, backing: Mutex::new(Vec::new()) }
    }

    /// Takes back those of `placed` that an earlier backing index has already, and gives their
    /// ids.
    pub(crate) async fn undo_doubles(
        &self,
        engine: &Engine,
        placed: &[Placed<'_>],
        deadline: Deadline,
    ) -> Result<Vec<String>, RolloverError> {
        // The first backing index has none before it.
        let later: Vec<&Placed<'_>> = placed.iter().filter(|p| generation(p.index) > 1).collect();
        let Some(first) = later.first() else { return Ok(Vec::new()) };
        let mut backing = self.known();
        if !backing.iter().any(|(name, _)| name == first.index) {
            backing = self.ask(engine, deadline).await?;
        }
        let now = clock::now();
        let mut earlier = Vec::new();
        for placed in later {
            for index in may_hold(&backing, placed, now) {
                earlier.push((placed, index));
            }
        }
        if earlier.is_empty() {
            return Ok(Vec::new());
        }
        let lookups = earlier.iter().map(|(p, index)| json!({"_index": index, "_id": p.id}));
        let found = get(engine, lookups.collect(), deadline).await?;
        let doubles: Vec<&Placed<'_>> =
            earlier.iter().zip(&found).filter(|(_, f)| f.found).map(|((p, _), _)| *p).collect();
        if doubles.is_empty() {
            return Ok(Vec::new());
        }
        take_back(engine, &doubles, deadline).await?;
        Ok(doubles.iter().map(|double| double.id.to_owned()).collect())
    }

    fn known(&self) -> Vec<(String, DateTime<Utc>)> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(
        &self,
        engine: &Engine,
        deadline: Deadline,
    ) -> Result<Vec<(String, DateTime<Utc>)>, RolloverError> {
        const WHAT: &str = "reading the creation dates of the backing indices \
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
        let body = ask(engine, Method::Get, &path, Payload::None, WHAT, deadline).await?;
        let indices: BTreeMap<String, Index> = parse(&body, WHAT)?;
        let mut backing: Vec<_> = indices
            .into_iter()
            .filter_map(|(name, index)| {
                let created = index.settings.creation_date.parse().ok()?;
                Some((name, DateTime::from_timestamp_millis(created)?))
            })
            .collect();
        backing.sort_by(|(a, created_a), (b, created_b)| {
            (created_a, generation(a)).cmp(&(created_b, generation(b)))
        });
        self.backing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&backing);
        Ok(backing)
    }
}

/// The number at the end of a backing index's name: `.ds-logs-auth0.logs-default-000002` is the
/// second. A name without one is no backing index, so has none before it.
#[must_use]
pub fn generation(index: &str) -> u64 {
    index.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The backing indices before its own that may hold the event: those that were still written to when
/// it happened.
fn may_hold<'b>(
    backing: &'b [(String, DateTime<Utc>)],
    placed: &Placed<'_>,
    now: DateTime<Utc>,
) -> Vec<&'b str> {
    let own = backing.iter().position(|(name, _)| name == placed.index).unwrap_or(backing.len());
    // A date in the future, or none, says nothing of when the event was first delivered.
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
struct Got {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_seq_no")]
    seq_no: Option<u64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<u64>,
    error: Option<GotError>,
}

#[derive(Deserialize)]
struct GotError {
    #[serde(rename = "type")]
    kind: String,
}

impl GotError {
    /// The status of the same error on a request of its own; `None` where it is an answer, too: an
    /// index that is gone by now holds no copy.
    fn status(&self) -> Option<u16> {
        match self.kind.as_str() {
            "index_not_found_exception" => None,
            "security_exception" => Some(403),
            _ => Some(503),
        }
    }
}

/// Real-time gets, answered in the order of the lookups.
async fn get(
    engine: &Engine,
    lookups: Vec<serde_json::Value>,
    deadline: Deadline,
) -> Result<Vec<Got>, RolloverError> {
    const WHAT: &str = "looking for an earlier copy (privilege read or indices:data/read/mget)";
    #[derive(Deserialize)]
    struct Answer {
        docs: Vec<Got>,
    }
    let body = Bytes::from(json!({ "docs": lookups }).to_string());
    let payload = Payload::Json(body);
    let body = ask(engine, Method::Post, "_mget?_source=false", payload, WHAT, deadline).await?;
    let Answer { docs } = parse(&body, WHAT)?;
    // OpenSearch answers 200 where a role allows the request but not the look into the index.
    match docs.iter().filter_map(|doc| doc.error.as_ref()).find_map(GotError::status) {
        Some(status) => Err(RolloverError::Refused { what: WHAT, status }),
        None => Ok(docs),
    }
}

/// Deletes the later copies, each only as it is now.
async fn take_back(
    engine: &Engine,
    doubles: &[&Placed<'_>],
    deadline: Deadline,
) -> Result<(), RolloverError> {
    const WHAT: &str = "taking back a second copy (privilege delete or indices:data/write/delete)";
    let lookups = doubles.iter().map(|p| json!({"_index": p.index, "_id": p.id}));
    let copies = get(engine, lookups.collect(), deadline).await?;
    let mut lines = String::new();
    for (placed, copy) in doubles.iter().zip(copies) {
        if let (Some(seq_no), Some(term)) = (copy.seq_no, copy.primary_term) {
            let delete = json!({"delete": {"_index": placed.index, "_id": placed.id,
                "if_seq_no": seq_no, "if_primary_term": term}});
            lines.push_str(&delete.to_string());
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        // Somebody else took them back meanwhile.
        return Ok(());
    }
    let payload = Payload::Ndjson { bytes: Bytes::from(lines), gzip: false };
    let path = "_bulk?filter_path=items.*.status";
    let body = ask(engine, Method::Post, path, payload, WHAT, deadline).await?;
    #[derive(Deserialize)]
    struct Answer {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        delete: Deleted,
    }
    #[derive(Deserialize)]
    struct Deleted {
        status: u16,
    }
    let Answer { items } = parse(&body, WHAT)?;
    // 404 and 409: another delivery of the same event was quicker.
    match items.iter().map(|item| item.delete.status).find(|s| !matches!(s, 200 | 404 | 409)) {
        Some(status) => Err(RolloverError::Refused { what: WHAT, status }),
        None => Ok(()),
    }
}

async fn ask(
    engine: &Engine,
    method: Method,
    path: &str,
    payload: Payload,
    what: &'static str,
    deadline: Deadline,
) -> Result<Bytes, RolloverError> {
    let answer = engine.send(method, path, payload, deadline).await?;
    if answer.is_success() {
        Ok(answer.body)
    } else {
        Err(RolloverError::Refused { what, status: answer.status })
    }
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], what: &'static str) -> Result<T, RolloverError> {
    serde_json::from_slice(body).map_err(|source| RolloverError::NotReadable { what, source })
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
    fn a_fresh_event_needs_no_look() {
        assert!(candidates("i-000003", Some(at(206))).is_empty());
        assert!(candidates("i-000001", Some(at(-50))).is_empty());
    }

    #[test]
    fn an_older_event_may_be_in_the_indices_written_to_since_it_happened() {
        assert_eq!(candidates("i-000003", Some(at(150))), ["i-000002"]);
        assert_eq!(candidates("i-000003", Some(at(104))), ["i-000001", "i-000002"]);
        assert_eq!(candidates("i-000002", Some(at(50))), ["i-000001"]);
    }

    #[test]
    fn an_event_without_a_credible_date_may_be_anywhere() {
        assert_eq!(candidates("i-000003", None), ["i-000001", "i-000002"]);
        assert_eq!(candidates("i-000003", Some(at(10_000))), ["i-000001", "i-000002"]);
    }

    #[test]
    fn generations_are_read_off_the_name() {
        assert_eq!(generation(".ds-logs-auth0.logs-default-000002"), 2);
        assert_eq!(generation(".ds-logs-auth0.logs-default-2026.11.22-000013"), 13);
        assert_eq!(generation("logs"), 0);
    }
}
