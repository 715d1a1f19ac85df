//! Dates as Auth0 writes them.

use chrono::{DateTime, NaiveDateTime, Utc};

/// An ISO 8601 date and time. Without a zone it is UTC, as Auth0's dates are.
pub(crate) fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    let date = match DateTime::parse_from_rfc3339(text) {
        Ok(date) => date.to_utc(),
        Err(_) => NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc(),
    };
    // Whole milliseconds from here on: the engines store nothing finer, and no leap seconds.
    date_from_millis(date.timestamp_millis())
}

/// A date from milliseconds since the Unix epoch; `None` beyond the years that engines take.
pub(crate) fn date_from_millis(milliseconds: i64) -> Option<DateTime<Utc>> {
    let date = DateTime::from_timestamp_millis(milliseconds)?;
    (DATES.0..=DATES.1).contains(&date.timestamp()).then_some(date)
}

/// The years 1 to 9999, in seconds: the engines' `strict_date_optional_time` takes four digits.
const DATES: (i64, i64) = (-62_135_596_800, 253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_read_as_whole_milliseconds_in_utc() {
        for (given, expected) in [
            ("2021-11-03T03:06:05.696Z", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T05:06:05+02:00", "2021-11-03T03:06:05Z"),
            ("2021-11-03T03:06:05.696789", "2021-11-03T03:06:05.696Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse_date(given), Some(expected.parse().unwrap()), "{given}");
        }
        for wrong in [
            "",
            "yesterday",
            "2021-13-01T00:00:00Z",
            "1635908765696",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2021-11-03",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
