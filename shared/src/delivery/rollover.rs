//! One document per event across rollovers of the data stream.
//!
//! `_id` is unique within one backing index only. An event that was stored before a rollover and is
//! delivered again after it is new to the new write index. Each `_bulk` item names its backing index;
//! only an event older than that index may have a copy in an earlier one. The copies are looked up there
//! by id (a real-time get), and all but the earliest are deleted. In the normal case, a fresh event in an
//! older index, no request is made.
//!
//! # A copy on its way
//!
//! A request that was sent before the rollover may be executed after the lookup, even if nobody waits for
//! its response any more. So while the index is younger than `SECOND_LOOK_AFTER`, an event that may
//! have been delivered before the rollover is looked at once more after that time (`Look::again`): it
//! is sent to the retry queue, comes back as a duplicate, and the copies are looked up again. The index
//! is then too old for a third look, unless there was another rollover.
//!
//! The same goes for a request to the index itself, of any age: one that nobody waits for any more may
//! store a later copy anew after it was deleted. So an event whose later copy was deleted
//! (`Look::is_copy`) is looked at once more, too, if its delivery began less than that time ago or had
//! to repeat a request.
//!
//! # Why one copy always stays
//!
//! A copy is deleted only if another one was seen in an index of a lower generation. Generations are
//! numbers that never change: neither another delivery nor a shrunk or restored index, whose name still
//! ends in the number, orders two indices differently. So whatever deliveries do at once, the copy with
//! the lowest generation that an event ever had is not deleted, and of two copies that are both seen,
//! one is. That copy goes only with its index, when the lifecycle deletes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::engine::client::{Engine, EngineError, Method, Payload};
use crate::error::chain;
use crate::retry::Deadline;

/// The largest difference expected between Auth0's clock and the engine's. It includes the minute and a
/// half for which a node that has not heard of a rollover may still write to the old index: by then, the
/// cluster has removed it.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// How long a request to an older index may still be executed after a rollover, and when an event that
/// it may hold is looked at once more.
///
/// A client gives up after 10 s, but the engine does not. `_bulk` waits a minute for a primary shard; a
/// node that answers no health check is removed within a minute and a half, and what it then holds for
/// a primary of its own is fenced off by the primary's term. What is left is a frozen node that wakes up
/// and works off what lies in its sockets. It has as long as SQS can delay a message, which is 15
/// minutes, less one, so that the alarm on the queue's age does not ring for messages that wait for their
/// time.
pub(super) const SECOND_LOOK_AFTER: TimeDelta = TimeDelta::minutes(14);

/// Lookups and deletions of one request.
const CHUNK: usize = 1_000;

/// A document that the engine has, new or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) id: &'a str,
    /// The backing index that holds it.
    pub(super) index: &'a str,
    /// Auth0's date of the event.
    pub(super) date: Option<DateTime<Utc>>,
}

/// What the other backing indices say about a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// An earlier index had it already, so that the later copy is deleted.
    pub(super) is_copy: bool,
    /// A copy may still be on its way to an earlier index.
    pub(super) again: bool,
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
    #[error("{step}: the response is about other documents")]
    WrongCount { step: &'static str },
}

impl RolloverError {
    /// Returns `true` if trying again is useless: a privilege is missing, or an index is closed.
    const fn is_final(&self) -> bool {
        match self {
            Self::Engine(_) | Self::NotReadable { .. } | Self::WrongCount { .. } => false,
            Self::Refused { status, .. } => matches!(status, 400..=428 | 430..=499),
        }
    }
}

/// A backing index of the data stream.
#[derive(Clone, Debug)]
struct BackingIndex {
    name: String,
    generation: u64,
    /// `None` if the engine does not say.
    created: Option<DateTime<Utc>>,
    /// Upper bound of the time at which the next index took its place; `None` if there is no bound.
    written_until: Option<DateTime<Utc>>,
}

/// The names of backing indices, and when each was created, as far as the engine says.
type CreationDates = Vec<(String, Option<DateTime<Utc>>)>;

/// All backing indices, by generation.
#[derive(Clone, Debug, Default)]
struct BackingIndices(Arc<[BackingIndex]>);

