//! One invocation's counts → one line on stdout, which CloudWatch turns into metrics.
//!
//! CloudWatch's embedded metric format needs no call and no permission, and the counts are written even
//! if the invocation fails afterwards. All names are here; `template.yaml` has the alarms on them, and
//! `docs/operations.md` says what to do about each. Zeros are left out, since each name that ever
//! appears is billed as a custom metric. The exceptions are the two whose standstill matters:
//! [`Metrics::received`] and [`Metrics::poll_pages`].

use std::io::{self, Write as _};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::delivery::report::Report;

/// The function that counts: the values of the dimension of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Receives the log stream.
    Webhook,
    /// Reads the Management API.
    Poller,
    /// Takes what `EventBridge` delivers.
    Ingest,
    /// Writes parked events.
    Redrive,
}

impl Function {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poller => "poller",
            Self::Ingest => "ingest",
            Self::Redrive => "redrive",
        }
    }
}

/// One invocation's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// `EventsReceived`: events (and broken pieces) received; written even if 0.
    pub received: usize,
    /// `EventsFiltered`: events that were left out because of their type.
    pub filtered: usize,
    /// `EventsIndexed`: documents that the engine acknowledged as new.
    pub indexed: usize,
    /// `EventsDuplicate`: documents that the engine already had.
    pub duplicates: usize,
    /// `EventsRejected`: broken or refused events that are kept as error documents.
    pub rejected: usize,
    /// `EventsDeadLettered`: events that the engine refused even as error documents; they are in the
    /// dead-letter queue.
    pub dead_lettered: usize,
    /// `EventsParked`: events put into the retry queue.
    pub parked: usize,
    /// `EngineMisconfigured`: batches that the engine, or what is in front of it, will not take before an
    /// operator acts.
    pub misconfigured: usize,
    /// `UnknownTypes`: events of a type that the table does not have.
    pub unknown_types: usize,
    /// `DeliveryLag`: age of the oldest event when it was stored, in seconds.
    pub delivery_lag: Option<i64>,
    /// `PollPages`: pages that were read and stored, including the empty one at the end. `None` outside
    /// the poller and in a backfill; otherwise written even if 0, which means no progress.
    pub poll_pages: Option<usize>,
    /// `RateLimitRemaining`: calls that Auth0 still allows, by its last response.
    pub rate_limit_remaining: Option<u64>,
    /// `CheckpointExpired`: Auth0 no longer has the events after the checkpoint, so some are lost.
    pub checkpoint_expired: bool,
    /// `Unauthorized`: in the webhook, requests with a wrong token; elsewhere, our own sign-in rejected
    /// by Auth0 or the engine.
    pub unauthorized: usize,
}

impl Metrics {
    /// Adds a body's counts: an invocation may ship several.
    pub fn add(&mut self, report: &Report) {
        self.received += report.received;
        self.filtered += report.filtered;
        self.indexed += report.stored;
        self.duplicates += report.duplicates;
        self.rejected += report.rejected;
        self.dead_lettered += report.dead_lettered;
        self.misconfigured += report.misconfigured;
        self.unknown_types += report.unknown_types;
        self.delivery_lag = self.delivery_lag.max(report.lag_seconds);
    }

