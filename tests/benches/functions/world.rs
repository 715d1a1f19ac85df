//! The functions' surroundings: a data stream of a real OpenSearch, queues, table, secrets, a tenant.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use support::aws::{self, CheckpointTable, Queues};
use support::engine::DataStream;
use support::events::Events;
use support::runtime::{Function, gateway_request, gzip};
use support::stack::{self, EngineKind};
use support::tenant::Tenant;

use support::batch;

/// The whole `Authorization` value.
const TOKEN: &str = "Bearer a-token-of-the-benchmark";

/// What an event has on average, in bytes.
pub(crate) const EVENT: usize = 1_800;

/// No invocation is cut short, even where valgrind makes it fifty times as long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// The functions that write, by the names of their programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Webhook,
    Poller,
    Redrive,
}

impl Name {
    pub(crate) const ALL: [Self; 3] = [Self::Webhook, Self::Poller, Self::Redrive];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poller => "poller",
            Self::Redrive => "redrive",
        }
    }
}

/// What a function's settings differ in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) gzip: bool,
    pub(crate) geoip: bool,
}

impl Variant {
    /// As deployed without a GeoIP layer.
    pub(crate) const DEFAULT: Self = Self { gzip: true, geoip: false };
}

pub(crate) struct World {
    tenant: Tenant,
    /// What the tenant has to tell.
    pulled: RefCell<Events>,
    variables: Vec<(String, String)>,
    /// How many were made.
    batches: Cell<u64>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let name = format!("bench{:012x}", fastrand::u64(..1 << 48));
        let stream = stream(&name).await;
        let tenant = Tenant::start("client", "secret").await.expect("a free port");
        let table = CheckpointTable::create(&name).await;
        let queues = Queues::create(&name, 50).await;
        let secret = async |kind: &str, value: Value| {
            aws::create_secret(&format!("{name}/{kind}"), &value).await
        };
        let auth0 = json!({ "client_id": "client", "client_secret": "secret" });
        let search = json!({ "username": "writer", "password": "password" });
        let mut variables = aws::variables();
        let own = [
            ("PATH", stack::variable("PATH")),
            // As the template has them; the first makes lines longer.
            ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
            ("MALLOC_TRIM_THRESHOLD_", "16777216".to_owned()),
            ("MALLOC_MMAP_THRESHOLD_", "4194304".to_owned()),
            ("SEARCH_ENDPOINT", stream.engine.clone()),
            ("SEARCH_SECRET_ID", secret("search", search).await),
            ("DATA_STREAM_NAMESPACE", name.clone()),
            ("RETRY_QUEUE_URL", queues.retry.clone()),
            ("DEAD_LETTER_QUEUE_URL", queues.dead.clone()),
            ("WEBHOOK_SECRET_ID", secret("webhook", json!({ "token": TOKEN })).await),
            ("AUTH0_URL", tenant.url().to_owned()),
            ("AUTH0_SECRET_ID", secret("auth0", auth0).await),
            ("CHECKPOINT_TABLE", table.name.clone()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let pulled = Events::new(1, Utc::now() - TimeDelta::hours(1)).into();
        Self { tenant, pulled, variables, batches: Cell::new(0) }
    }

    pub(crate) fn function(&self, name: Name, variant: Variant, concurrency: usize) -> Function {
        self.function_with(name, variant, concurrency, &[])
    }

    /// The same with some settings changed.
    pub(crate) fn function_with(
        &self,
        name: Name,
        variant: Variant,
        concurrency: usize,
        changes: &[(&str, &str)],
    ) -> Function {
        let mut variables = self.variables.clone();
        variables.push(("SEARCH_GZIP".to_owned(), variant.gzip.to_string()));
        if variant.geoip {
            for file in ["GEOIP_CITY_FILE", "GEOIP_ASN_FILE"] {
                variables.push((file.to_owned(), stack::variable(file)));
            }
        }
        // The last one of a name counts.
        variables.extend(changes.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Function::new(stack::binary(name.text()), concurrency, &variables)
    }

    /// JSON lines of so many new events, which happened just now.
    pub(crate) fn batch(&self, events: usize) -> Vec<u8> {
        let batch = self.batches.replace(self.batches.get() + 1);
        let body = String::from_utf8(batch::batch(events, EVENT)).expect("JSON is UTF-8");
        // The generator's ids differ within a batch, and all its events are of one day.
        let minute = Utc::now().format("%Y-%m-%dT%H:%M").to_string();
        body.replace("\"log_id\":\"900202611220306", &format!("\"log_id\":\"90020261{batch:07}"))
            .replace("2026-11-22T03:06", &minute)
            .into_bytes()
    }

    /// What invokes the function with so many new events.
    pub(crate) fn payload(&self, name: Name, events: usize) -> Bytes {
        match name {
            Name::Webhook => posted(&self.batch(events), false),
            Name::Poller => {
                self.tenant.add(&self.pulled.borrow_mut().take(events));
                tick()
            }
            Name::Redrive => {
                let body = parked(&self.batch(events));
                json!({ "Records": [message(&body)] }).to_string().into()
            }
        }
    }

    /// A full batch of messages for redrive: ten, each with so many new events.
    pub(crate) fn ten_messages(&self, events: usize) -> Bytes {
        let records: Vec<Value> = (0..10).map(|_| message(&parked(&self.batch(events)))).collect();
        json!({ "Records": records }).to_string().into()
    }
}

/// A new data stream with the product's own index template.
pub(crate) async fn stream(namespace: &str) -> DataStream {
    let stream = DataStream::new(EngineKind::OpenSearch, namespace);
    stream.install_template().await;
    stream.warm_up().await;
    stream
}

/// What API Gateway makes of a post of this body.
pub(crate) fn posted(body: &[u8], compressed: bool) -> Bytes {
    let mut headers = vec![("authorization", TOKEN), ("content-type", "application/json")];
    let packed;
    let body = if compressed {
        headers.push(("content-encoding", "gzip"));
        packed = gzip(body);
        &packed
    } else {
        body
    };
    gateway_request("POST", "/auth0/logs", &headers, body).to_string().into()
}

fn tick() -> Bytes {
    json!({ "version": "0", "detail-type": "Scheduled Event", "source": "aws.events" })
        .to_string()
        .into()
}

/// A message's text, as the webhook parks these lines.
fn parked(lines: &[u8]) -> String {
    let received: DateTime<Utc> = Utc::now();
    let received = received.to_rfc3339_opts(SecondsFormat::Millis, true);
    let header = json!({ "version": 1, "input": "http_endpoint", "received_at": received });
    let mut frames = format!("{header}\n").into_bytes();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        writeln!(frames, "{}", line.len()).expect("writing to memory");
        frames.extend_from_slice(line);
        frames.push(b'\n');
    }
    BASE64_STANDARD.encode(gzip(&frames))
}

fn message(body: &str) -> Value {
    json!({
        "messageId": format!("{:032x}", fastrand::u128(..)),
        "receiptHandle": "handle",
        "body": body,
        "attributes": { "ApproximateReceiveCount": "1" },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:retry",
        "awsRegion": "eu-west-1",
    })
}
