//! The functions over stand-ins, and where their events are.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use chrono::TimeDelta;
use lambda_http::Body;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use shared::clock;
use shared::delivery::ship::Shipper;
use shared::start::config::{PipelineConfig, WebhookConfig};
use shared::start::http;
use shared::start::sources::AllowedSources;
use support::aws::config_with;
use support::events::Events;
use support::model::aws::ModelAws;
use support::model::engine::{Content, ModelEngine};
use support::model::runtime::{Runtime, pass};
use support::parked;
use support::payload::sqs_record;
use support::settings;
use support::world::TOKEN;
use tokio::time::sleep;
use webhook::handler::Webhook;
use webhook::invocation::Request;

use crate::cases::Broken;

/// The webhook's timeout in `template.yaml`.
const WEBHOOK_TIMEOUT: TimeDelta = TimeDelta::seconds(30);

/// Redrive's timeout in `template.yaml`.
const REDRIVE_TIMEOUT: TimeDelta = TimeDelta::seconds(60);

/// The retry queue's visibility timeout in `template.yaml`.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(360);

/// More than any request is delayed that is not on hold.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Batches until the retry queue has to be empty: more than an hour of visibility timeouts.
const MOST_BATCHES: usize = 100;

/// Everything around the functions, for one case.
pub(crate) struct World {
    pub(crate) engine: ModelEngine,
    pub(crate) aws: ModelAws,
    pub(crate) retry: String,
    pub(crate) dead: String,
    pub(crate) client: reqwest::Client,
    pub(crate) sdk: SdkConfig,
    webhook: Webhook,
    redrive: Shipper,
}

/// Where an event is, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) stored: usize,
    pub(crate) error_documents: usize,
    pub(crate) dead_letters: usize,
    pub(crate) parked: usize,
}

impl Fate {
    pub(crate) const STORED: Self =
        Self { stored: 1, error_documents: 0, dead_letters: 0, parked: 0 };

    pub(crate) const ERROR_DOCUMENT: Self =
        Self { stored: 0, error_documents: 1, dead_letters: 0, parked: 0 };

    pub(crate) const DEAD_LETTER: Self =
        Self { stored: 0, error_documents: 0, dead_letters: 1, parked: 0 };

    pub(crate) fn is_durable(self) -> bool {
        self != Self::default()
    }
}

impl World {
    /// An engine whose data stream is two hours old, and functions that have not run yet.
    pub(crate) async fn new(runtime: &Runtime) -> Self {
        let pulse = &runtime.pulse;
        let age = TimeDelta::hours(2);
        let engine = ModelEngine::start("logs-auth0.logs-model", age, pulse.clone()).await;
        let aws = ModelAws::start(pulse.clone()).await;
        let (retry, dead) = (aws.create_queue("retry"), aws.create_queue("dead-letter"));
        aws.create_secret("webhook", &json!({ "token": TOKEN }));
        aws.create_secret("auth0", &json!({ "client_id": "client", "client_secret": "secret" }));
        let client = http::client().expect("TLS can be set up");
        let sdk = config_with(&client, aws.url().to_owned());
        let pipeline = pipeline(&engine, &retry, &dead);
        let webhook = webhook(&pipeline, &sdk);
        let redrive = redrive(&pipeline, &sdk);
        Self { engine, aws, retry, dead, client, sdk, webhook, redrive }
    }

    pub(crate) fn pipeline(&self) -> PipelineConfig {
        pipeline(&self.engine, &self.retry, &self.dead)
    }

    /// New environments of the functions, without what the old ones remember.
    pub(crate) fn restart(&mut self) {
        self.webhook = webhook(&self.pipeline(), &self.sdk);
        self.redrive = redrive(&self.pipeline(), &self.sdk);
    }

    /// Ends all faults, and waits for the requests that are still on their way.
    pub(crate) async fn heal(&self) {
        self.engine.heal();
        self.aws.heal();
        self.engine.release();
        sleep(LONGEST_DELAY).await;
    }

    /// Posts a body; returns the status, and the counts of the answer.
    pub(crate) async fn post(&self, body: &str) -> (u16, Value) {
        let request = Request {
            path: "/auth0/logs".into(),
            method: "POST".into(),
            authorization: Some(TOKEN.into()),
            body: Bytes::copy_from_slice(body.as_bytes()),
            deadline: context(WEBHOOK_TIMEOUT).deadline,
            ..Request::default()
        };
        let response = self.webhook.handle(Some(request)).await;
        let status = response.status().as_u16();
        let Body::Text(body) = response.body() else { panic!("the answer is text") };
        (status, serde_json::from_str(body).expect("the answer is JSON"))
    }

