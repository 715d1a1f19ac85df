//! A body's events into the data stream: the one call that webhook, poller and redrive make.
//!
//! Every event ends in one of four ways: stored, known to be there, kept as an error document (or,
//! where the engine refuses even that, in the dead-letter queue), or handed back as unwritten for
//! the caller to see to. Nothing is dropped, and nothing is handed back that is durable.

use std::time::Duration;

use auth0_ecs::geoip::{GeoIp, GeoIpError};
use auth0_ecs::input::split::{self, is_json};
use auth0_ecs::{Document, Input, Mapper, MapperSettings};
use aws_config::SdkConfig;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;

use super::bulk::{Batch, Entry};
use super::frames::{self, Origin};
use super::queue::Queue;
use super::rollover::{Placed, RolloverError, Rollovers};
use super::shipment::{ShipError, Shipment};
use super::verdict::{self, Verdict};
use crate::clock;
use crate::engine::client::{Engine, EngineError, Method, Payload};
use crate::engine::connection::Connection;
use crate::error::chain;
use crate::retry::{Backoff, Deadline};
use crate::start::config::PipelineConfig;

/// Nothing in the body was JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the body is JSON")]
pub struct NotJsonError;

/// Maps events and writes them; built once per process.
#[derive(Debug)]
pub struct Shipper {
    mapper: Mapper,
    /// `logs-auth0.logs-<namespace>`.
    stream: String,
    connection: Connection,
    /// Set when [`Self::connect`] has tried.
    connected: OnceCell<()>,
    rollovers: Rollovers,
    dead_letters: Queue,
    gzip: bool,
}

/// A `_bulk` request is sent when it has grown to this: a 10 MiB body must not need its size again.
const FULL_REQUEST: usize = 4 * 1024 * 1024;

/// A request of at most this many bytes goes out at once all the same: it is TCP's first flight of ten
/// segments (RFC 6928). Compressing it would take longer than sending what it saves.
const WORTH_COMPRESSING: usize = 10 * 1_460;

/// An attempt that takes longer than this has failed; what is left of the time is for the next.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

impl Shipper {
    /// Opens the GeoIP files; the engine is connected to at the first event, or by
    /// [`Self::connect`].
    ///
    /// # Errors
    /// A GeoIP file that is given cannot be used.
    pub fn new(config: &PipelineConfig, aws: &SdkConfig) -> Result<Self, GeoIpError> {
        let geoip = GeoIp::open(config.geoip.city.as_deref(), config.geoip.asn.as_deref())?;
        let settings = MapperSettings {
            namespace: &config.namespace,
            tags: &config.tags,
            preserve_original_event: config.preserve_original_event,
            agent_name: &config.function_name,
            ephemeral_id: &format!("{:032x}", fastrand::u128(..)),
        };
        let stream = format!("logs-auth0.logs-{}", config.namespace);
        Ok(Self {
            mapper: Mapper::new(&settings, geoip),
            connection: Connection::new(config.search.clone(), aws.clone()),
            connected: OnceCell::new(),
            rollovers: Rollovers::new(stream.clone()),
            dead_letters: Queue::new(aws, config.dead_letter_queue_url.clone()),
            gzip: config.search.gzip,
            stream,
        })
    }

    /// Makes the engine's client, for which its secret is read, while the caller waits for something
    /// else. If that fails, the first event tries again and says why; this does not, so that no later
    /// body waits for it twice.
    pub async fn connect(&self, deadline: Deadline) {
        let trying = || async { drop(self.connection.engine(deadline).await) };
        self.connected.get_or_init(trying).await;
    }

