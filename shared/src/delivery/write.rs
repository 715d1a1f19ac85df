//! A batch into the data stream: the only loop that repeats a `_bulk` request.
//!
//! An answer that blames neither side is settled by what became of the neighbors. If the engine takes
//! others of the batch, the way is open, and what it does not take is at fault itself. If it takes none,
//! the operator is at fault, until the event is an hour old: then it is set aside, so that nothing waits
//! forever behind it. A request that is rejected as a whole, by a firewall for instance, is halved to find
//! the culprit, but only while a harmless request gets through: a proxy that refuses everything costs two
//! requests, not two for each event.

use std::time::Duration;

use auth0_ecs::Document;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::bulk::{self, Batch, Entry};
use super::incoming::Incoming;
use super::rollover::{Look, Placed, Rollovers, SECOND_LOOK_AFTER};
use super::shipment::ShipError;
use super::verdict::{self, Fault, Reason, Verdict};
use crate::clock;
use crate::engine::client::{Engine, EngineError, EngineResponse, Method, Payload};
use crate::engine::connection::Connection;
use crate::retry::{Backoff, Deadline};

/// An attempt that takes longer has failed. The rest of the time is for the next one.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

/// How long a refusal counts as the operator's while nothing shows that it is the event's.
const PATIENCE: TimeDelta = TimeDelta::hours(1);

/// The largest difference expected between Auth0's clock and ours.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Writes batches to one data stream.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) stream: String,
    pub(super) connection: Connection,
    pub(super) rollovers: Rollovers,
    pub(super) gzip: bool,
}

/// The outcome of one batch.
#[derive(Debug, Default)]
pub(super) struct Written<'a> {
    /// What the engine has.
    pub(super) stored: Vec<Stored<'a>>,
    /// What it will never take, with the reasons.
    pub(super) refused: Vec<(Entry<'a>, Reason)>,
    /// What has no verdict yet.
    pub(super) unwritten: Vec<Entry<'a>>,
    /// Why there are unwritten documents; `None` if there are none.
    pub(super) failure: Option<ShipError>,
    /// Whether the engine takes documents: it has taken one of this batch, or of an earlier one of the
    /// same events.
    pub(super) is_open: bool,
    /// What was refused while nothing shows whose fault that is.
    suspects: Vec<(Entry<'a>, Reason)>,
    /// Whether a request was repeated. The first one may still be executed.
    is_repeated: bool,
}

/// A document that the engine has.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) event: Incoming<'a>,
    pub(super) document: Document,
    /// `false` for a duplicate.
    pub(super) is_new: bool,
    /// Whether an earlier backing index had it already, so that the copy in the later one was deleted.
    is_copy: bool,
    /// Whether it has to be looked at once more, however long ago it was received.
    look_again: bool,
}

impl Stored<'_> {
    /// Returns whether it has to be looked at once more: see the documentation of `rollover`.
    pub(super) fn needs_second_look(&self, now: DateTime<Utc>) -> bool {
        self.look_again || self.is_copy && now - self.event.received < SECOND_LOOK_AFTER
    }
}

