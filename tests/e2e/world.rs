//! All that one test needs, made for it alone.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::aws::{self, CheckpointTable, Queues};
use support::engine::DataStream;
use support::events::Events;
use support::proxy::Proxy;
use support::runtime::{Function, InvokeError, gateway_request};
use support::stack::{self, EngineKind};
use support::tenant::Tenant;

/// The whole `Authorization` value.
pub(crate) const TOKEN: &str = "Bearer a-token-of-the-tests";

/// The functions' timeout where they are to succeed, which they do at once on an idle machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(25);

/// The timeout where something fails for good, so that the functions' budgets, which are taken from
/// it, are soon used up.
pub(crate) const SHORT: Duration = Duration::from_secs(8);

/// How often a message of the retry queue is received before it becomes a dead letter. More than any
/// test needs that does not ask for dead letters.
const RECEIVES: u32 = 50;

/// One test's parts. The functions reach the engine by the proxy, `stream` goes there directly.
pub(crate) struct World {
    pub(crate) stream: DataStream,
    pub(crate) proxy: Proxy,
    pub(crate) tenant: Tenant,
    pub(crate) table: CheckpointTable,
    pub(crate) queues: Queues,
    variables: Vec<(String, String)>,
}

impl World {
    pub(crate) async fn new(kind: EngineKind) -> Self {
        Self::with_receives(kind, RECEIVES).await
    }

    pub(crate) async fn with_receives(kind: EngineKind, receives: u32) -> Self {
        let name = format!("e2e{:012x}", fastrand::u64(..1 << 48));
        let stream = DataStream::new(kind, &name);
        stream.install_template().await;
        stream.warm_up().await;
        let proxy = Proxy::start(&stream.engine).await;
        let tenant = Tenant::start("client", "secret").await.unwrap();
        let table = CheckpointTable::create(&name).await;
        let queues = Queues::create(&name, receives).await;
        let webhook = json!({ "token": TOKEN });
        let webhook = aws::create_secret(&format!("{name}/webhook"), &webhook).await;
        let auth0 = json!({ "client_id": "client", "client_secret": "secret" });
        let auth0 = aws::create_secret(&format!("{name}/auth0"), &auth0).await;
        let mut variables = aws::variables();
        let own = [
            ("SEARCH_ENDPOINT", proxy.url().to_owned()),
            // As it is done where the engine is elsewhere.
            ("SEARCH_GZIP", "true".to_owned()),
            ("DATA_STREAM_NAMESPACE", name.clone()),
            ("RETRY_QUEUE_URL", queues.retry.clone()),
            ("DEAD_LETTER_QUEUE_URL", queues.dead.clone()),
            ("WEBHOOK_SECRET_ID", webhook),
            ("AUTH0_URL", tenant.url().to_owned()),
            ("AUTH0_SECRET_ID", auth0),
            ("CHECKPOINT_TABLE", table.name.clone()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Self { stream, proxy, tenant, table, queues, variables }
    }

    /// A function with this world's settings.
    pub(crate) fn function(&self, binary: &str, concurrency: usize) -> Function {
        self.function_with(binary, concurrency, &[])
    }

    /// The same with some settings changed; the last one of a name counts.
    pub(crate) fn function_with(
        &self,
        binary: &str,
        concurrency: usize,
        changes: &[(&str, &str)],
    ) -> Function {
        let mut variables = self.variables.clone();
        variables.extend(changes.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Function::new(stack::binary(binary), concurrency, &variables)
    }

    /// The id of one of this world's secrets, `webhook` or `auth0`.
    pub(crate) fn secret_id(&self, name: &str) -> String {
        format!("{}/{name}", self.table.name)
    }

    pub(crate) fn webhook(&self) -> Function {
        self.function("webhook", 1)
    }

    pub(crate) fn redrive(&self) -> Function {
        self.function("redrive", 1)
    }

    pub(crate) fn poller(&self) -> Function {
        self.function("poller", 1)
    }
}

/// Events of the last hour; different in each test.
pub(crate) fn events() -> Events {
    Events::new(fastrand::u64(..), Utc::now() - TimeDelta::hours(1))
}

/// What the webhook answered by way of the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

/// Posts a body with the right token.
pub(crate) async fn post(webhook: &Function, body: &[u8]) -> Result<Answer, InvokeError> {
    post_within(webhook, body, TIMEOUT).await
}

/// The same with another timeout of the function.
pub(crate) async fn post_within(
    webhook: &Function,
    body: &[u8],
    timeout: Duration,
) -> Result<Answer, InvokeError> {
    let headers = [("authorization", TOKEN), ("content-type", "application/json")];
    send_within(webhook, &gateway_request("POST", "/auth0/logs", &headers, body), timeout).await
}

/// Sends a request of any kind.
pub(crate) async fn send(webhook: &Function, request: &Value) -> Result<Answer, InvokeError> {
    send_within(webhook, request, TIMEOUT).await
}

async fn send_within(
    webhook: &Function,
    request: &Value,
    timeout: Duration,
) -> Result<Answer, InvokeError> {
    let answer = webhook.invoke(request.clone(), timeout).await?;
    let status = answer["statusCode"].as_u64().unwrap_or_else(|| panic!("no answer: {answer}"));
    let body = answer["body"].as_str().unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    Ok(Answer { status, headers: answer["headers"].clone(), body })
}

/// A sender that repeats until it gets 2xx and stops there; gives how often it sent.
pub(crate) async fn deliver(webhook: &Function, body: &[u8]) -> usize {
    deliver_within(webhook, body, TIMEOUT).await
}

/// The same with another timeout of the function.
pub(crate) async fn deliver_within(webhook: &Function, body: &[u8], timeout: Duration) -> usize {
    for attempt in 1..=100 {
        match post_within(webhook, body, timeout).await {
            Ok(Answer { status: 200..=299, .. }) => return attempt,
            Ok(Answer { status: 503, .. }) | Err(InvokeError::Died) => {}
            other => panic!("a good batch was answered {other:?}\n{}", webhook.last_logs()),
        }
    }
    panic!("a hundred attempts were not enough:\n{}", webhook.last_logs());
}

/// One tick of the schedule.
pub(crate) async fn poll(poller: &Function) -> Result<Value, InvokeError> {
    poll_within(poller, TIMEOUT).await
}

/// One tick with this timeout.
pub(crate) async fn poll_within(
    poller: &Function,
    timeout: Duration,
) -> Result<Value, InvokeError> {
    let tick = json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-03-12T19:03:00Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:123456789012:rule/poll"],
        "detail": {},
    });
    poller.invoke(tick, timeout).await
}
