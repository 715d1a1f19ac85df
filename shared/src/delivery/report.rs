//! The outcome of a body's events, in numbers.

use auth0_ecs::{Document, DocumentKind};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::intake::Admitted;

/// Counts of a body's events. `filtered + stored + duplicates + rejected + dead_lettered` plus the length of
/// [`Shipment::unwritten`](super::shipment::Shipment::unwritten) is `received`. The webhook and the poller respond
/// with these six.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    #[serde(skip)]
    pub misconfigured: usize,
    /// Events of a type that the table does not have.
    #[serde(skip)]
    pub unknown_types: usize,
    /// Seconds from the oldest stored event's date until it was stored.
    #[serde(skip)]
    pub lag_seconds: Option<i64>,
}

impl Report {
    /// Returns the number of events that the engine, or a queue in its stead, has taken.
    pub(super) const fn settled(&self) -> usize {
        self.stored + self.duplicates + self.rejected + self.dead_lettered
    }

    /// Adds another body's counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.filtered += other.filtered;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.dead_lettered += other.dead_lettered;
        self.misconfigured += other.misconfigured;
        self.unknown_types += other.unknown_types;
        self.lag_seconds = self.lag_seconds.max(other.lag_seconds);
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
            // The date may be ahead of our clock.
            let lag = (now - date).num_seconds().max(0);
            self.lag_seconds = self.lag_seconds.max(Some(lag));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn reports_add_up_and_the_longest_lag_counts() {
        let one = Report {
            received: 9,
            filtered: 2,
            stored: 1,
            duplicates: 2,
            rejected: 3,
            dead_lettered: 1,
            misconfigured: 1,
            unknown_types: 1,
            lag_seconds: Some(40),
        };
        let late = Report { received: 1, stored: 1, lag_seconds: Some(90), ..Report::default() };
        let mut sum = Report::default();
        for report in [&one, &late, &Report::default()] {
            sum.add(report);
        }
        let expected = Report { received: 10, stored: 2, lag_seconds: Some(90), ..one };
        assert_eq!(sum, expected);
    }

    #[test]
    fn lag_is_never_negative() {
        let now = DateTime::UNIX_EPOCH;
        let date = Some(now + TimeDelta::seconds(3));
        let document = Document { id: "9001".into(), date, kind: DocumentKind::Event };
        let mut report = Report::default();
        report.count(&document, true, now);
        assert_eq!(report.lag_seconds, Some(0));
    }
}
