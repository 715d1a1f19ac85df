//! The two SQS queues: where events wait that cannot be written yet, and where those end that the
//! engine will never take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;

use super::frames::{EventTooLargeError, Origin, messages};
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
    /// SQS did not take a message.
    #[error("the queue did not take the events")]
    Unavailable(#[source] BoxError),
    /// One event is larger than a message may be, compressed.
    #[error(transparent)]
    TooLarge(#[from] EventTooLargeError),
}

impl Queue {
    /// A queue at this URL. The SDK's own repeats are bounded by a few seconds.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2)).build();
        let config = aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config), url }
    }

    /// Sends all events, in as many messages as they need. After an error some may have been sent:
    /// sending them again does no harm, since every event is written once only.
    ///
    /// # Errors
    /// SQS refuses or does not answer in time, or an event is too large.
    pub async fn send(
        &self,
        events: &[&[u8]],
        origin: Origin<'_>,
        deadline: Deadline,
    ) -> Result<(), QueueError> {
        for message in messages(events, origin)? {
            let request = self.client.send_message().queue_url(&self.url).message_body(message);
            tokio::time::timeout_at(deadline.instant(), request.send())
                .await
                .map_err(|elapsed| QueueError::Unavailable(elapsed.into()))?
                .map_err(|error| QueueError::Unavailable(sdk_cause(error)))?;
        }
        Ok(())
    }
}
