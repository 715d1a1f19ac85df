//! A batch into the data stream: the only loop that repeats a `_bulk` request.

use std::time::Duration;

use auth0_ecs::Document;
use bytes::Bytes;

use super::bulk::{self, Batch, Entry};
use super::rollover::{Look, Placed, Rollovers};
use super::shipment::ShipError;
use super::verdict::{self, ResponseVerdict, Verdict};
use crate::clock;
use crate::engine::client::{Engine, EngineError, EngineResponse, Method};
use crate::engine::connection::Connection;
use crate::retry::{Backoff, Deadline};

/// An attempt that takes longer has failed. The rest of the time is for the next one.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

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
    pub(super) refused: Vec<(Entry<'a>, String)>,
    /// What has no verdict yet.
    pub(super) unwritten: Vec<Entry<'a>>,
    /// Why there are unwritten documents; `None` if there are none.
    pub(super) failure: Option<ShipError>,
    /// Whether a request was repeated. The first one may still be executed.
    is_repeated: bool,
}

/// A document that the engine has.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    /// The event as received.
    pub(super) raw: &'a [u8],
    pub(super) document: Document,
    /// `false` for a duplicate.
    pub(super) is_new: bool,
    /// Whether an earlier backing index had it already, so that the copy in the later one was deleted.
    pub(super) is_copy: bool,
    /// Whether it has to be looked at once more: see the documentation of `rollover`.
    pub(super) look_again: bool,
}

