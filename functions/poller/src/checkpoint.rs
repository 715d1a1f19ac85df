//! The checkpoint: one DynamoDB item per tenant with `id` (the tenant's host), `from` (the log id after
//! which reading continues) and `updated_at`.
//!
//! A write is conditional on the `from` that it replaces: of two pollers only one can move on from it,
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

use crate::log_id::{SHORTEST_RETENTION, time_of};

/// A checkpoint as saved.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// The log id after which reading continues.
    pub(crate) from: String,
    updated_at: Option<DateTime<Utc>>,
}

impl Checkpoint {
    /// Returns whether no plan's retention is over for this log id. One of unknown age counts as kept.
    pub(crate) fn is_certainly_kept(&self, now: DateTime<Utc>) -> bool {
        // The event was logged before the checkpoint was saved, so either time is a lower bound for its age.
        let since = time_of(&self.from).or(self.updated_at);
        since.is_none_or(|since| now - since < SHORTEST_RETENTION)
    }
}

/// Why the checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint cannot be {verb}")]
    Unavailable { verb: &'static str, source: BoxError },
    /// Starting over would hide that somebody damaged it.
    #[error("the checkpoint item {id} has no string attribute `from`")]
    Damaged { id: String },
}

/// The result of a conditional write.
pub(crate) enum SaveResult {
    Saved,
    /// Another poller was faster. Holds the checkpoint that it saved.
    Conflict(Option<String>),
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

    /// Returns the checkpoint; `None` before the first run.
    pub(crate) async fn load(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
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
    pub(crate) async fn save(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_id::log_id_at;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn checkpoint_can_expire_once_the_shortest_retention_is_over() {
        let now = time("2026-11-22T12:00:00Z");
        let kept = |from: String, updated_at: Option<&str>| {
            Checkpoint { from, updated_at: updated_at.map(time) }.is_certainly_kept(now)
        };
        let (old, young) = ("2026-11-21T12:00:00Z", "2026-11-21T12:00:01Z");
        assert!(kept(log_id_at(time(young)), None));
        assert!(!kept(log_id_at(time(old)), None));
        // Of a backlog that was read a moment ago.
        assert!(!kept(log_id_at(time(old)), Some("2026-11-22T11:59:00Z")));
        let cursor = || "cursor".to_owned();
        assert!(kept(cursor(), Some(young)));
        assert!(!kept(cursor(), Some(old)));
        assert!(kept(cursor(), None));
    }
}
