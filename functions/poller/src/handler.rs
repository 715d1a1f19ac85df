//! One invocation: a run, and the log message about it.

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::clock;
use shared::error::chain;
use shared::retry::Deadline;
use tokio::time::Instant;

use crate::outcome::{PollError, PollOutcome};
use crate::run::{Poller, Run};

/// Time reserved for the response.
const RESPONSE_TIME: Duration = Duration::from_millis(200);

/// Serves a tick of the schedule, whatever its payload, or a backfill order.
pub(crate) async fn handle(
    poller: &Poller,
    event: LambdaEvent<Value>,
) -> Result<PollOutcome, PollError> {
    let started = Instant::now();
    let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
    let result = Run::new(poller, deadline.minus(RESPONSE_TIME)).poll(&event.payload).await;
    let milliseconds = started.elapsed().as_millis();
    match &result {
        Ok(outcome) => tracing::info!(
            stopped = outcome.stopped.as_str(),
            pages = outcome.pages,
            received = outcome.received,
            stored = outcome.stored,
            duplicates = outcome.duplicates,
            rejected = outcome.rejected,
            dead_lettered = outcome.dead_lettered,
            milliseconds,
            "polled"
        ),
        Err(error) => {
            let error_type = error.error_type();
            tracing::error!(error_type, error = %chain(error), milliseconds, "poll failed");
        }
    }
    result
}
