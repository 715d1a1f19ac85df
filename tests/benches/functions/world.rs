//! The benchmarked functions and the payloads that invoke them.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use support::aws;
use support::batch;
use support::events::Events;
use support::payload::{sqs_record, tick, webhook_post};
use support::proxy::Proxy;
use support::runtime::Function;
use support::stack::{self, EngineKind};
use support::world::TOKEN;
use support::{parked, world};

/// The average size of an event, in bytes.
pub(crate) const EVENT: usize = 1_800;

/// Long enough for every invocation, even if valgrind makes it fifty times as long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// The functions that write, by the names of their binaries.
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

/// The settings in which a function varies.
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
    /// The functions bypass its proxy, unless they are told otherwise.
    world: world::World,
    /// Events for the tenant.
    pulled: RefCell<Events>,
    search_secret: String,
    /// The number of batches so far.
    batches: Cell<u64>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = world::World::new(EngineKind::OpenSearch).await;
        let search = json!({ "username": "writer", "password": "password" });
        let search_secret = aws::create_secret(&world.secret_id("search"), &search).await;
        let pulled = Events::new(1, Utc::now() - TimeDelta::hours(1)).into();
        Self { world, pulled, search_secret, batches: Cell::new(0) }
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
        changes: &[(&'static str, &str)],
    ) -> Function {
        let path = stack::variable("PATH");
        let certificates = openssl_probe::probe().cert_file.expect("this system has a bundle file");
        let certificates = certificates.to_str().expect("a UTF-8 path");
        let gzip = variant.gzip.to_string();
        let mut all = vec![
            ("PATH", path.as_str()),
            // As in the template; the first one makes lines longer.
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("MALLOC_TRIM_THRESHOLD_", "16777216"),
            ("MALLOC_MMAP_THRESHOLD_", "4194304"),
            // Debian's folder has each certificate again, in a file of its own. Amazon Linux's has the
            // bundle alone, which is then read once.
            ("SSL_CERT_FILE", certificates),
            ("SEARCH_ENDPOINT", &self.world.stream.engine.url),
            ("SEARCH_SECRET_ID", &self.search_secret),
            ("SEARCH_GZIP", &gzip),
        ];
        let files: &[_] = if variant.geoip { &["GEOIP_CITY_FILE", "GEOIP_ASN_FILE"] } else { &[] };
        let geoip: Vec<_> = files.iter().map(|file| (*file, stack::variable(file))).collect();
        all.extend(geoip.iter().map(|(file, path)| (*file, path.as_str())));
        all.extend(changes);
        self.world.function_with(name.text(), concurrency, &all)
    }

    /// A way to the engine that can fail.
    pub(crate) const fn proxy(&self) -> &Proxy {
        &self.world.proxy
    }

    /// JSON lines of this many new events, which happened just now.
    pub(crate) fn batch(&self, events: usize) -> Vec<u8> {
        let batch = self.batches.replace(self.batches.get() + 1);
        let body = String::from_utf8(batch::batch(events, EVENT)).expect("JSON is UTF-8");
        // The generated ids are unique within a batch only, and all events have the same minute.
        let minute = Utc::now().format("%Y-%m-%dT%H:%M").to_string();
        body.replace("\"log_id\":\"900202611220306", &format!("\"log_id\":\"90020261{batch:07}"))
            .replace("2026-11-22T03:06", &minute)
            .into_bytes()
    }

    /// A payload that makes the function process this many new events.
    pub(crate) fn payload(&self, name: Name, events: usize) -> Bytes {
        match name {
            Name::Webhook => posted(&self.batch(events)),
            Name::Poller => {
                self.world.tenant.add(&self.pulled.borrow_mut().take(events));
                tick().to_string().into()
            }
            Name::Redrive => self.messages(1, events),
        }
    }

    /// Messages for redrive, each with this many new events.
    pub(crate) fn messages(&self, messages: usize, events: usize) -> Bytes {
        let records: Vec<Value> = (0..messages).map(|_| message(&self.batch(events))).collect();
        json!({ "Records": records }).to_string().into()
    }
}

/// Invokes the webhook, which has to answer with 200.
pub(crate) async fn post(webhook: &Function, payload: Bytes) {
    let answer = webhook.invoke_bytes(payload, TIMEOUT).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

/// The payload of a post with this body.
pub(crate) fn posted(body: &[u8]) -> Bytes {
    webhook_post(TOKEN, body).to_string().into()
}

/// A message as the webhook parks these lines.
fn message(lines: &[u8]) -> Value {
    let received = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let header = json!({ "version": 1, "input": "http_endpoint", "received_at": received });
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let id = format!("{:032x}", fastrand::u128(..));
    let attributes = json!({ "ApproximateReceiveCount": "1" });
    sqs_record(&id, "handle", &parked::pack(&header, lines), &attributes)
}
