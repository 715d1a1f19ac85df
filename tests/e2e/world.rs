//! The senders' side of the tests: what posts to the webhook and ticks the poller.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::events::{Events, json_lines};
use support::payload::{tick, webhook_post};
use support::runtime::{Function, InvokeError};

pub(crate) use support::world::{TOKEN, World};

/// The functions' timeout in tests where they succeed, which they do at once on an idle machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(25);

/// The timeout in tests where something fails for good: the functions derive their time limits from
/// it, and soon use them up.
pub(crate) const SHORT: Duration = Duration::from_secs(8);

/// Events of the last hour, different in each test.
pub(crate) fn events() -> Events {
    Events::new(fastrand::u64(..), Utc::now() - TimeDelta::hours(1))
}

/// The webhook's response, as the gateway receives it.
#[derive(Debug)]
pub(crate) struct WebhookResponse {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

/// Posts a body with the right token.
pub(crate) async fn post(webhook: &Function, body: &[u8]) -> Result<WebhookResponse, InvokeError> {
    post_within(webhook, body, TIMEOUT).await
}

/// The same with another timeout.
pub(crate) async fn post_within(
    webhook: &Function,
    body: &[u8],
    timeout: Duration,
) -> Result<WebhookResponse, InvokeError> {
    send_within(webhook, webhook_post(TOKEN, body), timeout).await
}

/// Posts batches one after the other, each of which has to be answered with 200.
pub(crate) async fn post_all(webhook: &Function, authorization: &str, batches: &[Vec<Value>]) {
    for batch in batches {
        let request = webhook_post(authorization, json_lines(batch).as_bytes());
        let answer = send(webhook, request).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Sends any request.
pub(crate) async fn send(
    webhook: &Function,
    request: Value,
) -> Result<WebhookResponse, InvokeError> {
    send_within(webhook, request, TIMEOUT).await
}

async fn send_within(
    webhook: &Function,
    request: Value,
    timeout: Duration,
) -> Result<WebhookResponse, InvokeError> {
    let answer = webhook.invoke(request, timeout).await?;
    let status =
        answer["statusCode"].as_u64().unwrap_or_else(|| panic!("not a response: {answer}"));
    let body = answer["body"].as_str().unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    Ok(WebhookResponse { status, headers: answer["headers"].clone(), body })
}

/// Posts a body until it is answered with 2xx, as Auth0 does.
pub(crate) async fn deliver(webhook: &Function, body: &[u8]) {
    deliver_within(webhook, body, TIMEOUT).await;
}

/// The same with another timeout.
pub(crate) async fn deliver_within(webhook: &Function, body: &[u8], timeout: Duration) {
    for _ in 0..100 {
        match post_within(webhook, body, timeout).await {
            Ok(WebhookResponse { status: 200..=299, .. }) => return,
            Ok(WebhookResponse { status: 503, .. }) | Err(InvokeError::Died) => {}
            other => panic!("a good batch was answered {other:?}\n{}", webhook.last_logs()),
        }
    }
    panic!("a hundred attempts were not enough:\n{}", webhook.last_logs());
}

/// One tick of the schedule.
pub(crate) async fn poll(poller: &Function) -> Result<Value, InvokeError> {
    poll_within(poller, TIMEOUT).await
}

/// The same with another timeout.
pub(crate) async fn poll_within(
    poller: &Function,
    timeout: Duration,
) -> Result<Value, InvokeError> {
    poller.invoke(tick(), timeout).await
}
