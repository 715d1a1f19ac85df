//! A custom resource's request → its response at CloudFormation's `ResponseURL`.
//!
//! CloudFormation waits for the response, up to an hour, and then rolls back. So there is always one:
//! settings are read inside the invocation, and the installation gets only part of its time.

use std::time::Duration;

use auth0_ecs::index_template::hash;
use aws_lambda_events::cloudformation::{
    CloudFormationCustomResourceRequest as Request,
    CloudFormationCustomResourceResponse as Response,
    CloudFormationCustomResourceResponseStatus as Status,
};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use shared::clock;
use shared::error::chain;
use shared::retry::Deadline;
use tracing::{error, info};

use crate::install::install;

/// Upper bound for a reason, in characters. CloudFormation takes 4,096 bytes for the whole response.
const MAX_REASON: usize = 1_000;

/// Upper bound for one attempt to send the response.
const SEND_TIME: Duration = Duration::from_secs(5);

/// Serves the request and sends the response.
///
/// # Errors
/// The response could not be sent. Lambda then retries the whole invocation.
pub(crate) async fn handle(event: LambdaEvent<Request>) -> Result<(), Error> {
    let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
    let Some((url, task, mut response)) = prepare_response(event.payload) else {
        return Err("unknown kind of CloudFormation request".into());
    };
    let (status, reason) = match task {
        Task::Install { id, retention } => {
            let done = try_install(retention, Deadline::after(deadline.remaining() * 3 / 4)).await;
            if matches!(done.0, Status::Success) {
                response.physical_resource_id = id;
            }
            done
        }
        Task::Nothing(reason) => (Status::Success, reason.to_owned()),
    };
    match status {
        Status::Success => info!(reason, "setup finished"),
        _ => error!(reason, "setup failed"),
    }
    response.status = status;
    response.reason = Some(reason.chars().take(MAX_REASON).collect());
    send(&url, serde_json::to_vec(&response)?, deadline).await
}

/// The work that a request requires.
enum Task {
    /// To install.
    Install {
        /// The resource's id after that.
        id: String,
        /// The property `RetentionDays`.
        retention: Option<String>,
    },
    /// To do nothing, and why.
    Nothing(&'static str),
}

impl Task {
    fn install(properties: &Value) -> Self {
        // CloudFormation makes every property a string.
        let retention = properties.get("RetentionDays");
        let retention = retention.map(|days| match days {
            Value::String(days) => days.clone(),
            other => other.to_string(),
        });
        Self::Install { id: physical_id(properties), retention }
    }
}

/// Returns the `ResponseURL`, what to do, and the response without its result. Its id is the one that the
/// resource has if the installation fails.
fn prepare_response(request: Request) -> Option<(String, Task, Response)> {
    let mut response = Response::default();
    let (url, id, task, stack_id, request_id, logical_id) = match request {
        Request::Create(r) => {
            let task = Task::install(&r.resource_properties);
            let id = physical_id(&r.resource_properties);
            (r.response_url, id, task, r.stack_id, r.request_id, r.logical_resource_id)
        }
        Request::Update(r) => {
            let task = if physical_id(&r.resource_properties) == r.physical_resource_id {
                // Rolled back after a failure, perhaps of the engine: it must not be needed again.
                Task::Nothing("nothing to do: the last installation had the same properties")
            } else {
                Task::install(&r.resource_properties)
            };
            let id = r.physical_resource_id;
            (r.response_url, id, task, r.stack_id, r.request_id, r.logical_resource_id)
        }
        Request::Delete(r) => {
            // The logs outlive the stack, and need their template as long as they are written.
            let task = Task::Nothing(
                "nothing is deleted: template, lifecycle policy and logs stay in the engine",
            );
            let id = r.physical_resource_id;
            (r.response_url, id, task, r.stack_id, r.request_id, r.logical_resource_id)
        }
        _ => return None,
    };
    response.physical_resource_id = id;
    response.stack_id = stack_id;
    response.request_id = request_id;
    response.logical_resource_id = logical_id;
    Some((url, task, response))
}

/// Returns the id of a resource with these properties: what was installed last can be told by it. When it
/// changes, CloudFormation deletes the resource with the old one, which deletes nothing.
fn physical_id(properties: &Value) -> String {
    format!("auth0-log-streams-{}", hash(properties))
}

/// Installs in a task of its own, so that even a panic leads to a response.
async fn try_install(retention: Option<String>, deadline: Deadline) -> (Status, String) {
    let work = async move {
        let work = install(retention.as_deref(), deadline);
        tokio::time::timeout_at(deadline.instant(), work).await
    };
    let reason = match tokio::spawn(work).await {
        Ok(Ok(Ok(installed))) => return (Status::Success, installed),
        Ok(Ok(Err(error))) => chain(&error),
        Ok(Err(_)) => "the engine took too long for the function's timeout".to_owned(),
        Err(_) => "internal error, see the function's log".to_owned(),
    };
    (Status::Failed, reason)
}

/// Sends the response to S3, and retries until the deadline.
async fn send(url: &str, body: Vec<u8>, deadline: Deadline) -> Result<(), Error> {
    let client = reqwest::Client::new();
    loop {
        let request = client
            .put(url)
            // The URL's signature includes an empty type.
            .header(reqwest::header::CONTENT_TYPE, "")
            .timeout(deadline.at_most(SEND_TIME).remaining())
            .body(body.clone());
        let error = match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => return Ok(()),
            // The URL is a credential.
            Err(error) => chain(&error.without_url()),
        };
        let pause = Duration::from_secs(1);
        if deadline.remaining() <= pause {
            return Err(format!("the response did not reach CloudFormation: {error}").into());
        }
        error!(error, "sending the response to CloudFormation failed, retrying");
        tokio::time::sleep(pause).await;
    }
}