    /// Writes the events of `body`, which arrived at `received`, before `deadline`.
    ///
    /// # Errors
    /// [`NotJsonError`], and nothing was written, where no piece of the body is JSON. An empty array is
    /// JSON; an empty body is not.
    pub async fn ship<'a>(
        &self,
        body: &'a [u8],
        input: Input,
        received: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Shipment<'a>, NotJsonError> {
        let pieces = split::split(body);
        if !pieces.clone().any(is_json) && !is_json(body) {
            return Err(NotJsonError);
        }
        Ok(self.ship_pieces(pieces, input, received, deadline).await)
    }

    /// Writes events that were taken apart before: a body's pieces, or a parked message's events.
    pub async fn ship_pieces<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
        input: Input,
        received: DateTime<Utc>,
        deadline: Deadline,
    ) -> Shipment<'a> {
        let origin = Origin { input, received, reason: None };
        let mut shipment = Shipment::default();
        let mut batch = Batch::default();
        for piece in pieces {
            shipment.report.received += 1;
            if shipment.failure.is_some() {
                shipment.unwritten.push(piece);
                continue;
            }
            batch.push(piece, |out| self.mapper.document(piece, input, received, out));
            if batch.len() >= FULL_REQUEST {
                self.write(std::mem::take(&mut batch), origin, deadline, &mut shipment).await;
            }
        }
        self.write(batch, origin, deadline, &mut shipment).await;
        shipment
    }

    /// Writes a batch, then what of it was refused as error documents, then what of those was
    /// refused to the dead-letter queue.
    async fn write<'a>(
        &self,
        batch: Batch<'a>,
        origin: Origin<'_>,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) {
        let mut errors = Batch::default();
        let written = self.write_documents(batch, deadline, shipment).await;
        for (entry, reason) in written.refused {
            tracing::warn!(id = entry.document.id, reason, "the engine refused an event");
            errors.push(entry.raw, |out| {
                let Origin { input, received, .. } = origin;
                self.mapper.refused_document(
                    entry.raw,
                    &entry.document,
                    &reason,
                    input,
                    received,
                    out,
                )
            });
        }
        for document in written.durable {
            shipment.report.count(&document.document, document.new, clock::now());
        }
        if errors.is_empty() {
            return;
        }
        let written = self.write_documents(errors, deadline, shipment).await;
        shipment.report.rejected += written.durable.len();
        for (entry, reason) in written.refused {
            let letter = Origin { reason: Some(&reason), ..origin };
            match self.dead_letters.send(&[entry.raw], letter, deadline).await {
                Ok(()) => {
                    tracing::error!(
                        id = entry.document.id,
                        reason,
                        "an event became a dead letter"
                    );
                    shipment.report.dead_lettered += 1;
                }
                Err(error) => {
                    tracing::error!(
                        id = entry.document.id,
                        error = %chain(&error),
                        "a dead letter was not taken"
                    );
                    shipment.give_back(entry.raw, ShipError::Unavailable(error.into()));
                }
            }
        }
    }

    /// Sends what is pending until each document has a verdict or the time has run out.
    async fn write_documents<'a>(
        &self,
        batch: Batch<'a>,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) -> Written<'a> {
        let Batch { bytes, entries } = batch;
        let bytes = Bytes::from(bytes);
        let mut written = Written::default();
        let mut pending = entries;
        let mut backoff = Backoff::default();
        // A request that the engine refuses as a whole is halved until the culprit is alone.
        let mut limit = usize::MAX;
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(limit));
            let (outcome, failure) = self.attempt(&bytes, pending, deadline, &mut written).await;
            pending = match outcome {
                Attempt::Settled => {
                    limit = limit.saturating_mul(2);
                    rest
                }
                Attempt::Again(mut again) => {
                    again.extend(rest);
                    again
                }
                Attempt::Halve(mut all) => {
                    limit = all.len() / 2;
                    all.extend(rest);
                    all
                }
            };
            let Some(failure) = failure else { continue };
            let hopeless = matches!(failure, ShipError::Unauthorized(_));
            if hopeless || !backoff.pause(deadline).await {
                for entry in pending.drain(..) {
                    shipment.unwritten.push(entry.raw);
                }
                shipment.failure = Some(failure);
            }
        }
        written
    }

    /// One request with all of `pending`, and what has to be seen to after it.
    async fn attempt<'a>(
        &self,
        bytes: &Bytes,
        pending: Vec<Entry<'a>>,
        deadline: Deadline,
        written: &mut Written<'a>,
    ) -> (Attempt<'a>, Option<ShipError>) {
        let again = |pending, failure| (Attempt::Again(pending), Some(failure));
        let engine = match self.connection.engine(deadline).await {
            Ok(engine) => engine,
            Err(error) => return again(pending, error.into()),
        };
        let path = format!("{}/_bulk?{}", self.stream, verdict::FILTER);
        let payload = self.payload(bytes, &pending);
        let answer = match engine.send(Method::Post, &path, payload, attempt(deadline)).await {
            Ok(answer) => answer,
            Err(error @ EngineError::Unauthorized { .. }) => {
                let said = error.into();
                return again(
                    pending,
                    if self.connection.signs_in_again().await {
                        ShipError::Unavailable(said)
                    } else {
                        ShipError::Unauthorized(said)
                    },
                );
            }
            Err(error @ EngineError::Unavailable { .. }) => {
                return again(pending, ShipError::Unavailable(error.into()));
            }
        };
        match answer.status {
            200 => {}
            400 | 413 if pending.len() > 1 => return (Attempt::Halve(pending), None),
            400 | 413 => {
                let reason = format!("HTTP {} for the request as a whole", answer.status);
                written.refused.extend(pending.into_iter().map(|e| (e, reason.clone())));
                return (Attempt::Settled, None);
            }
            403 | 404 => {
                let said = String::from_utf8_lossy(&answer.body);
                let said = said.get(..said.floor_char_boundary(500)).unwrap_or_default();
                let failure =
                    ShipError::Unauthorized(format!("HTTP {}: {said}", answer.status).into());
                return again(pending, failure);
            }
            status => {
                return again(pending, ShipError::Unavailable(format!("HTTP {status}").into()));
            }
        }
        let ids = pending.iter().map(|entry| entry.document.id.as_str());
        let verdicts = match verdict::verdicts(&answer.body, ids) {
            Ok(verdicts) => verdicts,
            Err(reason) => return again(pending, ShipError::Unavailable(reason.into())),
        };
        self.settle(&engine, pending, verdicts, deadline, written).await
    }

    /// Sorts a request's documents by their verdicts.
    async fn settle<'a>(
        &self,
        engine: &Engine,
        pending: Vec<Entry<'a>>,
        verdicts: Vec<Verdict>,
        deadline: Deadline,
        written: &mut Written<'a>,
    ) -> (Attempt<'a>, Option<ShipError>) {
        let mut again = Vec::new();
        let mut failure = None;
        let mut placed = Vec::new();
        for (entry, verdict) in pending.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Stored { index } => placed.push((entry, index, true)),
                Verdict::Duplicate { index } => placed.push((entry, index, false)),
                Verdict::Refused(reason) => written.refused.push((entry, reason)),
                Verdict::Retry(reason) => {
                    again.push(entry);
                    failure.get_or_insert(ShipError::Unavailable(reason.into()));
                }
                Verdict::Forbidden(reason) => {
                    again.push(entry);
                    failure = Some(ShipError::Unauthorized(reason.into()));
                }
            }
        }
        let doubles = self.undo_doubles(engine, &placed, deadline).await;
        match doubles {
            Ok(doubles) => written.durable.extend(placed.into_iter().map(|(entry, _, new)| {
                let new = new && !doubles.contains(&entry.document.id);
                Durable { document: entry.document, new }
            })),
            Err(error) => {
                // They are in the index, but perhaps twice: once more, then.
                failure.get_or_insert(ShipError::Unavailable(error.into()));
                again.extend(placed.into_iter().map(|(entry, ..)| entry));
            }
        }
        if again.is_empty() { (Attempt::Settled, None) } else { (Attempt::Again(again), failure) }
    }

    /// The ids of those that an earlier backing index has and that were taken back.
    async fn undo_doubles(
        &self,
        engine: &Engine,
        placed: &[(Entry<'_>, String, bool)],
        deadline: Deadline,
    ) -> Result<Vec<String>, RolloverError> {
        let placed: Vec<Placed<'_>> = placed
            .iter()
            .map(|(entry, index, _)| Placed {
                id: &entry.document.id,
                index,
                date: entry.document.date,
            })
            .collect();
        match self.rollovers.undo_doubles(engine, &placed, attempt(deadline)).await {
            Err(error) if error.is_final() => {
                tracing::error!(
                    error = %chain(&error),
                    "events that span a rollover may be in the index twice"
                );
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn payload(&self, bytes: &Bytes, pending: &[Entry<'_>]) -> Payload {
        let all: usize = pending.iter().map(|entry| entry.lines.len()).sum();
        let lines = if all == bytes.len() {
            bytes.clone()
        } else {
            let parts = pending.iter().map(|e| bytes.get(e.lines.clone()).unwrap_or_default());
            Bytes::from(parts.collect::<Vec<_>>().concat())
        };
        if self.gzip && lines.len() > WORTH_COMPRESSING {
            Payload::Ndjson { bytes: Bytes::from(frames::gzip(&lines)), gzip: true }
        } else {
            Payload::Ndjson { bytes: lines, gzip: false }
        }
    }
}

/// One attempt's share of the time.
fn attempt(deadline: Deadline) -> Deadline {
    deadline.at_most(LONGEST_ATTEMPT.min(deadline.remaining().mul_f64(0.6)))
}

/// What has a verdict.
#[derive(Debug, Default)]
struct Written<'a> {
    durable: Vec<Durable>,
    refused: Vec<(Entry<'a>, String)>,
}

#[derive(Debug)]
struct Durable {
    document: Document,
    /// Whether it was not there before.
    new: bool,
}

#[derive(Debug)]
enum Attempt<'a> {
    Settled,
    Again(Vec<Entry<'a>>),
    Halve(Vec<Entry<'a>>),
}