impl BackingIndices {
    fn new(created: CreationDates) -> Self {
        let mut indices: Vec<BackingIndex> = created
            .into_iter()
            .map(|(name, created)| BackingIndex {
                generation: generation(&name),
                name,
                created,
                written_until: None,
            })
            .collect();
        indices.sort_by(|a, b| (a.generation, &a.name).cmp(&(b.generation, &b.name)));
        // An index that was shrunk or restored has a later creation date than it should. Each later index
        // was created after the rollover, so the earliest of their dates is a bound, however many lie.
        let mut earliest: Option<DateTime<Utc>> = None;
        for generation in indices.chunk_by_mut(|a, b| a.generation == b.generation).rev() {
            for index in &mut *generation {
                index.written_until = earliest;
            }
            let created = generation.iter().filter_map(|index| index.created);
            earliest = earliest.into_iter().chain(created).min();
        }
        Self(indices.into())
    }

    fn find(&self, name: &str) -> Option<&BackingIndex> {
        // It is almost always the last one.
        self.0.iter().rfind(|index| index.name == name)
    }

    /// Returns the other backing indices that may hold the event: those that were still written to when
    /// it happened.
    fn may_hold(&self, placed: &Placed<'_>, now: DateTime<Utc>) -> impl Iterator<Item = &str> {
        let since = delivered_since(placed, now);
        let others = self.0.iter().filter(move |index| match (since, index.written_until) {
            (Some(since), Some(until)) => since < until,
            _ => true,
        });
        let others = others.filter(|index| index.name != placed.index);
        others.map(|index| index.name.as_str())
    }

    /// Returns `true` if a request for the event may still be on its way to an earlier index.
    fn may_be_in_flight(&self, placed: &Placed<'_>, now: DateTime<Utc>) -> bool {
        let own = self.find(placed.index).filter(|index| index.generation > 1);
        own.and_then(|index| index.created).is_some_and(|created| {
            let is_older = delivered_since(placed, now).is_none_or(|since| since < created);
            is_older && now - created < SECOND_LOOK_AFTER
        })
    }
}

/// Returns the time before which the event cannot have been delivered. Without a date, or with one in
/// the future, it may have been delivered at any time.
fn delivered_since(placed: &Placed<'_>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    placed.date.filter(|date| *date <= now + CLOCK_SKEW).map(|date| date - CLOCK_SKEW)
}

/// Finds and deletes later copies; remembers the data stream's backing indices.
#[derive(Debug)]
pub(super) struct Rollovers {
    stream: String,
    /// Read again when an unknown index appears, or a known one is gone.
    backing: Mutex<BackingIndices>,
}

impl Rollovers {
    pub(super) fn new(stream: String) -> Self {
        Self { stream, backing: Mutex::default() }
    }

    /// Deletes all copies of each document but the earliest. Returns a [`Look`] for each of `placed`.
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
    ) -> Result<Vec<Look>, RolloverError> {
        match self.look(Requests { engine, deadline }, placed, now).await {
            Err(error) if RolloverError::is_final(&error) => {
                tracing::error!(
                    error = %chain(&error),
                    "events that span a rollover may be duplicated in the data stream"
                );
                Ok(vec![Look::default(); placed.len()])
            }
            looks => looks,
        }
    }

    async fn look(
        &self,
        requests: Requests<'_>,
        placed: &[Placed<'_>],
        now: DateTime<Utc>,
    ) -> Result<Vec<Look>, RolloverError> {
        let mut backing = self.backing().clone();
        // The first backing index has no earlier one.
        let is_unknown =
            |p: &Placed<'_>| generation(p.index) > 1 && backing.find(p.index).is_none();
        let mut is_fresh = placed.iter().any(is_unknown);
        if is_fresh {
            backing = self.read_backing(requests).await?;
        }
        let copies = loop {
            let copies = requests.find_copies(&backing, placed, now).await?;
            if is_fresh || !copies.is_an_index_gone {
                break copies;
            }
            // An index that is gone holds no copy, but a shrunk one may have taken its place.
            backing = self.read_backing(requests).await?;
            is_fresh = true;
        };
        requests.delete(&copies.later).await?;
        let looks = placed.iter().zip(copies.is_copy).map(|(placed, is_copy)| Look {
            is_copy,
            again: backing.may_be_in_flight(placed, now),
        });
        Ok(looks.collect())
    }

    fn backing(&self) -> MutexGuard<'_, BackingIndices> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_backing(&self, requests: Requests<'_>) -> Result<BackingIndices, RolloverError> {
        let created = match requests.read_creation_dates(&self.stream).await? {
            Some(created) => created,
            None => requests.read_names(&self.stream).await?,
        };
        let backing = BackingIndices::new(created);
        self.backing().clone_from(&backing);
        Ok(backing)
    }
}

