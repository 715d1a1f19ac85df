//! How long an invocation may still run, and how long to wait between two attempts.
//!
//! Every call on the network takes its timeout from the deadline; a pause never goes past it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// No moment of the epoch's first day is a deadline.
const FIRST_DAY_MILLIS: u64 = 86_400_000;

/// What an invocation has under `cargo lambda watch`: the timeout that `template.yaml` gives redrive,
/// so that parked events are tried as often as there.
const LOCAL: Duration = Duration::from_secs(60);

/// The moment by which an invocation has to have answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// From the Lambda context's deadline, in milliseconds since the Unix epoch.
    ///
    /// `cargo lambda watch` (seen with 1.9.2) always says 600,000, ten minutes after that epoch. The
    /// functions then have a minute, whatever they have in AWS.
    #[must_use]
    pub fn from_epoch_millis(deadline: u64, now: DateTime<Utc>) -> Self {
        if deadline < FIRST_DAY_MILLIS {
            return Self::after(LOCAL);
        }
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

/// The pauses of one piece of work that is tried again.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Waits, unless the deadline would be reached meanwhile: then it gives false at once.
    pub async fn pause(&mut self, deadline: Deadline) -> bool {
        // Between half and all of it: senders that failed together do not come back together.
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        if pause >= deadline.remaining() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_counted_from_now_and_one_of_1970_is_cargo_lambdas() {
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let left = |deadline| Deadline::from_epoch_millis(deadline, now).remaining().as_secs_f64();
        assert_eq!(left(1_779_999_999_000), 0.0);
        // Some time passes in the test itself.
        assert!((20.0..=30.0).contains(&left(1_780_000_030_000)));
        assert!((50.0..=60.0).contains(&left(600_000)));
    }
}
