//! Dates as Auth0 writes them, and as exports and other systems do.

use chrono::{DateTime, Utc};

/// A date and time of ISO 8601, with T or a space in the middle, or the seconds or milliseconds since the
/// Unix epoch. Without a zone it is UTC, as Auth0's dates are. A space may stand before the zone, which may
/// be `UTC` or `GMT`.
pub(crate) fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    let date = match DateTime::parse_from_rfc3339(text) {
        Ok(date) => date.to_utc(),
        Err(_) => parse_other_date(text)?,
    };
    // Whole milliseconds from here on: the engines store nothing finer, and no leap seconds.
    date_from_millis(date.timestamp_millis())
}

#[cold]
fn parse_other_date(text: &str) -> Option<DateTime<Utc>> {
    let trimmed = text.trim();
    if trimmed.len() < text.len() {
        return parse_date(trimmed);
    }
    if let Ok(number) = text.parse::<f64>() {
        return date_from_epoch(number);
    }
    // ISO 8601 allows a comma in place of the dot, and neither seconds nor an offset's minutes are required.
    let mut text = text.replacen(',', ".", 1);
    if let Some(local) = ["Z", "UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)) {
        text = format!("{local}+00");
    }
    if !text.contains('T') {
        text = text.replacen(' ', "T", 1);
    }
    let utc = format!("{text}+00");
    let formats = ["%Y-%m-%dT%H:%M:%S%.f %#z", "%Y-%m-%dT%H:%M %#z"];
    let parse =
        |text: &str| formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok());
    parse(&text).or_else(|| parse(&utc)).map(|date| date.to_utc())
}

/// A date from seconds or milliseconds since the epoch. Of the years 2000 to 2099, no date in seconds is
/// one in milliseconds as well; numbers beyond them are more likely not dates at all.
fn date_from_epoch(number: f64) -> Option<DateTime<Utc>> {
    const SECONDS: std::ops::Range<f64> = 946_684_800.0..4_102_444_800.0;
    let seconds = if SECONDS.contains(&number) { number } else { number / 1_000.0 };
    if !SECONDS.contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
    DateTime::from_timestamp_millis((seconds * 1_000.0).round() as i64)
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
            ("2021-11-03 03:06:05.696Z", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03 03:06:05.696000000", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06:05.696999999Z", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06:05", "2021-11-03T03:06:05Z"),
            ("2021-11-03T05:36:05.696+0230", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03 01:06:05 -0200", "2021-11-03T03:06:05Z"),
            (" 2021-11-03T03:06:05Z ", "2021-11-03T03:06:05Z"),
            ("2021-11-03T04:06:05.696 +01:00", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03 03:06:05.696 UTC", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06:05UTC", "2021-11-03T03:06:05Z"),
            ("2021-11-03T03:06:05.696 GMT", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06:05,696Z", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06:05,696", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T04:06:05.696+01", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T03:06Z", "2021-11-03T03:06:00Z"),
            ("2021-11-03 03:06", "2021-11-03T03:06:00Z"),
            ("2021-11-03T04:06+01:00", "2021-11-03T03:06:00Z"),
            ("1635908765696", "2021-11-03T03:06:05.696Z"),
            ("1635908765.696", "2021-11-03T03:06:05.696Z"),
            ("1635908765", "2021-11-03T03:06:05Z"),
            ("1.635908765696e12", "2021-11-03T03:06:05.696Z"),
            ("946684800", "2000-01-01T00:00:00Z"),
            ("4102444799999", "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse_date(given), Some(expected.parse().unwrap()), "{given}");
        }
        for wrong in [
            "",
            "yesterday",
            "2021-13-01T00:00:00Z",
            "0",
            "20211103",
            "20211103030605",
            "946684799",
            "4102444800000",
            "1635908765696000",
            "-1635908765",
            "1e30",
            "NaN",
            "inf",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2021-11-03",
            "2021-11-03T03",
            "2021-11-03T03:06:05 CET",
            "2021-11-03T03:06:05+01:00Z",
            "2021-11-03T03:06:05+01:00 UTC",
            "UTC",
            ",",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
