//! The backfill order: an operator's payload instead of a tick.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::delivery::report::Report;
use shared::metrics::Metrics;

use crate::log_id::log_id_at;

/// How far a backfill has come.
#[derive(Debug, Serialize)]
pub struct BackfillProgress {
    /// The `from` of the order that continues here.
    pub(crate) next_from: String,
    pub(crate) done: bool,
}

/// A past window to read without touching the live checkpoint. Events that are already stored count
/// as duplicates.
#[derive(Deserialize)]
struct BackfillOrder {
    /// A time (RFC 3339), or `next_from` of the previous outcome.
    from: String,
    /// A time (RFC 3339). Later events are not shipped.
    to: String,
}

/// Why an order cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum BackfillOrderError {
    #[error("it needs `from` and `to`")]
    Malformed(#[source] serde_json::Error),
    #[error("`{name}` is {text:?}, not an RFC 3339 time")]
    InvalidTime { name: &'static str, text: String, source: chrono::ParseError },
    #[error("`from` is not before `to`")]
    EmptyWindow,
}

/// Returns the log id where the backfill starts, and the end of its window.
pub(crate) fn parse_order(order: &Value) -> Result<(String, DateTime<Utc>), BackfillOrderError> {
    let BackfillOrder { from, to } =
        BackfillOrder::deserialize(order).map_err(BackfillOrderError::Malformed)?;
    let to = parse_time("to", to)?;
    if from.starts_with("900") && from.bytes().all(|b| b.is_ascii_digit()) {
        return Ok((from, to));
    }
    let from = parse_time("from", from)?;
    if from >= to {
        return Err(BackfillOrderError::EmptyWindow);
    }
    Ok((log_id_at(from), to))
}

fn parse_time(name: &'static str, text: String) -> Result<DateTime<Utc>, BackfillOrderError> {
    text.parse().map_err(|source| BackfillOrderError::InvalidTime { name, text, source })
}

/// Returns `metrics` without those that alarms on the checkpoint watch: a backfill is late on purpose,
/// and its pages do not move the checkpoint.
pub(crate) fn without_checkpoint_metrics(metrics: &Metrics) -> Metrics {
    let report = Report { lag_seconds: None, ..metrics.report.clone() };
    Metrics { poll_pages: None, report, ..metrics.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::error::chain;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn backfill_metrics_raise_no_alarm_and_silence_none() {
        let kept = Report { received: 5, ..Report::default() };
        let report = Report { lag_seconds: Some(900_000), ..kept };
        let past = Metrics { report, poll_pages: Some(3), ..Metrics::default() };
        let kept = Metrics { report: kept, ..Metrics::default() };
        assert_eq!(without_checkpoint_metrics(&past), kept);
    }

    #[test]
    fn order_starts_at_a_time_or_where_the_last_one_ended() {
        let end = time("2026-11-02T00:00:00Z");
        let order = json!({ "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z" });
        let start = log_id_at(time("2026-11-01T00:00:00Z"));
        assert_eq!(parse_order(&order).unwrap(), (start.clone(), end));
        let order = json!({ "from": start, "to": "2026-11-02T01:00:00+01:00" });
        assert_eq!(parse_order(&order).unwrap(), (start, end));
    }

    #[test]
    fn unusable_order_says_why() {
        let error = |order: Value| chain(&parse_order(&order).unwrap_err());
        let to = "2026-11-02T00:00:00Z";
        assert!(
            error(json!({ "from": "yesterday", "to": to })).contains("`from` is \"yesterday\"")
        );
        assert!(error(json!({ "from": to, "to": to })).contains("`from` is not before `to`"));
        assert!(error(json!({ "from": to })).contains("missing field `to`"));
        assert!(error(json!("all")).contains("expected"));
    }
}
