//! How long things take, and how long they may.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How long the parts of a page may take: the slowest seen, and at first a share of the whole time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// A page from Auth0.
    pub(crate) read: Duration,
    /// Shipping and saving.
    pub(crate) write: Duration,
    /// Saving alone.
    pub(crate) save: Duration,
    /// The longest that one answer of Auth0 is waited for.
    pub(crate) attempt: Duration,
}

impl Pace {
    pub(crate) fn guess(total: Duration) -> Self {
        Self {
            read: (total / 8).min(Duration::from_secs(2)),
            write: (total / 4).min(Duration::from_secs(4)),
            save: (total / 8).min(Duration::from_secs(2)),
            attempt: (total / 2).min(Duration::from_secs(10)),
        }
    }
}

/// `reset` is in whole seconds; a little later is safer.
pub(crate) fn until_reset(reset: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let wait = reset.and_then(|reset| (reset - now).to_std().ok()).unwrap_or_default();
    wait + Duration::from_millis(fastrand::u64(50..250))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_rate_limit_is_waited_for_to_its_end() {
        let now = time("2026-11-22T12:00:00.400Z");
        let wait = until_reset(Some(time("2026-11-22T12:00:03Z")), now);
        assert!((2_650..2_850).contains(&wait.as_millis()), "{wait:?}");
        assert!(until_reset(Some(time("2026-11-22T11:59:00Z")), now).as_millis() < 250);
        assert!(until_reset(None, now).as_millis() < 250);
    }

    #[test]
    fn a_page_fits_into_the_shortest_time() {
        for seconds in [1, 3, 10, 60, 900] {
            let total = Duration::from_secs(seconds);
            let pace = Pace::guess(total);
            assert!(pace.read + pace.write < total / 2);
            assert!(pace.save < pace.write);
        }
    }
}
