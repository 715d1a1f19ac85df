//! SQS: the retry queue for events that cannot be written yet, and the dead-letter queue for those that
//! the engine will never take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use chrono::TimeDelta;
use tokio::time::timeout_at;

use super::frames::{EventTooLargeError, Origin, pack};
use crate::error::{BoxError, sdk_cause};
use crate::retry::Deadline;

/// A queue that events are sent to.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// Why events are not in a queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// SQS rejected a message or did not answer in time.
    #[error("the queue did not take the events")]
    Unavailable(#[source] BoxError),
    /// A single event exceeds the size of a message.
    #[error(transparent)]
    TooLarge(#[from] EventTooLargeError),
}

impl Queue {
    /// Creates a client for the queue at this URL. The SDK's own retries are limited to a few seconds.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2)).build();
        let config = aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config), url }
    }

    /// Sends all events, in as many messages as they need. After an error some may have been sent.
    /// Sending them again does no harm, since the engine stores every event once.
    ///
    /// # Errors
    /// SQS rejects a message or does not answer in time, or an event is too large.
    pub async fn send(
        &self,
        events: &[&[u8]],
        origin: Origin<'_>,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        self.send_later(events, origin, TimeDelta::zero(), deadline).await
    }

    /// Like [`Self::send`], but nobody receives the events before `delay` has passed. SQS allows 15
    /// minutes.
    ///
    /// # Errors
    /// The same.
    pub(super) async fn send_later(
        &self,
        events: &[&[u8]],
        origin: Origin<'_>,
        delay: TimeDelta,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        let delay = i32::try_from(delay.num_seconds()).ok().filter(|delay| *delay > 0);
        for message in pack(events, origin)? {
            let request = self.client.send_message().queue_url(&self.url).message_body(message);
            let request = request.set_delay_seconds(delay);
            timeout_at(deadline.instant(), request.send())
                .await
                .map_err(|elapsed| QueueError::Unavailable(elapsed.into()))?
                .map_err(|error| QueueError::Unavailable(sdk_cause(error)))?;
        }
        Ok(())
    }
}
