//! The date in a log id, and log ids made for a date: Auth0 returns the events after any log id, whether it
//! exists or not.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use shared::checkpoint::Checkpoint;

/// Digits of a log id: `900`, the time of logging as `YYYYMMDDhhmmss`, and a unique suffix.
const LOG_ID_DIGITS: usize = 56;

/// Auth0's log retention in days: Enterprise 30, Professional 10, Essentials 5, Free 1, and 2 in former
/// plans (<https://auth0.com/docs/deploy-monitor/logs/log-data-retention>). No API tells a tenant's plan.
const RETENTION_DAYS: [i64; 5] = [30, 10, 5, 2, 1];

/// No log id expires sooner, whatever the plan.
const SHORTEST_RETENTION: TimeDelta = TimeDelta::days(1);

/// Returns the log id that precedes all events logged at `time` or later.
pub(crate) fn log_id_at(time: DateTime<Utc>) -> String {
    format!("{:0<LOG_ID_DIGITS$}", time.format("900%Y%m%d%H%M%S").to_string())
}

/// Returns the time of logging, in whole seconds. `None` if the log id has another form, which Auth0 does
/// not rule out.
fn time_of(log_id: &str) -> Option<DateTime<Utc>> {
    let has_form = log_id.len() == LOG_ID_DIGITS && log_id.bytes().all(|b| b.is_ascii_digit());
    let digits = log_id.strip_prefix("900").filter(|_| has_form)?.get(..14)?;
    Some(NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok()?.and_utc())
}

/// Returns whether reading from `next` makes progress, compared with reading from `from`.
pub(crate) fn is_after(next: &str, from: &str) -> bool {
    if time_of(next).is_some() && time_of(from).is_some() { next > from } else { next != from }
}

/// Returns where to start when Auth0 rejects a log id: the epoch, then, should Auth0 reject that too,
/// as far back as each plan keeps logs.
pub(crate) fn oldest_log_ids(now: DateTime<Utc>) -> impl Iterator<Item = String> {
    let kept = RETENTION_DAYS.map(|days| now - TimeDelta::days(days) + TimeDelta::minutes(5));
    [DateTime::UNIX_EPOCH].into_iter().chain(kept).map(log_id_at)
}

/// Returns whether no plan's retention is over for this checkpoint. One of unknown age counts as kept.
pub(crate) fn is_certainly_kept(checkpoint: &Checkpoint, now: DateTime<Utc>) -> bool {
    // The event was logged before the checkpoint was saved, so either time is a lower bound for its age.
    let since = time_of(&checkpoint.from).or(checkpoint.updated_at);
    since.is_none_or(|since| now - since < SHORTEST_RETENTION)
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
    fn log_id_tells_the_time_of_logging() {
        let real = "90020211103030609732115389415260839021644201259064885298";
        assert_eq!(time_of(real), Some(time("2021-11-03T03:06:09Z")));
        assert_eq!(time_of(&log_id_at(DateTime::UNIX_EPOCH)), Some(DateTime::UNIX_EPOCH));
        let no_date = real.replace("90020211103", "90020211303");
        for other in ["", "9002", "Zm9vYmFy", &real.replace('9', "x"), &no_date, "é"] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }

    #[test]
    fn log_id_is_after_another_by_its_order() {
        let (early, late) =
            (log_id_at(time("2026-01-01T00:00:00Z")), log_id_at(time("2026-01-02T00:00:00Z")));
        assert!(is_after(&late, &early));
        assert!(!is_after(&early, &late));
        assert!(!is_after(&early, &early));
        assert!(is_after("cursor", &late) && is_after(&early, "cursor"), "no order is known");
        assert!(!is_after("cursor", "cursor"));
    }

    #[test]
    fn oldest_log_ids_begin_at_the_epoch() {
        let starts: Vec<String> = oldest_log_ids(time("2026-11-22T12:00:00Z")).collect();
        assert_eq!(starts[0], log_id_at(time("1970-01-01T00:00:00Z")));
        assert_eq!(starts[1], log_id_at(time("2026-10-23T12:05:00Z")));
        assert!(starts.is_sorted());
    }

    #[test]
    fn checkpoint_can_expire_once_the_shortest_retention_is_over() {
        let now = time("2026-11-22T12:00:00Z");
        let kept = |from: String, updated_at: Option<&str>| {
            is_certainly_kept(&Checkpoint { from, updated_at: updated_at.map(time) }, now)
        };
        let (old, young) = ("2026-11-21T12:00:00Z", "2026-11-21T12:00:01Z");
        assert!(kept(log_id_at(time(young)), None));
        assert!(!kept(log_id_at(time(old)), None));
        // Of a backlog that was read a moment ago.
        assert!(!kept(log_id_at(time(old)), Some("2026-11-22T11:59:00Z")));
        let cursor = || "cursor".to_owned();
        assert!(kept(cursor(), Some(young)));
        assert!(!kept(cursor(), Some(old)));
        assert!(kept(cursor(), None));
    }
}
