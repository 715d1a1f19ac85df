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
///
/// # Errors
/// The run failed; the next one continues at the checkpoint.
pub async fn handle(poller: &Poller, event: LambdaEvent<Value>) -> Result<PollOutcome, PollError> {
    let started = Instant::now();
    let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
    let run = Run::new(poller, deadline.minus(RESPONSE_TIME));
    // On the heap: nested in `main`'s, the future is too deep for the compiler's limit.
    let result = Box::pin(run.poll(&event.payload)).await;
    let milliseconds = started.elapsed().as_millis();
    match &result {
        Ok(PollOutcome { stopped, pages, report, .. }) => tracing::info!(
            stopped = stopped.as_str(),
            pages,
            received = report.received,
            filtered = report.filtered,
            stored = report.stored,
            duplicates = report.duplicates,
            rejected = report.rejected,
            dead_lettered = report.dead_lettered,
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
