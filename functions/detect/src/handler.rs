//! One invocation: a run, and its metrics.

use std::time::Duration;

use auth0_ecs::key;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use shared::clock;
use shared::engine::client::EngineError;
use shared::error::chain;
use shared::metrics::{EntryValue, Function, Record, nonzero};
use shared::retry::Deadline;
use tokio::time::Instant;

use crate::detector::Detector;
use crate::reader::ReadError;
use crate::run::{Counts, Run, RunError, Stopped};

/// Time reserved for the response.
const RESPONSE_TIME: Duration = Duration::from_millis(200);

/// Serves a tick of the schedule, whatever its payload.
///
/// # Errors
/// The run ended before all rules had run. The next one continues where each rule was.
pub(crate) async fn handle(
    detector: &Detector,
    event: LambdaEvent<Value>,
) -> Result<Value, Diagnostic> {
    let (started, now) = (Instant::now(), clock::now());
    let deadline = Deadline::from_epoch_millis(event.context.deadline, now).minus(RESPONSE_TIME);
    for problem in &detector.problems {
        tracing::error!(problem, "a setting of the detections cannot be used, running without it");
    }
    let mut run = Run::new(detector, deadline, now);
    // On the heap: nested in `main`'s, the future is too deep for the compiler's limit.
    let end = match Box::pin(run.detect()).await {
        Err(RunError::AnotherRun) => Ok(Stopped::AnotherRun),
        end => end,
    };
    let Counts { rules, failed, alerts, published, truncated, lag } = run.counts;
    let milliseconds = started.elapsed().as_millis();
    let stopped = end.as_ref().ok().map(|stopped| stopped.as_str());
    Record {
        metrics: &[
            (key!("DetectionsRun"), Some(EntryValue::number(rules))),
            (key!("DetectionsFailed"), nonzero(failed)),
            (key!("DetectionsTruncated"), nonzero(truncated)),
            (key!("DetectionLag"), lag.map(EntryValue::number)),
            (key!("Alerts"), nonzero(alerts)),
            (key!("AlertsPublished"), nonzero(published)),
        ],
        properties: &[
            (key!("stopped"), stopped.map(EntryValue::Text)),
            (key!("took_ms"), Some(EntryValue::number(milliseconds))),
        ],
        stack: &detector.stack,
        function: Function::Detect,
        now,
    }
    .emit();
    match end {
        Ok(_) => Ok(json!({"stopped": stopped, "rules": rules, "failed": failed, "alerts": alerts,
                "published": published, "truncated": truncated, "lag": lag})),
        Err(error) => {
            let (error_type, error) = (error_type(&error), chain(&error));
            tracing::error!(error_type, error, milliseconds, "detection failed");
            Err(Diagnostic { error_type: error_type.to_owned(), error_message: error })
        }
    }
}

/// Returns the type by which the Lambda console distinguishes errors.
const fn error_type(error: &RunError) -> &'static str {
    match error {
        RunError::Connection(_) => "SecretUnusable",
        RunError::Checkpoint(_) | RunError::Damaged(_) | RunError::AnotherRun => {
            "CheckpointUnusable"
        }
        RunError::Engine(ReadError::Engine(EngineError::Unauthorized { .. })) => {
            "EngineUnauthorized"
        }
        RunError::Engine(ReadError::Refused(..)) => "EngineMisconfigured",
        RunError::Engine(_) => "EngineUnavailable",
    }
}
