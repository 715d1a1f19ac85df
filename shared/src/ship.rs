//! A body's events into the data stream: the one call that webhook, poller and redrive make.

use chrono::{DateTime, Utc};

use crate::Deadline;

/// How an event reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Posted by Auth0's log stream.
    HttpEndpoint,
    /// Pulled from the Management API.
    ManagementApi,
}

impl Input {
    /// The value of `input.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpEndpoint => "http_endpoint",
            Self::ManagementApi => "auth0_management_api",
        }
    }
}

/// What became of a body's events. `stored + duplicates + rejected + dead_lettered` plus the length
/// of [`Shipment::unwritten`] is `received`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events (and broken pieces) found in the body.
    pub received: usize,
    /// Documents that the engine acknowledged as new.
    pub stored: usize,
    /// Documents that the engine had already.
    pub duplicates: usize,
    /// Broken or refused events that are kept as error documents.
    pub rejected: usize,
    /// Events that the engine refused even as error documents; they are in the dead-letter queue.
    pub dead_lettered: usize,
    /// Events of a type that the table does not know.
    pub unknown_types: usize,
    /// Seconds between the oldest stored event's date and its storing.
    pub lag_seconds: Option<i64>,
}

/// A body's outcome.
#[derive(Debug)]
pub struct Shipment<'a> {
    /// The counts.
    pub report: Report,
    /// The raw events that are not durable yet; the caller has to see to them.
    pub unwritten: Vec<&'a [u8]>,
    /// Why there are unwritten events.
    pub failure: Option<ShipFailure>,
}

/// Why events could not be written in the time there was.
#[derive(Debug, thiserror::Error)]
pub enum ShipFailure {
    /// The engine did not take the credentials.
    #[error("the engine refused the sign-in: {0}")]
    Unauthorized(String),
    /// The engine could not be reached, is overloaded, or gave no usable answer.
    #[error("the engine did not take the events: {0}")]
    Unavailable(String),
}

/// Nothing in the body was JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the body is JSON")]
pub struct NotJson;

/// Maps events and writes them; built once per process.
#[derive(Debug)]
pub struct Shipper {}

impl Shipper {
    /// Writes the events of `body`, which arrived at `received`, before `deadline`.
    ///
    /// # Errors
    /// [`NotJson`], and nothing was written, where no piece of the body is JSON.
    #[expect(clippy::unused_async, reason = "written next")]
    pub async fn ship<'a>(
        &self,
        _body: &'a [u8],
        _input: Input,
        _received: DateTime<Utc>,
        _deadline: Deadline,
    ) -> Result<Shipment<'a>, NotJson> {
        Err(NotJson)
    }
}
