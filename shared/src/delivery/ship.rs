//! A body's events into the data stream: the calls that all functions that write make.
//!
//! Every event ends in one of four ways: stored, known as a duplicate, kept as an error document (or,
//! if the engine refuses even that or it holds only a part, in the dead-letter queue), or returned as
//! unwritten. Nothing is dropped, and nothing that is stored is returned.

use auth0_ecs::geoip::{GeoIp, GeoIpError};
use auth0_ecs::input::split::{self, is_event_or_json};
use auth0_ecs::{Input, Mapper, MapperSettings};
use aws_config::SdkConfig;
use chrono::{DateTime, TimeDelta, Utc};

use super::bulk::Batch;
use super::frames::Origin;
use super::incoming::Incoming;
use super::intake::Intake;
use super::queue::{Queue, QueueError};
use super::rollover::{Rollovers, SECOND_LOOK_AFTER};
use super::shipment::{ShipError, Shipment};
use super::write::{Stored, Writer, Written};
use crate::clock;
use crate::engine::connection::Connection;
use crate::retry::Deadline;
use crate::start::config::PipelineConfig;

/// A `_bulk` request is sent once it has this many bytes, so that a 10 MiB body does not need its size
/// again in memory.
const FULL_REQUEST: usize = 4 * 1024 * 1024;

/// Masks events, maps and writes them; built once per process.
#[derive(Debug)]
pub struct Shipper {
    /// What every event passes first: nothing else may be made of what arrives.
    pub intake: Intake,
    pub(super) mapper: Mapper,
    writer: Writer,
    retry_queue: Queue,
    pub(super) dead_letters: Queue,
}

/// No part of the body is JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the body is JSON")]
pub struct NotJsonError;

/// Cuts `body`, received at `received`, into its events.
///
/// # Errors
/// [`NotJsonError`] if no part of the body is JSON. An empty array is JSON; an empty body is not.
pub fn split_body(
    body: &[u8],
    input: Input,
    received: DateTime<Utc>,
) -> Result<impl Iterator<Item = Incoming<'_>>, NotJsonError> {
    let pieces = split::split(body);
    if !pieces.clone().any(is_event_or_json) && !is_event_or_json(body) {
        return Err(NotJsonError);
    }
    Ok(pieces.map(move |raw| Incoming { raw, input, received, source: 0 }))
}

