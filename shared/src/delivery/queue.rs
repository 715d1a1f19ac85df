//! SQS: the retry queue for events that cannot be written yet, and the dead-letter queue for those that
//! the engine will never take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use chrono::TimeDelta;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::frames::{Origin, Packed, pack};
use crate::error::{BoxError, sdk_cause};
use crate::retry::{Deadline, with_attempt_timeout};

/// A queue that events are sent to.
#[derive(Debug)]
pub(super) struct Queue {
    client: Client,
    url: String,
    /// The queue for the parts of events that are too large for a message.
    parts_url: String,
}

/// SQS rejected a message or did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the queue did not take the events")]
pub struct QueueError(#[source] BoxError);

impl Queue {
    /// Creates a client for the retry queue at this URL, and the dead-letter queue for events that are too
    /// large for it. Redrive may not get their parts together, but a person can. The SDK's own retries are
    /// limited to a few seconds.
    pub(super) fn retries(config: &SdkConfig, url: String, dead_letters_url: String) -> Self {
        let config = with_attempt_timeout(config, Duration::from_secs(2));
        Self { client: Client::new(&config), url, parts_url: dead_letters_url }
    }

    /// Returns the dead-letter queue, by the same client.
    pub(super) fn dead_letters(&self) -> Self {
        let url = &self.parts_url;
        Self { client: self.client.clone(), url: url.clone(), parts_url: url.clone() }
    }

    /// Sends all events, in as many messages as they need. An event that is too large for any message goes
    /// to the dead-letter queue in parts, so that nothing waits for it. After an error some events may have
    /// been sent. Sending them again does no harm, since the engine stores every event once.
    ///
    /// Nobody receives the events before `delay` has passed. SQS allows 15 minutes. The parts of a large
    /// event are not delayed.
    ///
    /// # Errors
    /// SQS rejects a message or does not answer in time.
    pub(super) async fn send(
        &self,
        events: &[&[u8]],
        origin: Origin<'_>,
        delay: TimeDelta,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        let delay = i32::try_from(delay.num_seconds()).ok().filter(|delay| *delay > 0);
        let Packed { messages, in_parts } = pack(events, origin);
        for parts in &in_parts {
            tracing::error!(
                parts = parts.len(),
                "an event is too large for a message, sending it to the dead-letter queue in parts"
            );
        }
        // All at once: `SendMessageBatch` has the limit of a single message for the sum of its messages.
        let mut sends = JoinSet::new();
        let messages = messages.into_iter().map(|body| (&self.url, body, delay));
        let parts = in_parts.into_iter().flatten().map(|part| (&self.parts_url, part, None));
        for (url, body, delay) in messages.chain(parts) {
            let request = self.client.send_message().queue_url(url).message_body(body);
            let request = request.set_delay_seconds(delay);
            sends.spawn(timeout_at(deadline.instant(), request.send()));
        }
        while let Some(sent) = sends.join_next().await {
            sent.map_err(|error| QueueError(error.into()))?
                .map_err(|elapsed| QueueError(elapsed.into()))?
                .map_err(|error| QueueError(sdk_cause(error)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use auth0_ecs::Input;
    use axum::http::StatusCode;
    use axum::routing::any;
    use axum::{Json, Router};
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::frames::{Part, read_message};
    use crate::delivery::stand_in;

    /// Sends events to a stand-in for SQS that answers with this status; returns the outcome, and each
    /// message after the name of its queue.
    async fn send(
        events: &[&[u8]],
        status: StatusCode,
    ) -> (Result<(), QueueError>, Vec<(String, String)>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&taken);
        let take = any(move |body: String| async move {
            let request: Value = serde_json::from_str(&body).unwrap();
            let text = |name: &str| request[name].as_str().unwrap().to_owned();
            let queue = text("QueueUrl").rsplit('/').next().unwrap().to_owned();
            sink.lock().unwrap().push((queue, text("MessageBody")));
            (status, Json(json!({ "MessageId": "1", "MD5OfMessageBody": "" })))
        });
        let url = stand_in::serve(Router::new().fallback(take)).await;
        let aws = stand_in::aws(&url);
        let queue = Queue::retries(&aws, format!("{url}/1/retry"), format!("{url}/1/dead"));
        let (input, received) = (Input::HttpEndpoint, DateTime::UNIX_EPOCH);
        let origin = Origin { input, received, reason: None };
        let sent = queue
            .send(events, origin, TimeDelta::zero(), Deadline::after(Duration::from_secs(20)))
            .await;
        let mut taken = taken.lock().unwrap().clone();
        taken.sort();
        (sent, taken)
    }

    #[tokio::test]
    async fn event_too_large_goes_to_dead_letters_and_its_neighbors_are_parked() {
        let mut large = vec![0; 1_000_000];
        fastrand::fill(&mut large);
        let (sent, messages) = send(&[b"{}", &large, b"[]"], StatusCode::OK).await;
        sent.unwrap();
        let (parts, parked): (Vec<_>, Vec<_>) =
            messages.iter().partition(|(queue, _)| queue == "dead");
        let parts: Vec<_> = parts.iter().map(|(_, text)| Part::read(text).unwrap()).collect();
        assert_eq!(parts.len(), 2);
        let joined = read_message(&Part::join(parts.iter()).unwrap()).unwrap();
        assert_eq!(joined.events().collect::<Vec<_>>(), [large]);
        let parked: Vec<_> = parked.iter().map(|(_, text)| read_message(text).unwrap()).collect();
        let mut neighbors: Vec<_> = parked.iter().flat_map(|message| message.events()).collect();
        neighbors.sort_unstable();
        assert_eq!(neighbors, [b"[]", b"{}"]);
    }

    #[tokio::test]
    async fn message_that_sqs_rejects_is_an_error() {
        let (sent, messages) = send(&[b"{}"], StatusCode::FORBIDDEN).await;
        assert!(sent.is_err());
        assert_eq!(messages.len(), 1);
    }
}
