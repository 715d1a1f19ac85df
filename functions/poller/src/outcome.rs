//! How an invocation ends: its answer, or an error with a stable type.

use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::delivery::shipment::ShipError;
use shared::error::chain;

use crate::auth0::Auth0Error;
use crate::backfill::Progress;
use crate::checkpoint::CheckpointError;

/// Why a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    /// Auth0 has no more.
    CaughtUp,
    /// Another page might not have been finished; the next run goes on.
    OutOfTime,
    /// Auth0 allows no more calls in the time there is; the next run goes on.
    RateLimited,
    /// Another poller has moved the checkpoint, and goes on from there.
    AnotherPoller,
}

/// What an invocation answers.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) stopped: Stopped,
    /// Pages that were finished, the empty one at the end included.
    pub(crate) pages: usize,
    pub(crate) received: usize,
    pub(crate) stored: usize,
    pub(crate) duplicates: usize,
    pub(crate) rejected: usize,
    pub(crate) dead_lettered: usize,
    pub(crate) unknown_types: usize,
    /// Where the checkpoint is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backfill: Option<Progress>,
}

/// Why an invocation failed. The checkpoint is where the last stored page left it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    #[error(transparent)]
    Auth0(#[from] Auth0Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("a page was not stored")]
    Engine(#[source] ShipError),
    /// Shipped, but there is no way on: at the next run the same page comes again.
    #[error("no event of a page has a log id to go on from")]
    NoLogId,
    #[error("the backfill order cannot be used: {0}")]
    Order(String),
}

impl PollError {
    /// What alarms and the Lambda console tell errors apart by.
    pub(crate) const fn error_type(&self) -> &'static str {
        match self {
            Self::Auth0(Auth0Error::Unauthorized(_)) => "Auth0Unauthorized",
            Self::Auth0(Auth0Error::Forbidden(_)) => "Auth0Forbidden",
            Self::Auth0(Auth0Error::Secret(_)) => "SecretUnusable",
            Self::Auth0(Auth0Error::RateLimited { .. }) => "Auth0RateLimited",
            Self::Auth0(Auth0Error::CheckpointRefused(_)) => "CheckpointRefused",
            Self::Auth0(Auth0Error::Unavailable(_)) => "Auth0Unavailable",
            Self::Auth0(Auth0Error::Malformed(_)) => "Auth0Malformed",
            Self::Checkpoint(_) => "CheckpointUnusable",
            Self::Engine(ShipError::Unauthorized(_)) => "EngineUnauthorized",
            Self::Engine(ShipError::Unavailable(_)) => "EngineUnavailable",
            Self::NoLogId => "NoLogId",
            Self::Order(_) => "BackfillOrderUnusable",
        }
    }

    /// Whether a sign-in was refused.
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

/// Why a run cannot go on.
pub(crate) enum Halt {
    OutOfTime,
    RateLimited,
    /// With the checkpoint as that one left it.
    AnotherPoller(Option<String>),
    Failed(PollError),
}

impl<E: Into<PollError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_why_it_stopped() {
        let answer = Answer {
            stopped: Stopped::CaughtUp,
            pages: 2,
            received: 3,
            stored: 2,
            duplicates: 1,
            rejected: 0,
            dead_lettered: 0,
            unknown_types: 0,
            checkpoint: Some("9001".into()),
            backfill: None,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"stopped":"caught_up","pages":2,"received":3,"stored":2,"duplicates":1,"rejected":0,"dead_lettered":0,"unknown_types":0,"checkpoint":"9001"}"#
        );
    }
}