/// Returns the generation of a backing index: 2 for `.ds-logs-auth0.logs-default-000002`, and also for
/// `shrink-x2c4-.ds-logs-auth0.logs-default-000002`. Other names are not backing indices and return 0.
#[must_use]
pub fn generation(index: &str) -> u64 {
    // At least six digits, so that a plain index of a namespace such as 2026 is not taken for one.
    let number = index.rsplit('-').next().filter(|number| number.len() >= 6);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A document to be looked up in one index.
#[derive(Clone, Copy, Debug)]
struct Lookup<'a> {
    /// Its position among the placed documents.
    of: usize,
    index: &'a str,
    id: &'a str,
}

/// A copy to be deleted, unless it changes before.
#[derive(Debug)]
struct LaterCopy {
    index: String,
    id: String,
    seq_no: u64,
    primary_term: u64,
}

#[derive(Debug)]
struct Copies {
    /// All copies but the earliest ones.
    later: Vec<LaterCopy>,
    /// For each placed document, whether an earlier index has it.
    is_copy: Vec<bool>,
    is_an_index_gone: bool,
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

impl FoundDocument {
    fn is_index_gone(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind == "index_not_found_exception")
    }
}

impl LookupError {
    /// Returns the status that the error would have in a request of its own. `None` if it is an answer
    /// too: an index that has been deleted holds no copy.
    fn status(&self) -> Option<u16> {
        match self.kind.as_str() {
            "index_not_found_exception" => None,
            "index_closed_exception" => Some(400),
            "security_exception" => Some(403),
            _ => Some(503),
        }
    }
}

/// The engine, and until when it is asked.
#[derive(Clone, Copy)]
struct Requests<'a> {
    engine: &'a Engine,
    deadline: Deadline,
}

