//! Made-up log ids, for starting at a time: Auth0 returns the events after a log id, and accepts any.

use chrono::{DateTime, TimeDelta, Utc};

/// Digits of a log id: `900`, the time of logging as `YYYYMMDDhhmmss`, and a unique suffix.
const LOG_ID_DIGITS: usize = 56;

/// Auth0's log retention in days, by plan. No API tells a tenant's plan.
const RETENTION_DAYS: [i64; 5] = [30, 10, 5, 2, 1];

/// Returns the log id that precedes all events logged at `time` or later.
pub(crate) fn log_id_at(time: DateTime<Utc>) -> String {
    format!("{:0<LOG_ID_DIGITS$}", time.format("900%Y%m%d%H%M%S").to_string())
}

/// Returns where to start when Auth0 rejects a log id: the epoch, then, should Auth0 reject that too,
/// as far back as each plan keeps logs.
pub(crate) fn oldest_log_ids(now: DateTime<Utc>) -> impl Iterator<Item = String> {
    let kept = RETENTION_DAYS.map(|days| now - TimeDelta::days(days) + TimeDelta::minutes(5));
    [DateTime::UNIX_EPOCH].into_iter().chain(kept).map(log_id_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn log_id_at_a_time_has_full_length() {
        let real = "90020211103030609732115389415260839021644201259064885298";
        let id = log_id_at(time("2021-11-03T03:06:09.999Z"));
        assert_eq!(id, "90020211103030609000000000000000000000000000000000000000");
        assert_eq!(id.len(), real.len());
        assert!(id.as_str() < real);
    }

    #[test]
    fn oldest_log_ids_begin_at_the_epoch() {
        let starts: Vec<String> = oldest_log_ids(time("2026-11-22T12:00:00Z")).collect();
        assert_eq!(starts[0], log_id_at(time("1970-01-01T00:00:00Z")));
        assert_eq!(starts[1], log_id_at(time("2026-10-23T12:05:00Z")));
        assert!(starts.is_sorted());
    }
}