/// What one request achieved.
#[derive(Debug)]
enum Attempt<'a> {
    /// Every document has a verdict, or is a suspect.
    Settled,
    /// These documents have none.
    Retry(Vec<Entry<'a>>, ShipError),
    /// The request was rejected as a whole, with this status: one of these documents may be the culprit.
    Rejected(Vec<Entry<'a>>, u16, Reason),
}

/// How the documents are sent.
struct Sending {
    /// Documents per request.
    limit: usize,
    gzip: bool,
    /// Whether a harmless request got through after one was rejected.
    is_probed: bool,
    /// Whether the first pending document was rejected alone and is sent once more.
    is_second_try: bool,
}

impl Writer {
    /// Sends what is pending until each document has a verdict, time has run out, or only the operator
    /// can help. `is_open` is [`Written::is_open`] of an earlier batch.
    pub(super) async fn write<'a>(
        &self,
        batch: Batch<'a>,
        is_open: bool,
        deadline: Deadline,
    ) -> Written<'a> {
        let (lines, mut pending) = batch.into_parts();
        let mut written = Written { is_open, ..Written::default() };
        let mut backoff = Backoff::default();
        let mut sending =
            Sending { limit: usize::MAX, gzip: self.gzip, is_probed: false, is_second_try: false };
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(sending.limit));
            pending = match self.attempt(&lines, pending, &sending, deadline, &mut written).await {
                Attempt::Settled => {
                    sending.is_second_try = false;
                    sending.limit = sending.limit.saturating_mul(2);
                    rest
                }
                Attempt::Rejected(mut pending, status, reason) => {
                    // Once before the search for the culprit, and once when it is found: the way may
                    // have been closed meanwhile.
                    if !sending.is_probed || sending.is_second_try {
                        sending.is_probed = self.reaches_engine(deadline).await;
                        if !sending.is_probed {
                            pending.extend(rest);
                            written.give_up(pending, ShipError::Operator(reason.into()));
                            break;
                        }
                    }
                    // What cannot read gzip rejects it. What minds the size needs it.
                    sending.gzip &= status == 413;
                    if sending.is_second_try {
                        sending.is_second_try = false;
                        let culprits = pending.into_iter().map(|entry| (entry, reason.clone()));
                        written.suspects.extend(culprits);
                        rest
                    } else {
                        // A lone document is sent once more: what rejected it may have been passing.
                        sending.is_second_try = pending.len() == 1;
                        sending.limit = (pending.len() / 2).max(1);
                        pending.extend(rest);
                        pending
                    }
                }
                Attempt::Retry(mut pending, failure) => {
                    written.is_repeated = true;
                    pending.extend(rest);
                    if failure.is_operators() || !backoff.pause(deadline).await {
                        written.give_up(pending, failure);
                        break;
                    }
                    pending
                }
            };
            if let Some(reason) = written.hopeless(clock::now()) {
                written.give_up(std::mem::take(&mut pending), ShipError::Operator(reason.into()));
            }
        }
        written.judge_suspects(clock::now());
        written
    }

    /// Makes one request with all of `pending`.
    async fn attempt<'a>(
        &self,
        lines: &Bytes,
        pending: Vec<Entry<'a>>,
        sending: &Sending,
        deadline: Deadline,
        written: &mut Written<'a>,
    ) -> Attempt<'a> {
        let payload = bulk::payload(lines, &pending, sending.gzip);
        let (engine, EngineResponse { status, body }) = match self.send(payload, deadline).await {
            Ok(answered) => answered,
            Err(failure) => return Attempt::Retry(pending, failure),
        };
        match verdict::of_response(status, &body) {
            None => {}
            Some((Fault::Document | Fault::Unclear, reason)) => {
                return Attempt::Rejected(pending, status, reason);
            }
            Some((fault, reason)) => {
                return Attempt::Retry(pending, ShipError::from_fault(fault, reason));
            }
        }
        let ids = pending.iter().map(|entry| entry.document.id.as_str());
        let items = match bulk::parse_response(&body, ids) {
            Ok(items) => items,
            Err(error) => {
                return Attempt::Retry(pending, ShipError::Unavailable(error.into()));
            }
        };
        let stream = engine.has_data_streams().then_some(self.stream.as_str());
        let verdicts = items.into_iter().map(|item| verdict::of_item(item, stream));
        let verdicts = pending.into_iter().zip(verdicts);
        self.settle(&engine, verdicts, deadline, written).await
    }

    /// Returns whether a request that stores nothing gets to the engine.
    async fn reaches_engine(&self, deadline: Deadline) -> bool {
        let answered = self.send(bulk::harmless_payload(), deadline).await;
        answered.is_ok_and(|(_, response)| verdict::is_own(response.status, &response.body))
    }

    async fn send(
        &self,
        payload: Payload,
        deadline: Deadline,
    ) -> Result<(Engine, EngineResponse), ShipError> {
        let engine = self.connection.engine(deadline).await?;
        let path = bulk::path(&self.stream, engine.has_data_streams());
        match engine.send(Method::Post, &path, payload, attempt_deadline(deadline)).await {
            Ok(response) => Ok((engine, response)),
            Err(error @ EngineError::Unauthorized { .. })
                if !self.connection.reload_credentials().await =>
            {
                Err(ShipError::Unauthorized(error.into()))
            }
            Err(error) => Err(ShipError::Unavailable(error.into())),
        }
    }

    /// Sorts a request's documents by their verdicts.
    async fn settle<'a>(
        &self,
        engine: &Engine,
        verdicts: impl Iterator<Item = (Entry<'a>, Verdict)>,
        deadline: Deadline,
        written: &mut Written<'a>,
    ) -> Attempt<'a> {
        let mut retry = Vec::new();
        let mut failure = None;
        let mut placed = Vec::new();
        let mut refused = Vec::new();
        for (entry, verdict) in verdicts {
            match verdict {
                Verdict::Stored(index) => placed.push((entry, index, true)),
                Verdict::Duplicate(index) => placed.push((entry, index, false)),
                Verdict::Failed(fault @ (Fault::Document | Fault::Unclear), reason) => {
                    refused.push((entry, fault, reason));
                }
                Verdict::Failed(fault, reason) => {
                    retry.push(entry);
                    let found = ShipError::from_fault(fault, reason);
                    if found.is_operators() || failure.is_none() {
                        failure = Some(found);
                    }
                }
            }
        }
        written.is_open |= !placed.is_empty();
        written.sort_refused(refused, placed.is_empty() && retry.is_empty());
        let places: Vec<Placed<'_>> = placed
            .iter()
            .map(|(Entry { document, .. }, index, _)| Placed {
                id: &document.id,
                index,
                date: document.date,
            })
            .collect();
        let deadline = attempt_deadline(deadline);
        match self.rollovers.delete_later_copies(engine, &places, clock::now(), deadline).await {
            Ok(looks) => {
                let stored = placed.into_iter().zip(looks);
                written.stored.extend(stored.map(
                    |((Entry { event, document, .. }, _, is_new), Look { is_copy, again })| {
                        Stored {
                            event,
                            document,
                            is_new: is_new && !is_copy,
                            is_copy,
                            look_again: again || is_copy && written.is_repeated,
                        }
                    },
                ));
            }
            Err(error) => {
                // They are stored, but perhaps twice. Writing them again repeats the search.
                failure.get_or_insert(ShipError::Unavailable(error.into()));
                retry.extend(placed.into_iter().map(|(entry, ..)| entry));
            }
        }
        match failure {
            Some(failure) => Attempt::Retry(retry, failure),
            None => Attempt::Settled,
        }
    }
}

