//! SQS messages → ship → the messages that failed.
//!
//! A message returns to the queue as a whole while any of its events is not stored. The stored ones
//! are duplicates the next time. After the queue's `maxReceiveCount` it becomes a dead letter.

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

/// Time reserved for the response.
const RESPONSE_TIME: Duration = Duration::from_secs(2);

/// Everything that outlives an invocation.
pub(crate) struct Redrive {
    pub(crate) shipper: Shipper,
}

impl Redrive {
    pub(crate) async fn handle(&self, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
        let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
        let deadline = deadline.minus(RESPONSE_TIME);
        let mut metrics = Metrics::default();
        let mut response = SqsBatchResponse::default();
        let mut is_engine_up = true;
        for message in event.payload.records {
            let mut is_stored = false;
            // Once one message fails at the engine, the others would fail too.
            if is_engine_up && let Some(parked) = read(&message) {
                is_stored = self.store(&parked, deadline, &mut metrics).await;
                is_engine_up = is_stored;
            }
            if !is_stored {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = message.message_id.unwrap_or_default();
                response.batch_item_failures.push(failure);
            }
        }
        metrics.emit(Function::Redrive, clock::now());
        response
    }

    /// Returns whether all events of the message are stored.
    async fn store(&self, parked: &Parked, deadline: Deadline, metrics: &mut Metrics) -> bool {
        let Parked { input, received, .. } = *parked;
        let Shipment { report, unwritten, failure } =
            self.shipper.ship_pieces(parked.events(), input, received, deadline).await;
        metrics.add(&report);
        if let Some(error) = failure {
            tracing::error!(
                events = unwritten.len(),
                error = %chain(&error),
                "events not stored, returning the message to the queue"
            );
            return false;
        }
        tracing::info!(
            received = report.received,
            stored = report.stored,
            duplicates = report.duplicates,
            rejected = report.rejected,
            dead_lettered = report.dead_lettered,
            "parked batch stored"
        );
        true
    }
}

fn read(message: &SqsMessage) -> Option<Parked> {
    let parked = read_message(message.body.as_deref().unwrap_or_default());
    parked
        .inspect_err(|error| {
            let id = message.message_id.as_deref().unwrap_or_default();
            let error = chain(error);
            tracing::error!(id, error, "unreadable message, returning it to the queue");
        })
        .ok()
}
