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

use auth0_ecs::key;
use auth0_ecs::write::{AsWritten, Key, Object, Value};
use chrono::{DateTime, Utc};

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
    const fn name(self) -> &'static str {
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
            (key!("EventsReceived"), Some(EntryValue::number(report.received))),
            (key!("EventsFiltered"), nonzero(report.filtered)),
            (key!("EventsIndexed"), nonzero(report.stored)),
            (key!("EventsDuplicate"), nonzero(report.duplicates)),
            (key!("EventsRejected"), nonzero(report.rejected)),
            (key!("EventsDeadLettered"), nonzero(report.dead_lettered)),
            (key!("EventsParked"), nonzero(self.parked)),
            (key!("EngineMisconfigured"), nonzero(report.misconfigured)),
            (key!("UnknownTypes"), nonzero(report.unknown_types)),
            (key!("DeliveryLag"), report.lag_seconds.map(EntryValue::number)),
            (key!("PollPages"), self.poll_pages.map(EntryValue::number)),
            (key!("RateLimitRemaining"), self.rate_limit_remaining.map(EntryValue::number)),
            (key!("CheckpointExpired"), nonzero(self.checkpoint_expired.into())),
            (key!("Unauthorized"), nonzero(self.unauthorized)),
        ]
    }

    /// Returns what the record says beyond metrics.
    fn properties(&self) -> [Entry; 3] {
        [
            (key!("bytes"), self.bytes.map(EntryValue::number)),
            (key!("messages"), self.messages.map(EntryValue::number)),
            (key!("took_ms"), self.took_ms.map(EntryValue::number)),
        ]
    }
}

/// A name and, if it is to be written, its value. That of a metric is a number.
pub type Entry = (Key<'static>, Option<EntryValue>);

/// The value of an [`Entry`].
#[derive(Clone, Copy, Debug)]
pub enum EntryValue {
    /// A count, or a time.
    Number(i64),
    /// A word of ours.
    Text(&'static str),
}

impl EntryValue {
    /// Returns the value of a number of any type.
    pub fn number(number: impl TryInto<i64>) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }
}

impl Value for EntryValue {
    fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => number.write_to(out),
            Self::Text(text) => text.write_to(out),
        }
    }
}

/// Returns the value of a count that is written only if something happened.
#[must_use]
pub fn nonzero(count: usize) -> Option<EntryValue> {
    (count > 0).then(|| EntryValue::number(count))
}

/// The record: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
#[derive(Debug)]
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
        let mut line = self.render();
        line.push(b'\n');
        if let Err(error) = io::stdout().lock().write_all(&line) {
            tracing::warn!(%error, "metrics could not be written");
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(512);
        Object::write(&mut line, |record| {
            for (name, value) in self.metrics.iter().chain(self.properties) {
                record.maybe(*name, *value);
            }
            record.put(key!("Stack"), self.stack);
            record.put(key!("Function"), self.function.name());
            record.object(key!("_aws"), |metadata| {
                metadata.put(key!("Timestamp"), self.now.timestamp_millis());
                metadata.list(key!("CloudWatchMetrics"), |directives| {
                    directives.object(|directive| {
                        directive.put(key!("Namespace"), "Auth0LogStreams");
                        // One set of both: each further set would be billed as further metrics.
                        let dimensions = r#"[["Stack","Function"]]"#;
                        directive.put(key!("Dimensions"), AsWritten(dimensions));
                        directive.list(key!("Metrics"), |definitions| {
                            for (name, value) in self.metrics {
                                if value.is_some() {
                                    definitions.object(|definition| {
                                        definition.put(key!("Name"), name.name());
                                    });
                                }
                            }
                        });
                    });
                });
            });
        });
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_123).unwrap()
    }

    impl Record<'_> {
        fn text(&self) -> String {
            String::from_utf8(self.render()).unwrap()
        }
    }

    fn line(metrics: &Metrics, function: Function) -> String {
        let (metrics, properties) = (&metrics.values(), &metrics.properties());
        Record { metrics, properties, stack: "logs", function, now: now() }.text()
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
        let record = Record { metrics, properties, stack, function, now: now() }.text();
        assert!(record.len() <= 350, "{} bytes: {record}", record.len());
    }

    #[test]
    fn poll_pages_of_zero_is_written() {
        let nothing = Metrics { poll_pages: Some(0), ..Metrics::default() };
        assert!(line(&nothing, Function::Poller).contains(r#""PollPages":0"#));
    }
}
