//! How long an invocation may still run, and how long to wait between two attempts.
//!
//! Every network call takes its timeout from the deadline; a pause never exceeds it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// No time on the first day of 1970 is a real deadline.
const FIRST_DAY_MILLIS: u64 = 86_400_000;

/// The time of an invocation under `cargo lambda watch`. It is redrive's timeout in `template.yaml`, so
/// that parked events are retried as often as there.
const LOCAL: Duration = Duration::from_secs(60);

/// The time by which an invocation must have answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Converts the Lambda context's deadline, in milliseconds since the Unix epoch.
    ///
    /// `cargo lambda watch` (seen with 1.9.2) always sends 600,000, ten minutes after the epoch. The
    /// functions then have a minute, whatever their timeout in AWS.
    #[must_use]
    pub fn from_epoch_millis(deadline: u64, now: DateTime<Utc>) -> Self {
        if deadline < FIRST_DAY_MILLIS {
            return Self::after(LOCAL);
        }
        let now = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        Self::after(Duration::from_millis(deadline.saturating_sub(now)))
    }

    /// Returns a deadline `duration` from now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// Returns the deadline moved forward by `reserve`, which is left for later work.
    #[must_use]
    pub fn minus(self, reserve: Duration) -> Self {
        Self(self.0.checked_sub(reserve).unwrap_or_else(Instant::now))
    }

    /// Returns the earlier of this deadline and `duration` from now.
    #[must_use]
    pub fn at_most(self, duration: Duration) -> Self {
        Self(self.0.min(Instant::now() + duration))
    }

    /// Returns the remaining time; zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns the deadline for [`tokio::time::timeout_at`].
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }
}

/// Returns the configuration of an AWS client whose attempts end after so much time.
#[must_use]
pub fn with_attempt_timeout(config: &SdkConfig, timeout: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(timeout).build();
    config.to_builder().timeout_config(timeouts).build()
}

/// The growing pauses between attempts at one task.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    /// Waits and returns `true`; returns `false` at once if the pause would exceed the deadline.
    pub async fn pause(&mut self, deadline: Deadline) -> bool {
        // Jitter between half and all of it: senders that failed together do not return together.
        let longest = FIRST.saturating_mul(2_u32.saturating_pow(self.attempts)).min(LONGEST);
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.attempts += 1;
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
    fn deadline_counts_from_now_except_for_cargo_lambdas_of_1970() {
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let left = |deadline| Deadline::from_epoch_millis(deadline, now).remaining().as_secs_f64();
        assert_eq!(left(1_779_999_999_000), 0.0);
        // The test itself takes some time.
        assert!((20.0..=30.0).contains(&left(1_780_000_030_000)));
        assert!((50.0..=60.0).contains(&left(600_000)));
    }
}
