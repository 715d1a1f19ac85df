//! The SNS topic.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::BuildError;
use aws_sdk_sns::types::MessageAttributeValue;
use serde_json::json;
use shared::error::{BoxError, sdk_cause};
use shared::retry::{Deadline, with_attempt_timeout};
use tokio::time::timeout_at;

use crate::alert::Alert;

/// SNS rejected an alert, or did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the topic did not take the alert")]
pub(crate) struct PublishError(#[source] BoxError);

impl From<BuildError> for PublishError {
    fn from(error: BuildError) -> Self {
        Self(error.into())
    }
}

/// The topic that alerts are published to.
#[derive(Debug)]
pub(crate) struct Topic {
    client: Client,
    arn: String,
}

impl Topic {
    pub(crate) fn new(config: &SdkConfig, arn: String) -> Self {
        let config = with_attempt_timeout(config, Duration::from_secs(3));
        Self { client: Client::new(&config), arn }
    }

    /// Publishes an alert: a text by e-mail, the document to all other subscribers. They can filter by the
    /// attributes `level` and `rule`.
    pub(crate) async fn publish(
        &self,
        alert: &Alert,
        deadline: Deadline,
    ) -> Result<(), PublishError> {
        let attribute = |field: &str| {
            let value = MessageAttributeValue::builder().data_type("String");
            value.string_value(alert.text(field)).build()
        };
        let message = json!({"default": alert.document.to_string(), "email": alert.message()});
        let publish = self
            .client
            .publish()
            .topic_arn(&self.arn)
            .subject(alert.subject())
            .message_structure("json")
            .message(message.to_string())
            .message_attributes("level", attribute("auth0.alerts.level")?)
            .message_attributes("rule", attribute("rule.id")?)
            .send();
        let sent = timeout_at(deadline.instant(), publish).await;
        let sent = sent.map_err(|elapsed| PublishError(elapsed.into()))?;
        sent.map(drop).map_err(|error| PublishError(sdk_cause(error)))
    }
}
