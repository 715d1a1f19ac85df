//! SQS messages → ship → the messages that have to come again.
//!
//! A message goes back to the queue as a whole while any of its events is not durable: those that
//! are will be duplicates next time. After the queue's `maxReceiveCount` it is a dead letter.

use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::clock;
use shared::delivery::frames::{Parked, read_message};
use shared::delivery::ship::Shipper;
use shared::delivery::shipment::Shipment;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::Deadline;

/// The time that answering takes.
const ANSWERING: Duration = Duration::from_secs(2);

/// The function's parts, built once at cold start.
pub(crate) struct Redrive {
    pub(crate) shipper: Shipper,
}

impl Redrive {
    pub(crate) async fn handle(&self, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
        let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
        let mut metrics = Metrics::default();
        let mut response = SqsBatchResponse::default();
        let mut engine_is_up = true;
        for message in &event.payload.records {
            // What the first message ran into, the others would run into too.
            let done = engine_is_up
                && match read(message) {
                    Some(parked) => {
                        engine_is_up =
                            self.write(&parked, deadline.minus(ANSWERING), &mut metrics).await;
                        engine_is_up
                    }
                    None => false,
                };
            if !done {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = message.message_id.clone().unwrap_or_default();
                response.batch_item_failures.push(failure);
            }
        }
        metrics.emit(Function::Redrive, clock::now());
        response
    }

    /// Whether all events of the message are durable now.
    async fn write(&self, parked: &Parked, deadline: Deadline, metrics: &mut Metrics) -> bool {
        let Parked { input, received, .. } = *parked;
        let Shipment { report, unwritten, failure } =
            self.shipper.ship_pieces(parked.events(), input, received, deadline).await;
        metrics.add(&report);
        match failure {
            None => {
                tracing::info!(
                    received = report.received,
                    stored = report.stored,
                    duplicates = report.duplicates,
                    rejected = report.rejected,
                    dead_lettered = report.dead_lettered,
                    "a parked batch is durable"
                );
                true
            }
            Some(failure) => {
                tracing::error!(
                    events = unwritten.len(),
                    failure = %chain(&failure),
                    "events go back to the queue"
                );
                false
            }
        }
    }
}

fn read(message: &SqsMessage) -> Option<Parked> {
    match read_message(message.body.as_deref().unwrap_or_default()) {
        Ok(parked) => Some(parked),
        Err(error) => {
            let id = message.message_id.as_deref().unwrap_or_default();
            tracing::error!(
                id,
                error = %chain(&error),
                "a message cannot be read and goes back to the queue"
            );
            None
        }
    }
}