impl<'a> Written<'a> {
    /// Sorts the documents that one request refused; `all` if it did nothing else. What the engine says
    /// about a document is the document's fault, unless it says the same about all of several.
    fn sort_refused(&mut self, refused: Vec<(Entry<'a>, Fault, Reason)>, all: bool) {
        let mut kinds = refused.iter().map(|(_, _, reason)| &reason.kind);
        let first = kinds.next();
        let is_alike = all && refused.len() > 1 && kinds.all(|kind| Some(kind) == first);
        for (entry, fault, reason) in refused {
            if fault == Fault::Document && !is_alike {
                self.refused.push((entry, reason));
            } else {
                self.suspects.push((entry, reason));
            }
        }
    }

    /// Returns why the rest need not be tried: more than one is suspect, nothing was stored, and none is
    /// old enough to be set aside.
    fn hopeless(&self, now: DateTime<Utc>) -> Option<Reason> {
        let is_overdue = |(entry, _): &(Entry<'_>, _)| is_overdue(&entry.document, now);
        match self.suspects.as_slice() {
            [(_, reason), _, ..] if !self.is_open && !self.suspects.iter().any(is_overdue) => {
                Some(reason.clone())
            }
            _ => None,
        }
    }

    fn judge_suspects(&mut self, now: DateTime<Utc>) {
        for (entry, reason) in std::mem::take(&mut self.suspects) {
            if self.is_open || is_overdue(&entry.document, now) {
                self.refused.push((entry, reason));
            } else {
                self.unwritten.push(entry);
                let is_known = self.failure.as_ref().is_some_and(ShipError::is_operators);
                if !is_known {
                    self.failure = Some(ShipError::Operator(reason.into()));
                }
            }
        }
    }

    fn give_up(&mut self, entries: Vec<Entry<'a>>, failure: ShipError) {
        if !entries.is_empty() {
            self.unwritten.extend(entries);
            self.failure = Some(failure);
        }
    }
}

/// Returns whether there was time enough to blame the operator. The event's own date tells, because the
/// poller receives the same page anew in each run. Without a plausible date there is no waiting.
fn is_overdue(document: &Document, now: DateTime<Utc>) -> bool {
    document.date.is_none_or(|date| !(now - PATIENCE..=now + CLOCK_SKEW).contains(&date))
}

/// Returns one attempt's share of the time.
fn attempt_deadline(deadline: Deadline) -> Deadline {
    deadline.at_most(LONGEST_ATTEMPT.min(deadline.remaining().mul_f64(0.6)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use auth0_ecs::{DocumentKind, Input};
    use aws_config::{BehaviorVersion, SdkConfig};
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::any;
    use chrono::DateTime;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::delivery::incoming::Incoming;
    use crate::error::chain;
    use crate::start::config::{SearchConfig, SignIn};

    /// Of the harmless request.
    const PROBE: &str = "auth0-log-streams";

    /// How old the events are, in minutes.
    const FRESH: i64 = 1;
    const OLD: i64 = 61;

    /// Writes documents with these ids to an engine that decides on a request by the ids in it and the
    /// number of requests before it. Returns the outcome and the ids of each request.
    async fn write(
        ids: &[&'static str],
        minutes: i64,
        answer: fn(&[String], usize) -> (u16, String),
    ) -> (Written<'static>, Vec<Vec<String>>) {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let bulk = any(move |body: String| async move {
            let actions = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let ids: Vec<String> = actions
                .filter_map(|action| {
                    let target = action.get("create").or(action.get("delete"))?;
                    Some(target["_id"].as_str().unwrap().to_owned())
                })
                .collect();
            let mut seen = seen.lock().unwrap();
            let (status, response) = answer(&ids, seen.len());
            seen.push(ids);
            (StatusCode::from_u16(status).unwrap(), response)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(bulk)).await });
        let config =
            SearchConfig { endpoint, sign_in: SignIn::None, ca_certificate: None, gzip: false };
        let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let writer = Writer {
            stream: "logs".into(),
            connection: Connection::new(config, aws),
            rollovers: Rollovers::new("logs".into()),
            gzip: false,
        };
        let date = Some(clock::now() - TimeDelta::minutes(minutes));
        let mut batch = Batch::default();
        for id in ids {
            let (input, received) = (Input::HttpEndpoint, DateTime::UNIX_EPOCH);
            let event = Incoming { raw: id.as_bytes(), input, received, source: 0 };
            batch.push(event, |out| {
                out.extend_from_slice(b"{}");
                Document { id: (*id).to_owned(), date, kind: DocumentKind::Event }
            });
        }
        let deadline = Deadline::after(Duration::from_secs(10));
        let written = writer.write(batch, false, deadline).await;
        let requests = requests.lock().unwrap().clone();
        (written, requests)
    }

    /// An item's status, and its error's type and reason.
    type ItemResult = (u16, &'static str, &'static str);

    const STORED: ItemResult = (201, "", "");
    const MALFORMED: ItemResult = (400, "mapper_parsing_exception", "failed to parse [source.ip]");
    const UNKNOWN: ItemResult = (400, "brand_new_exception", "secret");

    fn items(ids: &[String], result: impl Fn(&str) -> ItemResult) -> (u16, String) {
        let item = |id: &String| {
            let (status, kind, reason) = result(id);
            let error = json!({"type": kind, "reason": reason});
            let mut item = json!({"_index": "i", "_id": id, "status": status});
            if status >= 300 {
                item["error"] = error;
            }
            json!({"create": item})
        };
        (200, json!({"items": ids.iter().map(item).collect::<Vec<_>>()}).to_string())
    }

    fn page(status: u16) -> (u16, String) {
        (status, "<html>secret</html>".to_owned())
    }

    fn ids<'w>(documents: impl IntoIterator<Item = &'w Document>) -> Vec<&'w str> {
        documents.into_iter().map(|document| document.id.as_str()).collect()
    }

