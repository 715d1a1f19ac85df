//! The backfill order: a payload of the operator's instead of a tick.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::metrics::Metrics;

use crate::log_id::log_id_at;
use crate::outcome::PollError;

/// How far a backfill has come.
#[derive(Debug, Serialize)]
pub(crate) struct Progress {
    /// The `from` of the order that goes on here.
    pub(crate) next_from: String,
    pub(crate) done: bool,
}

/// A past window to read, without touching the live checkpoint. What is stored already counts as
/// a duplicate.
#[derive(Clone, Debug, Deserialize)]
struct Order {
    /// A time (RFC 3339), or `next_from` of the answer before.
    from: String,
    /// A time; events that happened later are not shipped.
    to: String,
}

/// Where a backfill starts, as a log id, and where its window ends.
pub(crate) fn parse_order(order: &Value) -> Result<(String, DateTime<Utc>), PollError> {
    let Order { from, to } =
        Order::deserialize(order).map_err(|error| PollError::Order(error.to_string()))?;
    let time = |name: &str, text: &str| {
        text.parse::<DateTime<Utc>>().map_err(|error| {
            PollError::Order(format!("{name} is {text:?}, which is no time (RFC 3339): {error}"))
        })
    };
    let to = time("to", &to)?;
    if from.starts_with("900") && from.bytes().all(|b| b.is_ascii_digit()) {
        return Ok((from, to));
    }
    let start = time("from", &from)?;
    if start >= to {
        return Err(PollError::Order("it ends before it begins".to_owned()));
    }
    Ok((log_id_at(start), to))
}

/// `metrics` without what the alarms on the checkpoint watch: a backfill is late by intention, and
/// its pages are no progress of the checkpoint.
pub(crate) fn metrics(metrics: &Metrics) -> Metrics {
    Metrics { poll_pages: None, delivery_lag: None, ..metrics.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_backfill_rings_no_alarm_and_silences_none() {
        let past = Metrics {
            received: 5,
            poll_pages: Some(3),
            delivery_lag: Some(900_000),
            ..Metrics::default()
        };
        assert_eq!(metrics(&past), Metrics { received: 5, ..Metrics::default() });
    }

    #[test]
    fn an_order_starts_at_a_time_or_where_the_last_one_ended() {
        let end = time("2026-11-02T00:00:00Z");
        let order = json!({ "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z" });
        let start = log_id_at(time("2026-11-01T00:00:00Z"));
        assert_eq!(parse_order(&order).unwrap(), (start.clone(), end));
        let order = json!({ "from": start, "to": "2026-11-02T01:00:00+01:00" });
        assert_eq!(parse_order(&order).unwrap(), (start, end));
    }

    #[test]
    fn an_order_that_makes_no_sense_says_why() {
        let wrong = |order: Value| parse_order(&order).unwrap_err().to_string();
        let to = "2026-11-02T00:00:00Z";
        assert!(wrong(json!({ "from": "yesterday", "to": to })).contains("yesterday"));
        assert!(wrong(json!({ "from": to, "to": to })).contains("ends before it begins"));
        assert!(wrong(json!({ "from": to })).contains("missing field `to`"));
        assert!(wrong(json!("all")).contains("expected"));
    }
}
