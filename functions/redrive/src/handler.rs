//! SQS messages → ship → the messages that failed.
//!
//! The events of all messages are shipped together. A message returns to the queue as a whole while any
//! of its own events is not stored; the stored ones are duplicates the next time. After the queue's
//! `maxReceiveCount` it becomes a dead letter.
//!
//! No outage is remembered here: a message is received once per visibility timeout, whether it fails at
//! once or late, and whoever waits for the engine notices its return first.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::clock;
use shared::delivery::frames::{Parked, Part, read_message};
use shared::delivery::incoming::Incoming;
use shared::delivery::ship::Shipper;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::Deadline;

/// Time reserved for the response.
const RESPONSE_TIME: Duration = Duration::from_secs(2);

/// Messages are shipped once they have this many bytes unpacked, so that ten that are mostly air cannot
/// exhaust the memory.
const FULL_SHIPMENT: usize = 80 * 1024 * 1024;

/// A parked message, read.
struct Message<'a> {
    /// Its id, or those of its parts.
    ids: Vec<&'a str>,
    parked: Parked,
}

/// Returns the messages that go back to the queue.
pub async fn handle(
    shipper: &Shipper,
    stack: &str,
    event: LambdaEvent<SqsEvent>,
) -> SqsBatchResponse {
    let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
    let deadline = deadline.minus(RESPONSE_TIME);
    let mut metrics = Metrics::default();
    let mut failed = Vec::new();
    let mut is_engine_up = true;
    let mut messages = Vec::new();
    let mut unpacked = 0;
    for (ids, body) in whole_bodies(&event.payload.records, &mut failed) {
        if !is_engine_up {
            failed.extend(ids);
            continue;
        }
        match read_message(&body) {
            Ok(parked) => {
                unpacked += parked.unpacked_size();
                messages.push(Message { ids, parked });
            }
            Err(error) => {
                let (id, error) = (ids.first(), chain(&error));
                tracing::error!(id, error, "unreadable message, returning it to the queue");
                failed.extend(ids);
            }
        }
        if unpacked >= FULL_SHIPMENT {
            is_engine_up = ship(shipper, &messages, deadline, &mut metrics, &mut failed).await;
            messages.clear();
            unpacked = 0;
        }
    }
    ship(shipper, &messages, deadline, &mut metrics, &mut failed).await;
    metrics.emit(stack, Function::Redrive, clock::now());
    let mut response = SqsBatchResponse::default();
    response.set_failures(failed);
    response
}

/// Ships the events of all messages. Adds the ids of those with an event that is not stored to
/// `failed`, and returns whether the engine took any event.
async fn ship<'a>(
    shipper: &Shipper,
    messages: &[Message<'a>],
    deadline: Deadline,
    metrics: &mut Metrics,
    failed: &mut Vec<&'a str>,
) -> bool {
    if messages.is_empty() {
        return true;
    }
    let events = messages.iter().enumerate().flat_map(|(source, message)| {
        let Parked { input, received, .. } = message.parked;
        message.parked.events().map(move |raw| Incoming { raw, input, received, source })
    });
    let admitted = match shipper.intake.admit_parked(events, deadline).await {
        Ok(admitted) => admitted,
        Err(error) => {
            tracing::error!(error = %chain(&error), "user data cannot be masked");
            failed.extend(messages.iter().flat_map(|message| message.ids.iter().copied()));
            return false;
        }
    };
    let shipment = shipper.ship_events(admitted.events(), deadline).await;
    let sources = shipment.failed_sources();
    metrics.report.add(&shipment.report);
    *metrics.messages.get_or_insert(0) += messages.len() - sources.len();
    let unstored = messages.iter().enumerate().filter(|(source, _)| sources.contains(source));
    failed.extend(unstored.flat_map(|(_, message)| message.ids.iter().copied()));
    !shipment.is_outage()
}

/// Returns the bodies of the records, with the ids of the messages that each came in: those that came in
/// one, and those whose parts are all here. Adds the ids of other parts to `failed`: perhaps they come
/// together the next time.
fn whole_bodies<'a>(
    records: &'a [SqsMessage],
    failed: &mut Vec<&'a str>,
) -> Vec<(Vec<&'a str>, Cow<'a, str>)> {
    let mut bodies = Vec::new();
    let mut parts: BTreeMap<String, Vec<(&str, Part<'_>)>> = BTreeMap::new();
    for record in records {
        let id = record.message_id.as_deref().unwrap_or_default();
        let body = record.body.as_deref().unwrap_or_default();
        match Part::read(body) {
            Some(part) => parts.entry(part.id().to_owned()).or_default().push((id, part)),
            None => bodies.push((vec![id], body.into())),
        }
    }
    for (event, parts) in parts {
        let ids = parts.iter().map(|(id, _)| *id);
        match Part::join(parts.iter().map(|(_, part)| part)) {
            Some(body) => bodies.push((ids.collect(), body.into())),
            None => {
                tracing::warn!(event, parts = parts.len(), "parts of an event are missing here");
                failed.extend(ids);
            }
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, body: &str) -> SqsMessage {
        let mut record = SqsMessage::default();
        record.message_id = Some(id.to_owned());
        record.body = Some(body.to_owned());
        record
    }

    fn part(event: &str, part: usize, of: usize, text: &str) -> String {
        format!("{{\"id\":\"{event}\",\"part\":{part},\"of\":{of}}}\n{text}")
    }

    #[test]
    fn parts_are_joined_once_all_are_there() {
        let records = [
            record("1", &part("x", 2, 2, "o")),
            record("2", "whole"),
            record("3", &part("y", 1, 2, "half")),
            record("4", &part("x", 1, 2, "hell")),
            record("5", &part("x", 2, 2, "o")),
        ];
        let mut failed = Vec::new();
        let bodies = whole_bodies(&records, &mut failed);
        let expected: [(Vec<&str>, Cow<'_, str>); 2] =
            [(vec!["2"], "whole".into()), (vec!["1", "4", "5"], "hello".into())];
        assert_eq!(bodies, expected);
        assert_eq!(failed, ["3"]);
    }
}
