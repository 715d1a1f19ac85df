//! The wall clock.

#[cfg(feature = "movable-clock")]
use std::sync::atomic::{AtomicI64, Ordering};

#[cfg(feature = "movable-clock")]
use chrono::TimeDelta;
use chrono::{DateTime, Utc};

/// How far [`now`] is ahead, in milliseconds.
#[cfg(feature = "movable-clock")]
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Returns the current time. Only handlers and the shipper ask for it: everything else is told, so that
/// tests choose the time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    #[cfg(feature = "movable-clock")]
    let now = now + TimeDelta::milliseconds(AHEAD.load(Ordering::Relaxed));
    now
}

/// Lets `time` pass at once, in the whole process: for tests that run the functions in their own, where
/// Tokio's clock is moved as well.
#[cfg(feature = "movable-clock")]
pub fn advance(time: TimeDelta) {
    AHEAD.fetch_add(time.num_milliseconds(), Ordering::Relaxed);
}
