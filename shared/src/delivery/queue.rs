//! SQS: the retry queue for events that cannot be written yet, and the dead-letter queue for those that
//! the engine will never take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::frames::{Origin, Packed, pack};
use crate::error::{BoxError, sdk_cause};
use crate::retry::Deadline;

/// A queue that events are sent to.
#[derive(Clone, Debug)]
pub struct Queue {
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
    /// The dead-letter queue at this URL. The SDK's own retries are limited to a few seconds.
    #[must_use]
    pub fn dead_letters(config: &SdkConfig, url: String) -> Self {
        Self { client: client(config), parts_url: url.clone(), url }
    }

    /// The retry queue at this URL, and the dead-letter queue for events that are too large for it.
    /// Redrive may not get their parts together, but a person can.
    #[must_use]
    pub fn retries(config: &SdkConfig, url: String, dead_letters_url: String) -> Self {
        Self { client: client(config), url, parts_url: dead_letters_url }
    }

    /// Sends all events, in as many messages as they need. An event that is too large for any message goes
    /// to the dead-letter queue in parts, so that nothing waits for it. After an error some events may have
    /// been sent. Sending them again does no harm, since the engine stores every event once.
    ///
    /// # Errors
    /// SQS rejects a message or does not answer in time.
    pub async fn send(
        &self,
        events: &[&[u8]],
        origin: Origin<'_>,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        let Packed { messages, in_parts } = pack(events, origin);
        for parts in &in_parts {
            tracing::error!(
                parts = parts.len(),
                "an event is too large for a message, sending it to the dead-letter queue in parts"
            );
        }
        // All at once: `SendMessageBatch` has the limit of a single message for the sum of its messages.
        let mut sends = JoinSet::new();
        let parts = in_parts.into_iter().flatten().map(|part| (&self.parts_url, part));
        for (url, body) in messages.into_iter().map(|body| (&self.url, body)).chain(parts) {
            let request = self.client.send_message().queue_url(url).message_body(body);
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

fn client(config: &SdkConfig) -> Client {
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2)).build();
    Client::from_conf(aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts).build())
}
