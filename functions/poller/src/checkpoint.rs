//! The checkpoint: one DynamoDB item for a tenant, `id` (the tenant's host), `from` (the log id
//! behind which reading goes on) and `updated_at`.
//!
//! A write names the `from` that it replaces, so that of two pollers only one can move on from it,
//! and neither can move it backwards.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, SecondsFormat, Utc};
use shared::error::{BoxError, sdk_cause};
use shared::retry::Deadline;
use tokio::time::timeout_at;

/// The table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("the checkpoint cannot be {verb}")]
    Unavailable { verb: &'static str, source: BoxError },
    /// Starting over in silence would hide that somebody broke it.
    #[error("the checkpoint of {id} has no text in its attribute `from`")]
    Broken { id: String },
}

/// What became of a save.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    Done,
    /// Another poller was there first; the checkpoint is where that one left it.
    Lost(Option<String>),
}

#[derive(Debug)]
pub(crate) struct Checkpoints {
    client: Client,
    table: String,
    id: String,
}

type Item = HashMap<String, AttributeValue>;

impl Checkpoints {
    pub(crate) fn new(config: &SdkConfig, table: String, id: String) -> Self {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3)).build();
        let config =
            aws_sdk_dynamodb::config::Builder::from(config).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config), table, id }
    }

    /// The checkpoint; none before the first run.
    pub(crate) async fn load(&self, deadline: Deadline) -> Result<Option<String>, CheckpointError> {
        let unavailable = |source| CheckpointError::Unavailable { verb: "read", source };
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(self.id.clone()))
            .consistent_read(true)
            .send();
        let answer = timeout_at(deadline.instant(), read)
            .await
            .map_err(|elapsed| unavailable(elapsed.into()))?
            .map_err(|error| unavailable(sdk_cause(error)))?;
        let Some(item) = answer.item else { return Ok(None) };
        match text(&item, "from") {
            Some(from) => Ok(Some(from)),
            None => Err(CheckpointError::Broken { id: self.id.clone() }),
        }
    }

    /// Moves the checkpoint from `previous` to `from`.
    pub(crate) async fn save(
        &self,
        previous: Option<&str>,
        from: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Saved, CheckpointError> {
        let unavailable = |source| CheckpointError::Unavailable { verb: "saved", source };
        let updated_at = now.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("id", AttributeValue::S(self.id.clone()))
            .item("from", AttributeValue::S(from.to_owned()))
            .item("updated_at", AttributeValue::S(updated_at.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match previous {
            None => put.condition_expression("attribute_not_exists(id)"),
            Some(previous) => put
                .condition_expression("#from = :previous")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":previous", AttributeValue::S(previous.to_owned())),
        };
        let error = match timeout_at(deadline.instant(), put.send()).await {
            Ok(Ok(_)) => return Ok(Saved::Done),
            Ok(Err(error)) => error,
            Err(elapsed) => return Err(unavailable(elapsed.into())),
        };
        let Some(PutItemError::ConditionalCheckFailedException(lost)) = error.as_service_error()
        else {
            return Err(unavailable(sdk_cause(error)));
        };
        // The SDK repeats a write whose answer got lost, and then the condition fails on what we
        // wrote ourselves.
        let found = lost.item();
        if found.and_then(|item| text(item, "updated_at")) == Some(updated_at) {
            return Ok(Saved::Done);
        }
        Ok(Saved::Lost(found.and_then(|item| text(item, "from"))))
    }
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().filter(|text| !text.is_empty()).cloned()
}
