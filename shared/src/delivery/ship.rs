//! A body's events into the data stream: the one call that webhook, poller and redrive make.
//!
//! Every event ends in one of four ways: stored, known as a duplicate, kept as an error document (or,
//! if the engine refuses even that, in the dead-letter queue), or returned as unwritten. Nothing is
//! dropped, and nothing that is stored is returned.

use auth0_ecs::geoip::{GeoIp, GeoIpError};
use auth0_ecs::input::split::{self, is_json};
use auth0_ecs::{Input, Mapper, MapperSettings};
use aws_config::SdkConfig;
use chrono::{DateTime, Utc};

use super::bulk::Batch;
use super::frames::Origin;
use super::queue::Queue;
use super::rollover::{Rollovers, SECOND_LOOK_AFTER};
use super::shipment::{ShipError, Shipment};
use super::write::{Stored, Writer, Written};
use crate::clock;
use crate::engine::connection::Connection;
use crate::error::chain;
use crate::retry::Deadline;
use crate::start::config::PipelineConfig;

/// A `_bulk` request is sent once it has this many bytes, so that a 10 MiB body does not need its size
/// again in memory.
const FULL_REQUEST: usize = 4 * 1024 * 1024;

/// Maps events and writes them; built once per process.
#[derive(Debug)]
pub struct Shipper {
    mapper: Mapper,
    writer: Writer,
    retry_queue: Queue,
    dead_letters: Queue,
}

/// No part of the body is JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the body is JSON")]
pub struct NotJsonError;

impl Shipper {
    /// Opens the GeoIP files. The engine's client is made for the first event, or by [`Self::connect`].
    ///
    /// # Errors
    /// A configured GeoIP file cannot be used.
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
            writer: Writer {
                connection: Connection::new(config.search.clone(), aws.clone()),
                rollovers: Rollovers::new(stream.clone()),
                gzip: config.search.gzip,
                stream,
            },
            retry_queue: Queue::new(aws, config.retry_queue_url.clone()),
            dead_letters: Queue::new(aws, config.dead_letter_queue_url.clone()),
        })
    }

    /// Makes the engine's client, which may read a secret, while the caller waits for something else.
    /// Only the first call has an effect. If it fails, [`Self::ship`] tries again and returns the cause.
    pub async fn connect(&self, deadline: Deadline) {
        self.writer.connection.connect(deadline).await;
    }

    /// Writes the events of `body`, received at `received`, before `deadline`.
    ///
    /// # Errors
    /// [`NotJsonError`], and nothing was written, if no part of the body is JSON. An empty array is
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

    /// Writes events that are already split: the pieces of a body, or the events of a parked message.
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

    /// Writes a batch, then its refused events as error documents, then the refused error documents to
    /// the dead-letter queue.
    async fn write<'a>(
        &self,
        batch: Batch<'a>,
        origin: Origin<'_>,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) {
        let Origin { input, received, .. } = origin;
        let mut written = self.writer.write(batch, deadline).await;
        self.look_again_later(&mut written, origin, deadline, shipment).await;
        let mut errors = Batch::default();
        for (entry, reason) in &written.refused {
            let (raw, document) = (entry.raw, &entry.document);
            tracing::warn!(id = document.id, reason, "the engine rejected an event");
            errors.push(raw, |out| {
                self.mapper.refused_document(raw, document, reason, input, received, out)
            });
        }
        let now = clock::now();
        for Stored { document, is_new, .. } in &written.stored {
            shipment.report.count(document, *is_new, now);
        }
        shipment.add_unwritten(written.unwritten, written.failure);
        if errors.is_empty() {
            return;
        }
        let mut written = self.writer.write(errors, deadline).await;
        self.look_again_later(&mut written, origin, deadline, shipment).await;
        shipment.report.rejected += written.stored.len();
        shipment.add_unwritten(written.unwritten, written.failure);
        for (entry, reason) in &written.refused {
            let id = &entry.document.id;
            let origin = Origin { reason: Some(reason), ..origin };
            match self.dead_letters.send(&[entry.raw], origin, deadline).await {
                Ok(()) => {
                    tracing::error!(id, reason, "an event became a dead letter");
                    shipment.report.dead_lettered += 1;
                }
                Err(error) => {
                    tracing::error!(id, error = %chain(&error), "a dead letter could not be sent");
                    shipment.unwritten.push(entry.raw);
                    shipment.failure = Some(ShipError::Unavailable(error.into()));
                }
            }
        }
    }

    /// Sends the events that have to be looked at once more to the retry queue, from where redrive ships
    /// them again after that time. Those that the queue does not take are unwritten: they are stored, but
    /// perhaps twice.
    async fn look_again_later<'a>(
        &self,
        written: &mut Written<'a>,
        origin: Origin<'_>,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) {
        let is_recent = clock::now() - origin.received < SECOND_LOOK_AFTER;
        let look_again = |stored: &Stored<'_>| stored.look_again || stored.is_copy && is_recent;
        let events: Vec<&[u8]> = written
            .stored
            .iter()
            .filter(|stored| look_again(stored))
            .map(|stored| stored.raw)
            .collect();
        if events.is_empty() {
            return;
        }
        let sent = self.retry_queue.send_later(&events, origin, SECOND_LOOK_AFTER, deadline).await;
        match sent {
            Ok(()) => {
                let events = events.len();
                tracing::info!(events, "events will be looked up once more after a rollover");
            }
            Err(error) => {
                written.stored.retain(|stored| !look_again(stored));
                shipment.unwritten.extend(events);
                shipment.failure = Some(ShipError::Unavailable(error.into()));
            }
        }
    }
}