impl Shipper {
    /// Opens the GeoIP files. The engine's client is made for the first event, or by [`Self::prepare`].
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
        let retry_queue = Queue::retries(
            aws,
            config.retry_queue_url.clone(),
            config.dead_letter_queue_url.clone(),
        );
        Ok(Self {
            intake: Intake::new(config, aws),
            mapper: Mapper::new(&settings, geoip),
            writer: Writer {
                connection: Connection::new(config.search.clone(), aws.clone()),
                rollovers: Rollovers::new(stream.clone()),
                gzip: config.search.gzip,
                stream,
            },
            dead_letters: retry_queue.dead_letters(),
            retry_queue,
        })
    }

    /// Makes the engine's client and the key of the hashes ahead of the first event; each may read a secret. If
    /// that fails, [`Self::ship_events`] and [`Intake::admit`] try again and return the cause.
    pub async fn prepare(&self, deadline: Deadline) {
        let (engine, masker) =
            tokio::join!(self.writer.connection.engine(deadline), self.intake.masker(deadline));
        drop((engine, masker));
    }

    /// Writes events that were admitted: those of a body, a page or some parked messages.
    pub async fn ship_events<'a>(
        &self,
        events: impl Iterator<Item = Incoming<'a>>,
        deadline: Deadline,
    ) -> Shipment<'a> {
        let mut shipment = Shipment::default();
        let mut batch = Batch::default();
        let mut is_engine_up = true;
        for event in events {
            shipment.report.received += 1;
            if !is_engine_up {
                shipment.unwritten.push(event);
                continue;
            }
            batch.push(event, |out| self.mapper.document(event.piece(), out));
            if batch.len() >= FULL_REQUEST {
                let settled = shipment.report.settled();
                self.write(std::mem::take(&mut batch), deadline, &mut shipment).await;
                // One event's trouble is not the others', but a failure of all of them is.
                is_engine_up = shipment.failure.is_none() || shipment.report.settled() > settled;
            }
        }
        self.write(batch, deadline, &mut shipment).await;
        shipment
    }

    /// Writes a batch, and keeps what the engine refused of it.
    async fn write<'a>(&self, batch: Batch<'a>, deadline: Deadline, shipment: &mut Shipment<'a>) {
        let written = self.write_batch(batch, false, deadline, shipment).await;
        let now = clock::now();
        for Stored { document, is_new, .. } in &written.stored {
            shipment.report.count(document, *is_new, now);
        }
        self.keep_refused(written.refused, written.is_open, deadline, shipment).await;
    }

    /// Writes documents and moves those that are unwritten into the shipment. What has to be looked up
    /// once more after a rollover goes to the retry queue, from where redrive ships it again.
    pub(super) async fn write_batch<'a>(
        &self,
        batch: Batch<'a>,
        is_open: bool,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) -> Written<'a> {
        let mut written = self.writer.write(batch, is_open, deadline).await;
        shipment.add_unwritten(std::mem::take(&mut written.unwritten), written.failure.take());
        let now = clock::now();
        let again = |stored: &Stored<'_>| stored.needs_second_look(now);
        let events: Vec<_> =
            written.stored.iter().filter(|it| again(it)).map(|it| it.event).collect();
        if events.is_empty() {
            return written;
        }
        match self.send_to_retries(&events, SECOND_LOOK_AFTER, deadline).await {
            Ok(()) => tracing::info!(
                events = events.len(),
                "events will be looked up once more after a rollover"
            ),
            // They are stored, but perhaps twice. Shipping them again repeats the search.
            Err(error) => {
                written.stored.retain(|stored| !again(stored));
                shipment.unwritten.extend(events);
                shipment.failure = Some(ShipError::Unavailable(error.into()));
            }
        }
        written
    }

    /// Sends events to the retry queue, from where redrive ships them again.
    ///
    /// # Errors
    /// The queue did not take all of them. Some may be in it, which does no harm.
    pub async fn park(
        &self,
        events: &[Incoming<'_>],
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        self.send_to_retries(events, TimeDelta::zero(), deadline).await
    }

    async fn send_to_retries(
        &self,
        events: &[Incoming<'_>],
        delay: TimeDelta,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        let origin = |event: &Incoming<'_>| (event.input, event.received);
        for alike in events.chunk_by(|a, b| origin(a) == origin(b)) {
            let Some((input, received)) = alike.first().map(origin) else { continue };
            let origin = Origin { input, received, reason: None };
            let raw: Vec<&[u8]> = alike.iter().map(|event| event.raw).collect();
            self.retry_queue.send(&raw, origin, delay, deadline).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::routing::any;
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::report::Report;
    use crate::delivery::stand_in;

    /// Ships events with these log ids, each as a source of its own, to an engine that answers for each
    /// document with the status that `verdict` gives for its id. Returns the outcome, and the number of
    /// documents of each request.
    async fn ship(
        events: &[(&str, usize)],
        verdict: fn(&str) -> u16,
    ) -> (Report, Vec<usize>, Option<ShipError>, Vec<usize>) {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let bulk = any(move |body: String| async move {
            let actions = body.lines().step_by(2).map(|line| serde_json::from_str(line).unwrap());
            let items: Vec<Value> = actions
                .map(|action: Value| {
                    let id = action["create"]["_id"].as_str().unwrap();
                    let (status, error) = (verdict(id), "version_conflict_engine_exception");
                    json!({ "create": { "_index": "i", "_id": id, "status": status,
                        "error": { "type": if status == 409 { error } else { "security_exception" } } } })
                })
                .collect();
            seen.lock().unwrap().push(items.len());
            json!({ "items": items }).to_string()
        });
        let router = Router::new().fallback(bulk);
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        let url = stand_in::serve(router).await;
        let shipper = Shipper::new(&stand_in::pipeline(&url), &stand_in::aws(&url)).unwrap();
        let bodies: Vec<String> = events
            .iter()
            .map(|(id, length)| {
                let details = json!({ "noise": vec!["x".repeat(1_000); length / 1_000] });
                json!({ "log_id": id, "data": { "log_id": id, "type": "s", "details": details } })
                    .to_string()
            })
            .collect();
        let received = clock::now();
        let events = bodies.iter().enumerate().map(|(source, body)| Incoming {
            raw: body.as_bytes(),
            input: Input::HttpEndpoint,
            received,
            source,
        });
        let deadline = Deadline::after(Duration::from_secs(10));
        let Shipment { report, unwritten, failure } = shipper.ship_events(events, deadline).await;
        let sources = unwritten.iter().map(|event| event.source).collect();
        let requests = requests.lock().unwrap().clone();
        (report, sources, failure, requests)
    }

    #[tokio::test]
    async fn unwritten_event_names_its_source() {
        let events = [("a", 0), ("b", 0), ("c", 0)];
        let (report, sources, failure, requests) = ship(&events, |id| match id {
            "b" => 403,
            "c" => 409,
            _ => 201,
        })
        .await;
        assert_eq!((report.received, report.stored, report.duplicates), (3, 1, 1));
        assert_eq!(sources, [1]);
        assert!(failure.is_some());
        assert_eq!(requests, [3], "one request for all sources");
    }

    #[tokio::test]
    async fn events_after_a_full_request_are_tried_unless_it_failed_as_a_whole() {
        let events = [("a", 0), ("large", FULL_REQUEST), ("b", 0)];
        let one = ship(&events, |id| if id == "a" { 403 } else { 201 }).await;
        assert_eq!((one.1, one.3), (vec![0], vec![2, 1]));
        let all = ship(&events, |_| 403).await;
        assert_eq!((all.1, all.3), (vec![0, 1, 2], vec![2]));
    }
}
