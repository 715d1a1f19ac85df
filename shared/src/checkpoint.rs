//! A checkpoint: one DynamoDB item with `id`, `from` (where to continue) and `updated_at`.
//!
//! A write is conditional on the `from` that it replaces: of two invocations only one can move on from it,
//! and neither can move it backwards.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::timeout_at;

use crate::error::{BoxError, sdk_cause};
use crate::retry::{Deadline, with_attempt_timeout};

/// A checkpoint as saved.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where to continue.
    pub from: String,
    /// When it was saved.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Why the checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// DynamoDB did not answer, or refused.
    #[error("the checkpoint cannot be {verb}")]
    Unavailable {
        /// The attempted operation: "read" or "saved".
        verb: &'static str,
        /// The client's error, or the timeout's.
        source: BoxError,
    },
    /// Starting over would hide that somebody damaged it.
    #[error("the checkpoint item {id} has no string attribute `from`")]
    Damaged {
        /// The item's.
        id: String,
    },
}

/// The result of a conditional write.
#[derive(Debug)]
pub enum SaveResult {
    /// It is saved.
    Saved,
    /// Another invocation was faster. Holds the checkpoint that it saved.
    Conflict(Option<String>),
}

/// The item of this id.
#[derive(Debug)]
pub struct Checkpoints {
    client: Client,
    table: String,
    id: String,
}

type Item = HashMap<String, AttributeValue>;

impl Checkpoints {
    /// Makes the client. Nothing is requested yet.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, id: String) -> Self {
        let config = with_attempt_timeout(config, Duration::from_secs(3));
        Self { client: Client::new(&config), table, id }
    }

    /// Returns the checkpoint; `None` before the first run.
    ///
    /// # Errors
    /// It cannot be read, or somebody damaged it.
    pub async fn load(&self, deadline: Deadline) -> Result<Option<Checkpoint>, CheckpointError> {
        let unavailable = |source| CheckpointError::Unavailable { verb: "read", source };
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(self.id.clone()))
            .consistent_read(true)
            .send();
        let output = timeout_at(deadline.instant(), get)
            .await
            .map_err(|elapsed| unavailable(elapsed.into()))?
            .map_err(|error| unavailable(sdk_cause(error)))?;
        let Some(item) = output.item else { return Ok(None) };
        let Some(from) = string(&item, "from") else {
            return Err(CheckpointError::Damaged { id: self.id.clone() });
        };
        let updated_at = string(&item, "updated_at").and_then(|text| text.parse().ok());
        Ok(Some(Checkpoint { from, updated_at }))
    }

    /// Moves the checkpoint from `previous` to `from`.
    ///
    /// # Errors
    /// It cannot be saved.
    pub async fn save(
        &self,
        previous: Option<&str>,
        from: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<SaveResult, CheckpointError> {
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
            Ok(Ok(_)) => return Ok(SaveResult::Saved),
            Ok(Err(error)) => error,
            Err(elapsed) => return Err(unavailable(elapsed.into())),
        };
        let Some(PutItemError::ConditionalCheckFailedException(conflict)) =
            error.as_service_error()
        else {
            return Err(unavailable(sdk_cause(error)));
        };
        // The SDK retries a write whose response was lost. The condition then fails on our own write.
        let found = conflict.item();
        if found.and_then(|item| string(item, "updated_at")) == Some(updated_at) {
            return Ok(SaveResult::Saved);
        }
        Ok(SaveResult::Conflict(found.and_then(|item| string(item, "from"))))
    }
}

fn string(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().filter(|text| !text.is_empty()).cloned()
}
