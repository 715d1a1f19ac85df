//! What the engine refused: error documents, and dead letters for what not even those can hold.

use std::collections::BTreeMap;

use auth0_ecs::Mapper;
use chrono::TimeDelta;

use super::bulk::{Batch, Entry};
use super::frames::Origin;
use super::incoming::Incoming;
use super::ship::Shipper;
use super::shipment::{ShipError, Shipment};
use super::verdict::Reason;
use super::write::Written;
use crate::error::chain;
use crate::retry::Deadline;

impl Shipper {
    /// Keeps refused events as error documents, and what those cannot hold in the dead-letter queue.
    /// `is_open`: the engine has taken something since the events were refused.
    pub(super) async fn keep_refused<'a>(
        &self,
        refused: Vec<(Entry<'a>, Reason)>,
        is_open: bool,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) {
        if refused.is_empty() {
            return;
        }
        for (reason, events) in counted(refused.iter().map(|(_, reason)| reason)) {
            tracing::warn!(events, reason, "the engine rejected events");
        }
        let is_whole = |(entry, _): &(Entry<'_>, _)| Mapper::holds_whole(entry.event.raw);
        let (whole, cut): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_whole);

        let Written { stored, refused, is_open, .. } =
            self.write_error_documents(&whole, is_open, deadline, shipment).await;
        shipment.report.rejected += stored.len();
        let mut dead = Vec::new();
        for (Entry { event, .. }, reason) in refused {
            if self.bury(event, &reason, is_open, deadline, shipment).await {
                dead.push(reason);
            }
        }
        for refused in cut {
            let document = std::slice::from_ref(&refused);
            let kept = self.write_error_documents(document, is_open, deadline, shipment).await;
            let (Entry { event, .. }, reason) = refused;
            let is_dead = if !kept.stored.is_empty() {
                self.send_dead_letter(event, &reason, deadline, shipment).await
            } else if !kept.refused.is_empty() {
                self.bury(event, &reason, kept.is_open, deadline, shipment).await
            } else {
                false
            };
            if is_dead {
                dead.push(reason);
            }
        }
        for (reason, events) in counted(dead.iter()) {
            tracing::error!(events, reason, "events became dead letters");
        }
    }

    async fn write_error_documents<'a>(
        &self,
        refused: &[(Entry<'a>, Reason)],
        is_open: bool,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) -> Written<'a> {
        let mut batch = Batch::default();
        for (Entry { event, .. }, reason) in refused {
            batch
                .push(*event, |out| self.mapper.refused_document(event.piece(), &reason.full, out));
        }
        self.write_batch(batch, is_open, deadline, shipment).await
    }

    /// Makes an event a dead letter and leaves a document that says so, if the engine takes anything.
    /// If it takes nothing, the operator is at fault, not the event. Returns whether it is a dead letter.
    async fn bury<'a>(
        &self,
        event: Incoming<'a>,
        reason: &Reason,
        is_open: bool,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) -> bool {
        let mut batch = Batch::default();
        batch.push(event, |out| {
            self.mapper.dead_letter_document(event.piece(), &reason.to_string(), out)
        });
        let written = self.write_batch(batch, is_open, deadline, shipment).await;
        if !written.stored.is_empty() || is_open && !written.refused.is_empty() {
            return self.send_dead_letter(event, reason, deadline, shipment).await;
        }
        if !written.refused.is_empty() {
            let refused = written.refused.into_iter().map(|(entry, _)| entry).collect();
            let failure = ShipError::Operator(reason.clone().into());
            shipment.add_unwritten(refused, Some(failure));
        }
        false
    }

    /// Returns whether the dead-letter queue took the event.
    async fn send_dead_letter<'a>(
        &self,
        event: Incoming<'a>,
        reason: &Reason,
        deadline: Deadline,
        shipment: &mut Shipment<'a>,
    ) -> bool {
        let Incoming { raw, input, received, .. } = event;
        let origin = Origin { input, received, reason: Some(&reason.full) };
        match self.dead_letters.send(&[raw], origin, TimeDelta::zero(), deadline).await {
            Ok(()) => {
                shipment.report.dead_lettered += 1;
                true
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a dead letter could not be sent");
                shipment.unwritten.push(event);
                shipment.failure = Some(ShipError::Unavailable(error.into()));
                false
            }
        }
    }
}

