//! How long the steps of a run take, and how long they may take.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How long each step of a page may take: a share of the whole time at first, then the slowest seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Fetching a page from Auth0.
    pub(crate) fetch: Duration,
    /// Shipping a page and saving the checkpoint.
    pub(crate) store: Duration,
    /// Saving the checkpoint alone.
    pub(crate) save: Duration,
    /// Upper bound for one request to Auth0.
    pub(crate) attempt: Duration,
    /// Before asking again for a checkpoint that Auth0 rejected.
    pub(crate) second_look: Duration,
}

impl Pace {
    pub(crate) fn guess(total: Duration) -> Self {
        Self {
            fetch: (total / 8).min(Duration::from_secs(2)),
            store: (total / 4).min(Duration::from_secs(4)),
            save: (total / 8).min(Duration::from_secs(2)),
            attempt: (total / 2).min(Duration::from_secs(10)),
            second_look: (total / 8).min(Duration::from_secs(30)),
        }
    }
}

/// Returns the wait until `reset`, which is in whole seconds, plus a little for safety.
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
    fn rate_limit_waits_until_reset() {
        let now = time("2026-11-22T12:00:00.400Z");
        let wait = until_reset(Some(time("2026-11-22T12:00:03Z")), now);
        assert!((2_650..2_850).contains(&wait.as_millis()), "{wait:?}");
        assert!(until_reset(Some(time("2026-11-22T11:59:00Z")), now).as_millis() < 250);
        assert!(until_reset(None, now).as_millis() < 250);
    }

    #[test]
    fn page_fits_into_the_shortest_time() {
        for seconds in [1, 3, 10, 60, 900] {
            let total = Duration::from_secs(seconds);
            let pace = Pace::guess(total);
            assert!(pace.fetch + pace.store < total / 2);
            assert!(pace.fetch + pace.second_look + pace.fetch + pace.store < total);
            assert!(pace.save < pace.store);
        }
    }
}
