//! How an invocation ends: an outcome, or an error with a stable type.

use lambda_runtime::Diagnostic;
use serde::{Serialize, Serializer};
use shared::checkpoint::CheckpointError;
use shared::delivery::intake::MaskError;
use shared::delivery::report::Report;
use shared::delivery::shipment::ShipError;
use shared::error::chain;

use crate::auth0_error::Auth0Error;
use crate::backfill::{BackfillOrderError, BackfillProgress};

/// Why a run that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Auth0 has no more events.
    CaughtUp,
    /// Another page might not have been finished. The next run goes on.
    OutOfTime,
    /// Auth0 allows no more requests before the deadline. The next run goes on.
    RateLimited,
    /// Another poller moved the checkpoint and goes on from there.
    AnotherPoller,
}

/// Why a run ends before it has caught up.
#[derive(Debug)]
pub(crate) enum EarlyStop {
    OutOfTime,
    RateLimited,
    /// With the checkpoint that the other poller saved.
    AnotherPoller(Option<String>),
    Failed(PollError),
}

impl Stopped {
    /// Returns the name in responses and log messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaughtUp => "caught_up",
            Self::OutOfTime => "out_of_time",
            Self::RateLimited => "rate_limited",
            Self::AnotherPoller => "another_poller",
        }
    }

    /// Returns the reason for an `end` that is not a failure.
    pub(crate) fn from_end(end: Result<(), EarlyStop>) -> Result<Self, PollError> {
        match end {
            Ok(()) => Ok(Self::CaughtUp),
            Err(EarlyStop::OutOfTime) => Ok(Self::OutOfTime),
            Err(EarlyStop::RateLimited) => Ok(Self::RateLimited),
            Err(EarlyStop::AnotherPoller(_)) => Ok(Self::AnotherPoller),
            Err(EarlyStop::Failed(error)) => Err(error),
        }
    }
}

impl Serialize for Stopped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<E: Into<PollError>> From<E> for EarlyStop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// An invocation's response.
#[derive(Debug, Serialize)]
pub struct PollOutcome {
    /// Why the run ended.
    pub stopped: Stopped,
    /// Finished pages, including an empty one at the end.
    pub pages: usize,
    /// The outcome of these pages' events.
    #[serde(flatten)]
    pub report: Report,
    /// Events of a type that is not in the table.
    pub unknown_types: usize,
    /// The checkpoint as saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// How far a backfill has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillProgress>,
}

/// Why an invocation failed. The checkpoint is that of the last stored page.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// There is no page.
    #[error(transparent)]
    Auth0(#[from] Auth0Error),
    /// The checkpoint was neither read nor saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The engine did not take a page.
    #[error("a page was not stored")]
    Engine(#[from] ShipError),
    /// A page cannot be masked, and must not be shipped as it is.
    #[error("user data cannot be masked")]
    Mask(#[from] MaskError),
    /// The page was shipped, but the next run gets the same page again.
    #[error("neither Auth0's link nor the page's events say where to continue")]
    NoLogId,
    /// The operator has to fix the payload.
    #[error("unusable backfill order")]
    BackfillOrder(#[from] BackfillOrderError),
}

impl PollError {
    /// Returns the type by which alarms and the Lambda console distinguish errors.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::Auth0(error) => error.error_type(),
            Self::Checkpoint(_) => "CheckpointUnusable",
            Self::Engine(ShipError::Unauthorized(_)) => "EngineUnauthorized",
            Self::Engine(ShipError::Operator(_)) => "EngineMisconfigured",
            Self::Engine(ShipError::Unavailable(_)) => "EngineUnavailable",
            Self::Mask(_) => "MaskKeyUnavailable",
            Self::NoLogId => "NoLogId",
            Self::BackfillOrder(_) => "BackfillOrderUnusable",
        }
    }

    /// Returns whether Auth0 or the engine rejected the credentials.
    pub(crate) const fn is_unauthorized(&self) -> bool {
        matches!(
            self,
            Self::Auth0(Auth0Error::Unauthorized(_) | Auth0Error::Forbidden(_))
                | Self::Engine(ShipError::Unauthorized(_))
        )
    }
}

impl From<PollError> for Diagnostic {
    fn from(error: PollError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: chain(&error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_says_why_the_run_stopped() {
        for (end, stopped) in [
            (Ok(()), "caught_up"),
            (Err(EarlyStop::OutOfTime), "out_of_time"),
            (Err(EarlyStop::RateLimited), "rate_limited"),
            (Err(EarlyStop::AnotherPoller(Some("9002".into()))), "another_poller"),
        ] {
            let outcome = PollOutcome {
                stopped: Stopped::from_end(end).unwrap(),
                pages: 2,
                report: Report { received: 3, stored: 2, duplicates: 1, ..Report::default() },
                unknown_types: 0,
                checkpoint: Some("9001".into()),
                backfill: None,
            };
            let rest = r#""pages":2,"received":3,"filtered":0,"stored":2,"duplicates":1,"rejected":0,"dead_lettered":0,"unknown_types":0,"checkpoint":"9001""#;
            assert_eq!(
                serde_json::to_string(&outcome).unwrap(),
                format!(r#"{{"stopped":"{stopped}",{rest}}}"#)
            );
        }
    }

    #[test]
    fn failed_run_has_an_error_type_and_no_outcome() {
        let error = Stopped::from_end(Err(PollError::NoLogId.into())).unwrap_err();
        let Diagnostic { error_type, error_message } = error.into();
        assert_eq!(error_type, "NoLogId");
        assert_eq!(
            error_message,
            "neither Auth0's link nor the page's events say where to continue"
        );
    }
}
