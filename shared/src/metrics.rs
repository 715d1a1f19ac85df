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
//! [`Metrics::received`] and [`Metrics::poll_pages`].

use std::io::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

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
    /// Runs the detections.
    Detect,
}

impl Function {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poller => "poller",
            Self::Ingest => "ingest",
            Self::Redrive => "redrive",
            Self::Detect => "detect",
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
    /// Size of the webhook's body without its encoding, in bytes; no metric.
    pub bytes: Option<usize>,
    /// Messages of a queue of which every event is stored or a dead letter; no metric.
    pub messages: Option<usize>,
    /// Time from the request to its response; no metric.
    pub took_ms: Option<i64>,
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

    /// Writes the record; to be called once at the end of an invocation, failed or not.
    pub fn emit(&self, stack: &str, function: Function, now: DateTime<Utc>) {
        let (metrics, properties) = (&self.values(), &self.properties());
        Record { metrics, properties, stack, function, now }.emit();
    }

    fn values(&self) -> [Entry; 14] {
        // An event's date may be ahead of our clock.
        let lag = self.delivery_lag.map(|seconds| seconds.max(0).into());
        [
            ("EventsReceived", Some(self.received.into())),
            ("EventsFiltered", nonzero(self.filtered)),
            ("EventsIndexed", nonzero(self.indexed)),
            ("EventsDuplicate", nonzero(self.duplicates)),
            ("EventsRejected", nonzero(self.rejected)),
            ("EventsDeadLettered", nonzero(self.dead_lettered)),
            ("EventsParked", nonzero(self.parked)),
            ("EngineMisconfigured", nonzero(self.misconfigured)),
            ("UnknownTypes", nonzero(self.unknown_types)),
            ("DeliveryLag", lag),
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

/// A name and, if it is to be written, its value, which is a number.
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
    /// Members that are no metrics.
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
        record.serialize_entry("Function", self.function.as_str())?;
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
            received: 1,
            indexed: 1,
            delivery_lag: Some(1),
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
        assert!(line(&metrics, Function::Redrive).contains(r#""DeliveryLag":0"#));
    }
}