    fn stored<'w>(written: &'w Written<'_>) -> Vec<&'w str> {
        ids(written.stored.iter().map(|stored| &stored.document))
    }

    fn refused<'w>(written: &'w Written<'_>) -> Vec<&'w str> {
        ids(written.refused.iter().map(|(entry, _)| &entry.document))
    }

    /// The cause of a batch that waits for the operator, and the ids in it.
    fn waiting<'w>(written: &'w Written<'_>) -> (String, Vec<&'w str>) {
        assert!(written.stored.is_empty() && written.refused.is_empty(), "{written:?}");
        let Some(failure @ ShipError::Operator(_)) = &written.failure else {
            panic!("not the operator's fault: {:?}", written.failure)
        };
        let mut ids = ids(written.unwritten.iter().map(|entry| &entry.document));
        ids.sort_unstable();
        (chain(failure), ids)
    }

    #[tokio::test]
    async fn rejected_request_is_halved_until_the_culprit_is_alone() {
        let (written, requests) = write(&["a", "b", "culprit", "d", "e"], FRESH, |sent, _| {
            match sent.iter().any(|id| id == "culprit") {
                true => page(403),
                false => items(sent, |_| STORED),
            }
        })
        .await;
        assert_eq!(stored(&written), ["a", "b", "d", "e"]);
        assert_eq!(refused(&written), ["culprit"]);
        assert_eq!(written.refused[0].1.to_string(), "HTTP 403, not from the engine");
        assert!(written.failure.is_none() && written.unwritten.is_empty());
        assert_eq!(requests[1], [PROBE]);
        assert!(requests.len() <= 9, "{requests:?}");
    }

    #[tokio::test]
    async fn lone_event_is_sent_again_after_a_passing_rejection() {
        let (written, requests) = write(&["a"], OLD, |sent, before| match before {
            0 => page(301),
            _ => items(sent, |_| STORED),
        })
        .await;
        assert_eq!((stored(&written), requests.len()), (vec!["a"], 3));
        assert!(written.refused.is_empty());
    }

    #[tokio::test]
    async fn request_that_is_too_large_is_halved() {
        let (written, requests) = write(&["a", "b", "c", "d"], FRESH, |sent, _| {
            if sent.len() > 2 { (413, String::new()) } else { items(sent, |_| STORED) }
        })
        .await;
        assert_eq!(stored(&written), ["a", "b", "c", "d"]);
        assert_eq!(requests.len(), 4, "{requests:?}");
    }

    #[tokio::test]
    async fn proxy_that_rejects_everything_costs_two_requests() {
        for (minutes, status) in
            [(FRESH, 400), (OLD, 400), (FRESH, 301), (FRESH, 404), (FRESH, 413)]
        {
            let answer: fn(&[String], usize) -> (u16, String) = match status {
                301 => |_, _| page(301),
                404 => |_, _| page(404),
                413 => |_, _| page(413),
                _ => |_, _| page(400),
            };
            let (written, requests) = write(&["a", "b", "c"], minutes, answer).await;
            let cause = format!(
                "the engine is not ready for the events: HTTP {status}, not from the engine"
            );
            assert_eq!(waiting(&written), (cause, vec!["a", "b", "c"]));
            assert_eq!(requests.len(), 2, "{requests:?}");
        }
    }

    #[tokio::test]
    async fn proxy_that_starts_to_reject_everything_has_found_no_culprit() {
        let (written, _) = write(&["a", "b", "c", "d"], OLD, |sent, before| match before {
            0 => page(403),
            1..=3 => items(sent, |_| STORED),
            _ => page(403),
        })
        .await;
        assert_eq!(stored(&written), ["a", "b", "c", "d"]);
        let (written, _) = write(&["a", "b", "c", "d"], OLD, |sent, before| match before {
            1 | 2 => items(sent, |_| STORED),
            _ => page(403),
        })
        .await;
        assert_eq!(stored(&written), ["a", "b"]);
        assert!(written.refused.is_empty());
        assert_eq!(ids(written.unwritten.iter().map(|e| &e.document)), ["c", "d"]);
        assert!(matches!(written.failure, Some(ShipError::Operator(_))));
    }

    #[tokio::test]
    async fn blocked_events_wait_an_hour_while_no_other_gets_through() {
        let firewall = |sent: &[String], _| match sent {
            [id] if id == PROBE => items(sent, |_| (400, ILLEGAL, "only create")),
            _ => page(403),
        };
        let (written, requests) = write(&["a", "b", "c", "d"], FRESH, firewall).await;
        assert_eq!(waiting(&written).1, ["a", "b", "c", "d"]);
        assert_eq!(requests.len(), 9, "{requests:?}");
        let (written, _) = write(&["a", "b", "c", "d"], OLD, firewall).await;
        assert_eq!(refused(&written), ["a", "b", "c", "d"]);
        let (written, _) = write(&["a"], FRESH, firewall).await;
        assert_eq!(waiting(&written).1, ["a"]);
        let (written, _) = write(&["a"], OLD, firewall).await;
        assert_eq!(refused(&written), ["a"]);
    }

    const ILLEGAL: &str = "illegal_argument_exception";

    #[tokio::test]
    async fn throttled_document_is_sent_again_alone() {
        let (written, requests) = write(&["a", "b", "c"], FRESH, |sent, before| {
            items(sent, |id| match (id, before) {
                ("b", 0) => (429, "es_rejected_execution_exception", "busy"),
                ("c", _) => (409, "version_conflict_engine_exception", "exists"),
                _ => STORED,
            })
        })
        .await;
        assert_eq!(requests, [vec!["a", "b", "c"], vec!["b"]]);
        let stored: Vec<_> =
            written.stored.iter().map(|s| (s.document.id.as_str(), s.is_new)).collect();
        assert_eq!(stored, [("a", true), ("c", false), ("b", true)]);
        assert!(written.failure.is_none());
    }

    #[tokio::test]
    async fn missing_privilege_ends_the_batch_at_once() {
        let denied = |_: &[String], _| {
            let error = json!({"type": "security_exception", "reason": "no permissions"});
            (403, json!({"error": error}).to_string())
        };
        let (written, requests) = write(&["a", "b"], FRESH, denied).await;
        assert_eq!(requests.len(), 1);
        assert_eq!(ids(written.unwritten.iter().map(|e| &e.document)), ["a", "b"]);
        let failure = written.failure.unwrap();
        assert!(matches!(failure, ShipError::Unauthorized(_)));
        let reason = "the engine rejected the request: HTTP 403 security_exception: no permissions";
        assert_eq!(chain(&failure), reason);
    }

    #[tokio::test]
    async fn operators_fault_ends_the_batch_at_once_however_old_it_is() {
        for minutes in [FRESH, OLD] {
            let (written, requests) = write(&["a", "b"], minutes, |sent, _| {
                items(sent, |_| (400, "validation_exception", "maximum shards open"))
            })
            .await;
            let cause = "the engine is not ready for the events: \
                         HTTP 400 validation_exception: maximum shards open";
            assert_eq!(waiting(&written), (cause.to_owned(), vec!["a", "b"]));
            assert_eq!(requests.len(), 1);
        }
    }

    #[tokio::test]
    async fn engines_word_about_one_document_is_that_documents_fault() {
        let malformed =
            |sent: &[String], _| items(sent, |id| if id == "b" { MALFORMED } else { STORED });
        let (written, _) = write(&["a", "b", "c"], FRESH, malformed).await;
        assert_eq!((stored(&written), refused(&written)), (vec!["a", "c"], vec!["b"]));
        let (written, _) = write(&["b"], FRESH, malformed).await;
        assert_eq!(refused(&written), ["b"]);
        let summary = "HTTP 400 mapper_parsing_exception [source.ip]";
        assert_eq!(written.refused[0].1.to_string(), summary);
    }

    #[tokio::test]
    async fn same_refusal_of_all_documents_is_the_operators_fault_for_an_hour() {
        let malformed = |sent: &[String], _| items(sent, |_| MALFORMED);
        let (written, requests) = write(&["a", "b"], FRESH, malformed).await;
        let cause = "the engine is not ready for the events: \
                     HTTP 400 mapper_parsing_exception [source.ip]";
        assert_eq!(waiting(&written), (cause.to_owned(), vec!["a", "b"]));
        assert_eq!(requests.len(), 1);
        let (written, _) = write(&["a", "b"], OLD, malformed).await;
        assert_eq!(refused(&written), ["a", "b"]);
    }

    #[tokio::test]
    async fn unknown_refusal_is_the_documents_fault_if_a_neighbor_is_stored() {
        let unknown = |sent: &[String], _| {
            items(sent, |id| match id {
                "b" => UNKNOWN,
                _ => (409, "version_conflict_engine_exception", "exists"),
            })
        };
        let (written, _) = write(&["a", "b"], FRESH, unknown).await;
        assert_eq!((stored(&written), refused(&written)), (vec!["a"], vec!["b"]));
        assert!(written.is_open);
        let (written, _) = write(&["b"], FRESH, unknown).await;
        let cause = "the engine is not ready for the events: HTTP 400 brand_new_exception";
        assert_eq!(waiting(&written), (cause.to_owned(), vec!["b"]));
        let (written, _) = write(&["b"], OLD, unknown).await;
        assert_eq!(refused(&written), ["b"]);
        assert!(!written.is_open);
    }

    #[test]
    fn event_without_a_plausible_date_is_not_waited_for() {
        let now = clock::now();
        let overdue = |date| {
            let document = Document { id: "a".into(), date, kind: DocumentKind::Event };
            is_overdue(&document, now)
        };
        assert!(!overdue(Some(now)));
        assert!(!overdue(Some(now - TimeDelta::minutes(59))));
        assert!(overdue(Some(now - TimeDelta::minutes(61))));
        assert!(overdue(Some(now + TimeDelta::days(365))));
        assert!(overdue(None));
    }
}
