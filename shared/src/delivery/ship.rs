//! A body's events into the data stream: the calls that all functions that write make.
//!
//! Every event ends in one of four ways: stored, known as a duplicate, kept as an error document (or,
//! if the engine refuses even that or it holds only a part, in the dead-letter queue), or returned as
//! unwritten. Nothing is dropped, and nothing that is stored is returned.

use auth0_ecs::geoip::{GeoIp, GeoIpError};
use auth0_ecs::input::split::{self, is_json};
use auth0_ecs::{Input, Mapper, MapperSettings};
use aws_config::SdkConfig;
use chrono::{DateTime, Utc};

use super::bulk::Batch;
use super::frames::Origin;
use super::incoming::Incoming;
use super::intake::{Admitted, Intake, MaskError};
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
    intake: Intake,
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
    if !pieces.clone().any(is_json) && !is_json(body) {
        return Err(NotJsonError);
    }
    Ok(pieces.map(move |raw| Incoming { raw, input, received, source: 0 }))
}

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
            intake: Intake::new(config, aws),
            mapper: Mapper::new(&settings, geoip),
            writer: Writer {
                connection: Connection::new(config.search.clone(), aws.clone()),
                rollovers: Rollovers::new(stream.clone()),
                gzip: config.search.gzip,
                stream,
            },
            retry_queue: Queue::retries(
                aws,
                config.retry_queue_url.clone(),
                config.dead_letter_queue_url.clone(),
            ),
            dead_letters: Queue::dead_letters(aws, config.dead_letter_queue_url.clone()),
        })
    }

    /// Makes the engine's client and the key of the hashes, which may read a secret each, while the caller waits
    /// for something else. Only the first call has an effect. If it fails, [`Self::ship_events`] and
    /// [`Self::admit`] try again and return the cause.
    pub async fn connect(&self, deadline: Deadline) {
        let masker = async { drop(self.intake.masker(deadline).await) };
        tokio::join!(self.writer.connection.connect(deadline), masker);
    }

    /// Returns the events that go on of those that have just arrived: without those of unwanted types, and
    /// with their user data masked. Nothing else may be made of what arrives.
    ///
    /// # Errors
    /// The key of the hashes cannot be read.
    pub async fn admit<'b>(
        &self,
        events: impl Iterator<Item = Incoming<'b>>,
        deadline: Deadline,
    ) -> Result<Admitted<'b>, MaskError> {
        self.intake.admit(events, deadline).await
    }

    /// The same for events that have been in a queue since they were admitted.
    ///
    /// # Errors
    /// The key of the hashes cannot be read.
    pub async fn admit_parked<'b>(
        &self,
        events: impl Iterator<Item = Incoming<'b>>,
        deadline: Deadline,
    ) -> Result<Admitted<'b>, MaskError> {
        self.intake.admit_parked(events, deadline).await
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
            let Incoming { raw, input, received, .. } = event;
            batch.push(event, |out| self.mapper.document(raw, input, received, out));
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
        let (again, settled) = std::mem::take(&mut written.stored)
            .into_iter()
            .partition(|stored: &Stored<'_>| stored.needs_second_look(clock::now()));
        written.stored = settled;
        match self.look_again_later(&again, deadline).await {
            Ok(()) => written.stored.extend(again),
            // They are stored, but perhaps twice. Shipping them again repeats the search.
            Err(error) => {
                shipment.unwritten.extend(again.into_iter().map(|stored| stored.event));
                shipment.failure = Some(ShipError::Unavailable(error.into()));
            }
        }
        written
    }

    async fn look_again_later(
        &self,
        stored: &[Stored<'_>],
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        if stored.is_empty() {
            return Ok(());
        }
        let origin = |stored: &Stored<'_>| (stored.event.input, stored.event.received);
        for alike in stored.chunk_by(|a, b| origin(a) == origin(b)) {
            let events: Vec<&[u8]> = alike.iter().map(|stored| stored.event.raw).collect();
            let Some((input, received)) = alike.first().map(origin) else { continue };
            let origin = Origin { input, received, reason: None };
            self.retry_queue.send_later(&events, origin, SECOND_LOOK_AFTER, deadline).await?;
        }
        tracing::info!(
            events = stored.len(),
            "events will be looked up once more after a rollover"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use auth0_ecs::input::filter::TypeFilter;
    use aws_config::{BehaviorVersion, SdkConfig};
    use axum::Router;
    use axum::routing::any;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::delivery::report::Report;
    use crate::start::config::{GeoIpConfig, SearchConfig, SignIn, UserData};

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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(bulk);
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = PipelineConfig {
            search: SearchConfig {
                endpoint,
                sign_in: SignIn::None,
                ca_certificate: None,
                gzip: false,
            },
            namespace: "default".into(),
            tags: Vec::new(),
            preserve_original_event: false,
            types: TypeFilter::default(),
            user_data: UserData::default(),
            geoip: GeoIpConfig::default(),
            function_name: "test".into(),
            retry_queue_url: "http://127.0.0.1:9/retry".into(),
            dead_letter_queue_url: "http://127.0.0.1:9/dead".into(),
        };
        let http = crate::start::http::client().unwrap();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(crate::start::http::sdk_client(&http))
            .build();
        let shipper = Shipper::new(&config, &aws).unwrap();
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