impl Requests<'_> {
    /// Reads when each backing index was created. `None` if the engine does not say: Elastic Cloud Serverless
    /// may have no such setting, or no such request.
    async fn read_creation_dates(
        self,
        stream: &str,
    ) -> Result<Option<CreationDates>, RolloverError> {
        const STEP: &str = "reading the creation dates of the backing indices \
                            (privilege view_index_metadata or indices:monitor/settings/get)";
        #[derive(Deserialize)]
        struct Index {
            settings: Settings,
        }
        #[derive(Deserialize)]
        struct Settings {
            #[serde(rename = "index.creation_date")]
            creation_date: Option<String>,
        }
        let path = format!("{stream}/_settings/index.creation_date?flat_settings=true");
        let indices = self.send::<BTreeMap<String, Index>>(Method::Get, &path, Payload::None, STEP);
        let indices = match indices.await {
            Err(RolloverError::Refused { status: 400 | 405 | 410, .. }) => return Ok(None),
            indices => indices?,
        };
        let indices = indices.into_iter().map(|(name, Index { settings })| {
            let created = settings.creation_date.and_then(|millis| millis.parse().ok());
            (name, created.and_then(DateTime::from_timestamp_millis))
        });
        // An index without the setting is left out.
        Ok(Some(indices.collect()).filter(|indices: &Vec<_>| !indices.is_empty()))
    }

    /// Reads the names of the backing indices, and no dates.
    async fn read_names(self, stream: &str) -> Result<CreationDates, RolloverError> {
        const STEP: &str = "reading the backing indices \
                            (privilege view_index_metadata or indices:admin/data_stream/get)";
        #[derive(Deserialize)]
        struct DataStreams {
            data_streams: Vec<DataStream>,
        }
        #[derive(Deserialize)]
        struct DataStream {
            indices: Vec<Index>,
        }
        #[derive(Deserialize)]
        struct Index {
            index_name: String,
        }
        let path = format!("_data_stream/{stream}");
        let DataStreams { data_streams } =
            self.send(Method::Get, &path, Payload::None, STEP).await?;
        let indices = data_streams.into_iter().flat_map(|stream| stream.indices);
        Ok(indices.map(|index| (index.index_name, None)).collect())
    }

    /// Looks for copies in all indices that may hold one.
    async fn find_copies(
        self,
        backing: &BackingIndices,
        placed: &[Placed<'_>],
        now: DateTime<Utc>,
    ) -> Result<Copies, RolloverError> {
        let mut lookups = Vec::new();
        for (of, placed) in placed.iter().enumerate() {
            let before = lookups.len();
            let others = backing.may_hold(placed, now);
            lookups.extend(others.map(|index| Lookup { of, index, id: placed.id }));
            if lookups.len() > before {
                // What is deleted has to be known, too.
                lookups.push(Lookup { of, index: placed.index, id: placed.id });
            }
        }
        let mut found = Vec::with_capacity(lookups.len());
        for lookups in lookups.chunks(CHUNK) {
            found.extend(self.get(lookups).await?);
        }
        let mut copies = Copies {
            later: Vec::new(),
            is_copy: vec![false; placed.len()],
            is_an_index_gone: found.iter().any(FoundDocument::is_index_gone),
        };
        let found: Vec<_> =
            lookups.iter().zip(&found).filter(|(_, document)| document.found).collect();
        for copy in found.chunk_by(|(a, _), (b, _)| a.of == b.of) {
            let generations = copy.iter().map(|(lookup, _)| generation(lookup.index));
            let Some(earliest) = generations.min() else { continue };
            for (Lookup { of, index, id }, document) in copy {
                if let (Some(placed), Some(is_copy)) =
                    (placed.get(*of), copies.is_copy.get_mut(*of))
                {
                    *is_copy = generation(placed.index) > earliest;
                }
                if let (Some(seq_no), Some(primary_term)) = (document.seq_no, document.primary_term)
                    && generation(index) > earliest
                {
                    let (index, id) = ((*index).to_owned(), (*id).to_owned());
                    copies.later.push(LaterCopy { index, id, seq_no, primary_term });
                }
            }
        }
        Ok(copies)
    }

    /// Looks documents up in real time; the result is in the order of the lookups.
    async fn get(self, lookups: &[Lookup<'_>]) -> Result<Vec<FoundDocument>, RolloverError> {
        const STEP: &str = "looking for an earlier copy (privilege read or indices:data/read/mget)";
        #[derive(Deserialize)]
        struct MgetResponse {
            docs: Vec<FoundDocument>,
        }
        let docs = lookups.iter().map(|doc| json!({"_index": doc.index, "_id": doc.id}));
        let request = json!({"docs": docs.collect::<Vec<_>>()});
        let payload = Payload::Json(request.to_string().into());
        let MgetResponse { docs } =
            self.send(Method::Post, "_mget?_source=false", payload, STEP).await?;
        if docs.len() != lookups.len() {
            return Err(RolloverError::WrongCount { step: STEP });
        }
        // OpenSearch answers 200 where a role allows the request, but not for this index.
        match docs.iter().filter_map(|doc| doc.error.as_ref()).find_map(LookupError::status) {
            Some(status) => Err(RolloverError::Refused { step: STEP, status }),
            None => Ok(docs),
        }
    }

    /// Deletes these copies, each only if it has not changed meanwhile.
    async fn delete(self, copies: &[LaterCopy]) -> Result<(), RolloverError> {
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
        for copies in copies.chunks(CHUNK) {
            let mut lines = String::new();
            for LaterCopy { index, id, seq_no, primary_term } in copies {
                let delete = json!({"delete": {"_index": index, "_id": id,
                    "if_seq_no": seq_no, "if_primary_term": primary_term}});
                lines.push_str(&delete.to_string());
                lines.push('\n');
            }
            let payload = Payload::Ndjson { bytes: lines.into(), gzip: false };
            let path = "_bulk?filter_path=items.*.status";
            let DeleteResponse { items } = self.send(Method::Post, path, payload, STEP).await?;
            if items.len() != copies.len() {
                return Err(RolloverError::WrongCount { step: STEP });
            }
            // 404 and 409: another delivery of the same event was faster.
            let mut statuses = items.iter().map(|item| item.delete.status);
            if let Some(status) = statuses.find(|status| !matches!(status, 200 | 404 | 409)) {
                return Err(RolloverError::Refused { step: STEP, status });
            }
        }
        Ok(())
    }

    /// Sends one request; `step` names it in errors.
    async fn send<T: DeserializeOwned>(
        self,
        method: Method,
        path: &str,
        payload: Payload,
        step: &'static str,
    ) -> Result<T, RolloverError> {
        let response = self.engine.send(method, path, payload, self.deadline).await?;
        if !response.is_success() {
            return Err(RolloverError::Refused { step, status: response.status });
        }
        serde_json::from_slice(&response.body)
            .map_err(|source| RolloverError::NotReadable { step, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = ".ds-i-000001";
    const SECOND: &str = ".ds-i-000002";
    const THIRD: &str = ".ds-i-000003";

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minutes * 60, 0).unwrap()
    }

    fn backing(created: &[(&str, Option<i64>)]) -> BackingIndices {
        let created = created.iter().map(|(name, minutes)| ((*name).into(), minutes.map(at)));
        BackingIndices::new(created.collect())
    }

    fn others(backing: &BackingIndices, index: &str, date: Option<DateTime<Utc>>) -> Vec<String> {
        let placed = Placed { id: "1", index, date };
        backing.may_hold(&placed, at(300)).map(str::to_owned).collect()
    }

    fn three() -> BackingIndices {
        backing(&[(FIRST, Some(0)), (SECOND, Some(100)), (THIRD, Some(200))])
    }

    #[test]
    fn fresh_event_needs_no_lookup() {
        assert!(others(&three(), THIRD, Some(at(206))).is_empty());
        let first = backing(&[(FIRST, Some(0))]);
        assert!(others(&first, FIRST, Some(at(-50))).is_empty());
    }

    #[test]
    fn older_event_may_be_in_the_indices_written_to_since_it_happened() {
        assert_eq!(others(&three(), THIRD, Some(at(150))), [SECOND]);
        assert_eq!(others(&three(), THIRD, Some(at(104))), [FIRST, SECOND]);
    }

    #[test]
    fn event_in_an_index_that_is_no_longer_written_to_may_be_in_a_later_one() {
        assert_eq!(others(&three(), SECOND, Some(at(150))), [THIRD]);
        assert_eq!(others(&three(), FIRST, Some(at(50))), [SECOND, THIRD]);
    }

    #[test]
    fn event_without_a_plausible_date_may_be_in_any_index() {
        assert_eq!(others(&three(), THIRD, None), [FIRST, SECOND]);
        assert_eq!(others(&three(), THIRD, Some(at(10_000))), [FIRST, SECOND]);
    }

    #[test]
    fn shrunk_index_hides_no_copy() {
        // Shrinking gives it a new creation date. By that date it would be the latest index.
        let shrunk = "shrink-x2c4-.ds-i-000001";
        let indices = backing(&[(shrunk, Some(290)), (SECOND, Some(100)), (THIRD, Some(200))]);
        assert_eq!(others(&indices, SECOND, Some(at(50))), [shrunk, THIRD]);
        assert_eq!(others(&indices, THIRD, Some(at(150))), [SECOND]);
        let shrunk = "shrink-x2c4-.ds-i-000002";
        let indices = backing(&[(FIRST, Some(0)), (shrunk, Some(290)), (THIRD, Some(200))]);
        // The first one was written to until minute 100, but nobody knows any more.
        assert_eq!(others(&indices, THIRD, Some(at(150))), [FIRST, shrunk]);
        assert!(others(&indices, THIRD, Some(at(206))).is_empty());
    }

    #[test]
    fn without_creation_dates_every_index_may_hold_a_copy() {
        let indices = backing(&[(FIRST, None), (SECOND, None), (THIRD, None)]);
        assert_eq!(others(&indices, THIRD, Some(at(299))), [FIRST, SECOND]);
        let placed = Placed { id: "1", index: THIRD, date: Some(at(299)) };
        assert!(!indices.may_be_in_flight(&placed, at(300)), "the second look would have no end");
    }

    #[test]
    fn second_look_is_for_older_events_in_young_indices_only() {
        let indices = three();
        let again =
            |index, date, now| indices.may_be_in_flight(&Placed { id: "1", index, date }, at(now));
        assert!(again(THIRD, Some(at(190)), 201));
        assert!(again(THIRD, Some(at(204)), 213));
        assert!(again(THIRD, None, 213));
        assert!(again(THIRD, Some(at(10_000)), 213));
        assert!(again(THIRD, Some(at(190)), 199), "the engine's clock is ahead");
        assert!(!again(THIRD, Some(at(205)), 206), "it happened after the rollover");
        assert!(!again(THIRD, Some(at(190)), 214), "no request takes so long");
        assert!(!again(SECOND, Some(at(90)), 201));
        assert!(!again(FIRST, Some(at(-10)), 1), "there is no earlier index");
    }

    #[test]
    fn generation_is_the_number_at_the_end_of_the_name() {
        assert_eq!(generation(".ds-logs-auth0.logs-default-000002"), 2);
        assert_eq!(generation(".ds-logs-auth0.logs-default-2026.11.22-000013"), 13);
        assert_eq!(generation("shrink-x2c4-.ds-logs-auth0.logs-default-2026.11.22-000001"), 1);
        assert_eq!(generation("partial-.ds-logs-auth0.logs-default-2026.11.22-000007"), 7);
        assert_eq!(generation("restored-.ds-logs-auth0.logs-default-1000000"), 1_000_000);
        assert_eq!(generation("logs"), 0);
        assert_eq!(generation("logs-auth0.logs-2026"), 0);
    }
}
