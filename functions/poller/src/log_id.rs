//! Log ids that Auth0 never gave, for starting at a time: Auth0 gives the events behind a log id,
//! and takes any.

use chrono::{DateTime, TimeDelta, Utc};

/// A log id: `900`, the time of logging as `YYYYMMDDhhmmss`, and what makes it unique.
const LOG_ID_DIGITS: usize = 56;

/// How long Auth0 keeps logs, in days, by plan. It says nowhere which plan a tenant has.
const RETENTIONS: [i64; 5] = [30, 10, 5, 2, 1];

/// The log id behind which the events begin that were logged at `time` or later.
pub(crate) fn log_id_at(time: DateTime<Utc>) -> String {
    format!("{:0<LOG_ID_DIGITS$}", time.format("900%Y%m%d%H%M%S").to_string())
}

/// Where to start when Auth0 refuses a log id: the beginning of time, and, should it refuse that as
/// well, as far back as each plan keeps logs.
pub(crate) fn oldest(now: DateTime<Utc>) -> impl Iterator<Item = String> {
    let kept = RETENTIONS.map(|days| now - TimeDelta::days(days) + TimeDelta::minutes(5));
    [DateTime::UNIX_EPOCH].into_iter().chain(kept).map(log_id_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_becomes_a_log_id_of_full_length() {
        let real = "90020211103030609732115389415260839021644201259064885298";
        let id = log_id_at(time("2021-11-03T03:06:09.999Z"));
        assert_eq!(id, "90020211103030609000000000000000000000000000000000000000");
        assert_eq!(id.len(), real.len());
        assert!(id.as_str() < real);
    }

    #[test]
    fn the_oldest_is_looked_for_from_the_beginning_on() {
        let starts: Vec<String> = oldest(time("2026-11-22T12:00:00Z")).collect();
        assert_eq!(starts[0], log_id_at(time("1970-01-01T00:00:00Z")));
        assert_eq!(starts[1], log_id_at(time("2026-10-23T12:05:00Z")));
        assert!(starts.is_sorted());
    }
}