/// What one request achieved.
#[derive(Debug)]
enum Attempt<'a> {
    /// Every document has a verdict.
    Settled,
    /// These documents have none.
    Retry(Vec<Entry<'a>>, ShipError),
    /// The engine rejected the request as a whole: one of these documents may be the culprit.
    Split(Vec<Entry<'a>>),
}

impl Writer {
    /// Sends what is pending until each document has a verdict, time has run out, or only the operator
    /// can help.
    pub(super) async fn write<'a>(&self, batch: Batch<'a>, deadline: Deadline) -> Written<'a> {
        let (lines, mut pending) = batch.into_parts();
        let mut written = Written::default();
        let mut backoff = Backoff::default();
        // Documents per request.
        let mut limit = usize::MAX;
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(limit));
            pending = match self.attempt(&lines, pending, deadline, &mut written).await {
                Attempt::Settled => {
                    limit = limit.saturating_mul(2);
                    rest
                }
                Attempt::Split(mut pending) => {
                    limit = pending.len() / 2;
                    pending.extend(rest);
                    pending
                }
                Attempt::Retry(mut pending, failure) => {
                    written.is_repeated = true;
                    pending.extend(rest);
                    let is_hopeless = matches!(failure, ShipError::Unauthorized(_));
                    if is_hopeless || !backoff.pause(deadline).await {
                        written.unwritten = pending;
                        written.failure = Some(failure);
                        break;
                    }
                    pending
                }
            };
        }
        written
    }

    /// Makes one request with all of `pending`.
    async fn attempt<'a>(
        &self,
        lines: &Bytes,
        pending: Vec<Entry<'a>>,
        deadline: Deadline,
        written: &mut Written<'a>,
    ) -> Attempt<'a> {
        let (engine, EngineResponse { status, body }) =
            match self.send(lines, &pending, deadline).await {
                Ok(answered) => answered,
                Err(failure) => return Attempt::Retry(pending, failure),
            };
        match verdict::of_response(status) {
            ResponseVerdict::SeeItems => {}
            ResponseVerdict::Split if pending.len() > 1 => return Attempt::Split(pending),
            ResponseVerdict::Split => {
                let reason = format!("HTTP {status} for the request as a whole");
                written.refused.extend(pending.into_iter().map(|entry| (entry, reason.clone())));
                return Attempt::Settled;
            }
            ResponseVerdict::Unauthorized => {
                let text = String::from_utf8_lossy(&body);
                let text = text.get(..text.floor_char_boundary(500)).unwrap_or_default();
                let reason = format!("HTTP {status}: {text}");
                return Attempt::Retry(pending, ShipError::Unauthorized(reason.into()));
            }
            ResponseVerdict::Retry => {
                let reason = format!("HTTP {status}");
                return Attempt::Retry(pending, ShipError::Unavailable(reason.into()));
            }
        }
        let ids = pending.iter().map(|entry| entry.document.id.as_str());
        let items = match bulk::parse_response(&body, ids) {
            Ok(items) => items,
            Err(error) => {
                return Attempt::Retry(pending, ShipError::Unavailable(error.into()));
            }
        };
        let verdicts = pending.into_iter().zip(items.into_iter().map(verdict::of_item));
        self.settle(&engine, verdicts, deadline, written).await
    }

    async fn send(
        &self,
        lines: &Bytes,
        pending: &[Entry<'_>],
        deadline: Deadline,
    ) -> Result<(Engine, EngineResponse), ShipError> {
        let engine = self.connection.engine(deadline).await?;
        let path = format!("{}/_bulk?{}", self.stream, bulk::RESPONSE_FILTER);
        let payload = bulk::payload(lines, pending, self.gzip);
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
        for (entry, verdict) in verdicts {
            match verdict {
                Verdict::Stored { index } => placed.push((entry, index, true)),
                Verdict::Duplicate { index } => placed.push((entry, index, false)),
                Verdict::Refused(reason) => written.refused.push((entry, reason)),
                Verdict::Retry(reason) => {
                    retry.push(entry);
                    failure.get_or_insert(ShipError::Unavailable(reason.into()));
                }
                Verdict::Unauthorized(reason) => {
                    retry.push(entry);
                    failure = Some(ShipError::Unauthorized(reason.into()));
                }
            }
        }
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
                    |((Entry { raw, document, .. }, _, is_new), Look { is_copy, again })| Stored {
                        raw,
                        document,
                        is_new: is_new && !is_copy,
                        is_copy,
                        look_again: again || is_copy && written.is_repeated,
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

/// Returns one attempt's share of the time.
fn attempt_deadline(deadline: Deadline) -> Deadline {
    deadline.at_most(LONGEST_ATTEMPT.min(deadline.remaining().mul_f64(0.6)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use auth0_ecs::DocumentKind;
    use aws_config::{BehaviorVersion, SdkConfig};
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::any;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::chain;
    use crate::start::config::{SearchConfig, SignIn};

    /// Writes documents with these ids to an engine that decides on a request by the ids in it and the
    /// number of requests before it. Returns the outcome and the ids of each request.
    async fn write(
        ids: &[&'static str],
        answer: fn(&[String], usize) -> (u16, Value),
    ) -> (Written<'static>, Vec<Vec<String>>) {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let bulk = any(move |body: String| async move {
            let actions = body.lines().step_by(2).map(|line| serde_json::from_str(line).unwrap());
            let ids: Vec<String> = actions
                .map(|action: Value| action["create"]["_id"].as_str().unwrap().to_owned())
                .collect();
            let mut seen = seen.lock().unwrap();
            let (status, response) = answer(&ids, seen.len());
            seen.push(ids);
            (StatusCode::from_u16(status).unwrap(), response.to_string())
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
        let mut batch = Batch::default();
        for id in ids {
            batch.push(id.as_bytes(), |out| {
                out.extend_from_slice(b"{}");
                Document { id: (*id).to_owned(), date: None, kind: DocumentKind::Event }
            });
        }
        let written = writer.write(batch, Deadline::after(Duration::from_secs(10))).await;
        let requests = requests.lock().unwrap().clone();
        (written, requests)
    }

    fn items(ids: &[String], status: impl Fn(&str) -> u16) -> (u16, Value) {
        let item =
            |id: &String| json!({"create": {"_index": "i", "_id": id, "status": status(id)}});
        (200, json!({"items": ids.iter().map(item).collect::<Vec<_>>()}))
    }

    fn ids<'w>(documents: impl IntoIterator<Item = &'w Document>) -> Vec<&'w str> {
        documents.into_iter().map(|document| document.id.as_str()).collect()
    }

    #[tokio::test]
    async fn rejected_request_is_split_until_the_culprit_is_alone() {
        let (written, _) = write(&["a", "b", "culprit", "d", "e"], |sent, _| {
            match sent.iter().any(|id| id == "culprit") {
                true => (413, Value::Null),
                false => items(sent, |_| 201),
            }
        })
        .await;
        assert_eq!(ids(written.stored.iter().map(|s| &s.document)), ["a", "b", "d", "e"]);
        assert_eq!(ids(written.refused.iter().map(|(e, _)| &e.document)), ["culprit"]);
        assert_eq!(written.refused[0].1, "HTTP 413 for the request as a whole");
        assert!(written.failure.is_none() && written.unwritten.is_empty());
    }

    #[tokio::test]
    async fn throttled_document_is_sent_again_alone() {
        let (written, requests) = write(&["a", "b", "c"], |sent, before| {
            items(sent, |id| match (id, before) {
                ("b", 0) => 429,
                ("c", _) => 409,
                _ => 201,
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
        let (written, requests) =
            write(&["a", "b"], |_, _| (403, json!({"error": "no permission"}))).await;
        assert_eq!(requests.len(), 1);
        assert_eq!(ids(written.unwritten.iter().map(|e| &e.document)), ["a", "b"]);
        let failure = written.failure.unwrap();
        assert!(matches!(failure, ShipError::Unauthorized(_)));
        let reason = "the engine rejected the request: HTTP 403: {\"error\":\"no permission\"}";
        assert_eq!(chain(&failure), reason);
    }
}
