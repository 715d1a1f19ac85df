//! The outcome of a body's events.

use std::collections::BTreeSet;

use super::bulk::Entry;
use super::incoming::Incoming;
use super::report::Report;
use super::verdict::{Fault, Reason};
use crate::engine::connection::ConnectionError;
use crate::error::{BoxError, chain};

/// The outcome of a body's events, or those of several parked messages.
#[derive(Debug, Default)]
pub struct Shipment<'a> {
    /// The counts.
    pub report: Report,
    /// The events that are not stored. The caller has to park or repeat them.
    pub unwritten: Vec<Incoming<'a>>,
    /// Why there are unwritten events; `None` if there are none, or nothing was sent.
    pub failure: Option<ShipError>,
}

/// Why events could not be written before the deadline.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The engine rejected the credentials, or they lack a privilege. Only the operator can fix it.
    #[error("the engine rejected the request")]
    Unauthorized(#[source] BoxError),
    /// The cluster has no room for the events or is blocked, or something in front of it rejects them.
    /// Only the operator can fix it.
    #[error("the engine is not ready for the events")]
    Operator(#[source] BoxError),
    /// The engine is unreachable or overloaded, or its response is unusable. A later attempt may succeed.
    #[error("the engine did not take the events")]
    Unavailable(#[source] BoxError),
}

impl ShipError {
    /// Returns whether trying again soon is useless.
    pub(super) const fn is_operators(&self) -> bool {
        match self {
            Self::Unauthorized(_) | Self::Operator(_) => true,
            Self::Unavailable(_) => false,
        }
    }

    pub(super) fn from_fault(fault: Fault, reason: Reason) -> Self {
        match fault {
            Fault::Passing => Self::Unavailable(reason.into()),
            Fault::Credentials => Self::Unauthorized(reason.into()),
            Fault::Operator | Fault::Document | Fault::Unclear => Self::Operator(reason.into()),
        }
    }
}

impl From<ConnectionError> for ShipError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Client(error) => Self::Unauthorized(error.into()),
            ConnectionError::SecretTimeout | ConnectionError::Secret(_) => {
                Self::Unavailable(error.into())
            }
        }
    }
}

impl<'a> Shipment<'a> {
    /// The outcome of events that are not sent to the engine at all.
    #[must_use]
    pub fn unsent(events: impl Iterator<Item = Incoming<'a>>) -> Self {
        let unwritten: Vec<_> = events.collect();
        let report = Report { received: unwritten.len(), ..Report::default() };
        Self { report, unwritten, failure: None }
    }

    /// Returns whether the engine took nothing at all, though it was asked to.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        self.failure.is_some() && self.report.settled() == 0
    }

    /// Returns the sources of unwritten events, whose messages have to return to their queue. Logs why.
    #[must_use]
    pub fn failed_sources(&self) -> BTreeSet<usize> {
        let sources: BTreeSet<usize> = self.unwritten.iter().map(|event| event.source).collect();
        if let Some(error) = &self.failure {
            tracing::error!(
                messages = sources.len(),
                events = self.unwritten.len(),
                error = %chain(error),
                "events not stored, returning their messages to the queue"
            );
        }
        sources
    }

    pub(super) fn add_unwritten(&mut self, entries: Vec<Entry<'a>>, failure: Option<ShipError>) {
        self.unwritten.extend(entries.into_iter().map(|entry| entry.event));
        self.report.misconfigured += usize::from(matches!(failure, Some(ShipError::Operator(_))));
        self.failure = failure.or(self.failure.take());
    }
}
