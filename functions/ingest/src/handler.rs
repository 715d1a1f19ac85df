//! SQS messages → ship → the messages that failed.
//!
//! A message is what `EventBridge` delivered: an event as Auth0 sent it. The queue is the memory of this
//! input, so nothing is parked: a message returns to the queue as a whole while an event of it is not
//! stored. A message that is not JSON would fail forever; it becomes an error document, like a broken line
//! of a batch.
//!
//! No outage is remembered here, for the same reasons as in redrive.

use std::collections::BTreeSet;
use std::time::Duration;

use auth0_ecs::Input;
use auth0_ecs::input::split::split;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};
use lambda_runtime::LambdaEvent;
use shared::clock;
use shared::delivery::incoming::Incoming;
use shared::delivery::ship::Shipper;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::Deadline;

/// Time reserved for the response.
const RESPONSE_TIME: Duration = Duration::from_secs(2);

/// Ships the events of all messages together. The response names the messages of which an event is not
/// stored; the stored ones are duplicates the next time.
pub async fn handle(
    shipper: &Shipper,
    stack: &str,
    event: LambdaEvent<SqsEvent>,
) -> SqsBatchResponse {
    let now = clock::now();
    let deadline = Deadline::from_epoch_millis(event.context.deadline, now);
    let deadline = deadline.minus(RESPONSE_TIME);
    let messages = event.payload.records.as_slice();
    let mut response = SqsBatchResponse::default();
    let mut metrics = Metrics::default();
    let admitted = match shipper.intake.admit(events(messages, now), deadline).await {
        Ok(admitted) => admitted,
        Err(error) => {
            tracing::error!(error = %chain(&error), "user data cannot be masked");
            metrics.emit(stack, Function::Ingest, clock::now());
            response.set_failures(failed_ids(messages, &(0..messages.len()).collect()));
            return response;
        }
    };
    let mut shipment = shipper.ship_events(admitted.events(), deadline).await;
    let sources = shipment.failed_sources();
    let report = &mut shipment.report;
    report.count_filtered(&admitted);
    metrics.report.add(report);
    metrics.messages = Some(messages.len() - sources.len());
    metrics.emit(stack, Function::Ingest, clock::now());
    response.set_failures(failed_ids(messages, &sources));
    response
}

/// Returns the events of all messages, each with the index of its message.
fn events(messages: &[SqsMessage], now: DateTime<Utc>) -> impl Iterator<Item = Incoming<'_>> {
    messages.iter().enumerate().flat_map(move |(source, message)| {
        let received = sent(message).unwrap_or(now);
        let body = message.body.as_deref().unwrap_or_default();
        let incoming = move |raw| Incoming { raw, input: Input::EventBridge, received, source };
        split(body.as_bytes()).map(incoming)
    })
}

/// Returns when the queue took the message: for the event, that is when it reached us.
fn sent(message: &SqsMessage) -> Option<DateTime<Utc>> {
    let milliseconds = message.attributes.get("SentTimestamp")?.parse().ok()?;
    DateTime::from_timestamp_millis(milliseconds)
}

/// Returns the ids of the messages with these indices.
fn failed_ids<'a>(
    messages: &'a [SqsMessage],
    sources: &BTreeSet<usize>,
) -> impl Iterator<Item = &'a str> {
    let failed = sources.iter().filter_map(|source| messages.get(*source));
    failed.map(|message| message.message_id.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, body: &str) -> SqsMessage {
        let mut message = SqsMessage::default();
        message.message_id = Some(id.to_owned());
        message.body = Some(body.to_owned());
        message
    }

    fn texts<'a>(events: impl Iterator<Item = Incoming<'a>>) -> Vec<(&'a str, usize)> {
        events.map(|event| (std::str::from_utf8(event.raw).unwrap(), event.source)).collect()
    }

    #[test]
    fn event_names_the_message_it_came_in() {
        let messages = [message("1", r#"{"log_id":"a"}"#), message("2", r#"{"log_id":"b"}"#)];
        let found = texts(events(&messages, DateTime::UNIX_EPOCH));
        assert_eq!(found, [(r#"{"log_id":"a"}"#, 0), (r#"{"log_id":"b"}"#, 1)]);
    }

    #[test]
    fn message_that_is_not_json_is_an_event_like_any_other() {
        let messages = [message("1", "<html>"), message("2", r#"{"log_id":"cut"#)];
        let found = texts(events(&messages, DateTime::UNIX_EPOCH));
        assert_eq!(found, [("<html>", 0), (r#"{"log_id":"cut"#, 1)]);
    }

    #[test]
    fn event_is_received_when_its_message_was_sent() {
        let now = DateTime::from_timestamp_millis(1_773_479_530_000).unwrap();
        let mut messages = ["{}"; 3].map(|body| message("1", body));
        for (message, time) in messages.iter_mut().zip(["1773479520000", "yesterday"]) {
            message.attributes.insert("SentTimestamp".to_owned(), time.to_owned());
        }
        let received: Vec<_> = events(&messages, now).map(|event| event.received).collect();
        let sent = DateTime::from_timestamp_millis(1_773_479_520_000).unwrap();
        assert_eq!(received, [sent, now, now]);
        assert!(events(&messages, now).all(|event| event.input == Input::EventBridge));
    }

    #[test]
    fn response_names_the_messages_that_failed() {
        let messages = [message("1", "{}"), message("2", "{}"), message("3", "{}")];
        let failed: Vec<_> = failed_ids(&messages, &BTreeSet::from([2, 0])).collect();
        assert_eq!(failed, ["1", "3"]);
    }
}