    /// Writes the line; to be called once at the end of an invocation, failed or not.
    pub fn emit(&self, stack: &str, function: Function, now: DateTime<Utc>) {
        let line = self.render(stack, function, now);
        if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
            tracing::warn!(%error, "metrics could not be written");
        }
    }

    /// Renders the line: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
    fn render(&self, stack: &str, function: Function, now: DateTime<Utc>) -> String {
        let mut definitions = Vec::new();
        let mut line = Map::new();
        for (name, unit, value) in self.values() {
            if let Some(value) = value {
                definitions.push(json!({ "Name": name, "Unit": unit }));
                line.insert(name.to_owned(), value);
            }
        }
        // One set of both: each further set would be billed as further metrics.
        line.insert("Stack".to_owned(), stack.into());
        line.insert("Function".to_owned(), function.as_str().into());
        let directives = json!({
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{
                "Namespace": "Auth0LogStreams",
                "Dimensions": [["Stack", "Function"]],
                "Metrics": definitions,
            }],
        });
        line.insert("_aws".to_owned(), directives);
        Value::Object(line).to_string()
    }

    /// Returns every metric's name, unit and, if it is to be written, value.
    fn values(&self) -> [(&'static str, &'static str, Option<Value>); 14] {
        let nonzero = |count: usize| (count > 0).then(|| count.into());
        // An event's date may be ahead of our clock.
        let lag = self.delivery_lag.map(|seconds| seconds.max(0).into());
        [
            ("EventsReceived", "Count", Some(self.received.into())),
            ("EventsFiltered", "Count", nonzero(self.filtered)),
            ("EventsIndexed", "Count", nonzero(self.indexed)),
            ("EventsDuplicate", "Count", nonzero(self.duplicates)),
            ("EventsRejected", "Count", nonzero(self.rejected)),
            ("EventsDeadLettered", "Count", nonzero(self.dead_lettered)),
            ("EventsParked", "Count", nonzero(self.parked)),
            ("EngineMisconfigured", "Count", nonzero(self.misconfigured)),
            ("UnknownTypes", "Count", nonzero(self.unknown_types)),
            ("DeliveryLag", "Seconds", lag),
            ("PollPages", "Count", self.poll_pages.map(Into::into)),
            ("RateLimitRemaining", "Count", self.rate_limit_remaining.map(Into::into)),
            ("CheckpointExpired", "Count", nonzero(self.checkpoint_expired.into())),
            ("Unauthorized", "Count", nonzero(self.unauthorized)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_123).unwrap()
    }

    /// Checks the specification's requirements: CloudWatch silently drops a line that violates them.
    fn assert_is_embedded_metric_format(line: &str) {
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["_aws"]["Timestamp"].is_i64());
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        for directive in directives {
            assert!(directive["Namespace"].is_string());
            for dimension in directive["Dimensions"][0].as_array().unwrap() {
                assert!(line[dimension.as_str().unwrap()].is_string());
            }
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!((1..=100).contains(&metrics.len()));
            for metric in metrics {
                assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
                assert!(["Count", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
            }
        }
    }

    #[test]
    fn zeros_are_left_out_except_for_received() {
        let line = Metrics::default().render("logs", Function::Webhook, now());
        assert_is_embedded_metric_format(&line);
        assert_eq!(
            line,
            r#"{"EventsReceived":0,"Function":"webhook","Stack":"logs","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack","Function"]],"Metrics":[{"Name":"EventsReceived","Unit":"Count"}],"Namespace":"Auth0LogStreams"}],"Timestamp":1700000000123}}"#
        );
    }

    #[test]
    fn every_metric_has_its_name_unit_and_value() {
        let all = Metrics {
            received: 10,
            indexed: 1,
            duplicates: 2,
            rejected: 3,
            dead_lettered: 4,
            parked: 5,
            unknown_types: 6,
            delivery_lag: Some(7),
            poll_pages: Some(8),
            rate_limit_remaining: Some(9),
            checkpoint_expired: true,
            unauthorized: 11,
            misconfigured: 12,
            filtered: 13,
        };
        let line = all.render("logs", Function::Poller, now());
        assert_is_embedded_metric_format(&line);
        insta::assert_json_snapshot!(serde_json::from_str::<Value>(&line).unwrap());
    }

    #[test]
    fn poll_pages_of_zero_is_written() {
        let nothing = Metrics { poll_pages: Some(0), ..Metrics::default() };
        assert!(nothing.render("logs", Function::Poller, now()).contains(r#""PollPages":0"#));
    }

    #[test]
    fn reports_add_up_and_the_longest_lag_counts() {
        let one = Report {
            received: 9,
            filtered: 2,
            stored: 1,
            duplicates: 2,
            rejected: 3,
            dead_lettered: 1,
            misconfigured: 1,
            unknown_types: 1,
            lag_seconds: Some(40),
        };
        let late = Report { received: 1, stored: 1, lag_seconds: Some(90), ..Report::default() };
        let mut metrics = Metrics::default();
        for report in [&one, &late, &Report::default()] {
            metrics.add(report);
        }
        let expected = Metrics {
            received: 10,
            filtered: 2,
            indexed: 2,
            duplicates: 2,
            rejected: 3,
            dead_lettered: 1,
            misconfigured: 1,
            unknown_types: 1,
            delivery_lag: Some(90),
            ..Metrics::default()
        };
        assert_eq!(metrics, expected);
    }

    #[test]
    fn lag_is_never_negative() {
        let metrics = Metrics { delivery_lag: Some(-3), ..Metrics::default() };
        assert!(metrics.render("logs", Function::Redrive, now()).contains(r#""DeliveryLag":0"#));
    }
}
