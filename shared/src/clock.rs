//! The wall clock.

use chrono::{DateTime, Utc};

/// Returns the current time. Only handlers and the shipper ask for it: everything else is told, so that
/// tests choose the time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
