//! How long an invocation may still run: every call on the network takes its timeout from here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// The moment by which an invocation has to have answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// From the Lambda context's deadline, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn from_epoch_millis(deadline: u64, now: DateTime<Utc>) -> Self {
        let now = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        Self::after(Duration::from_millis(deadline.saturating_sub(now)))
    }

    /// So long from now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The same moment moved closer by `reserve`, for work that has to follow.
    #[must_use]
    pub fn minus(self, reserve: Duration) -> Self {
        Self(self.0.checked_sub(reserve).unwrap_or_else(Instant::now))
    }

    /// The nearer of this and `duration` from now.
    #[must_use]
    pub fn at_most(self, duration: Duration) -> Self {
        Self(self.0.min(Instant::now() + duration))
    }

    /// What is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// For [`tokio::time::timeout_at`].
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }
}