/// Returns each reason, as it may be logged, with the number of events that have it.
fn counted<'r>(reasons: impl Iterator<Item = &'r Reason>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason.to_string()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use auth0_ecs::Input;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;
    use crate::clock;
    use crate::delivery::frames::read_message;
    use crate::delivery::report::Report;
    use crate::delivery::stand_in;

    /// What an engine answers about a document: its status and the error's type.
    type Answer = fn(id: &str, document: &str) -> (u16, &'static str);

    const STORED: (u16, &str) = (201, "");
    const MALFORMED: (u16, &str) = (400, "mapper_parsing_exception");
    const UNKNOWN: (u16, &str) = (400, "brand_new_exception");

    /// The outcome of some events.
    struct Shipped {
        report: Report,
        unwritten: usize,
        failure: Option<String>,
        /// What the engine stored, with its id.
        documents: Vec<(String, Value)>,
        /// The events in the dead-letter queue.
        dead: Vec<Vec<u8>>,
    }

    /// Ships events to an engine that decides on each document, and a queue that takes everything.
    async fn ship(events: &[&[u8]], answer: Answer) -> Shipped {
        let documents: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let stored = Arc::clone(&documents);
        let bulk = move |body: String| async move {
            let mut items = Vec::new();
            let mut lines = body.lines();
            while let Some(action) = lines.next() {
                let action: Value = serde_json::from_str(action).unwrap();
                let id = action["create"]["_id"].as_str().unwrap().to_owned();
                let document = lines.next().unwrap();
                let (status, kind) = answer(&id, document);
                let mut item = json!({"_index": "i-000001", "_id": id, "status": status});
                if status == 201 {
                    stored.lock().unwrap().push((id, serde_json::from_str(document).unwrap()));
                } else {
                    item["error"] = json!({"type": kind, "reason": "secret"});
                }
                items.push(json!({"create": item}));
            }
            json!({"items": items}).to_string()
        };
        let messages: Arc<Mutex<Vec<String>>> = Arc::default();
        let sent = Arc::clone(&messages);
        let queue = move |body: String| async move {
            let request: Value = serde_json::from_str(&body).unwrap();
            sent.lock().unwrap().push(request["MessageBody"].as_str().unwrap().to_owned());
            (StatusCode::OK, json!({"MessageId": "1"}).to_string())
        };
        let router = Router::new().route("/{stream}/_bulk", post(bulk)).route("/", post(queue));
        let url = stand_in::serve(router).await;
        let shipper = Shipper::new(&stand_in::pipeline(&url), &stand_in::aws(&url)).unwrap();
        let (deadline, now) = (Deadline::after(Duration::from_secs(10)), clock::now());
        let events = events.iter().map(|raw| Incoming {
            raw,
            input: Input::HttpEndpoint,
            received: now,
            source: 0,
        });
        let shipment = shipper.ship_events(events, deadline).await;
        let messages = messages.lock().unwrap().clone();
        let dead = messages.iter().flat_map(|message| {
            let parked = read_message(message).unwrap();
            parked.events().map(<[u8]>::to_vec).collect::<Vec<_>>()
        });
        Shipped {
            dead: dead.collect(),
            report: shipment.report,
            unwritten: shipment.unwritten.len(),
            failure: shipment.failure.map(|failure| chain(&failure)),
            documents: documents.lock().unwrap().clone(),
        }
    }

    /// An event of this id and age.
    fn event(id: &str, age: TimeDelta) -> Vec<u8> {
        let date = (clock::now() - age).to_rfc3339();
        json!({"log_id": id, "type": "s", "date": date}).to_string().into_bytes()
    }

    fn ids(shipped: &Shipped) -> Vec<&str> {
        shipped.documents.iter().map(|(id, _)| id.as_str()).collect()
    }

    const FRESH: TimeDelta = TimeDelta::minutes(1);
    const OLD: TimeDelta = TimeDelta::hours(2);

    #[tokio::test]
    async fn refused_event_is_kept_as_an_error_document_with_the_whole_reason() {
        let (good, bad) = (event("1", FRESH), event("2", FRESH));
        let shipped =
            ship(&[&good, &bad], |id, _| if id == "2" { MALFORMED } else { STORED }).await;
        assert_eq!(ids(&shipped), ["1", "2-refused"]);
        assert_eq!((shipped.report.stored, shipped.report.rejected), (1, 1));
        let (_, document) = &shipped.documents[1];
        assert_eq!(document["error"]["message"], "HTTP 400 mapper_parsing_exception: secret");
        assert_eq!(document["event"]["original"].as_str().unwrap().as_bytes(), bad);
        assert!(shipped.dead.is_empty() && shipped.failure.is_none());
    }

    #[tokio::test]
    async fn event_that_no_error_document_can_keep_becomes_a_dead_letter() {
        let bad = event("2", FRESH);
        let shipped =
            ship(&[&bad], |id, _| if id.ends_with("letter") { STORED } else { MALFORMED }).await;
        assert_eq!(ids(&shipped), ["2-dead-letter"]);
        assert_eq!(shipped.dead, [bad]);
        assert_eq!((shipped.report.rejected, shipped.report.dead_lettered), (0, 1));
        let (_, document) = &shipped.documents[0];
        assert_eq!(document["error"]["message"], "HTTP 400 mapper_parsing_exception");
        assert!(document["event"].get("original").is_none());
        assert!(shipped.failure.is_none());
    }

    #[tokio::test]
    async fn engine_that_takes_nothing_makes_no_dead_letter() {
        for (age, answer) in [
            (FRESH, (|_, _| MALFORMED) as Answer),
            (OLD, |_, _| MALFORMED),
            (FRESH, |_, _| UNKNOWN),
            (OLD, |_, _| UNKNOWN),
        ] {
            let shipped = ship(&[&event("1", age), &event("2", age)], answer).await;
            assert_eq!(shipped.unwritten, 2);
            assert_eq!(shipped.report.dead_lettered, 0);
            assert!(shipped.dead.is_empty() && shipped.report.misconfigured > 0);
            let failure = shipped.failure.unwrap();
            assert!(failure.starts_with("the engine is not ready"), "{failure}");
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    #[tokio::test]
    async fn lone_event_is_set_aside_once_it_is_an_hour_old() {
        let unknown: Answer = |id, _| if id == "1" { UNKNOWN } else { STORED };
        let shipped = ship(&[&event("1", FRESH)], unknown).await;
        assert_eq!((shipped.unwritten, ids(&shipped).len()), (1, 0));
        let shipped = ship(&[&event("1", OLD)], unknown).await;
        assert_eq!((shipped.unwritten, ids(&shipped)), (0, vec!["1-refused"]));
    }

    #[tokio::test]
    async fn event_that_is_cut_in_its_error_document_is_a_dead_letter_in_full() {
        let text = "x".repeat(200_000);
        let bad = json!({"log_id": "1", "type": "s", "description": text}).to_string();
        let answer: Answer =
            |_, document| if document.len() > 150_000 { MALFORMED } else { STORED };
        let shipped = ship(&[bad.as_bytes()], answer).await;
        assert_eq!(ids(&shipped), ["1-refused"]);
        assert_eq!(shipped.dead, [bad.as_bytes()]);
        assert_eq!((shipped.report.rejected, shipped.report.dead_lettered), (0, 1));
    }
}