    /// Delivers one batch of the retry queue to the redrive function, as AWS does; returns whether all of
    /// its messages are gone.
    pub(crate) async fn redrive_once(&self) -> bool {
        let messages = self.aws.receive(&self.retry);
        let record = |message: &support::model::aws::Message| {
            let attributes = json!({
                "ApproximateReceiveCount": message.receives.to_string(),
                "SentTimestamp": message.sent.timestamp_millis().to_string(),
            });
            sqs_record(&message.id, "handle", &message.body, &attributes)
        };
        let records: Vec<Value> = messages.iter().map(record).collect();
        let event: SqsEvent =
            serde_json::from_value(json!({ "Records": records })).expect("SQS's form");
        let event = LambdaEvent::new(event, context(REDRIVE_TIMEOUT));
        let response = redrive::handler::handle(&self.redrive, "test", event).await;
        let failed: Vec<String> =
            response.batch_item_failures.into_iter().map(|item| item.item_identifier).collect();
        let (kept, _): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| failed.contains(&message.id));
        let is_gone = kept.is_empty();
        for message in kept {
            self.aws.put_back(&self.retry, message);
        }
        is_gone
    }

    /// Delivers batch after batch until the retry queue is empty. Where one fails, its visibility timeout
    /// passes.
    pub(crate) async fn drain(&self) -> Result<(), Broken> {
        for _ in 0..MOST_BATCHES {
            let Some(delay) = self.aws.due_in(&self.retry) else { return Ok(()) };
            pass(delay).await;

            if !self.redrive_once().await {
                pass(VISIBILITY_TIMEOUT).await;
            }
        }
        Err(format!("the retry queue is not empty after {MOST_BATCHES} batches"))
    }

    /// Where each event is, by its log id.
    pub(crate) fn fates(&self) -> BTreeMap<String, Fate> {
        let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
        for copy in self.engine.copies() {
            match copy.content {
                Content::Event => fates.entry(copy.id).or_default().stored += 1,
                Content::ErrorDocument(text) => {
                    fates.entry(log_id(text.as_bytes())).or_default().error_documents += 1;
                }
                // The dead letter itself counts.
                Content::Note(_) => {}
            }
        }
        for body in self.aws.bodies(&self.dead) {
            for event in parked::unpack(&body).1 {
                fates.entry(log_id(&event)).or_default().dead_letters += 1;
            }
        }
        for body in self.aws.bodies(&self.retry) {
            for event in parked::unpack(&body).1 {
                fates.entry(log_id(&event)).or_default().parked += 1;
            }
        }
        fates
    }

    /// Fails if the functions needed more than the stand-ins are.
    pub(crate) fn assert_served(&self) {
        let unserved = [self.engine.unserved(), self.aws.unserved()].concat();
        assert!(unserved.is_empty(), "the stand-ins do not know {unserved:?}");
    }
}

fn pipeline(engine: &ModelEngine, retry: &str, dead: &str) -> PipelineConfig {
    settings::pipeline(engine.url(), "model", retry, dead)
}

fn webhook(pipeline: &PipelineConfig, sdk: &SdkConfig) -> Webhook {
    let config = WebhookConfig {
        pipeline: pipeline.clone(),
        secret_id: "webhook".to_owned(),
        path: "/auth0/logs".to_owned(),
        allowed_sources: AllowedSources::default(),
    };
    Webhook::new(&config, sdk).expect("no file is opened")
}

fn redrive(pipeline: &PipelineConfig, sdk: &SdkConfig) -> Shipper {
    Shipper::new(pipeline, sdk).expect("no file is opened")
}

/// The context of an invocation that starts now.
pub(crate) fn context(timeout: TimeDelta) -> Context {
    let mut context = Context::default();
    context.deadline = u64::try_from((clock::now() + timeout).timestamp_millis()).expect("a date");
    context
}

/// The log id in the text of an event, broken or not.
pub(crate) fn log_id(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let rest = text.split_once(r#""log_id":""#).expect("an event with a log id").1;
    rest.split('"').next().expect("a log id").to_owned()
}

/// Events of the last hour, the same in each run but for the time.
pub(crate) fn events() -> Events {
    Events::new(1, clock::now() - TimeDelta::hours(1))
}
