//! The outcome of a body's events, in numbers.

use auth0_ecs::{Document, DocumentKind};
use chrono::{DateTime, Utc};

use super::intake::Admitted;

/// Counts of a body's events. `filtered + stored + duplicates + rejected + dead_lettered` plus the length of
/// [`Shipment::unwritten`](super::shipment::Shipment::unwritten) is `received`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events (and broken pieces) found in the body.
    pub received: usize,
    /// Events that were left out because of their type.
    pub filtered: usize,
    /// Documents that the engine acknowledged as new.
    pub stored: usize,
    /// Documents that the engine already had.
    pub duplicates: usize,
    /// Broken or refused events that are kept as error documents.
    pub rejected: usize,
    /// Events that the engine refused even as error documents, or that no error document holds in full;
    /// they are in the dead-letter queue.
    pub dead_lettered: usize,
    /// Batches that were left for the operator to act: see [`ShipError::Operator`](super::shipment::ShipError::Operator).
    pub misconfigured: usize,
    /// Events of a type that the table does not have.
    pub unknown_types: usize,
    /// Seconds from the oldest stored event's date until it was stored.
    pub lag_seconds: Option<i64>,
}

impl Report {
    /// Returns the number of events that the engine, or a queue in its stead, has taken.
    pub(super) const fn settled(&self) -> usize {
        self.stored + self.duplicates + self.rejected + self.dead_lettered
    }

    /// Counts the events that were left out of those that arrived.
    pub const fn count_filtered(&mut self, admitted: &Admitted<'_>) {
        self.received += admitted.filtered();
        self.filtered += admitted.filtered();
    }

    /// Counts a document that the engine has at `now`.
    pub(super) fn count(&mut self, document: &Document, is_new: bool, now: DateTime<Utc>) {
        match document.kind {
            DocumentKind::NotAnEvent | DocumentKind::NotJson => {
                self.rejected += 1;
                return;
            }
            DocumentKind::UnknownType => {
                tracing::warn!(id = document.id, "an event has an unknown type");
                self.unknown_types += 1;
            }
            DocumentKind::Event => {}
        }
        if !is_new {
            self.duplicates += 1;
            return;
        }
        self.stored += 1;
        if let Some(date) = document.date {
            let lag = (now - date).num_seconds().max(0);
            self.lag_seconds = self.lag_seconds.max(Some(lag));
        }
    }
}
