//! The two SQS queues: where events wait that cannot be written yet, and where those end that the
//! engine will never take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;

use super::frames::{Origin, TooLarge, messages};
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
    #[error("the queue did not take the events: {0}")]
    Unavailable(String),
    /// One event is larger than a message may be, compressed.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
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
            match tokio::time::timeout_at(deadline.instant(), request.send()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    return Err(QueueError::Unavailable(DisplayErrorContext(error).to_string()));
                }
                Err(_) => {
                    return Err(QueueError::Unavailable("the time for it has run out".to_owned()));
                }
            }
        }
        Ok(())
    }
}
