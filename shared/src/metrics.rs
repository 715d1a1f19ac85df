//! One invocation's counts → one record on stdout, of which CloudWatch makes metrics.
//!
//! The record is the invocation's log line, too: with [`Metrics::bytes`] and the like, which are no metrics. It
//! is short, since a small batch costs more in CloudWatch Logs than in Lambda (`docs/performance.md`). So it
//! names no units and no message.
//!
//! CloudWatch's embedded metric format needs no call and no permission, and the counts are written even
//! if the invocation fails afterwards. All names are here; `template.yaml` has the alarms on them, and
//! `docs/operations.md` says what to do about each. Zeros are left out, since each name that ever
//! appears is billed as a custom metric. The exceptions are the two whose standstill matters:
//! [`Report::received`] and [`Metrics::poll_pages`].

use std::io::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::delivery::report::Report;

/// The function that counts: the values of the dimension of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Receives the log stream.
    Webhook,
    /// Reads the Management API.
    Poller,
    /// Takes what `EventBridge` delivers.
    Ingest,
    /// Writes parked events.
    Redrive,
    /// Runs the detections.
    Detect,
}

/// One invocation's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The outcome of the events of all bodies.
    pub report: Report,
    /// `EventsParked`: events put into the retry queue.
    pub parked: usize,
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
    /// Size of the webhook's body without its encoding, in bytes; no metric.
    pub bytes: Option<usize>,
    /// Messages of a queue of which every event is stored or a dead letter; no metric.
    pub messages: Option<usize>,
    /// Time from the request to its response; no metric.
    pub took_ms: Option<i64>,
}

impl Metrics {
    /// Writes the record; to be called once at the end of an invocation, failed or not.
    pub fn emit(&self, stack: &str, function: Function, now: DateTime<Utc>) {
        let (metrics, properties) = (&self.values(), &self.properties());
        Record { metrics, properties, stack, function, now }.emit();
    }

    fn values(&self) -> [Entry; 14] {
        let report = &self.report;
        [
            ("EventsReceived", Some(report.received.into())),
            ("EventsFiltered", nonzero(report.filtered)),
            ("EventsIndexed", nonzero(report.stored)),
            ("EventsDuplicate", nonzero(report.duplicates)),
            ("EventsRejected", nonzero(report.rejected)),
            ("EventsDeadLettered", nonzero(report.dead_lettered)),
            ("EventsParked", nonzero(self.parked)),
            ("EngineMisconfigured", nonzero(report.misconfigured)),
            ("UnknownTypes", nonzero(report.unknown_types)),
            ("DeliveryLag", report.lag_seconds.map(Into::into)),
            ("PollPages", self.poll_pages.map(Into::into)),
            ("RateLimitRemaining", self.rate_limit_remaining.map(Into::into)),
            ("CheckpointExpired", nonzero(self.checkpoint_expired.into())),
            ("Unauthorized", nonzero(self.unauthorized)),
        ]
    }

    /// Returns what the record says beyond metrics.
    fn properties(&self) -> [Entry; 3] {
        [
            ("bytes", self.bytes.map(Into::into)),
            ("messages", self.messages.map(Into::into)),
            ("took_ms", self.took_ms.map(Into::into)),
        ]
    }
}

/// A name and, if it is to be written, its value. That of a metric is a number.
pub type Entry = (&'static str, Option<Value>);

/// Returns the value of a count that is written only if something happened.
#[must_use]
pub fn nonzero(count: usize) -> Option<Value> {
    (count > 0).then(|| count.into())
}

/// The record: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
pub struct Record<'a> {
    /// The metrics.
    pub metrics: &'a [Entry],
    /// Members that are not metrics.
    pub properties: &'a [Entry],
    /// The value of the dimension `Stack`.
    pub stack: &'a str,
    /// The value of the dimension `Function`.
    pub function: Function,
    /// The time of the metrics.
    pub now: DateTime<Utc>,
}

impl Record<'_> {
    /// Writes the record; to be called once at the end of an invocation, failed or not.
    pub fn emit(&self) {
        if let Err(error) = writeln!(io::stdout().lock(), "{}", self.render()) {
            tracing::warn!(%error, "metrics could not be written");
        }
    }

    #[expect(clippy::expect_used, reason = "serialize has no failure of its own")]
    fn render(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and texts are JSON")
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_map(None)?;
        for (name, value) in self.metrics.iter().chain(self.properties) {
            if let Some(value) = value {
                record.serialize_entry(name, value)?;
            }
        }
        record.serialize_entry("Stack", self.stack)?;
        record.serialize_entry("Function", &self.function)?;
        let written = self.metrics.iter().filter(|(_, value)| value.is_some());
        let directive = Directive {
            namespace: "Auth0LogStreams",
            // One set of both: each further set would be billed as further metrics.
            dimensions: [["Stack", "Function"]],
            metrics: written.map(|(name, _)| Definition { name }).collect(),
        };
        let metadata =
            Metadata { timestamp: self.now.timestamp_millis(), cloud_watch_metrics: [directive] };
        record.serialize_entry("_aws", &metadata)?;
        record.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    cloud_watch_metrics: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [[&'static str; 2]; 1],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_123).unwrap()
    }

    fn line(metrics: &Metrics, function: Function) -> String {
        let (metrics, properties) = (&metrics.values(), &metrics.properties());
        Record { metrics, properties, stack: "logs", function, now: now() }.render()
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
            }
        }
    }

    #[test]
    fn zeros_are_left_out_except_for_received() {
        let record = line(&Metrics::default(), Function::Webhook);
        assert_is_embedded_metric_format(&record);
        assert_eq!(
            record,
            r#"{"EventsReceived":0,"Stack":"logs","Function":"webhook","_aws":{"Timestamp":1700000000123,"CloudWatchMetrics":[{"Namespace":"Auth0LogStreams","Dimensions":[["Stack","Function"]],"Metrics":[{"Name":"EventsReceived"}]}]}}"#
        );
    }

    #[test]
    fn every_metric_has_its_name_and_value() {
        let all = Metrics {
            report: Report {
                received: 10,
                stored: 1,
                duplicates: 2,
                rejected: 3,
                dead_lettered: 4,
                unknown_types: 6,
                lag_seconds: Some(7),
                misconfigured: 12,
                filtered: 13,
            },
            parked: 5,
            poll_pages: Some(8),
            rate_limit_remaining: Some(9),
            checkpoint_expired: true,
            unauthorized: 11,
            bytes: Some(14),
            messages: Some(15),
            took_ms: Some(16),
        };
        let record = line(&all, Function::Poller);
        assert_is_embedded_metric_format(&record);
        insta::assert_json_snapshot!(serde_json::from_str::<Value>(&record).unwrap());
    }

    #[test]
    fn record_of_a_small_batch_is_short() {
        let batch = Metrics {
            report: Report { received: 1, stored: 1, lag_seconds: Some(1), ..Report::default() },
            bytes: Some(1_800),
            took_ms: Some(12),
            ..Metrics::default()
        };
        let (metrics, properties) = (&batch.values(), &batch.properties());
        let (stack, function) = ("auth0-log-streams", Function::Webhook);
        let record = Record { metrics, properties, stack, function, now: now() }.render();
        assert!(record.len() <= 350, "{} bytes: {record}", record.len());
    }

    #[test]
    fn poll_pages_of_zero_is_written() {
        let nothing = Metrics { poll_pages: Some(0), ..Metrics::default() };
        assert!(line(&nothing, Function::Poller).contains(r#""PollPages":0"#));
    }
}
